//! Whose the processes of a GPU are: by the control groups that the node chose, and never by a guess.

use purser_actors::port::{Gpus, ProcessOwner, Reading, SeenGpu};
use purser_events::{ContainerName, PodUid};
use purser_fake_nvml::script::{Process, Script};
use purser_tests::gpus::FakeProc;

use super::{Scene, readings, script};

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
fn a_process_that_is_listed_and_not_there_is_unknown_and_hides_no_other() {
    let scene = Scene::new(&used_by(&[4_201, 90_001, 90_002]));
    scene.proc.put(4_201, 5, &group("main-1"));
    let nobody = ProcessOwner::Unknown { name: None };
    let wanted = [of_pod("main", 1, 1), nobody.clone(), nobody];
    let seen = scene.until_gpu(0, "two of three are not there", |it| owners(it) == wanted);
    assert!(readings(&seen).temperature_c.value().is_some(), "what else it says is believed");
    assert_eq!(scene.sensor.seen().used_by_pods().memory.map(|bytes| bytes.0), Some(1 << 30));
    scene.proc.put(90_001, 5, "/");
    scene.until_gpu(0, "one has come", |it| owners(it)[1] == unknown());
    scene.proc.remove(4_201);
    scene.driver.change(|script| script.devices[0].processes.truncate(1));
    scene.until_gpu(0, "one ends and is listed still", |it| {
        owners(it) == [ProcessOwner::Unknown { name: None }]
    });
}

#[test]
fn in_a_namespace_of_its_own_the_service_blames_no_pod_for_another_ones_pid() {
    let folder = FakeProc::new();
    folder.in_own_namespace();
    folder.put(4_201, 5, &group("main-1"));
    let scene = Scene::seen_by(&used_by(&[4_201]), folder);
    scene.until_gpu(0, "what there is may be its own", |it| owners(it) == [of_pod("main", 1, 1)]);
    scene.driver.change(|script| *script = used_by(&[4_201, 90_001]));
    // Nor is it evidence that the pod uses nothing.
    let is_untold = |it: &SeenGpu| matches!(readings(it).processes, Reading::Failed(_));
    scene.until_gpu(0, "the ids are others'", is_untold);
    scene.driver.change(|script| *script = used_by(&[4_201]));
    let at = scene.sensor.seen().gpus[0].readings.as_ref().map(|it| it.at);
    scene.until_gpu(0, "from now on", |it| is_untold(it) && at < it.readings.as_ref().map(|it| it.at));
}
