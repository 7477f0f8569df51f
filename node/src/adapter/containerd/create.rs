//! From a plan to a running container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, CreateTaskResponse, StartRequest,
    UpdateContainerRequest,
};
use oci_spec::runtime::Spec;
use prost::Message;
use prost_types::{Any, FieldMask};
use purser_actors::port::{ContainerKey, ContainerPlan, RuntimeError, Standing, StartedContainer};
use purser_events::ledger::{GpuUuid, visible_gpus};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::{ContainerSpec, PodSpec};
use purser_events::{ContainerName, PodUid};
use tonic::{Code, Status};

use super::connection::{CALL_LIMIT, TASK_LIMIT, within};
use super::devices::{self, Devices};
use super::failure::{from_create, from_status, is_absent};
use super::images::Image;
use super::lifecycle::BackOff;
use super::spec::{Bind, Decided};
use super::{ContainerdRuntime, accounts, command, naming, process, spec, unpack, user};
use crate::adapter::{affinity, logs, volumes};

/// How containerd encodes an OCI runtime specification.
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// Tries to make a task whose name is still being cleared.
const CREATE_TRIES: u32 = 10;

/// Options of the shim, as its own protocol file numbers them; those left out keep their defaults.
#[derive(Clone, PartialEq, Message)]
struct RuncOptions {
    /// Where runc keeps its state.
    #[prost(string, tag = "7")]
    root: String,
}

impl ContainerdRuntime {
    /// Starts a container, or finds that an earlier process of the node did.
    pub(super) async fn start_or_adopt(
        &self,
        plan: &ContainerPlan,
    ) -> Result<StartedContainer, RuntimeError> {
        match self.standing(&plan.key).await? {
            Standing::Running(started) | Standing::Exited { started: Some(started), .. } => {
                return Ok(started);
            }
            Standing::Absent => {}
            Standing::Created | Standing::Exited { started: None, .. } => self.take_away(&plan.key).await?,
        }
        let started = self.create(plan).await;
        if started.is_err()
            && let Err(error) = self.take_away(&plan.key).await
        {
            tracing::warn!(container = %plan.key, %error, "failed to remove what a failed start left; it is listed");
        }
        started
    }

    async fn create(&self, plan: &ContainerPlan) -> Result<StartedContainer, RuntimeError> {
        plan.cpus.as_ref().map_or(Ok(()), affinity::refuse_none)?;
        let resolved = plan.image.as_ref().ok_or_else(|| {
            RuntimeError::new(FailureClass::Invalid, "a container of containerd needs an image")
        })?;
        let image = self.images.load(&resolved.digest).await?;
        let spec = self.specify(plan, &image).await?;
        self.make_log_folder(plan).await?;
        // The left-over cgroup of a crash would bring its old limits.
        self.end_cgroup(&plan.key).await?;
        // First the record: it is what later finds everything else, and what keeps the snapshot from collection.
        self.create_record(plan, &resolved.reference, &spec).await?;
        let rootfs = self.prepare_snapshot(plan, &resolved.digest, &image.top).await?;
        self.run(plan, rootfs).await
    }

    async fn specify(&self, plan: &ContainerPlan, image: &Image) -> Result<Spec, RuntimeError> {
        let from_image = image.config.config.clone().unwrap_or_default();
        let argv = command::argv(&from_image, &plan.command, &plan.args).ok_or_else(|| {
            let message = "neither the manifest nor the image says what to run: set `command`";
            RuntimeError::new(FailureClass::Invalid, message)
        })?;
        let hostname = spec::hostname(plan.pod.id.name());
        let mut account = self.account(plan, image, from_image.user.as_deref().unwrap_or_default()).await?;
        account.groups.extend(plan.pod.fs_group);
        let devices = self.devices(&plan.gpus).await?;
        let mut env = command::environment(&from_image, &hostname, &plan.env);
        if self.cdi.is_none() && !plan.gpus.is_empty() {
            let told = visible_gpus(&plan.gpus).map(|(name, value)| format!("{name}={value}"));
            devices::merge(&mut env, &told);
        }
        let mut binds = self.binds(plan).await?;
        if let (Some(mps), Some(slice)) = (&self.config.mps, plan.gpu_slice) {
            let told = mps.variables(slice)?.map(|(name, value)| format!("{name}={value}"));
            devices::merge(&mut env, &told);
            let own = mps.pipe_dir.display().to_string();
            binds.push(Bind { source: mps.pipe_dir.clone(), target: own, read_only: false });
            let shared = mps.shm_dir.iter().cloned();
            binds.extend(shared.map(|source| Bind { source, target: "/dev/shm".into(), read_only: false }));
        }
        let cwd = plan.spec.working_dir.clone().or(from_image.working_dir.clone());
        let decided = Decided {
            argv,
            env,
            cwd: cwd.filter(|cwd| !cwd.is_empty()).unwrap_or_else(|| "/".to_owned()),
            hostname,
            account,
            no_new_privileges: plan.spec.user.no_new_privileges,
            resources: plan.spec.resources.clone(),
            cpus: plan.cpus.clone(),
            pids_max: self.config.pids_max.get(),
            limits_swap: self.cgroups.limits_swap,
            cgroup_path: self.cgroups.path(&plan.key),
            binds,
        };
        let described = spec::build(&decided).and_then(|spec| devices::add(spec, &devices));
        described.map_err(|error| {
            RuntimeError::new(FailureClass::Invalid, format!("failed to describe the container: {error}"))
        })
    }

    /// What a container gets with these GPUs.
    ///
    /// # Errors
    /// One of them is not described, or the host lacks something that its description names.
    pub(super) async fn devices(&self, gpus: &[GpuUuid]) -> Result<Devices, RuntimeError> {
        let (Some(cdi), false) = (self.cdi.clone(), gpus.is_empty()) else { return Ok(Devices::default()) };
        let gpus = gpus.to_vec();
        let found = tokio::task::spawn_blocking(move || {
            let catalogue = cdi.look();
            cdi.tell(&catalogue);
            Devices::of(catalogue.edits(&gpus)?)
        });
        let found = found.await.expect("reading descriptions of devices does not panic");
        found.map_err(|message| RuntimeError::new(FailureClass::Runtime, message))
    }

    async fn account(
        &self,
        plan: &ContainerPlan,
        image: &Image,
        image_user: &str,
    ) -> Result<user::Account, RuntimeError> {
        let files = if user::needs_files(&plan.spec.user, image_user) && !image.top.is_empty() {
            let ticket = self.ids.uuid().to_string();
            let read = accounts::read(&self.line, &self.config.snapshotter, &image.top, &ticket).await;
            read.map_err(|status| match status.code() {
                Code::FailedPrecondition => RuntimeError::new(FailureClass::Invalid, status.message()),
                _ => from_status("read the image's users", &status),
            })?
        } else {
            user::AccountFiles::default()
        };
        user::resolve(&plan.spec.user, image_user, &files)
    }

    async fn binds(&self, plan: &ContainerPlan) -> Result<Vec<Bind>, RuntimeError> {
        let (paths, roots) = (self.paths.clone(), self.host_path_roots.clone());
        let (pod, spec) = (plan.key.pod, plan.pod.clone());
        let prepared = tokio::task::spawn_blocking(move || volumes::prepare(&paths, pod, &spec, &roots));
        let sources = prepared.await.expect("preparing volumes does not panic")?;
        let mut binds = host_files();
        binds.extend(volume_binds(&plan.spec, &sources)?);
        Ok(binds)
    }

    async fn make_log_folder(&self, plan: &ContainerPlan) -> Result<(), RuntimeError> {
        let folder = self.paths.logs(plan.key.pod, &plan.key.container);
        let made = tokio::task::spawn_blocking(move || {
            volumes::private_folder(&folder).map_err(|error| (folder, error))
        });
        made.await.expect("making a folder does not panic").map_err(|(folder, error)| {
            let message = format!("failed to make the log folder `{}`: {error}", folder.display());
            RuntimeError::new(FailureClass::Runtime, message)
        })
    }

    async fn create_record(
        &self,
        plan: &ContainerPlan,
        image: &str,
        spec: &Spec,
    ) -> Result<(), RuntimeError> {
        let id = naming::id_of(&plan.key);
        let value = serde_json::to_vec(spec).map_err(|error| {
            RuntimeError::new(FailureClass::Invalid, format!("failed to describe the container: {error}"))
        })?;
        // Of its own, for the default folder is shared by every containerd of the host.
        let root =
            self.config.runc_root.to_str().expect("the configuration's check admits UTF-8 only").to_owned();
        let options = Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: RuncOptions { root }.encode_to_vec(),
        };
        let record = Container {
            id: id.clone(),
            labels: naming::labels_of(&plan.key, &self.config.node_label).into_iter().collect(),
            image: image.to_owned(),
            runtime: Some(Runtime { name: "io.containerd.runc.v2".to_owned(), options: Some(options) }),
            spec: Some(Any { type_url: SPEC_TYPE.to_owned(), value }),
            snapshotter: self.config.snapshotter.clone(),
            snapshot_key: id,
            ..Container::default()
        };
        let request = self.line.request(CreateContainerRequest { container: Some(record) });
        within(CALL_LIMIT, self.line.containers().create(request))
            .await
            .map(|_| ())
            .map_err(|s| from_create(&s))
    }

    async fn prepare_snapshot(
        &self,
        plan: &ContainerPlan,
        digest: &str,
        top: &str,
    ) -> Result<Vec<containerd_client::types::Mount>, RuntimeError> {
        let request = PrepareSnapshotRequest {
            snapshotter: self.config.snapshotter.clone(),
            key: naming::id_of(&plan.key),
            parent: top.to_owned(),
            labels: Default::default(),
        };
        match unpack::prepare(&self.line, request).await {
            Ok(mounts) => Ok(mounts),
            Err(status) if is_absent(&status) => {
                self.images.forget(digest);
                let message = format!("image `{digest}` is no longer on this node");
                Err(RuntimeError::new(FailureClass::ImageNotFound, message))
            }
            Err(status) => Err(from_create(&status)),
        }
    }

    async fn run(
        &self,
        plan: &ContainerPlan,
        rootfs: Vec<containerd_client::types::Mount>,
    ) -> Result<StartedContainer, RuntimeError> {
        let id = naming::id_of(&plan.key);
        self.forget_old_logs(&plan.key).await;
        let log = format!("file://{}", self.paths.log(&plan.key).display());
        let request = CreateTaskRequest {
            container_id: id.clone(),
            rootfs,
            stdout: log.clone(),
            stderr: log,
            ..CreateTaskRequest::default()
        };
        let created = self.create_task(request).await.map_err(|status| from_create(&status))?;
        self.weigh_pod(plan.key.pod, &plan.pod);
        // Now, while it waits to be started: a program may end before anyone can look at it.
        let process = process::identify(created.pid).ok_or_else(|| {
            let message = "the container's first process was gone before it was started";
            RuntimeError::new(FailureClass::Runtime, message)
        })?;
        let started = StartedContainer { process, started_at: self.clock.now() };
        // Before it runs: if this service is killed now, a program that ended meanwhile is known to have run.
        self.note(&id, naming::STARTING, naming::label_of(&started)).await;
        let request = self.line.request(StartRequest { container_id: id.clone(), exec_id: String::new() });
        within(TASK_LIMIT, self.line.tasks().start(request)).await.map_err(|status| from_create(&status))?;
        self.note(&id, naming::STARTED, naming::label_of(&started)).await;
        Ok(started)
    }

    /// Best effort: a file too many harms nobody, and goes with the pod.
    async fn forget_old_logs(&self, key: &ContainerKey) {
        let (paths, starting) = (self.paths.clone(), key.clone());
        let forgotten =
            tokio::task::spawn_blocking(move || logs::forget_old_attempts(&paths, &starting)).await;
        if let Ok(Err(error)) = forgotten {
            tracing::warn!(%key, %error, "failed to remove the output of an earlier try");
        }
    }

    async fn create_task(&self, message: CreateTaskRequest) -> Result<CreateTaskResponse, Status> {
        let mut back_off = BackOff::new();
        for _ in 1..CREATE_TRIES {
            let request = self.line.request(message.clone());
            match within(TASK_LIMIT, self.line.tasks().create(request)).await {
                // After a crash containerd removes half-made tasks in the background: soon the name is free.
                Err(status) if is_half_made(&status) => back_off.pause().await,
                result => return result,
            }
        }
        within(TASK_LIMIT, self.line.tasks().create(self.line.request(message))).await
    }

    /// Writes a label of a container. Best effort: without it one that a reboot ends counts as never started.
    pub(super) async fn note(&self, id: &str, label: &str, text: String) {
        let update_mask = Some(FieldMask { paths: vec![format!("labels.{label}")] });
        let labels = [(label.to_owned(), text)].into();
        let container = Container { id: id.to_owned(), labels, ..Container::default() };
        let request = self.line.request(UpdateContainerRequest { container: Some(container), update_mask });
        if let Err(status) = within(CALL_LIMIT, self.line.containers().update(request)).await {
            tracing::warn!(container = id, code = ?status.code(), "failed to write down how far a container was started");
        }
    }

    pub(super) fn weigh_pod(&self, pod: PodUid, spec: &PodSpec) {
        let shares = spec.containers.iter().map(|container| {
            let resources = &container.resources;
            spec::shares(resources.cpu_request.or(resources.cpu_limit).map(|cpu| cpu.0))
        });
        self.cgroups.weigh_pod(pod, shares.sum());
    }
}

/// Whether a task of that name is there still, or its folder: nothing but a removal that goes on leaves either.
fn is_half_made(status: &Status) -> bool {
    let text = status.message();
    status.code() == Code::AlreadyExists
        || (text.contains("failed to start shim: mkdir") && text.contains("file exists"))
}

/// Files of the host without which names do not resolve in a container that shares its network.
fn host_files() -> Vec<Bind> {
    let files = ["/etc/resolv.conf", "/etc/hosts"].into_iter().filter(|path| Path::new(path).is_file());
    files.map(|path| Bind { source: path.into(), target: path.to_owned(), read_only: true }).collect()
}

fn volume_binds(
    container: &ContainerSpec,
    sources: &BTreeMap<ContainerName, PathBuf>,
) -> Result<Vec<Bind>, RuntimeError> {
    let bind = |mount: &purser_events::pod::spec::VolumeMount| {
        let source = sources.get(&mount.volume).filter(|source| source.exists()).ok_or_else(|| {
            let message = format!("volume `{}` has no folder or file on this node", mount.volume);
            RuntimeError::new(FailureClass::Volume, message)
        })?;
        Ok(Bind { source: source.clone(), target: mount.path.clone(), read_only: mount.read_only })
    };
    container.mounts.iter().map(bind).collect()
}
