//! What the driver has sampled of processes, which it tells by the clock on the wall.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use purser_actors::port::{Clock, Reading, SeenGpu};
use purser_events::Timestamp;
use purser_fake_nvml::script::Process;
use purser_node::adapter::clock::SystemClock;
use purser_tests::gpus::FakeDriver;

use super::{Scene, readings, script};

const HOUR_US: i64 = 3_600_000_000;

/// A clock that stands where it is set, while time passes as it does.
struct Set(SystemClock, AtomicI64);

#[async_trait::async_trait]
impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.1.load(Ordering::SeqCst))
    }

    fn passed(&self) -> Duration {
        self.0.passed()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(time)
    }

    async fn sleep_until(&self, moment: Timestamp) {
        self.0.sleep_until(moment).await;
    }
}

#[test]
fn samples_are_told_also_when_the_clock_is_set_back() {
    let noon: i64 = 1_750_000_000_000_000;
    let mut start = script(1);
    start.devices[0].processes = vec![Process { pid: 7, sm: Some(50), ..Process::default() }];
    start.devices[0].sampled_us = Some(noon.unsigned_abs() + 1_000);
    let clock = Arc::new(Set(SystemClock, AtomicI64::new(noon)));
    let scene = Scene::with(FakeDriver::new(&start), vec![], std::path::PathBuf::new(), clock.clone());
    let busy = |it: &SeenGpu| match &it.readings.as_ref()?.processes {
        Reading::Value(processes) => processes.first()?.sm_percent,
        Reading::Unsupported | Reading::Failed(_) => None,
    };
    scene.until_gpu(0, "it is busy", |it| busy(it) == Some(50));
    // There is no newer sample: nothing was busy since.
    scene.until_gpu(0, "it was busy once", |it| busy(it) == Some(0));
    clock.1.store(noon - HOUR_US, Ordering::SeqCst);
    scene.until_gpu(0, "it is an hour earlier", |it| readings(it).at == Timestamp(noon - HOUR_US));
    let earlier = (noon - HOUR_US).unsigned_abs() + 1_000;
    scene.driver.change(|script| script.devices[0].sampled_us = Some(earlier));
    scene.until_gpu(0, "it is busy again", |it| busy(it) == Some(50));
}
