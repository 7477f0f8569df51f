//! Processors: where the kernel lets a container run, and what it uses.

use std::fs;
use std::path::{Path, PathBuf};

use purser_actors::port::{ContainerUse, Containers, Signal};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::Resources;
use purser_events::{Bytes, CpuSet, MilliCpu};
use purser_node::adapter::topology;
use purser_tests::bounded::PATIENCE;

use super::rig::{Planned, Rig, exec, shell, until};

const MIB: u64 = 1 << 20;

/// Two processors of this machine, each alone, and both together.
fn two() -> [CpuSet; 3] {
    let topology = topology::read_own(Path::new("/sys")).unwrap();
    let [first, second, ..] = topology.cpus[..] else { panic!("this test needs two processors") };
    let set = |cpus: &[u16]| cpus.iter().copied().collect::<CpuSet>();
    [set(&[first.id]), set(&[second.id]), set(&[first.id, second.id])]
}

/// Every cgroup of the container.
fn groups(rig: &Rig) -> Vec<PathBuf> {
    rig.containerd.cgroups().into_iter().filter(|folder| folder.ends_with("main-1")).collect()
}

/// The first of the files that any cgroup of the container has.
fn held(rig: &Rig, files: &[&str]) -> String {
    let paths = groups(rig).into_iter().flat_map(|group| files.iter().map(move |file| group.join(file)));
    let mut texts = paths.filter_map(|path| fs::read_to_string(path).ok());
    texts.next().unwrap_or_else(|| panic!("no cgroup has any of {files:?}")).trim().to_owned()
}

/// Where the kernel lets each process of the container run.
fn allowed(rig: &Rig) -> Vec<CpuSet> {
    let list = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(list.trim().parse().unwrap())
    };
    held(rig, &["cgroup.procs"]).lines().filter_map(list).collect()
}

#[tokio::test]
async fn a_container_runs_where_it_is_told() {
    let rig = Rig::with_image().await;
    let [first, second, both] = two();
    let mut container = shell("sleep 1000 & echo up; wait");
    container.resources = Resources {
        cpu_limit: Some(MilliCpu(250)),
        memory_limit: Some(Bytes(48 << 20)),
        ..Resources::default()
    };
    let plan = Planned::of(vec![container]);
    let images = rig.runtime.set_up(&plan.pod()).await.unwrap();
    let mut asked = plan.first(&images);
    asked.cpus = Some(second.clone());
    rig.runtime.start(&asked).await.unwrap();
    rig.until_logged(&plan.key(), "up").await;
    let limits = || {
        let quota = held(&rig, &["cpu.cfs_quota_us", "cpu.max"]);
        (quota, held(&rig, &["memory.limit_in_bytes", "memory.max"]), held(&rig, &["pids.max"]))
    };
    let before = limits();
    until("its child", || allowed(&rig).len() == 2).await;
    assert_eq!(allowed(&rig), [second.clone(), second.clone()]);
    for cpus in [&first, &first, &both, &second] {
        rig.runtime.set_cpus(&plan.key(), cpus).await.unwrap();
        assert_eq!(allowed(&rig), [cpus.clone(), cpus.clone()]);
        assert_eq!(held(&rig, &["cpuset.cpus"]), cpus.to_string());
        let argv = ["busybox", "grep", "Cpus_allowed_list", "/proc/self/status"];
        let ran = exec(&rig.runtime, &plan.key(), &argv, None).await.unwrap();
        assert_eq!(
            ran.out,
            format!("Cpus_allowed_list:\t{cpus}\n"),
            "a command runs where the container does"
        );
    }
    assert_eq!(limits(), before, "the other limits stay");
    for wrong in [CpuSet::default(), [1_023].into_iter().collect()] {
        let error = rig.runtime.set_cpus(&plan.key(), &wrong).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Invalid, "{error}");
    }
    assert_eq!(allowed(&rig), [second.clone(), second]);
    rig.runtime.signal(&plan.key(), Signal::Kill).await.unwrap();
    rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.set_cpus(&plan.key(), &first).await.expect("one that has ended is fine");
    rig.runtime.remove(&plan.key()).await.unwrap();
    rig.runtime.set_cpus(&plan.key(), &first).await.expect("one that is gone is fine");
    rig.runtime.clean_up(plan.uid).await.unwrap();
    rig.assert_nothing_left().await;
}

/// Asks until the figures are as they should be.
async fn used(rig: &Rig, plan: &Planned, enough: impl Fn(&ContainerUse) -> bool) -> ContainerUse {
    let asked = async {
        loop {
            let used = rig.runtime.usage(&plan.key()).await.unwrap().expect("it runs");
            if enough(&used) {
                return used;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it uses enough")
}

#[tokio::test]
async fn a_container_says_what_it_uses_also_while_containerd_is_away() {
    let mut rig = Rig::with_image().await;
    // tail keeps what has no end of a line; the other works all the time.
    let text =
        "(while :; do :; done) & (dd if=/dev/zero bs=1M count=64 2>/dev/null; exec sleep 1000) | tail -n 1";
    let plan = Planned::script(text);
    assert_eq!(rig.runtime.usage(&plan.key()).await.unwrap(), None);
    assert_eq!(rig.runtime.disk_use(plan.uid).await.unwrap(), Bytes(0));
    rig.start(&plan).await.unwrap();
    let first = used(&rig, &plan, |used| used.cpu_us > 0 && used.memory >= Bytes(64 * MIB)).await;
    assert!(first.memory < Bytes(192 * MIB), "{first:?}");
    rig.containerd.kill9();
    let more = used(&rig, &plan, |used| used.cpu_us >= first.cpu_us + 200_000).await;
    assert!(more.memory_peak.is_none_or(|peak| peak >= Bytes(64 * MIB)), "{more:?}");
    rig.containerd.restart();
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.runtime.usage(&plan.key()).await.unwrap(), None);
    fs::write(rig.paths().pod(plan.uid).join("file"), vec![1; 1 << 20]).unwrap();
    let on_disk = rig.runtime.disk_use(plan.uid).await.unwrap();
    assert!(on_disk >= Bytes(MIB) && on_disk < Bytes(2 * MIB), "{on_disk}");
    rig.runtime.clean_up(plan.uid).await.unwrap();
}
