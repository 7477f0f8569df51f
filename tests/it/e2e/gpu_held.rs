//! Pods of containerd that are held back by the kernel while they break a limit: real containers in the control groups that
//! containerd's runtime made for them, behind a stand-in driver.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_fake_nvml::script::{Device, Process, Script, Steps};
use purser_tests::bounded;
use purser_tests::gpus::FakeDriver;
use serde_json::{Value, json};

use super::stage::{Runtime, Stage, pid_of, read, script, status_of};

const GPU: &str = "GPU-00000000-0000-0000-0000-000000000000";
/// The ladder as fast as the policy allows: a rung a second.
const FAST: &str = "[policy.monitor]\ninterval-ms = 1000\nviolations-max = 1\nraise-ms = 0\nclear-ms = 0\n\
                    cool-down-ms = 1000\nwarm-up-ms = 0\neviction-gap-ms = 0\neviction-grace-s = 1\n";
const KIND: &str = "gpu_over_quota";
/// The call that lists processes, and the code of a failure that says nothing more.
const PROCESSES: &str = "nvmlDeviceGetComputeRunningProcesses_v3";
const UNKNOWN: u32 = 999;

/// The control group in which a process is, in the hierarchy that has processor time, as the kernel says.
fn group(pid: i32) -> PathBuf {
    let groups = read(format!("/proc/{pid}/cgroup"));
    let of = |controller: &str| {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/'))
        })?;
        let folders = [format!("/sys/fs/cgroup/{controller}"), "/sys/fs/cgroup".to_owned()];
        folders.into_iter().map(|folder| Path::new(&folder).join(path)).find(|folder| folder.is_dir())
    };
    of("cpu").or_else(|| of("")).expect("a process is in a control group")
}

/// Microseconds of processor time in a window of 100 ms that the kernel lets a process' group have.
fn quota(pid: i32) -> String {
    let group = group(pid);
    let text = fs::read_to_string(group.join("cpu.cfs_quota_us"));
    let text = text.or_else(|_| fs::read_to_string(group.join("cpu.max"))).expect("it has processor time");
    text.split_whitespace().next().expect("it has a quota").to_owned()
}

fn set_quota(pid: i32, us: u32) {
    let group = group(pid);
    let (v1, v2) = (group.join("cpu.cfs_quota_us"), group.join("cpu.max"));
    let (file, text) = if v1.exists() { (v1, us.to_string()) } else { (v2, format!("{us} 100000")) };
    fs::write(file, text).expect("a quota can be set");
}

/// Windows in which the kernel had the group wait.
fn waits(pid: i32) -> u64 {
    let stat = read(group(pid).join("cpu.stat"));
    let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    count.and_then(|count| count.parse().ok()).expect("the kernel counts them")
}

/// A stage with one GPU and two pods on it.
struct Scene {
    stage: Stage,
    driver: FakeDriver,
}

impl Scene {
    fn new() -> Scene {
        let mut stage = Stage::with(Runtime::Containerd, FAST);
        let device = Device { uuid: GPU.to_owned(), ..Device::default() };
        let driver = FakeDriver::new(&Script { devices: vec![device], ..Script::default() });
        let config = stage.purserd.config();
        let looking = format!("nvml-library = {:?}", driver.library());
        fs::write(&config, read(&config).replace("nvml-library = \"\"", &looking)).expect("a config");
        stage.purserd.stop();
        stage.purserd.restart();
        let described = json!({ "name": GPU, "containerEdits": { "env": ["GPU=0"] } });
        let described = json!({ "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [described] });
        stage.describe_devices("gpus.json", &described.to_string());
        Scene { stage, driver }
    }

    /// Runs a pod with this share of the GPU, which wants more processor time than it has; gives its process.
    fn run(&self, name: &str, share: u32) -> i32 {
        let mut container = script("main", "while :; do :; done");
        container["resources"] = json!({ "limits": { "cpu": "400m" } });
        let manifest = self.stage.manifest(name, &json!({ "containers": [container] }));
        let mut manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
        manifest["metadata"]["annotations"] = json!({
            "purser.dev/gpu-share": share.to_string(), "purser.dev/gpu-memory": "10Gi",
        });
        self.stage.purserd.apply(&manifest.to_string());
        pid_of(&self.stage.until_ready(name), "main")
    }

    /// Has the GPU be busy for these processes, each for so many percent of the time.
    fn say(&self, busy: u32, processes: &[(i32, u32)]) {
        self.driver.change(|script| {
            let process = |(pid, sm): &(i32, u32)| {
                let pid = (*pid).try_into().expect("process ids are positive");
                Process { pid, sm: Some(*sm), ..Process::default() }
            };
            script.devices[0].utilization = Steps::Same(busy);
            script.devices[0].processes = processes.iter().map(process).collect();
        });
    }

    /// Violations of the share with what was done about each.
    fn violations(&self) -> Vec<(Value, Vec<String>)> {
        let all: Value = serde_json::from_str(&self.stage.purser("get violations -o json")).expect("JSON");
        let of_kind = all["items"].as_array().into_iter().flatten().filter(|it| it["kind"] == KIND);
        let word = |step: &Value| format!("{} {}", step["level"], step["what"]).replace('"', "");
        let steps = |it: &Value| it["steps"].as_array().into_iter().flatten().map(word).collect();
        of_kind.map(|it| (it["podUid"].clone(), steps(it))).collect()
    }

    fn until_step(&self, wanted: &str) {
        let is_so = || self.violations().iter().any(|(_, steps)| steps.iter().any(|step| step == wanted));
        bounded::until(wanted, is_so);
    }
}

#[test]
fn of_two_containers_on_a_gpu_the_one_over_its_share_has_less_processor_time_until_it_is_within() {
    let mut scene = Scene::new();
    let (greedy, fair) = (scene.run("greedy", 30), scene.run("fair", 60));
    assert_eq!((quota(greedy), quota(fair)), ("40000".to_owned(), "40000".to_owned()));
    scene.say(100, &[(greedy, 60), (fair, 40)]);
    scene.until_step("throttle completed");
    assert_eq!((quota(greedy), quota(fair)), ("10000".to_owned(), "40000".to_owned()));
    let before = waits(greedy);
    bounded::until("the kernel has it wait", || before < waits(greedy));
    let uid = scene.stage.pod("greedy")["metadata"]["uid"].clone();
    let climbed = ["warn escalated", "throttle escalated", "throttle requested", "throttle completed"];
    let climbed = climbed.map(str::to_owned).to_vec();
    assert_eq!(scene.violations(), [(uid, climbed)], "the offender alone has an episode");

    // What the journal says is in force again after a kill, also in a container that starts meanwhile.
    scene.stage.purserd.kill9();
    set_quota(greedy, 40_000);
    scene.stage.purserd.restart();
    bounded::until("it is held again", || quota(greedy) == "10000");
    // Until the driver lists its next process nothing is seen of it: of none of its processes it would be said to be within.
    let failing = BTreeMap::from([(PROCESSES.to_owned(), UNKNOWN)]);
    scene.driver.change(|script| script.devices[0].faults.fail = failing);
    kill(Pid::from_raw(greedy), Signal::SIGKILL).expect("it runs");
    let again = pid_of(&scene.stage.until_restarted("greedy", "main", 1), "main");
    scene.say(100, &[(again, 60), (fair, 40)]);
    scene.driver.change(|script| script.devices[0].faults.fail.clear());
    bounded::until("its next container is held as well", || quota(again) == "10000");

    // The end comes while nobody looks: the next start gives it back.
    scene.stage.purserd.kill9();
    scene.say(50, &[(again, 20), (fair, 30)]);
    scene.stage.purserd.restart();
    scene.until_step("throttle resolved");
    bounded::until("it has its time again", || quota(again) == "40000");
    assert_eq!(quota(fair), "40000");

    // As a service that was killed after the end was on record, and before the kernel was told.
    scene.stage.purserd.kill9();
    set_quota(again, 10_000);
    scene.stage.purserd.restart();
    bounded::until("the next start lets it go", || quota(again) == "40000");
    assert_eq!(status_of(&scene.stage.pod("fair"), "main")["restartCount"], 0);
    assert_eq!(scene.violations().len(), 1);
    scene.stage.audit();
    scene.stage.clear();
}
