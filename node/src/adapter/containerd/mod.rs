//! Containers of containerd, run by runc: the adapter behind [`Containers`].
//!
//! A container's record is made first and removed last, so that whatever a crash leaves is found by
//! [`Containers::list`] and can be removed. Pods share the node's network in this release.

mod accounts;
mod archive;
mod cgroup;
mod command;
mod config;
mod connection;
mod content;
mod cpus;
mod create;
mod devices;
mod document;
mod exec;
mod failure;
mod images;
mod lifecycle;
mod naming;
mod notices;
mod orphan;
mod process;
mod reference;
mod registry;
mod resize;
mod seccomp;
mod source;
mod spec;
mod unpack;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use purser_actors::paths::PodPaths;
use purser_actors::port::{
    Clock, ContainerKey, ContainerPlan, ContainerUse, Containers, ExecIo, FieldError, Ids, LimitsInForce,
    LoadedImage, Notice, PodPlan, ResizePlan, RuntimeError, Signal, Standing, StartedContainer,
};
use purser_events::pod::event::{Exit, FailureClass, ResolvedImage};
use purser_events::pod::spec::{ContainerSpec, PodSpec, RuntimeClass};
use purser_events::{Bytes, CpuSet, MilliCpu, PodUid};
use tokio::sync::mpsc;

pub use config::ContainerdConfig;

use self::cgroup::Cgroups;
use self::connection::Connection;
use self::failure::from_status;
use self::images::Images;
use self::reference::ImageName;
use super::cdi::Cdi;
use super::out_of_memory::Told;
use super::{disk_use, sizes, throttle, volumes};

/// Runs containers through containerd. Clones share one connection.
#[derive(Clone)]
pub struct ContainerdRuntime {
    line: Connection,
    config: Arc<ContainerdConfig>,
    paths: PodPaths,
    host_path_roots: Arc<[PathBuf]>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    cgroups: Cgroups,
    cdi: Option<Arc<Cdi>>,
    images: Arc<Images>,
    told: Arc<Told>,
    left: Arc<Mutex<Vec<exec::Left>>>,
    noticed: mpsc::Sender<Notice>,
    notices: Arc<Mutex<Option<mpsc::Receiver<Notice>>>>,
}

impl ContainerdRuntime {
    /// A runtime over the containerd of `config`, which need not be up yet. Must be called within a tokio runtime,
    /// and by one process at a time: the commands that an earlier process left are removed once containerd answers.
    ///
    /// # Errors
    /// A value of the configuration cannot be used.
    pub fn new(
        config: ContainerdConfig,
        paths: PodPaths,
        host_path_roots: Vec<PathBuf>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<ContainerdRuntime, RuntimeError> {
        config.check()?;
        let left = Arc::new(Mutex::new(exec::find_left(&config)));
        let (noticed, notices) = mpsc::channel(notices::NOTICES_LEN_MAX);
        let line = Connection::lazy(&config.socket, &config.namespace);
        let images = Arc::new(Images::new(line.clone(), &config, clock.clone(), ids.clone()));
        Ok(ContainerdRuntime {
            line,
            cgroups: Cgroups::detect(&config.cgroup_prefix),
            cdi: config.cdi_dirs.clone().map(Cdi::new).map(Arc::new),
            config: Arc::new(config),
            told: Arc::new(Told::new(paths.clone())),
            left,
            paths,
            host_path_roots: host_path_roots.into(),
            clock,
            ids,
            images,
            noticed,
            notices: Arc::new(Mutex::new(Some(notices))),
        })
    }

    async fn remove_folders(&self, pod: PodUid) -> Result<(), RuntimeError> {
        let folder = self.paths.pod(pod);
        let cgroups = self.cgroups.clone();
        let removed = tokio::task::spawn_blocking(move || {
            cgroups.remove_pod(pod).map_err(|error| format!("failed to remove the pod's cgroup: {error}"))?;
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(format!("failed to remove the pod's folder `{}`: {error}", folder.display()))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        });
        let removed = removed.await.expect("removing folders does not panic");
        removed.map_err(|message| RuntimeError::new(FailureClass::Runtime, message))
    }
}

#[async_trait]
impl Containers for ContainerdRuntime {
    fn class(&self) -> RuntimeClass {
        RuntimeClass::Containerd
    }

    async fn version(&self) -> Result<String, RuntimeError> {
        self.ask_version().await.map_err(|status| from_status("ask for the version", &status))
    }

    fn unsupported(&self, spec: &PodSpec) -> Vec<FieldError> {
        let init =
            spec.init_containers.iter().enumerate().map(|(i, c)| (format!("spec.initContainers[{i}]"), c));
        let app = spec.containers.iter().enumerate().map(|(i, c)| (format!("spec.containers[{i}]"), c));
        let images = init.chain(app).filter_map(|(path, container)| image_error(&path, container));
        volumes::refused(spec, &self.host_path_roots).into_iter().chain(images).collect()
    }

    /// runc starts nothing whose limits it could not set.
    fn enforces_limits(&self) -> bool {
        true
    }

    async fn set_up(&self, plan: &PodPlan) -> Result<Vec<ResolvedImage>, RuntimeError> {
        let (paths, roots) = (self.paths.clone(), self.host_path_roots.clone());
        let (pod, spec) = (plan.uid, plan.spec.clone());
        let prepared = tokio::task::spawn_blocking(move || volumes::prepare(&paths, pod, &spec, &roots));
        prepared.await.expect("preparing volumes does not panic")?;
        // What can be told now is not found out by the first container.
        self.devices(&plan.gpus).await?;
        let mut resolved = Vec::new();
        for (_, container) in plan.spec.all_containers() {
            let Some(image) = &container.image else { continue };
            let fetched = self.images.ensure(image, container.image_pull_policy).await?;
            resolved.push(ResolvedImage {
                container: container.name.clone(),
                reference: fetched.reference,
                digest: fetched.digest,
            });
        }
        Ok(resolved)
    }

    async fn start(&self, plan: &ContainerPlan) -> Result<StartedContainer, RuntimeError> {
        self.start_or_adopt(plan).await
    }

    async fn inspect(&self, key: &ContainerKey) -> Result<Standing, RuntimeError> {
        self.standing(key).await
    }

    async fn wait(&self, key: &ContainerKey) -> Result<Exit, RuntimeError> {
        self.ended(key).await
    }

    async fn signal(&self, key: &ContainerKey, signal: Signal) -> Result<(), RuntimeError> {
        self.send_signal(key, signal).await
    }

    async fn set_cpus(&self, key: &ContainerKey, cpus: &CpuSet) -> Result<(), RuntimeError> {
        self.move_to(key, cpus).await
    }

    async fn set_cpu_limit(&self, key: &ContainerKey, limit: Option<MilliCpu>) -> Result<(), RuntimeError> {
        self.hold_to(key, limit).await
    }

    fn cannot_resize(&self) -> Option<String> {
        None
    }

    async fn resize(&self, plan: &ResizePlan) -> Result<(), RuntimeError> {
        self.change_limits(plan).await
    }

    async fn limits(&self, key: &ContainerKey) -> Result<Option<LimitsInForce>, RuntimeError> {
        let folders = self.cgroups.folders(key);
        let read = tokio::task::spawn_blocking(move || sizes::in_force(&folders));
        Ok(read.await.expect("reading a cgroup does not panic"))
    }

    async fn end_rest(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.end_cgroup(key).await
    }

    async fn set_gpu_memory_limit(
        &self,
        pod: PodUid,
        bus: &str,
        limit: Option<Bytes>,
    ) -> Result<(), RuntimeError> {
        let Some((mount, group)) = self.cgroups.unified(pod) else { return Err(throttle::no_controller()) };
        let bus = bus.to_owned();
        let set = move || throttle::set_gpu_memory_limit(&mount, &group, &bus, limit);
        tokio::task::spawn_blocking(set).await.expect("writing a cgroup does not panic")
    }

    async fn usage(&self, key: &ContainerKey) -> Result<Option<ContainerUse>, RuntimeError> {
        self.used(key).await
    }

    async fn processes(&self, key: &ContainerKey) -> Result<BTreeSet<u32>, RuntimeError> {
        self.members(key).await
    }

    async fn cgroups(&self) -> Result<BTreeMap<PodUid, PathBuf>, RuntimeError> {
        self.pod_cgroups().await
    }

    async fn disk_use(&self, pod: PodUid) -> Result<Bytes, RuntimeError> {
        let folder = self.paths.pod(pod);
        let counted = tokio::task::spawn_blocking(move || disk_use::below(&folder));
        counted.await.expect("counting files does not panic")
    }

    async fn remove(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.take_away(key).await?;
        self.told.forget(key);
        Ok(())
    }

    async fn clean_up(&self, pod: PodUid) -> Result<(), RuntimeError> {
        self.remove_folders(pod).await
    }

    async fn pods(&self) -> Result<Vec<PodUid>, RuntimeError> {
        let paths = self.paths.clone();
        let listed = tokio::task::spawn_blocking(move || volumes::pod_folders(&paths));
        listed.await.expect("listing folders does not panic")
    }

    async fn exec(&self, key: &ContainerKey, argv: &[String], io: ExecIo) -> Result<u8, RuntimeError> {
        self.run_command(key, argv, io).await
    }

    async fn load_image(&self, archive: &Path, name: Option<&str>) -> Result<LoadedImage, RuntimeError> {
        self.images.import_as(archive, name).await
    }

    async fn list(&self) -> Result<Vec<ContainerKey>, RuntimeError> {
        self.listed().await
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        let receiver = self.notices.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        tokio::spawn(notices::report(self.clone(), self.noticed.clone()));
        Some(receiver)
    }
}

fn image_error(path: &str, container: &ContainerSpec) -> Option<FieldError> {
    let message = match &container.image {
        None => "is required by the containerd runtime".to_owned(),
        Some(image) => ImageName::parse(image).err()?,
    };
    Some(FieldError { path: format!("{path}.image"), message })
}
