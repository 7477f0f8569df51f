//! One pod of the process runtime in folders of its own, and its end whatever becomes of the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use purser_actors::paths::PodPaths;
use purser_actors::port::{
    ContainerKey, ContainerPlan, Containers, ExecChunk, ExecIo, Ids, OutputStream, RuntimeError, Standing,
    StartedContainer,
};
use purser_events::pod::event::Exit;
use purser_events::pod::spec::{
    ContainerSpec, PodSpec, PullPolicy, Resources, RestartPolicy, RuntimeClass, User, Volume, VolumeMount,
};
use purser_events::{ContainerName, PodId, PodUid};
use purser_node::adapter::clock::UuidV7;
use purser_node::adapter::process::{ProcessRuntime, Settings};
use tokio::sync::mpsc;

/// Longest time that anything may take here before the test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The variable that names another copy of purserd, for a user who cannot reach the one that was built.
pub(crate) const SHIM_VARIABLE: &str = "PURSER_TEST_SHIM";

/// The purserd whose shims are tested.
pub(crate) fn shim() -> PathBuf {
    std::env::var_os(SHIM_VARIABLE).map_or_else(|| env!("CARGO_BIN_EXE_purserd").into(), PathBuf::from)
}

pub(crate) fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

/// A container that runs `command` and has nothing else.
pub(crate) fn container(command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: name("main"),
        image: None,
        image_pull_policy: PullPolicy::IfNotPresent,
        command: command.iter().map(ToString::to_string).collect(),
        args: Vec::new(),
        env: Vec::new(),
        working_dir: None,
        resources: Resources::default(),
        ports: Vec::new(),
        mounts: Vec::new(),
        liveness: None,
        readiness: None,
        startup: None,
        user: User::default(),
    }
}

/// A container that runs a shell script.
pub(crate) fn script(text: &str) -> ContainerSpec {
    container(&["/bin/sh", "-c", text])
}

/// One pod, its folders and the runtime that runs it.
pub(crate) struct Scene {
    pub(crate) runtime: ProcessRuntime,
    pub(crate) settings: Settings,
    pub(crate) paths: PodPaths,
    pub(crate) pod: PodUid,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) fs_group: Option<u32>,
    pub(crate) folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        Scene::with(|_| {})
    }

    /// A scene whose settings differ from the defaults.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::with_shim(shim());
        let pod = PodUid(UuidV7.uuid());
        settings.cgroup_prefix = format!("purser-test-{pod}");
        change(&mut settings);
        let paths = PodPaths::new(folder.path().join("pods"));
        let runtime = ProcessRuntime::new(paths.clone(), settings.clone());
        Scene { runtime, settings, paths, pod, volumes: Vec::new(), fs_group: None, folder }
    }

    /// The same pods as a node sees them that has just come up.
    pub(crate) fn another_runtime(&self) -> ProcessRuntime {
        ProcessRuntime::new(self.paths.clone(), self.settings.clone())
    }

    pub(crate) fn key(&self, attempt: u32) -> ContainerKey {
        ContainerKey { pod: self.pod, container: name("main"), attempt }
    }

    pub(crate) fn spec(&self, container: ContainerSpec) -> PodSpec {
        PodSpec {
            id: PodId::new("default", "test").unwrap(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            runtime: RuntimeClass::Process,
            restart_policy: RestartPolicy::Never,
            termination_grace_s: 30,
            fs_group: self.fs_group,
            volumes: self.volumes.clone(),
            init_containers: Vec::new(),
            containers: vec![container],
            claims: purser_events::ledger::Claims::default(),
        }
    }

    pub(crate) fn plan(&self, container: ContainerSpec, attempt: u32) -> ContainerPlan {
        ContainerPlan {
            key: self.key(attempt),
            pod: Arc::new(self.spec(container.clone())),
            env: container.env.iter().map(|env| (env.name.clone(), env.value.clone())).collect(),
            command: container.command.clone(),
            args: container.args.clone(),
            spec: container,
            image: None,
            cpus: None,
            gpus: vec![],
            gpu_slice: None,
        }
    }

    pub(crate) async fn start(&self, container: ContainerSpec) -> Result<StartedContainer, RuntimeError> {
        self.runtime.start(&self.plan(container, 1)).await
    }

    /// Runs a container to its end: how it ended and what it printed.
    pub(crate) async fn run(&self, container: ContainerSpec) -> (Exit, String) {
        self.start(container).await.expect("the container starts");
        let exit = self.wait().await;
        (exit, self.log(1))
    }

    pub(crate) async fn wait(&self) -> Exit {
        let key = self.key(1);
        let exit = tokio::time::timeout(PATIENCE, self.runtime.wait(&key)).await;
        exit.expect("the container ends").expect("the runtime answers")
    }

    pub(crate) async fn standing(&self) -> Standing {
        self.runtime.inspect(&self.key(1)).await.expect("the runtime answers")
    }

    pub(crate) fn log(&self, attempt: u32) -> String {
        std::fs::read_to_string(self.paths.log(&self.key(attempt))).expect("there is a log")
    }

    /// Waits until the container has printed a line.
    pub(crate) async fn printed(&self, line: &str) {
        let printed = async {
            while !self.log(1).lines().any(|held| held == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, printed).await;
        assert!(seen.is_ok(), "`{line}` was not printed, but:\n{}", self.log(1));
    }

    /// A file of the attempt's folder as JSON.
    pub(crate) fn record(&self, file: &str) -> serde_json::Value {
        let text = std::fs::read(self.paths.process(&self.key(1)).join(file)).expect("the file is there");
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["content"].take()
    }

    pub(crate) fn shim_pid(&self) -> i32 {
        let pid = self.record("state.json")["shim"]["hostPid"].as_i64().expect("it is a number");
        i32::try_from(pid).unwrap()
    }

    /// Folders of the container's control groups, by controller.
    pub(crate) fn cgroup(&self, controller: &str) -> PathBuf {
        let groups = self.record("plan.json")["cgroups"].take();
        let groups: Vec<PathBuf> = serde_json::from_value(groups).unwrap();
        let of_it = |path: &&PathBuf| path.starts_with(Path::new("/sys/fs/cgroup").join(controller));
        // With version 2 there is one for all controllers.
        let found = groups.iter().find(of_it).or(groups.first());
        found
            .expect("control groups must be writable for this test: run it as root with cgroups mounted")
            .clone()
    }

    pub(crate) async fn exec(
        &self,
        argv: &[&str],
        stdin: &'static [u8],
    ) -> (Result<u8, RuntimeError>, String, String) {
        let (output, mut chunks) = mpsc::channel(16);
        let stdin: Option<std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>> =
            if stdin.is_empty() { None } else { Some(Box::pin(stdin)) };
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        let (key, io) = (self.key(1), ExecIo { stdin, output });
        let collect = async {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            while let Some(ExecChunk { stream, bytes }) = chunks.recv().await {
                match stream {
                    OutputStream::Stdout => out.extend(bytes),
                    OutputStream::Stderr => err.extend(bytes),
                }
            }
            (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        };
        let run = async { tokio::join!(self.runtime.exec(&key, &argv, io), collect) };
        let (code, (out, err)) = tokio::time::timeout(PATIENCE, run).await.expect("the command ends");
        (code, out, err)
    }
}

impl Drop for Scene {
    /// Nothing of a test stays: also not of one that failed.
    fn drop(&mut self) {
        let (runtime, pod) = (self.another_runtime(), self.pod);
        let cleaned = std::thread::spawn(move || {
            let thread = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            thread.block_on(cleaned_up(&runtime, pod))
        });
        let cleaned = cleaned.join();
        for hierarchy in ["memory", "cpu", "pids", "cpuacct", "cpuset", ""] {
            // The folder of this scene, where there is one; pods that are still in it are reported below.
            let at = self.settings.cgroup_mount.join(hierarchy).join(&self.settings.cgroup_prefix);
            let _ = std::fs::remove_dir(at);
        }
        if !std::thread::panicking() {
            cleaned.expect("the clean-up does not panic").expect("the pod can be removed");
            assert!(!self.paths.pod(self.pod).exists(), "the pod's folder is still there");
        }
    }
}

/// Cleans a pod up, as a node does: once more where something of it was still in use.
async fn cleaned_up(runtime: &ProcessRuntime, pod: PodUid) -> Result<(), RuntimeError> {
    let begun = Instant::now();
    loop {
        let cleaned = runtime.clean_up(pod).await;
        if cleaned.is_ok() || PATIENCE < begun.elapsed() {
            return cleaned;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until something that nothing announces has come true.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} has not come"));
}

/// Whether a process exists and has not ended.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with(['Z', 'X']))
}

/// Waits until nothing of a process is left, and not even its parent has to collect it any more.
pub(crate) async fn collected(pid: i32) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("nobody collects process {pid}"));
}

/// Waits until a process has ended.
pub(crate) async fn gone(pid: i32) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("process {pid} still runs"));
}

pub(crate) fn mount(volume: &str, path: &Path, read_only: bool) -> VolumeMount {
    VolumeMount { volume: name(volume), path: path.to_str().unwrap().into(), read_only }
}
