//! The processors that a container runs on, and what it has used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use containerd_client::services::v1::UpdateTaskRequest;
use prost_types::Any;
use purser_actors::port::{ContainerKey, ContainerUse, RuntimeError, Standing};
use purser_events::pod::event::FailureClass;
use purser_events::{CpuSet, MilliCpu, PodUid};

use super::connection::{TASK_LIMIT, within};
use super::failure::{from_status, is_away};
use super::{ContainerdRuntime, naming};
use crate::adapter::usage::Measured;
use crate::adapter::{affinity, cgroups, throttle};

/// How containerd encodes a change of a container's resources.
pub(super) const RESOURCES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

impl ContainerdRuntime {
    /// Moves a container, with all in it, to other processors; one that does not run is fine.
    pub(super) async fn move_to(&self, key: &ContainerKey, cpus: &CpuSet) -> Result<(), RuntimeError> {
        affinity::refuse_none(cpus)?;
        // What is not named here keeps its limits.
        let resources = serde_json::json!({ "cpu": { "cpus": cpus } });
        let message = UpdateTaskRequest {
            container_id: naming::id_of(key),
            resources: Some(Any {
                type_url: RESOURCES_TYPE.to_owned(),
                value: resources.to_string().into_bytes(),
            }),
            ..UpdateTaskRequest::default()
        };
        let Err(status) = within(TASK_LIMIT, self.line.tasks().update(self.line.request(message))).await
        else {
            return Ok(());
        };
        if !is_away(&status) && !self.is_running(key).await? {
            return Ok(());
        }
        let mut error = from_status(&format!("move a container to the processors `{cpus}`"), &status);
        if error.message.contains("cpuset.cpus") {
            // The kernel refused the number: another try will not change that.
            error.class = FailureClass::Invalid;
        }
        Err(error)
    }

    /// Lets a container have so much processor time at most. Its cgroup is told, and not containerd, which would write it
    /// down as the container's own limit.
    pub(super) async fn hold_to(
        &self,
        key: &ContainerKey,
        limit: Option<MilliCpu>,
    ) -> Result<(), RuntimeError> {
        let folders = self.cgroups.folders(key);
        let set = tokio::task::spawn_blocking(move || throttle::set_cpu_limit(&folders, limit));
        if set.await.expect("writing a cgroup does not panic")? || !self.is_running(key).await? {
            return Ok(());
        }
        Err(throttle::without_group())
    }

    /// What a container has used, read from its cgroup: it is there while containerd restarts, and of every runtime
    /// below containerd, also of one that does not tell its figures.
    pub(super) async fn used(&self, key: &ContainerKey) -> Result<Option<ContainerUse>, RuntimeError> {
        let folders = self.cgroups.folders(key);
        let measured = tokio::task::spawn_blocking(move || Measured::of(&folders));
        match measured.await.expect("reading a cgroup does not panic").whole() {
            // One that is being removed loses its cgroup in one hierarchy after the other.
            Err(error) => {
                if self.is_running(key).await? {
                    Err(error)
                } else {
                    Ok(None)
                }
            }
            used => used,
        }
    }

    /// The processes in a container's cgroup.
    pub(super) async fn members(&self, key: &ContainerKey) -> Result<BTreeSet<u32>, RuntimeError> {
        let folders = self.cgroups.folders(key);
        // Every process is in all of the hierarchies: the first that has the group tells of all.
        let look = move || match folders.iter().find(|folder| folder.exists()) {
            Some(folder) => cgroups::processes(folder),
            None => Ok(BTreeSet::new()),
        };
        read(look, "list the processes of a container").await
    }

    /// The pods that have a cgroup.
    pub(super) async fn pod_cgroups(&self) -> Result<BTreeMap<PodUid, PathBuf>, RuntimeError> {
        let bases = self.cgroups.bases();
        read(move || cgroups::pods_below(bases), "list the cgroups of pods").await
    }

    pub(super) async fn is_running(&self, key: &ContainerKey) -> Result<bool, RuntimeError> {
        Ok(matches!(self.standing(key).await?, Standing::Running(_)))
    }
}

/// Asks the kernel on a thread that may wait for it.
async fn read<T: Send + 'static>(
    look: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    what: &str,
) -> Result<T, RuntimeError> {
    let looked = tokio::task::spawn_blocking(look).await.expect("reading a cgroup does not panic");
    looked.map_err(|error| RuntimeError::new(FailureClass::Runtime, format!("failed to {what}: {error}")))
}
