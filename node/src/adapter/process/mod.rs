//! The process runtime: containers as plain processes of the host, without images.
//!
//! Each try of a container has a folder and a *shim*: a small process, run from the node's own program, that
//! starts the container, watches it to its end and writes both down. So neither the container nor what is known
//! of it depends on the node being there: a node that comes back reads the folders and waits for the shims.

mod cgroup;
mod cpuset;
mod enter;
mod exec;
mod folder;
pub(super) mod identity;
mod planning;
mod processors;
mod program;
mod records;
mod settings;
mod shim;
mod standing;
mod start;
mod support;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::paths::PodPaths;
use purser_actors::port::{
    ContainerKey, ContainerPlan, ContainerUse, Containers, ExecIo, FieldError, LimitsInForce, LoadedImage,
    Notice, PodPlan, ResizePlan, RuntimeError, Signal, Standing, StartedContainer,
};
use purser_events::pod::event::{Exit, FailureClass, ResolvedImage};
use purser_events::pod::spec::{PodSpec, RuntimeClass};
use purser_events::{Bytes, ContainerName, CpuSet, MilliCpu, PodUid};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::cgroup::Cgroups;
use self::folder::Folder;
use self::records::{Ending, Failure, State};
use self::settings::NodeUser;
use self::standing::{Found, look_settled, lost};
use crate::adapter::out_of_memory::Told;
use crate::adapter::{cgroups, disk_use, volumes};

pub use self::settings::Settings;
pub use self::shim::{exec_main, init_main, shim_main};

/// Longest wait for a killed container's shim to be done.
const REMOVE_MAX: Duration = Duration::from_secs(15);
const NOTICES_MAX: usize = 256;
/// Time between two looks at what the kernel has killed in a container that runs.
const KILLS_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Runs what a shim's command line asks for and gives the exit code of the process; none if it asks for
/// something else. To be called before anything else in the program: a shim has no threads and no runtime.
#[must_use]
pub fn dispatch(args: &[OsString]) -> Option<i32> {
    let verb = args.get(1)?.to_str()?;
    match (verb, &args[2..]) {
        ("shim", [dir]) => Some(shim_main(Path::new(dir))),
        ("shim-init", [dir]) => Some(init_main(Path::new(dir))),
        ("shim-exec", [dir, report, argv @ ..]) => {
            let argv: Option<Vec<String>> = argv.iter().map(|arg| arg.to_str().map(String::from)).collect();
            Some(argv.map_or(2, |argv| exec_main(Path::new(dir), Path::new(report), &argv)))
        }
        _ => None,
    }
}

/// Runs containers as processes of the host.
#[derive(Debug)]
pub struct ProcessRuntime {
    core: Arc<Core>,
    notices: Mutex<Option<mpsc::Receiver<Notice>>>,
}

#[derive(Debug)]
struct Core {
    paths: PodPaths,
    settings: Settings,
    cgroups: Cgroups,
    node: NodeUser,
    noticed: mpsc::Sender<Notice>,
    told: Told,
    /// Held by who moves a container to other processors.
    moving: Mutex<()>,
}

impl ProcessRuntime {
    /// A runtime whose pods are below `paths`; finds out which control groups the node may write. To be made by one
    /// process at a time: it kills the commands that an earlier one left in the containers.
    pub fn new(paths: PodPaths, settings: Settings) -> ProcessRuntime {
        let cgroups = Cgroups::detect(&settings.cgroup_mount, &settings.cgroup_prefix);
        if let Cgroups::Unwritable(why) = &cgroups {
            if settings.unlimited_ok {
                tracing::warn!(why, "processes have no control groups: limits are not in force");
            } else {
                tracing::warn!(why, "processes have no control groups: containers with limits are refused");
            }
        }
        let (noticed, notices) = mpsc::channel(NOTICES_MAX);
        let node = NodeUser::current();
        let told = Told::new(paths.clone());
        let core = Core { paths, settings, cgroups, node, noticed, told, moving: Mutex::new(()) };
        core.end_left_commands();
        ProcessRuntime { core: Arc::new(core), notices: Mutex::new(Some(notices)) }
    }

    /// Runs something that waits for the disk where that holds up nobody.
    async fn off<T: Send + 'static>(&self, work: impl FnOnce(&Core) -> T + Send + 'static) -> T {
        let core = Arc::clone(&self.core);
        off_thread(move || work(&core)).await
    }

    /// Waits for the end of an attempt's shim and looks at what the kernel kills in it meanwhile.
    async fn ended(&self, key: &ContainerKey, state: &State) {
        while timeout(KILLS_LOOK_INTERVAL, watch::ended(&state.shim)).await.is_err() {
            let key = key.clone();
            self.off(move |core| core.look_for_kills(&key)).await;
        }
    }

    /// Looks at an attempt once it is not being started any more.
    async fn found(&self, key: &ContainerKey) -> Result<Found, RuntimeError> {
        let folder = self.core.folder(key);
        Ok(off_thread(move || look_settled(&folder)).await?)
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("a task that is waited for is not cancelled")
}

impl Core {
    fn folder(&self, key: &ContainerKey) -> Folder {
        Folder::at(self.paths.process(key))
    }

    /// Kills the commands in containers whose callers went down with an earlier service.
    fn end_left_commands(&self) {
        let ended = self.keys().and_then(|keys| {
            keys.iter().try_for_each(|key| {
                let ended = exec::end_left_behind(&self.folder(key));
                // What cannot be read of one is no reason to leave those of the others.
                ended.or_else(|error| {
                    tracing::warn!(container = %key, %error, "failed to end a command that was left");
                    Ok(())
                })
            })
        });
        if let Err(error) = ended {
            tracing::warn!(%error, "failed to look for commands that were left in containers");
        }
    }

    /// Tells of kills for want of memory that nobody has been told of.
    fn tell_kills(&self, key: &ContainerKey, kills: u64) {
        if self.told.rises_to(key, kills) {
            // The exit says so too: a notice that finds no room is no loss.
            let _ = self.noticed.try_send(Notice::OutOfMemory(key.clone()));
        }
    }

    /// Looks for such kills in a container that runs: a child's need not end the container.
    fn look_for_kills(&self, key: &ContainerKey) {
        let (pod, container) = planning::group_names(key);
        self.tell_kills(key, cgroup::oom_kills(&self.cgroups.folders(&pod, &container)));
    }

    /// Takes an attempt's folder for a first start; or says that it was started before.
    fn claim(&self, key: &ContainerKey) -> Result<Claim, RuntimeError> {
        let failed = |error| {
            RuntimeError::from(Failure::runtime(format!("failed to make the container's folder: {error}")))
        };
        let folder = self.folder(key);
        match look_settled(&folder)? {
            // Never twice under one key: whoever asks again learns what came of the first time.
            Found::Running(state) | Found::Ended(state, _) => return Ok(Claim::Started(state)),
            Found::Created => folder.remove().map_err(failed)?,
            Found::Absent | Found::Starting => {}
        }
        volumes::pod_folder(&self.paths, key.pod)?;
        folder.make().map_err(failed)?;
        match folder.try_lock().map_err(failed)? {
            Some(lock) => Ok(Claim::Free(folder, lock)),
            None => {
                Err(RuntimeError::new(FailureClass::Unavailable, "the container is already being started"))
            }
        }
    }

    /// Sends a signal to an attempt that runs.
    fn signal(&self, key: &ContainerKey, state: &State, signal: Signal) -> Result<(), RuntimeError> {
        let failed =
            |error| RuntimeError::from(Failure::runtime(format!("failed to signal the container: {error}")));
        match signal {
            // Only the main process, as Kubernetes does: how its children end is its own affair. The process
            // is held by descriptor, so that a reused pid is never hit.
            Signal::Terminate => identity::send(&state.main, rustix::process::Signal::TERM).map_err(failed),
            // The shim sees to it that everything else goes with the main process.
            Signal::Kill => {
                identity::send(&state.main, rustix::process::Signal::KILL).map_err(failed)?;
                if let Ok(Some(plan)) = self.folder(key).plan() {
                    cgroup::kill_all(&plan.cgroups);
                }
                Ok(())
            }
        }
    }

    /// Removes the folder and the control groups of an attempt whose shim is gone, and whatever still runs in
    /// the groups. What its files say does not matter: they may be damaged.
    fn forget(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let failed =
            |error| RuntimeError::from(Failure::runtime(format!("failed to remove the container: {error}")));
        let folder = self.folder(key);
        let lock = match folder.lock_soon() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            lock => lock.map_err(failed)?,
        };
        if lock.is_none() {
            let message = "the container does not end, although it was killed";
            return Err(Failure::runtime(message).into());
        }
        cgroup::remove(&self.groups(key)).map_err(failed)?;
        self.told.forget(key);
        folder.remove().map_err(failed)
    }

    /// Kills what is in any of the groups of a container, whatever is known of it: its main process may be long gone.
    fn end_rest(&self, key: &ContainerKey) {
        for group in self.groups(key) {
            cgroup::kill_all(&[group]);
        }
    }

    /// The control groups of a container.
    fn groups(&self, key: &ContainerKey) -> Vec<PathBuf> {
        let (pod, container) = planning::group_names(key);
        let mut groups = self.cgroups.folders(&pod, &container);
        // They have other names if the node was set up otherwise then.
        groups.extend(self.folder(key).plan().ok().flatten().into_iter().flat_map(|plan| plan.cgroups));
        groups
    }

    fn keys(&self) -> std::io::Result<Vec<ContainerKey>> {
        let mut keys = Vec::new();
        for pod in names(self.paths.root())? {
            let Ok(pod) = pod.parse().map(PodUid) else { continue };
            for container in names(&self.paths.pod(pod).join("process"))? {
                let Ok(container) = ContainerName::new(container) else { continue };
                keys.extend(self.attempts(pod, &container)?);
            }
        }
        Ok(keys)
    }

    fn attempts(&self, pod: PodUid, container: &ContainerName) -> std::io::Result<Vec<ContainerKey>> {
        let folder = self.paths.pod(pod).join("process").join(container.as_str());
        let mut attempts: Vec<u32> = names(&folder)?.iter().filter_map(|name| name.parse().ok()).collect();
        attempts.sort_unstable();
        let key = |attempt| ContainerKey { pod, container: container.clone(), attempt };
        Ok(attempts.into_iter().map(key).collect())
    }

    /// Removes all that a pod has on disk and in the control groups. Its containers are gone.
    fn forget_pod(&self, pod: PodUid) -> Result<(), RuntimeError> {
        let failed = |error| {
            RuntimeError::from(Failure::runtime(format!("failed to remove the pod's folder: {error}")))
        };
        self.cgroups.remove_pod(&pod.to_string()).map_err(failed)?;
        match std::fs::remove_dir_all(self.paths.pod(pod)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The names in a folder, in order; none if there is no such folder.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

enum Claim {
    Started(State),
    Free(Folder, std::fs::File),
}

#[async_trait]
impl Containers for ProcessRuntime {
    fn class(&self) -> RuntimeClass {
        RuntimeClass::Process
    }

    async fn version(&self) -> Result<String, RuntimeError> {
        Ok(format!("process/{}", env!("CARGO_PKG_VERSION")))
    }

    fn unsupported(&self, spec: &PodSpec) -> Vec<FieldError> {
        support::unsupported(spec, self.core.node, &self.core.settings)
    }

    fn enforces_limits(&self) -> bool {
        self.core.cgroups.hold_limits()
    }

    async fn set_up(&self, plan: &PodPlan) -> Result<Vec<ResolvedImage>, RuntimeError> {
        let plan = plan.clone();
        self.off(move |core| {
            volumes::prepare(&core.paths, plan.uid, &plan.spec, &core.settings.host_path_roots)
        })
        .await?;
        Ok(Vec::new())
    }

    async fn start(&self, plan: &ContainerPlan) -> Result<StartedContainer, RuntimeError> {
        let asked = plan.clone();
        let claim = self.off(move |core| {
            Ok::<_, RuntimeError>(match core.claim(&asked.key)? {
                Claim::Started(state) => Err(state),
                Claim::Free(folder, lock) => {
                    let plan = planning::plan(&core.paths, &core.settings, &core.cgroups, core.node, &asked);
                    Ok((plan.inspect_err(|_| drop(folder.remove()))?, folder, lock))
                }
            })
        });
        match claim.await? {
            Err(state) => Ok(state.started()),
            Ok((plan, folder, lock)) => start::start(&self.core.settings.shim, folder, plan, lock).await,
        }
    }

    async fn inspect(&self, key: &ContainerKey) -> Result<Standing, RuntimeError> {
        Ok(match self.found(key).await? {
            Found::Absent => Standing::Absent,
            Found::Created | Found::Starting => Standing::Created,
            Found::Running(state) => Standing::Running(state.started()),
            Found::Ended(state, ending) => {
                Standing::Exited { started: Some(state.started()), exit: ending.exit }
            }
        })
    }

    async fn wait(&self, key: &ContainerKey) -> Result<Exit, RuntimeError> {
        loop {
            match self.found(key).await? {
                Found::Absent | Found::Created | Found::Starting => return Ok(lost()),
                Found::Running(state) => self.ended(key, &state).await,
                Found::Ended(_, Ending { exit, oom_kills }) => {
                    let key = key.clone();
                    self.off(move |core| core.tell_kills(&key, oom_kills)).await;
                    return Ok(exit);
                }
            }
        }
    }

    async fn signal(&self, key: &ContainerKey, signal: Signal) -> Result<(), RuntimeError> {
        let key = key.clone();
        self.off(move |core| match look_settled(&core.folder(&key))? {
            Found::Running(state) => core.signal(&key, &state, signal),
            Found::Absent | Found::Created | Found::Starting | Found::Ended(..) => Ok(()),
        })
        .await
    }

    async fn set_cpus(&self, key: &ContainerKey, cpus: &CpuSet) -> Result<(), RuntimeError> {
        let (key, cpus) = (key.clone(), cpus.clone());
        self.off(move |core| core.set_cpus(&key, &cpus)).await
    }

    async fn set_cpu_limit(&self, key: &ContainerKey, limit: Option<MilliCpu>) -> Result<(), RuntimeError> {
        let key = key.clone();
        self.off(move |core| core.set_cpu_limit(&key, limit)).await
    }

    fn cannot_resize(&self) -> Option<String> {
        self.core.cannot_resize()
    }

    async fn resize(&self, plan: &ResizePlan) -> Result<(), RuntimeError> {
        let plan = plan.clone();
        self.off(move |core| core.resize(&plan)).await
    }

    async fn limits(&self, key: &ContainerKey) -> Result<Option<LimitsInForce>, RuntimeError> {
        let key = key.clone();
        Ok(self.off(move |core| core.limits(&key)).await)
    }

    async fn end_rest(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let key = key.clone();
        self.off(move |core| core.end_rest(&key)).await;
        Ok(())
    }

    async fn set_gpu_memory_limit(
        &self,
        pod: PodUid,
        bus: &str,
        limit: Option<Bytes>,
    ) -> Result<(), RuntimeError> {
        let bus = bus.to_owned();
        self.off(move |core| core.set_gpu_memory_limit(pod, &bus, limit)).await
    }

    async fn usage(&self, key: &ContainerKey) -> Result<Option<ContainerUse>, RuntimeError> {
        let key = key.clone();
        self.off(move |core| core.usage(&key)).await
    }

    async fn processes(&self, key: &ContainerKey) -> Result<BTreeSet<u32>, RuntimeError> {
        let key = key.clone();
        self.off(move |core| core.processes(&key)).await
    }

    async fn cgroups(&self) -> Result<BTreeMap<PodUid, PathBuf>, RuntimeError> {
        let failed = |error| {
            RuntimeError::from(Failure::runtime(format!(
                "failed to list the control groups of pods: {error}"
            )))
        };
        self.off(move |core| cgroups::pods_below(core.cgroups.bases()).map_err(failed)).await
    }

    async fn disk_use(&self, pod: PodUid) -> Result<Bytes, RuntimeError> {
        self.off(move |core| disk_use::below(&core.paths.pod(pod))).await
    }

    async fn remove(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let end = async {
            self.signal(key, Signal::Kill).await?;
            self.wait(key).await
        };
        match timeout(REMOVE_MAX, end).await {
            Ok(Ok(_)) => {}
            // Goes on: what cannot be read can still be removed, unless a shim has it.
            Ok(Err(error)) => tracing::warn!(container = %key, %error, "removing a container unseen"),
            Err(_) => tracing::warn!(container = %key, "a killed container does not end"),
        }
        let key = key.clone();
        self.off(move |core| core.forget(&key)).await
    }

    async fn clean_up(&self, pod: PodUid) -> Result<(), RuntimeError> {
        for key in self.list().await?.into_iter().filter(|key| key.pod == pod) {
            self.remove(&key).await?;
        }
        self.off(move |core| core.forget_pod(pod)).await
    }

    async fn pods(&self) -> Result<Vec<PodUid>, RuntimeError> {
        self.off(move |core| volumes::pod_folders(&core.paths)).await
    }

    async fn exec(&self, key: &ContainerKey, argv: &[String], io: ExecIo) -> Result<u8, RuntimeError> {
        match self.found(key).await? {
            Found::Running(state) => {
                exec::exec(&self.core.settings.shim, &self.core.folder(key), &state, argv, io).await
            }
            Found::Absent | Found::Created | Found::Starting | Found::Ended(..) => {
                Err(Failure::invalid("the container does not run").into())
            }
        }
    }

    async fn load_image(&self, _: &Path, _: Option<&str>) -> Result<LoadedImage, RuntimeError> {
        Err(RuntimeError::new(FailureClass::Invalid, "the process runtime has no images"))
    }

    async fn list(&self) -> Result<Vec<ContainerKey>, RuntimeError> {
        let failed =
            |error| RuntimeError::from(Failure::runtime(format!("failed to list the containers: {error}")));
        self.off(move |core| core.keys().map_err(failed)).await
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
