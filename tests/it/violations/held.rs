//! Pods that are held back by the kernel while they break a limit: real pods with real control groups behind a real
//! wrapper of a stand-in driver, and a service that is killed at any moment.

use std::fs;
use std::path::PathBuf;

use purser_events::ledger::GpuUuid;
use purser_fake_nvml::script::{Device, Script};
use purser_tests::bounded;
use purser_tests::gpus::FakeDriver;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::Value;

use super::scene::tell;

/// The ladder as fast as the policy allows: a rung a second.
pub(super) const FAST: &str = "[policy.monitor]\ninterval-ms = 1000\nviolations-max = 1\nraise-ms = 0\nclear-ms = 0\n\
                               cool-down-ms = 1000\nwarm-up-ms = 0\neviction-gap-ms = 0\neviction-grace-s = 1\n";

/// The names that dashboards of other tools know, as they were asked for.
const SEED_METRICS: [&str; 10] = [
    "pod_management_pods_total",
    "pod_management_workers_total",
    "pod_management_healthy_workers",
    "pod_management_cpu_usage_percent",
    "pod_management_memory_usage_bytes",
    "pod_management_gpu_usage_percent",
    "pod_management_resource_violations_total",
    "pod_management_violation_duration_seconds",
    "pod_management_monitoring_cycles_total",
    "pod_management_monitoring_errors_total",
];

/// The GPU of every scene here.
pub(super) fn uuid() -> GpuUuid {
    GpuUuid::new("GPU-00000000-0000-0000-0000-000000000000").unwrap()
}

/// A node with one GPU that says what its driver has it say.
pub(super) struct Scene {
    pub(super) driver: FakeDriver,
    pub(super) purserd: Purserd,
}

impl Scene {
    pub(super) fn new(policy: &str) -> Scene {
        let device = Device { uuid: uuid().to_string(), slot: 26, ..Device::default() };
        let driver = FakeDriver::new(&Script { devices: vec![device], ..Script::default() });
        let setup = Setup { gpu_library: driver.library(), more: policy.to_owned(), ..Setup::default() };
        Scene { purserd: Purserd::start(&setup), driver }
    }

    pub(super) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.purserd.purser_ok(args.iter().chain(&["-o", "json"]))).unwrap()
    }

    /// Runs a pod with this much of the GPU and of a processor; gives its uid and its process.
    pub(super) fn run(&self, name: &str, share: u32, memory: &str, cpu: &str) -> (String, u32) {
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name,
                "annotations": {
                    "purser.dev/gpu-share": share.to_string(),
                    "purser.dev/gpu-memory": memory,
                },
            },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "main",
                    "command": ["/bin/sleep", "600"],
                    "resources": { "limits": { "cpu": cpu } },
                }],
            },
        });
        self.purserd.apply(&manifest.to_string());
        bounded::until("the pod runs", || self.phase(name) == "Running");
        let uid = self.json(&["get", "pod", name])["metadata"]["uid"].as_str().unwrap().to_owned();
        let procs = fs::read_to_string(self.group(&uid, "cpu").join("cgroup.procs")).unwrap();
        let sleeps = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
        };
        (uid, procs.lines().find(sleeps).unwrap().parse().unwrap())
    }

    pub(super) fn phase(&self, name: &str) -> String {
        let pod = self.json(&["get", "pod", name]);
        pod["status"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// The control group of a pod's container in the hierarchy of a controller.
    fn group(&self, uid: &str, controller: &str) -> PathBuf {
        let is_it = |path: &PathBuf| {
            let path = path.to_string_lossy();
            path.contains(uid) && path.ends_with("main-1")
        };
        let groups: Vec<PathBuf> = self.purserd.control_groups().into_iter().filter(is_it).collect();
        let has_it = |group: &&PathBuf| {
            group.join("cpu.max").exists() || group.starts_with(format!("/sys/fs/cgroup/{controller}"))
        };
        groups.iter().find(has_it).unwrap_or_else(|| panic!("{uid} has no group: {groups:?}")).clone()
    }

    /// Microseconds of processor time in a window that the kernel lets a pod have.
    fn quota(&self, uid: &str) -> String {
        let group = self.group(uid, "cpu");
        let v1 = fs::read_to_string(group.join("cpu.cfs_quota_us"));
        let text = v1.or_else(|_| fs::read_to_string(group.join("cpu.max"))).unwrap();
        text.split_whitespace().next().unwrap().to_owned()
    }

    fn set_quota(&self, uid: &str, us: u32) {
        let group = self.group(uid, "cpu");
        let (v1, v2) = (group.join("cpu.cfs_quota_us"), group.join("cpu.max"));
        let (file, text) = if v1.exists() { (v1, us.to_string()) } else { (v2, format!("{us} 100000")) };
        fs::write(file, text).unwrap();
    }

    /// Has the GPU be busy, and these processes use it: pid, percent of its time and GiB.
    pub(super) fn say(&self, busy: u32, processes: &[(u32, u32, u64)]) {
        tell(&self.driver, busy, processes);
    }

    /// The violations of one kind, oldest first.
    pub(super) fn violations(&self, kind: &str) -> Vec<Value> {
        let all = self.json(&["get", "violations"])["items"].as_array().cloned().unwrap_or_default();
        all.into_iter().rev().filter(|it| it["kind"] == kind).collect()
    }

    /// What was done about the only violation of a kind, as in `throttle completed`.
    pub(super) fn steps(&self, kind: &str) -> Vec<String> {
        let steps = |it: &Value| it["steps"].as_array().cloned().unwrap_or_default();
        let word = |step: Value| format!("{} {}", step["level"], step["what"]).replace('"', "");
        self.violations(kind).iter().flat_map(steps).map(word).collect()
    }

    pub(super) fn until_step(&self, kind: &str, step: &str) {
        bounded::until(&format!("{kind}: {step}"), || self.steps(kind).iter().any(|it| it == step));
    }
}

#[test]
fn a_pod_over_its_share_has_less_processor_time_until_it_is_within_also_when_the_service_is_killed() {
    let mut scene = Scene::new(FAST);
    let (greedy, first) = scene.run("greedy", 30, "10Gi", "400m");
    let (fair, second) = scene.run("fair", 60, "10Gi", "400m");
    assert_eq!((scene.quota(&greedy), scene.quota(&fair)), ("40000".to_owned(), "40000".to_owned()));
    scene.say(100, &[(first, 60, 1), (second, 40, 1)]);
    scene.until_step("gpu_over_quota", "throttle completed");
    assert_eq!((scene.quota(&greedy), scene.quota(&fair)), ("10000".to_owned(), "40000".to_owned()));
    let described = scene.purserd.purser_ok(["describe", "pod", "greedy"]);
    assert!(described.contains("Held back:      processors: `main` 100m"), "{described}");
    let series = "purser_pod_throttled{namespace=\"default\",pod=\"greedy\",resource=\"processors\"} 1\n";
    assert!(scene.purserd.metrics().contains(series));
    let before = scene.violations("gpu_over_quota");
    assert_eq!((before.len(), &before[0]["podUid"]), (1, &Value::from(greedy.clone())), "{before:#?}");

    scene.purserd.kill9();
    // Somebody else gives it back meanwhile: what the journal says is in force again.
    scene.set_quota(&greedy, 40_000);
    scene.purserd.restart();
    bounded::until("it is held again", || scene.quota(&greedy) == "10000");
    let after = scene.violations("gpu_over_quota");
    assert_eq!(after[0]["id"], before[0]["id"]);
    assert_eq!(
        scene.steps("gpu_over_quota"),
        ["warn escalated", "throttle escalated", "throttle requested", "throttle completed"]
    );

    // Another limit does not free it: it has a quarter of that, and later all of it.
    scene.purserd.purser_ok(["resize", "greedy", "--cpu", "600m"]);
    assert_eq!(scene.quota(&greedy), "15000");

    scene.purserd.kill9();
    scene.say(50, &[(first, 20, 1), (second, 30, 1)]);
    scene.purserd.restart();
    scene.until_step("gpu_over_quota", "throttle resolved");
    bounded::until("it has its time again", || scene.quota(&greedy) == "60000");
    for name in SEED_METRICS {
        let has_value = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        bounded::until(&format!("there is a `{name}`"), || scene.purserd.metrics().lines().any(has_value));
    }
    let described = scene.purserd.purser_ok(["describe", "pod", "greedy"]);
    assert!(!described.contains("Held back"), "{described}");

    // As a service that was killed after the end was on record, and before the kernel was told.
    scene.purserd.kill9();
    scene.set_quota(&greedy, 10_000);
    scene.purserd.restart();
    bounded::until("the next start lets it go", || scene.quota(&greedy) == "60000");
    assert_eq!((scene.phase("greedy"), scene.phase("fair")), ("Running".to_owned(), "Running".to_owned()));
    scene.purserd.purser_ok(["delete", "greedy", "--wait", "--grace-period", "0"]);
    bounded::until("what the other pod uses is told again", || {
        scene.purserd.metrics().contains("pod_management_memory_usage_bytes{pod_id=\"default/fair\"")
    });
    let metrics = scene.purserd.metrics();
    let named = ["pod=\"greedy\"", "pod_id=\"default/greedy\"", &greedy].map(|name| metrics.contains(name));
    assert_eq!(named, [false; 3], "series go with their pod");
}
