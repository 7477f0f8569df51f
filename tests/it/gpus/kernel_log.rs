//! Faults (Xids) as the kernel's log has them, beside what the driver tells.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::port::{Clock, GpuState};
use purser_events::Timestamp;
use purser_fake_nvml::script::{Faults, Script};
use purser_node::adapter::clock::SystemClock;
use purser_tests::gpus::FakeDriver;
use tempfile::TempDir;

use super::{Scene, failing, hanging, readings, script};

const NOT_SUPPORTED: u32 = 3;

/// A clock by which a tenth of the time passes: a machine that is busy for some seconds makes no two faults of one. It can
/// be moved on.
#[derive(Default)]
struct Slow(SystemClock, AtomicU64);

impl Slow {
    fn skip(&self, time: Duration) {
        self.1.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Slow {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn passed(&self) -> Duration {
        self.0.passed() / 10 + Duration::from_millis(self.1.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(time * 10)
    }

    async fn sleep_until(&self, moment: Timestamp) {
        self.0.sleep_until(moment).await;
    }
}

/// A file that stands for the kernel's log, and a driver.
struct Logged {
    scene: Scene,
    log: File,
    clock: Arc<Slow>,
    _folder: TempDir,
}

impl Logged {
    fn new(script: &Script, is_pipe: bool) -> Logged {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kmsg");
        if is_pipe {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        } else {
            // What was there before the service is not read.
            std::fs::write(&path, line(1, 62)).unwrap();
        }
        let driver = FakeDriver::new(script);
        let clock = Arc::new(Slow::default());
        let scene = Scene::with(driver, vec![], path.clone(), clock.clone());
        // Of a pipe, both ends are held, so that nobody waits for the other.
        let log = OpenOptions::new().read(is_pipe).append(true).open(&path).unwrap();
        scene.until_given_out(&(0..u32::try_from(script.devices.len()).unwrap()).collect::<Vec<_>>());
        Logged { scene, log, clock, _folder: folder }
    }

    fn say(&mut self, text: &str) {
        self.log.write_all(text.as_bytes()).unwrap();
    }

    fn until_told(&self, number: u32, expected: &[u32]) {
        let told =
            |seen: &purser_actors::port::SeenGpu| seen.xids.iter().map(|it| it.xid).collect::<Vec<_>>();
        self.scene.until_gpu(number, "it is told", |it| told(it) == expected);
    }
}

/// What the kernel writes of a fault of the GPU in this slot.
fn line(slot: u8, xid: u32) -> String {
    format!("4,1234,98765432,-;NVRM: Xid (PCI:0000:{slot:02x}:00): {xid}, pid='<unknown>', name=<unknown>\n")
}

#[test]
fn what_the_log_and_the_driver_tell_of_one_fault_is_one() {
    let mut logged = Logged::new(&script(2), false);
    logged.scene.driver.change(|script| script.devices[1].xids.push(79));
    logged.until_told(1, &[79]);
    // The log is read in order: what comes before the last was not counted again.
    logged.say(&format!("{}{}", line(2, 79), line(2, 48)));
    logged.until_told(1, &[79, 48]);
    logged.say(&line(2, 79));
    logged.until_told(1, &[79, 48, 79]);
    logged.say(&line(1, 79));
    logged.until_told(0, &[79]);
    let seen = logged.scene.until_gpu(1, "it is counted", |it| it.xid_counts.len() == 2);
    assert_eq!(seen.xid_counts, BTreeMap::from([(48, 1), (79, 2)]));
}

#[test]
fn where_the_driver_cannot_tell_the_log_does() {
    let mut start = script(1);
    start.devices[0].faults = failing("nvmlDeviceRegisterEvents", NOT_SUPPORTED);
    let mut logged = Logged::new(&start, true);
    let (half, rest) = (line(1, 79), line(1, 79));
    let (first, second) = half.split_at(30);
    logged.say(first);
    logged.say(second);
    logged.until_told(0, &[79]);
    logged.say(&rest);
    logged.until_told(0, &[79, 79]);
}

#[test]
fn what_is_no_fault_or_not_the_kernels_is_passed_over() {
    let mut logged = Logged::new(&script(1), false);
    let long = format!("4,1,2,-;{}{}", "x".repeat(10_000), line(1, 64));
    let of_a_program = line(1, 79).replacen("4,", "12,", 1);
    let elsewhere = line(200, 79);
    for text in [long.as_str(), of_a_program.as_str(), elsewhere.as_str(), "\n;;;\n4,1,2,-;NVRM: Xid (\n"] {
        logged.say(text);
    }
    logged.log.write_all(b"4,1,2,-;\xff\xfe\n").unwrap();
    logged.say(&line(1, 31));
    logged.until_told(0, &[31]);
}

#[test]
fn what_the_log_tells_before_a_gpu_is_known_and_after_it_is_gone_is_its_own_once_it_is_there() {
    let mut start = script(2);
    let late = start.devices.pop().unwrap();
    let mut logged = Logged::new(&start, false);
    logged.say(&format!("{}{}", line(2, 48), line(1, 31)));
    logged.until_told(0, &[31]);
    logged.scene.driver.change(|script| script.devices.push(late.clone()));
    logged.until_told(1, &[48]);
    logged.scene.driver.change(|script| script.devices.truncate(1));
    logged.scene.until("it is gone", |seen| seen.gpus.len() == 1);
    logged.say(&format!("{}{}", line(2, 79), line(1, 32)));
    logged.until_told(0, &[31, 32]);
    logged.scene.driver.change(|script| script.devices.push(late));
    // What was told before it went was told then.
    logged.until_told(1, &[79]);
}

#[test]
fn what_a_driver_that_hung_tells_late_is_what_the_log_has_told() {
    let mut logged = Logged::new(&script(1), false);
    let hung = "nvmlDeviceGetTemperature";
    logged.scene.driver.change(|script| script.devices[0].faults = hanging(hung));
    logged.scene.until_gpu(0, "it hangs", |it| matches!(it.state, GpuState::Unresponsive { .. }));
    logged.scene.driver.change(|script| script.devices[0].xids.push(79));
    logged.say(&line(1, 79));
    logged.until_told(0, &[79]);
    // By its clock more passes than what two would tell of one fault within.
    logged.clock.skip(Duration::from_secs(60));
    logged.scene.driver.change(|script| script.devices[0].faults = Faults::default());
    let seen = logged.scene.until_gpu(0, "it answers", |it| it.state == GpuState::Ready);
    // Between two looks what waits is told.
    logged.scene.until_gpu(0, "it is looked at again", |it| readings(it).at != readings(&seen).at);
    logged.scene.driver.change(|script| script.devices[0].xids.push(13));
    logged.until_told(0, &[79, 13]);
}
