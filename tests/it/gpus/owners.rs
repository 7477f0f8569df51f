//! Whose the processes of a GPU are: by the control groups that the node chose, and never by a guess.

use purser_actors::port::{Gpus, ProcessOwner, Reading, SeenGpu};
use purser_events::{ContainerName, PodUid};
use purser_fake_nvml::script::{Process, Script};

use super::{Scene, gpu, readings, script};

const POD: &str = "0192a000-0000-7000-8000-000000000007";

fn group(container: &str) -> String {
    format!("/purser/{POD}/{container}")
}

fn of_pod(container: &str, attempt: u32, inner_pid: u32) -> ProcessOwner {
    let (pod, container) = (PodUid(POD.parse().unwrap()), ContainerName::new(container).unwrap());
    ProcessOwner::Pod { pod, container, attempt, inner_pid: Some(inner_pid) }
}

fn unknown() -> ProcessOwner {
    ProcessOwner::Unknown { name: Some("train".to_owned()) }
}

/// One GPU with these processes.
fn used_by(pids: &[u32]) -> Script {
    let mut script = script(1);
    let process = |pid: &u32| Process { pid: *pid, memory: Some(1 << 30), ..Process::default() };
    script.devices[0].processes = pids.iter().map(process).collect();
    script
}

fn owners(gpu: &SeenGpu) -> Vec<ProcessOwner> {
    let processes = gpu.readings.as_ref().and_then(|readings| readings.processes.value());
    processes.into_iter().flatten().map(|process| process.owner.clone()).collect()
}

#[test]
fn each_process_is_its_pods_or_nobodys() {
    let scene = Scene::new(&used_by(&[10, 4_201, 4_202]));
    scene.proc.put(4_201, 5, &group("main-2"));
    scene.proc.put(4_202, 5, &group("main-2/made/by/it"));
    let wanted = [unknown(), of_pod("main", 2, 1), of_pod("main", 2, 2)];
    scene.until_gpu(0, "each is told", |it| owners(it) == wanted);
    let used = scene.sensor.seen().used_by_pods();
    assert_eq!((used.memory.map(|bytes| bytes.0), used.share_percent), (Some(2 << 30), Some(0)));
}

#[test]
fn a_pid_that_another_process_has_now_is_not_the_pods() {
    let scene = Scene::new(&used_by(&[10, 4_201]));
    scene.proc.put(4_201, 5, &group("main-1"));
    scene.until_gpu(0, "it is the pod's", |it| owners(it) == [unknown(), of_pod("main", 1, 1)]);
    scene.proc.put(4_201, 6, "/elsewhere");
    scene.until_gpu(0, "it is nobody's", |it| owners(it) == [unknown(), unknown()]);
    scene.proc.put(4_201, 7, &group("side-9"));
    scene.until_gpu(0, "it is another's", |it| owners(it) == [unknown(), of_pod("side", 9, 1)]);
    scene.proc.remove(4_201);
    scene.until_gpu(0, "it is gone", |it| owners(it) == [unknown(), ProcessOwner::Gone]);
}

#[test]
fn a_driver_whose_lists_are_of_no_processes_is_not_believed_until_they_are() {
    let scene = Scene::new(&used_by(&[90_001, 90_002, 10]));
    let is_refused = |it: &SeenGpu| {
        let processes = it.readings.as_ref().map(|readings| &readings.processes);
        matches!(processes, Some(Reading::Failed(reason)) if reason.starts_with("2 of the 3 processes"))
    };
    let seen = scene.until_gpu(0, "it is told", is_refused);
    assert!(readings(&seen).temperature_c.value().is_some(), "what else it says is believed");
    assert_eq!(scene.sensor.seen().used_by_pods().memory, None, "nobody knows");
    scene.proc.put(90_001, 5, "/");
    let most = [unknown(), unknown(), ProcessOwner::Gone];
    scene.until_gpu(0, "most are there", |it| owners(it) == most);
    // From now on, one that is gone is one that is gone.
    scene.proc.remove(90_001);
    let gone = [unknown(), ProcessOwner::Gone, ProcessOwner::Gone];
    for _ in 0..8 {
        let at = scene.sensor.seen().gpus[0].readings.as_ref().map(|readings| readings.at);
        scene.until_gpu(0, "it is looked at again", |it| it.readings.as_ref().map(|it| it.at) != at);
    }
    scene.until_gpu(0, "the list is shown", |it| owners(it) == gone);
    assert!(gpu(&scene.sensor.seen(), 0).is_some());
}
