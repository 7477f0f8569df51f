//! Processors: where the kernel lets a container run, while commands enter it and processes start; and what it uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use purser_actors::port::{ContainerUse, Containers, PodPlan};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::{Volume, VolumeSource};
use purser_events::{Bytes, CpuSet};
use purser_node::adapter::topology;

use super::scene::{Scene, container, name, script, until};

/// A number that no machine has, and that the kernel's calls can still say.
const NOWHERE: u16 = 1_023;
const MIB: u64 = 1 << 20;

/// Two processors of this machine, each alone, and both together.
fn two() -> [CpuSet; 3] {
    let topology = topology::read_own(Path::new("/sys")).unwrap();
    let [first, second, ..] = topology.cpus[..] else { panic!("this test needs two processors") };
    let set = |cpus: &[u16]| cpus.iter().copied().collect::<CpuSet>();
    [set(&[first.id]), set(&[second.id]), set(&[first.id, second.id])]
}

/// Where the kernel lets a process run: none if it is gone.
fn allowed(pid: u32) -> Option<CpuSet> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().parse().unwrap())
}

fn children(pid: u32) -> BTreeSet<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The host has no control groups that can be used.
fn without_groups() -> Scene {
    Scene::with(|settings| {
        settings.cgroup_mount = "/no/such/mount".into();
        settings.unlimited_ok = true;
    })
}

/// Starts a container on one processor and moves it about.
async fn runs_where_it_is_told(mut scene: Scene) {
    let [first, second, both] = two();
    let mut plan = scene.plan(script("sleep 1000 & echo child $!; wait"), 1);
    plan.cpus = Some(second.clone());
    let main = scene.runtime.start(&plan).await.unwrap().process.host_pid;
    until("its child", || !children(main).is_empty()).await;
    let child = *children(main).first().unwrap();
    let held = |pid| allowed(pid).unwrap_or_else(|| panic!("process {pid} is gone"));
    assert_eq!((held(main), held(child)), (second.clone(), second.clone()));
    for cpus in [&first, &first, &both, &second] {
        scene.runtime.set_cpus(&scene.key(1), cpus).await.unwrap();
        assert_eq!((held(main), held(child)), (cpus.clone(), cpus.clone()));
        let (code, out, err) = scene.exec(&["grep", "Cpus_allowed_list", "/proc/self/status"], b"").await;
        assert_eq!((code.unwrap(), err.as_str()), (0, ""));
        assert_eq!(out, format!("Cpus_allowed_list:\t{cpus}\n"), "a command runs where the container does");
    }
    for (wrong, word) in [(CpuSet::default(), "at least one"), ([NOWHERE].into_iter().collect(), "1023")] {
        let error = scene.runtime.set_cpus(&scene.key(1), &wrong).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Invalid);
        assert!(error.message.contains(word), "{error}");
    }
    scene.runtime = scene.another_runtime();
    let (_, out, _) = scene.exec(&["grep", "Cpus_allowed_list", "/proc/self/status"], b"").await;
    assert_eq!(out, format!("Cpus_allowed_list:\t{second}\n"), "what was refused has changed nothing");
    scene.runtime.remove(&scene.key(1)).await.unwrap();
    scene.runtime.set_cpus(&scene.key(1), &first).await.expect("one that is gone is fine");
    scene.runtime.set_cpus(&scene.key(2), &first).await.expect("one that never was is fine");
}

#[tokio::test]
async fn a_container_runs_where_it_is_told() {
    let scene = Scene::new();
    let [_, second, _] = two();
    let mut plan = scene.plan(script("sleep 1000"), 1);
    plan.cpus = Some(second.clone());
    scene.runtime.start(&plan).await.unwrap();
    let group = scene.cgroup("cpuset");
    let held = fs::read_to_string(group.join("cpuset.cpus")).expect("cpuset groups can be written");
    assert_eq!(held.trim(), second.to_string());
    scene.runtime.remove(&scene.key(1)).await.unwrap();
    assert!(!group.exists());
    runs_where_it_is_told(scene).await;
}

#[tokio::test]
async fn the_scheduler_alone_holds_a_container_where_there_are_no_groups() {
    runs_where_it_is_told(without_groups()).await;
}

#[tokio::test]
async fn processors_that_are_not_there_are_refused() {
    for scene in [Scene::new(), without_groups()] {
        for (wrong, word) in [(CpuSet::default(), "at least one"), ([NOWHERE].into_iter().collect(), "1023")]
        {
            let mut plan = scene.plan(script("sleep 1000"), 1);
            plan.cpus = Some(wrong);
            let error = scene.runtime.start(&plan).await.unwrap_err();
            assert_eq!(error.class, FailureClass::Invalid, "{error}");
            assert!(error.message.contains(word), "{error}");
        }
    }
}

#[tokio::test]
async fn a_container_that_starts_processes_all_the_time_is_moved_whole() {
    let [first, second, _] = two();
    let scene = without_groups();
    let mut plan = scene.plan(script("while :; do sleep 0.001 & sleep 0.001; done"), 1);
    plan.cpus = Some(first.clone());
    let main = scene.runtime.start(&plan).await.unwrap().process.host_pid;
    for cpus in [&second, &first, &second] {
        scene.runtime.set_cpus(&scene.key(1), cpus).await.unwrap();
        let mut seen = BTreeSet::new();
        while seen.len() < 20 {
            for child in children(main) {
                if let Some(held) = allowed(child) {
                    assert_eq!(held, *cpus, "process {child} was left behind");
                    seen.insert(child);
                }
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(allowed(main).as_ref(), Some(cpus));
    }
}

/// Asks until the figures are as they should be.
async fn used(scene: &Scene, enough: impl Fn(&ContainerUse) -> bool) -> ContainerUse {
    let asked = async {
        loop {
            let used = scene.runtime.usage(&scene.key(1)).await.unwrap().expect("it runs");
            if enough(&used) {
                return used;
            }
        }
    };
    let last = tokio::time::timeout(super::scene::PATIENCE, asked).await;
    last.unwrap_or_else(|_| panic!("it does not use enough"))
}

/// Looks at a container that works and takes memory.
async fn says_what_it_uses(scene: &Scene) -> ContainerUse {
    assert_eq!(scene.runtime.usage(&scene.key(1)).await.unwrap(), None);
    // tail keeps what has no end of a line; the other works all the time.
    let text = "(while :; do :; done) & (head -c 64M /dev/zero; exec sleep 1000) | tail -n 1";
    scene.start(script(text)).await.unwrap();
    let first = used(scene, |used| used.cpu_us > 0 && used.memory >= Bytes(64 * MIB)).await;
    assert!(first.memory < Bytes(192 * MIB), "{first:?}");
    used(scene, |used| used.cpu_us >= first.cpu_us + 200_000).await
}

#[tokio::test]
async fn a_container_says_what_it_uses() {
    let scene = Scene::new();
    let used = says_what_it_uses(&scene).await;
    assert!(used.memory_peak.is_none_or(|peak| peak >= used.memory), "{used:?}");
    scene.runtime.remove(&scene.key(1)).await.unwrap();
    assert_eq!(scene.runtime.usage(&scene.key(1)).await.unwrap(), None);
}

#[tokio::test]
async fn processes_say_what_they_use_where_the_kernel_keeps_no_account() {
    let scene = without_groups();
    assert_eq!(says_what_it_uses(&scene).await.memory_peak, None);
    scene.runtime.remove(&scene.key(1)).await.unwrap();
    assert_eq!(scene.runtime.usage(&scene.key(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_pod_says_what_it_has_on_disk() {
    let mut scene = Scene::new();
    assert_eq!(scene.runtime.disk_use(scene.pod).await.unwrap(), Bytes(0));
    scene.volumes = vec![Volume { name: name("scratch"), source: VolumeSource::EmptyDir }];
    let plan = PodPlan { uid: scene.pod, spec: scene.spec(container(&["true"])).into(), gpus: vec![] };
    scene.runtime.set_up(&plan).await.unwrap();
    let scratch = scene.paths.volume(scene.pod, &name("scratch")).join("file");
    fs::write(scratch, vec![1; 2 << 20]).unwrap();
    // To its log.
    scene.run(container(&["head", "-c", "1M", "/dev/zero"])).await;
    let used = scene.runtime.disk_use(scene.pod).await.unwrap();
    assert!(used >= Bytes(3 * MIB) && used < Bytes(4 * MIB), "{used}");
}
