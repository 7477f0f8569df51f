//! Payloads of the past, and how today's are made of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Admitted, StopRequested, StopWhy};
use super::spec::{
    ContainerPort, ContainerSpec, EnvVar, PodSpec, Probe, PullPolicy, Resources, RestartPolicy, RuntimeClass,
    User, Volume, VolumeMount,
};
use crate::ids::PodUid;
use crate::ledger::claims::Claims;
use crate::ledger::past_gpus::ClaimsV1;
use crate::names::{ContainerName, PodId};
use crate::units::{Bytes, MilliCpu};

/// `pod.stop-requested` version 1: it did not say on what account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "StopRequested", rename_all = "camelCase")]
pub struct StopRequestedV1 {
    /// Seconds until the kill.
    pub grace_s: u32,
}

impl From<StopRequestedV1> for StopRequested {
    fn from(past: StopRequestedV1) -> StopRequested {
        StopRequested { grace_s: past.grace_s, why: StopWhy::Asked }
    }
}

/// `pod.admitted` version 1: there was no ledger, and a pod could not ask for more than processor time and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Admitted")]
pub struct AdmittedV1 {
    /// The incarnation.
    pub uid: PodUid,
    /// What it was to be.
    pub spec: PodSpecV1,
    /// The incarnation that had the name before it.
    pub supersedes: Option<PodUid>,
}

/// A pod as `pod.admitted` version 1 had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "PodSpec", rename_all = "camelCase")]
pub struct PodSpecV1 {
    /// See [`PodSpec`]; so for all fields here.
    pub id: PodId,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Runtime.
    pub runtime: RuntimeClass,
    /// Restart policy.
    pub restart_policy: RestartPolicy,
    /// Grace, in seconds.
    pub termination_grace_s: u32,
    /// Group of volumes.
    pub fs_group: Option<u32>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Init containers.
    pub init_containers: Vec<ContainerSpecV1>,
    /// Containers.
    pub containers: Vec<ContainerSpecV1>,
}

/// `pod.admitted` version 2: a pod could not ask for TFLOPS, nor divide its GPUs among its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Admitted")]
pub struct AdmittedV2 {
    /// The incarnation.
    pub uid: PodUid,
    /// What it was to be.
    pub spec: PodSpecV2,
    /// The incarnation that had the name before it.
    pub supersedes: Option<PodUid>,
}

/// A pod as `pod.admitted` version 2 had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "PodSpec", rename_all = "camelCase")]
pub struct PodSpecV2 {
    /// See [`PodSpec`]; so for all fields here.
    pub id: PodId,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Runtime.
    pub runtime: RuntimeClass,
    /// Restart policy.
    pub restart_policy: RestartPolicy,
    /// Grace, in seconds.
    pub termination_grace_s: u32,
    /// Group of volumes.
    pub fs_group: Option<u32>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Init containers.
    pub init_containers: Vec<ContainerSpec>,
    /// Containers.
    pub containers: Vec<ContainerSpec>,
    /// Claims.
    pub claims: ClaimsV1,
}

/// A container as `pod.admitted` version 1 had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "ContainerSpec", rename_all = "camelCase")]
pub struct ContainerSpecV1 {
    /// See [`ContainerSpec`]; so for all fields here.
    pub name: ContainerName,
    /// Image.
    pub image: Option<String>,
    /// Pull policy.
    pub image_pull_policy: PullPolicy,
    /// Command.
    pub command: Vec<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<EnvVar>,
    /// Working folder.
    pub working_dir: Option<String>,
    /// Limits and requests.
    pub resources: ResourcesV1,
    /// Ports.
    pub ports: Vec<ContainerPort>,
    /// Mounts.
    pub mounts: Vec<VolumeMount>,
    /// Liveness probe.
    pub liveness: Option<Probe>,
    /// Readiness probe.
    pub readiness: Option<Probe>,
    /// Startup probe.
    pub startup: Option<Probe>,
    /// User.
    pub user: User,
}

/// Limits and requests as `pod.admitted` version 1 had them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Resources", rename_all = "camelCase")]
pub struct ResourcesV1 {
    /// Most processor time.
    pub cpu_limit: Option<MilliCpu>,
    /// Processor time that is asked for.
    pub cpu_request: Option<MilliCpu>,
    /// Most memory.
    pub memory_limit: Option<Bytes>,
    /// Memory that is asked for.
    pub memory_request: Option<Bytes>,
}

impl From<AdmittedV1> for Admitted {
    fn from(past: AdmittedV1) -> Admitted {
        let AdmittedV1 { uid, spec, supersedes } = past;
        Admitted { uid, spec: spec.into(), supersedes }
    }
}

impl From<AdmittedV2> for Admitted {
    fn from(past: AdmittedV2) -> Admitted {
        let AdmittedV2 { uid, spec, supersedes } = past;
        Admitted { uid, spec: spec.into(), supersedes }
    }
}

impl From<PodSpecV2> for PodSpec {
    fn from(past: PodSpecV2) -> PodSpec {
        PodSpec {
            id: past.id,
            labels: past.labels,
            annotations: past.annotations,
            runtime: past.runtime,
            restart_policy: past.restart_policy,
            termination_grace_s: past.termination_grace_s,
            fs_group: past.fs_group,
            volumes: past.volumes,
            init_containers: past.init_containers,
            containers: past.containers,
            claims: past.claims.into(),
        }
    }
}

impl From<PodSpecV1> for PodSpec {
    fn from(past: PodSpecV1) -> PodSpec {
        let containers = |past: Vec<ContainerSpecV1>| past.into_iter().map(Into::into).collect();
        PodSpec {
            id: past.id,
            labels: past.labels,
            annotations: past.annotations,
            runtime: past.runtime,
            restart_policy: past.restart_policy,
            termination_grace_s: past.termination_grace_s,
            fs_group: past.fs_group,
            volumes: past.volumes,
            init_containers: containers(past.init_containers),
            containers: containers(past.containers),
            claims: Claims::default(),
        }
    }
}

impl From<ContainerSpecV1> for ContainerSpec {
    fn from(past: ContainerSpecV1) -> ContainerSpec {
        let ResourcesV1 { cpu_limit, cpu_request, memory_limit, memory_request } = past.resources;
        ContainerSpec {
            name: past.name,
            image: past.image,
            image_pull_policy: past.image_pull_policy,
            command: past.command,
            args: past.args,
            env: past.env,
            working_dir: past.working_dir,
            resources: Resources {
                cpu_limit,
                cpu_request,
                memory_limit,
                memory_request,
                ..Resources::default()
            },
            ports: past.ports,
            mounts: past.mounts,
            liveness: past.liveness,
            readiness: past.readiness,
            startup: past.startup,
            user: past.user,
        }
    }
}
