//! From start to end of a container.

use purser_actors::port::{Containers, Notice, Signal, Standing};
use purser_events::pod::event::ExitReason;
use purser_events::pod::spec::{EnvVar, HostPathKind, Resources, User, Volume, VolumeMount, VolumeSource};
use purser_events::{Bytes, MilliCpu};
use purser_tests::specs::name;

use super::rig::{Planned, Rig, shell, until};

#[tokio::test]
async fn a_container_runs_to_its_end_and_leaves_only_its_log() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("echo out; echo err >&2; exit 7");
    let started = rig.start(&plan).await.unwrap();
    assert_eq!(started.process.container_pid, 1);
    let exit = rig.runtime.wait(&plan.key()).await.unwrap();
    // What it printed may come a moment after its end.
    rig.until_logged(&plan.key(), "err").await;
    assert_eq!((exit.code, exit.reason), (7, ExitReason::Error));
    assert!(exit.finished_at >= started.started_at || started.started_at.ms_since(exit.finished_at) < 1_000);
    let standing = rig.runtime.inspect(&plan.key()).await.unwrap();
    assert_eq!(standing, Standing::Exited { started: Some(started), exit });
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.runtime.inspect(&plan.key()).await.unwrap(), Standing::Absent);
    let log = rig.log(&plan.key());
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
    rig.runtime.remove(&plan.key()).await.unwrap();
    rig.runtime.clean_up(plan.uid).await.unwrap();
    assert!(!rig.paths().pod(plan.uid).exists());
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn starting_again_finds_the_same_container() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("echo up; sleep 1000");
    let images = rig.runtime.set_up(&plan.pod()).await.unwrap();
    let first = rig.runtime.start(&plan.first(&images)).await.unwrap();
    let again = rig.runtime.start(&plan.first(&images)).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(rig.runtime.list().await.unwrap(), [plan.key()]);
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert!(!rig.log(&plan.key()).contains("up\nup"));
}

#[tokio::test]
async fn a_container_that_ignores_the_first_signal_is_killed_by_the_second() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("trap 'echo asked' TERM; echo up; while :; do sleep 0.01; done");
    rig.start(&plan).await.unwrap();
    rig.until_logged(&plan.key(), "up").await;
    rig.runtime.signal(&plan.key(), Signal::Terminate).await.unwrap();
    rig.until_logged(&plan.key(), "asked").await;
    rig.runtime.signal(&plan.key(), Signal::Kill).await.unwrap();
    let exit = rig.runtime.wait(&plan.key()).await.unwrap();
    assert_eq!((exit.code, exit.reason), (137, ExitReason::Error));
    rig.runtime.signal(&plan.key(), Signal::Terminate).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    rig.runtime.signal(&plan.key(), Signal::Kill).await.unwrap();
}

#[tokio::test]
async fn a_container_that_obeys_says_with_which_code() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done");
    rig.start(&plan).await.unwrap();
    rig.until_logged(&plan.key(), "up").await;
    rig.runtime.signal(&plan.key(), Signal::Terminate).await.unwrap();
    assert_eq!(rig.runtime.wait(&plan.key()).await.unwrap().code, 3);
    rig.runtime.remove(&plan.key()).await.unwrap();
}

#[tokio::test]
async fn limits_reach_the_kernel() {
    let rig = Rig::with_image().await;
    let mut container = shell("echo up; sleep 1000");
    container.resources = Resources {
        cpu_limit: Some(MilliCpu(250)),
        cpu_request: Some(MilliCpu(500)),
        memory_limit: Some(Bytes(48 << 20)),
        memory_request: None,
        ..Resources::default()
    };
    let plan = Planned::of(vec![container]);
    rig.start(&plan).await.unwrap();
    let cgroups = rig.containerd.cgroups();
    let read = |file: &str| {
        let leaves = cgroups.iter().filter(|folder| folder.ends_with("main-1"));
        leaves.filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok()).next()
    };
    let (quota, memory, pids) = match read("cpu.max") {
        Some(max) => (max.split(' ').next().map(str::to_owned), read("memory.max"), read("pids.max")),
        None => (read("cpu.cfs_quota_us"), read("memory.limit_in_bytes"), read("pids.max")),
    };
    assert_eq!(quota.unwrap().trim(), "25000");
    assert_eq!(memory.unwrap().trim(), (48 << 20).to_string());
    assert_eq!(pids.unwrap().trim(), "4096");
    rig.runtime.remove(&plan.key()).await.unwrap();
    rig.runtime.clean_up(plan.uid).await.unwrap();
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_container_out_of_memory_is_noticed_and_says_so_at_its_end() {
    let mut rig = Rig::with_image().await;
    let mut notices = rig.runtime.notices().unwrap();
    assert!(rig.runtime.notices().is_none(), "they can be taken once");
    let Some(Notice::Found { version }) = notices.recv().await else { panic!("containerd was not found") };
    assert!(version.starts_with("containerd "), "{version}");
    let mut container = shell("tail /dev/zero; echo survived; exit 9");
    container.resources.memory_limit = Some(Bytes(24 << 20));
    let plan = Planned::of(vec![container]);
    rig.start(&plan).await.unwrap();
    assert_eq!(notices.recv().await, Some(Notice::OutOfMemory(plan.key())));
    let exit = rig.runtime.wait(&plan.key()).await.unwrap();
    assert_eq!((exit.code, exit.reason), (9, ExitReason::OomKilled));
    // One kill is told once, however often containerd speaks of it: nothing comes before the next thing to tell.
    rig.containerd.kill9();
    assert!(matches!(notices.recv().await, Some(Notice::Lost { .. })));
    rig.containerd.restart();
    assert!(matches!(notices.recv().await, Some(Notice::Found { .. })));
    drop(notices);
    let second = rig.second_runtime();
    let mut notices = second.notices().unwrap();
    assert!(matches!(notices.recv().await, Some(Notice::Found { .. })));
    rig.containerd.kill9();
    assert!(matches!(notices.recv().await, Some(Notice::Lost { .. })), "another service tells it again");
    rig.containerd.restart();
    second.remove(&plan.key()).await.unwrap();
}

#[tokio::test]
async fn volumes_environment_and_user_are_the_manifests() {
    let rig = Rig::with_image().await;
    let host = rig.containerd.folder().join("host");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::write(host.join("given"), "from the host").unwrap();
    let script = "id; hostname; echo $FROM_IMAGE $OWN $HOSTNAME; pwd; cat /given/given; echo; \
                  touch /given/x 2>/dev/null || echo read-only; echo shared > /scratch/file; \
                  cat /etc/hosts >/dev/null && ls /dev/shm && echo end";
    let mut container = shell(script);
    container.env = vec![EnvVar { name: "OWN".into(), value: "mine".into() }];
    container.working_dir = Some("/tmp".into());
    container.user = User { uid: Some(1000), gid: Some(1001), non_root: true, no_new_privileges: true };
    let mount = |volume: &str, path: &str, read_only| VolumeMount {
        volume: name(volume),
        path: path.into(),
        read_only,
    };
    container.mounts = vec![mount("given", "/given", true), mount("scratch", "/scratch", false)];
    let plan = Planned::changed(vec![container], |pod| {
        let path = host.to_str().unwrap().to_owned();
        let given = VolumeSource::HostPath { path, kind: HostPathKind::Directory };
        pod.volumes = vec![
            Volume { name: name("given"), source: given },
            Volume { name: name("scratch"), source: VolumeSource::EmptyDir },
        ];
        pod.fs_group = Some(77);
    });
    rig.start(&plan).await.unwrap();
    let exit = rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    let log = rig.log(&plan.key());
    assert_eq!(exit.code, 0, "{log}");
    for part in
        ["uid=1000", "gid=1001", "77", "\nweb\nyes mine web\n/tmp\nfrom the host\nread-only\n", "end\n"]
    {
        assert!(log.contains(part), "`{part}` is not in {log}");
    }
    let scratch = rig.paths().volume(plan.uid, &name("scratch")).join("file");
    assert_eq!(std::fs::read_to_string(scratch).unwrap(), "shared\n");
    rig.runtime.clean_up(plan.uid).await.unwrap();
    assert!(host.join("given").exists(), "what is the host's stays");
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_container_cannot_make_namespaces_or_mounts() {
    let rig = Rig::with_image().await;
    let plan = Planned::script(
        "busybox unshare -m true && echo escaped; busybox unshare -U true && echo escaped; \
         busybox mount -t tmpfs x /tmp && echo mounted; busybox grep Seccomp: /proc/self/status; echo end",
    );
    rig.start(&plan).await.unwrap();
    rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    let log = rig.log(&plan.key());
    assert!(log.contains("Seccomp:\t2") && log.contains("end"), "{log}");
    assert!(!log.contains("escaped") && !log.contains("mounted"), "{log}");
}

#[tokio::test]
async fn removing_a_running_container_kills_it() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("echo up; sleep 1000");
    let started = rig.start(&plan).await.unwrap();
    let waiting = {
        let (runtime, key) = (rig.runtime.clone(), plan.key());
        tokio::spawn(async move { runtime.wait(&key).await })
    };
    rig.runtime.remove(&plan.key()).await.unwrap();
    let exit = waiting.await.unwrap().unwrap();
    assert!(exit.code == 137 || exit.reason == ExitReason::Lost, "{exit:?}");
    let process = format!("/proc/{}", started.process.host_pid);
    until("the end of the process", || !std::path::Path::new(&process).exists()).await;
    rig.runtime.clean_up(plan.uid).await.unwrap();
    rig.assert_nothing_left().await;
}
