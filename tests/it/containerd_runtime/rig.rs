//! A runtime over a containerd of its own, and pods for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use purser_actors::paths::PodPaths;
use purser_actors::port::{
    ContainerKey, ContainerPlan, Containers, ExecChunk, ExecIo, Ids, OutputStream, PodPlan, RuntimeError,
    StartedContainer,
};
use purser_events::PodUid;
use purser_events::pod::PodSpec;
use purser_events::pod::event::ResolvedImage;
use purser_events::pod::spec::{ContainerSpec, PullPolicy, RuntimeClass};
use purser_node::adapter::clock::{SystemClock, UuidV7};
use purser_node::adapter::containerd::{ContainerdConfig, ContainerdRuntime};
use purser_tests::bounded::PATIENCE;
use purser_tests::containerd::{Containerd, mounts_below};
use purser_tests::images::Images;
use purser_tests::specs::{container, pod};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

/// The name under which the test image `plain` is imported.
pub(crate) const PLAIN: &str = "test.invalid/plain:1";

pub(crate) struct Rig {
    pub(crate) containerd: Containerd,
    pub(crate) runtime: ContainerdRuntime,
    pub(crate) config: ContainerdConfig,
}

impl Rig {
    /// A runtime that has the image [`PLAIN`].
    pub(crate) async fn with_image() -> Rig {
        let rig = Rig::with(|config, _| config);
        rig.runtime.load_image(&Images::made().archive, Some(PLAIN)).await.unwrap();
        rig
    }

    /// A runtime whose config is changed first.
    pub(crate) fn with(change: impl FnOnce(ContainerdConfig, &Containerd) -> ContainerdConfig) -> Rig {
        let containerd = Containerd::start();
        let config = change(containerd.config(), &containerd);
        let runtime = runtime(&containerd, &config);
        Rig { containerd, runtime, config }
    }

    /// Another runtime over the same containerd and folders, as after a restart of the node.
    pub(crate) fn second_runtime(&self) -> ContainerdRuntime {
        runtime(&self.containerd, &self.config)
    }

    pub(crate) fn paths(&self) -> PodPaths {
        paths(&self.containerd)
    }

    pub(crate) fn log(&self, key: &ContainerKey) -> String {
        std::fs::read_to_string(self.paths().log(key)).unwrap_or_default()
    }

    /// Waits until a container has written this.
    pub(crate) async fn until_logged(&self, key: &ContainerKey, text: &str) {
        until(&format!("`{text}` in the log"), || self.log(key).contains(text)).await;
    }

    /// Sets a pod up and starts its first container.
    pub(crate) async fn start(&self, plan: &Planned) -> Result<StartedContainer, RuntimeError> {
        let images = self.runtime.set_up(&plan.pod()).await?;
        self.runtime.start(&plan.first(&images)).await
    }

    /// Sees that containerd and the host hold nothing any more but images.
    pub(crate) async fn assert_nothing_left(&self) {
        self.assert_nothing_left_but_cgroups().await;
        let cgroups = self.containerd.cgroups();
        let of_pods: Vec<&PathBuf> = cgroups.iter().filter(|path| !is_prefix(path, &self.config)).collect();
        assert_eq!(of_pods, Vec::<&PathBuf>::new());
    }

    /// The same, before a pod is cleaned up: its empty cgroup may stay for its next container.
    pub(crate) async fn assert_nothing_left_but_cgroups(&self) {
        assert_eq!(self.runtime.list().await.unwrap(), []);
        assert_eq!(self.containerd.ctr(&["tasks", "ls", "-q"]), "");
        assert_eq!(self.containerd.ctr(&["containers", "ls", "-q"]), "");
        let snapshots = self.containerd.ctr(&["snapshots", "--snapshotter", &self.config.snapshotter, "ls"]);
        let active: Vec<&str> =
            snapshots.lines().filter(|line| line.trim_end().ends_with("Active")).collect();
        assert_eq!(active, Vec::<&str>::new());
        assert_eq!(self.containerd.ctr(&["leases", "ls", "-q"]), "");
        let cgroups = self.containerd.cgroups();
        let of_containers: Vec<&PathBuf> = cgroups.iter().filter(|path| path.ends_with("main-1")).collect();
        assert_eq!(of_containers, Vec::<&PathBuf>::new());
        assert_eq!(mounts_below(self.containerd.folder()), Vec::<PathBuf>::new());
        let pipes = std::fs::read_dir(self.config.runtime_dir.join("exec")).map_or(0, Iterator::count);
        assert_eq!(pipes, 0, "pipes of commands are left");
    }
}

fn is_prefix(path: &std::path::Path, config: &ContainerdConfig) -> bool {
    path.file_name().is_some_and(|name| name == config.cgroup_prefix.as_str())
}

fn paths(containerd: &Containerd) -> PodPaths {
    PodPaths::new(containerd.folder().join("pods"))
}

fn runtime(containerd: &Containerd, config: &ContainerdConfig) -> ContainerdRuntime {
    let roots = vec![containerd.folder().join("host")];
    ContainerdRuntime::new(config.clone(), paths(containerd), roots, Arc::new(SystemClock), Arc::new(UuidV7))
        .unwrap()
}

/// A pod that is to run.
pub(crate) struct Planned {
    pub(crate) uid: PodUid,
    pub(crate) spec: Arc<PodSpec>,
}

impl Planned {
    pub(crate) fn of(containers: Vec<ContainerSpec>) -> Planned {
        Planned::changed(containers, |_| {})
    }

    pub(crate) fn changed(containers: Vec<ContainerSpec>, change: impl FnOnce(&mut PodSpec)) -> Planned {
        let mut spec = pod("web", containers);
        spec.runtime = RuntimeClass::Containerd;
        change(&mut spec);
        Planned { uid: PodUid(UuidV7.uuid()), spec: Arc::new(spec) }
    }

    /// A pod with one container that runs a shell script in the image [`PLAIN`].
    pub(crate) fn script(text: &str) -> Planned {
        Planned::of(vec![shell(text)])
    }

    pub(crate) fn pod(&self) -> PodPlan {
        PodPlan { uid: self.uid, spec: self.spec.clone(), gpus: vec![] }
    }

    pub(crate) fn key(&self) -> ContainerKey {
        ContainerKey { pod: self.uid, container: self.spec.containers[0].name.clone(), attempt: 1 }
    }

    pub(crate) fn first(&self, images: &[ResolvedImage]) -> ContainerPlan {
        let spec = self.spec.containers[0].clone();
        ContainerPlan {
            key: self.key(),
            pod: self.spec.clone(),
            env: spec.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
            command: spec.command.clone(),
            args: spec.args.clone(),
            image: images.iter().find(|image| image.container == spec.name).cloned(),
            cpus: None,
            gpus: vec![],
            gpu_slice: None,
            spec,
        }
    }
}

/// A container that runs a shell script in the image [`PLAIN`].
pub(crate) fn shell(text: &str) -> ContainerSpec {
    with_image(PLAIN, PullPolicy::Never, &["sh", "-c", text])
}

pub(crate) fn with_image(image: &str, policy: PullPolicy, command: &[&str]) -> ContainerSpec {
    ContainerSpec { image: Some(image.to_owned()), image_pull_policy: policy, ..container("main", command) }
}

/// Waits until something that nothing announces has come true.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} has not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a command in a container did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command in a container and collects its output.
pub(crate) async fn exec(
    runtime: &ContainerdRuntime,
    key: &ContainerKey,
    argv: &[&str],
    stdin: Option<&'static [u8]>,
) -> Result<Ran, RuntimeError> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let (output, mut chunks) = mpsc::channel::<ExecChunk>(4);
    let stdin = stdin.map(|bytes| Box::pin(bytes) as std::pin::Pin<Box<dyn AsyncRead + Send>>);
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
    let (code, (out, err)) = tokio::join!(runtime.exec(key, &argv, ExecIo { stdin, output }), collect);
    Ok(Ran { code: code?, out, err })
}
