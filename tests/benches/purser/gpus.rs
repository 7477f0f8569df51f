//! What it takes to look at eight GPUs every second, each with fifty processes of fifty pods, while nothing changes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use purser_fake_nvml::script::{Device, Process, Script, Steps};
use purser_tests::bench::{Bound, number_from};
use purser_tests::bounded;
use purser_tests::gpus::FakeDriver;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};

use crate::restart::run_pods_with;

const GPUS: u32 = 8;
const PODS: u32 = 50;
/// What each pod is given of each GPU: more than its process uses, so that there is nothing to be judged.
const SHARE_PERCENT: u32 = 2;
const MEMORY: &str = "1500Mi";
/// What a process uses of a GPU.
const USED_PERCENT: u32 = 1;
const USED_BYTES: u64 = 1 << 30;
/// How long is measured, in seconds; `SECONDS` sets another. Time for what lasts to be judged is in it.
const SECONDS: u64 = 60;
/// Of one core, in percent.
const WANTED: Bound = Bound::AtMost(1.0);

pub(crate) fn run() {
    let device = |number: u32| Device {
        uuid: format!("GPU-00000000-0000-0000-0000-{number:012}"),
        utilization: Steps::Each(vec![40, 60, 80]),
        ..Device::default()
    };
    let driver = FakeDriver::new(&Script { devices: (0..GPUS).map(device).collect(), ..Script::default() });
    let purserd = Purserd::start(&Setup { gpu_library: driver.library(), ..Setup::default() });
    bounded::until("there are GPUs to give out", || ready(&purserd) == GPUS as usize);
    let given = json!({
        "purser.dev/gpu-count": GPUS.to_string(),
        "purser.dev/gpu-share": SHARE_PERCENT.to_string(),
        "purser.dev/gpu-memory": MEMORY,
    });
    run_pods_with(&purserd, PODS, &given);
    let pids = pids(&purserd);
    driver.change(|script| {
        for device in &mut script.devices {
            let (memory, sm) = (Some(USED_BYTES), Some(USED_PERCENT));
            let process = |pid: &u32| Process { pid: *pid, memory, sm, ..Process::default() };
            device.memory_used = Steps::Same(USED_BYTES * pids.len() as u64);
            device.processes = pids.iter().map(process).collect();
        }
    });
    bounded::until("every process is its pod's", || attributed(&purserd) == GPUS as usize * pids.len());
    // Whoever waits for records is asked before and after, and not meanwhile.
    let seq = || json(&purserd, &["get", "node", "-o", "json"])["seq"].as_u64();
    let (before, looking, all, begun) = (seq(), looking(&purserd), all(&purserd), Instant::now());
    std::thread::sleep(Duration::from_secs(number_from("SECONDS", SECONDS)));
    let passed = begun.elapsed();
    let spent =
        |now: Duration, then: Duration| 100.0 * now.saturating_sub(then).as_secs_f64() / passed.as_secs_f64();
    let (looking, all) = (spent(self::looking(&purserd), looking), spent(self::all(&purserd), all));
    let recorded = seq().zip(before).map(|(after, before)| after.saturating_sub(before));
    println!(
        "gpus: {GPUS} GPUs with {} processes each of {PODS} pods, looked at every second for {} s",
        pids.len(),
        passed.as_secs()
    );
    println!(
        "  processor time of the threads that look   {looking:5.2} % of one core   {}",
        WANTED.verdict(looking, " %")
    );
    println!("  of the whole service                      {all:5.2} % of one core");
    println!("  records that were appended                {}", recorded.map_or(-1, u64::cast_signed));
}

fn json(purserd: &Purserd, args: &[&str]) -> Value {
    serde_json::from_str(&purserd.purser_ok(args)).expect("it is JSON")
}

/// The main processes of the pods.
fn pids(purserd: &Purserd) -> Vec<u32> {
    let pods = json(purserd, &["get", "pods", "-A", "-o", "json"]);
    let pods = pods["items"].as_array().expect("it is a list");
    let pid = |pod: &Value| pod["status"]["containerStatuses"][0]["hostPid"].as_u64()?.try_into().ok();
    pods.iter().map(|pod| pid(pod).expect("it runs")).collect()
}

/// GPUs that take pods.
fn ready(purserd: &Purserd) -> usize {
    let view = json(purserd, &["get", "gpus", "-o", "json"]);
    let gpus = view["gpus"].as_array().into_iter().flatten();
    gpus.filter(|gpu| gpu["health"] == "Healthy").count()
}

/// Processes that are known as their pods', over all GPUs.
fn attributed(purserd: &Purserd) -> usize {
    let view = json(purserd, &["get", "gpus", "-o", "json"]);
    let gpus = view["gpus"].as_array().into_iter().flatten();
    let processes = gpus.flat_map(|gpu| gpu["readings"]["processes"].as_array().into_iter().flatten());
    processes.filter(|process| process["owner"]["kind"] == "Pod").count()
}

/// Processor time of the threads that look at GPUs.
fn looking(purserd: &Purserd) -> Duration {
    threads(purserd, |name| name.starts_with("gpu"))
}

/// Processor time of every thread.
fn all(purserd: &Purserd) -> Duration {
    threads(purserd, |_| true)
}

fn threads(purserd: &Purserd, counts: impl Fn(&str) -> bool) -> Duration {
    let folder = format!("/proc/{}/task", purserd.pid());
    let entries = fs::read_dir(folder).expect("purserd runs").flatten().map(|entry| entry.path());
    let counted = entries.filter(|thread| counts(read(thread, "comm").trim()));
    let ns = counted
        .filter_map(|thread| read(&thread, "schedstat").split_ascii_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(ns.sum())
}

/// A file about a thread; nothing of one that has ended.
fn read(thread: &Path, file: &str) -> String {
    fs::read_to_string(thread.join(file)).unwrap_or_default()
}
