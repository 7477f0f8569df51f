//! What a pod is to be: the part of a Kubernetes manifest that Purser runs, resolved and checked.
//!
//! On disk for ever inside `pod.admitted` version 3: a change here is a new version of that event.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ledger::claims::Claims;
use crate::ledger::resource::CustomName;
use crate::names::{ContainerName, PodId};
use crate::units::{Bytes, MilliCpu};

/// A pod as admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Its name.
    pub id: PodId,
    /// Labels of the manifest.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// What runs its containers.
    pub runtime: RuntimeClass,
    /// What follows when a container ends.
    pub restart_policy: RestartPolicy,
    /// Seconds from the request to end until the kill.
    pub termination_grace_s: u32,
    /// Supplementary group that owns the pod's `emptyDir` volumes.
    pub fs_group: Option<u32>,
    /// Volumes that containers may mount.
    pub volumes: Vec<Volume>,
    /// Containers that run one after the other, each to its successful end, before the others start.
    pub init_containers: Vec<ContainerSpec>,
    /// Containers that run side by side; at least one.
    pub containers: Vec<ContainerSpec>,
    /// What it asks of the node beside what its containers do.
    #[serde(default)]
    pub claims: Claims,
}

impl PodSpec {
    /// Every container in the order in which they start, init containers first.
    pub fn all_containers(&self) -> impl Iterator<Item = (Role, &ContainerSpec)> {
        let init = self.init_containers.iter().map(|container| (Role::Init, container));
        init.chain(self.containers.iter().map(|container| (Role::App, container)))
    }

    /// The container of that name, if there is one.
    #[must_use]
    pub fn container(&self, name: &ContainerName) -> Option<&ContainerSpec> {
        self.all_containers().map(|(_, container)| container).find(|container| container.name == *name)
    }
}

impl PodSpec {
    /// The first part in which another specification differs, named as in a manifest.
    #[must_use]
    pub fn first_difference(&self, other: &PodSpec) -> Option<String> {
        let PodSpec {
            id,
            labels,
            annotations,
            runtime,
            restart_policy,
            termination_grace_s,
            fs_group,
            volumes,
            init_containers,
            containers,
            claims,
        } = self;
        let parts: [(&str, bool); 9] = [
            ("metadata.labels", *labels == other.labels),
            ("metadata.annotations", *annotations == other.annotations),
            ("spec.runtimeClassName", *runtime == other.runtime),
            ("spec.restartPolicy", *restart_policy == other.restart_policy),
            ("spec.terminationGracePeriodSeconds", *termination_grace_s == other.termination_grace_s),
            ("spec.securityContext.fsGroup", *fs_group == other.fs_group),
            ("spec.volumes", *volumes == other.volumes),
            ("metadata.name", *id == other.id),
            ("spec.priority", claims.priority == other.claims.priority),
        ];
        let part = parts.into_iter().find(|(_, same)| !same).map(|(path, _)| path.to_owned());
        part.or_else(|| difference_of("spec.initContainers", init_containers, &other.init_containers))
            .or_else(|| difference_of("spec.containers", containers, &other.containers))
            // All else that is claimed follows from annotations, which are the same.
            .or_else(|| {
                (*claims != other.claims)
                    .then(|| "spec.containers[].resources.limits[nvidia.com/gpu]".to_owned())
            })
    }
}

fn difference_of(path: &str, ours: &[ContainerSpec], theirs: &[ContainerSpec]) -> Option<String> {
    let differs = ours.iter().zip(theirs).enumerate().find_map(|(index, (our, their))| {
        our.first_difference(their).map(|field| format!("{path}[{index}].{field}"))
    });
    let lengths_differ = ours.len() != theirs.len();
    differs.or_else(|| lengths_differ.then(|| path.to_owned()))
}

/// Whether a container prepares the pod or is what the pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Runs to its end before the others start.
    Init,
    /// One of the pod's own containers.
    App,
}

/// What runs a pod's containers (`runtimeClassName`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeClass {
    /// Plain processes of the host, without images.
    Process,
    /// Containers of containerd.
    Containerd,
}

impl RuntimeClass {
    /// The name as in a manifest.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RuntimeClass::Process => "process",
            RuntimeClass::Containerd => "containerd",
        }
    }
}

/// What follows when a container ends (`restartPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// It is started again.
    Always,
    /// It is started again unless it succeeded.
    OnFailure,
    /// It stays as it is.
    Never,
}

/// Storage that containers of the pod may share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name within the pod: an RFC 1123 label.
    pub name: ContainerName,
    /// Where its files are.
    pub source: VolumeSource,
}

/// Where a volume's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeSource {
    /// A new folder that lives as long as the pod.
    EmptyDir,
    /// A folder or file of the host, below a root that the operator allows.
    HostPath {
        /// Absolute path on the host.
        path: String,
        /// What must be there, or is made.
        kind: HostPathKind,
    },
}

/// What a `hostPath` volume must find (`hostPath.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HostPathKind {
    /// Anything, or nothing: no check is made.
    Any,
    /// A folder; made if it is absent.
    DirectoryOrCreate,
    /// A folder.
    Directory,
    /// A file; made empty if it is absent.
    FileOrCreate,
    /// A file.
    File,
}

/// One container as admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// Its name within the pod.
    pub name: ContainerName,
    /// Image reference as written in the manifest; none for the process runtime.
    pub image: Option<String>,
    /// When the image is fetched.
    pub image_pull_policy: PullPolicy,
    /// Replaces the image's entrypoint if not empty; `$(VAR)` not yet expanded.
    pub command: Vec<String>,
    /// Replaces the image's arguments if not empty; `$(VAR)` not yet expanded.
    pub args: Vec<String>,
    /// Environment in the manifest's order; `$(VAR)` not yet expanded.
    pub env: Vec<EnvVar>,
    /// Working folder; the image's, or `/`, if none.
    pub working_dir: Option<String>,
    /// Limits and requests.
    pub resources: Resources,
    /// Ports that it listens on.
    pub ports: Vec<ContainerPort>,
    /// Volumes that it sees.
    pub mounts: Vec<VolumeMount>,
    /// Restarts the container when it fails.
    pub liveness: Option<Probe>,
    /// Says whether the container can serve.
    pub readiness: Option<Probe>,
    /// Holds back the other probes until it succeeded once.
    pub startup: Option<Probe>,
    /// Who it runs as.
    pub user: User,
}

impl ContainerSpec {
    /// The first field in which another differs, named as in a manifest.
    fn first_difference(&self, other: &ContainerSpec) -> Option<&'static str> {
        // Taken apart in full: a new field does not compile until it is compared.
        let ContainerSpec {
            name,
            image,
            image_pull_policy,
            command,
            args,
            env,
            working_dir,
            resources,
            ports,
            mounts,
            liveness,
            readiness,
            startup,
            user,
        } = self;
        let fields: [(&str, bool); 14] = [
            ("name", *name == other.name),
            ("image", *image == other.image),
            ("imagePullPolicy", *image_pull_policy == other.image_pull_policy),
            ("command", *command == other.command),
            ("args", *args == other.args),
            ("env", *env == other.env),
            ("workingDir", *working_dir == other.working_dir),
            ("resources", *resources == other.resources),
            ("ports", *ports == other.ports),
            ("volumeMounts", *mounts == other.mounts),
            ("livenessProbe", *liveness == other.liveness),
            ("readinessProbe", *readiness == other.readiness),
            ("startupProbe", *startup == other.startup),
            ("securityContext", *user == other.user),
        ];
        fields.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }

    /// Its probe of that kind, if it has one.
    #[must_use]
    pub fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
            ProbeKind::Startup => self.startup.as_ref(),
        }
    }
}

/// When an image is fetched (`imagePullPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// When it is not there.
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value as written.
    pub value: String,
}

/// Limits and requests of one container; none means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Most processor time.
    pub cpu_limit: Option<MilliCpu>,
    /// Processor time to be weighed by when it is short.
    pub cpu_request: Option<MilliCpu>,
    /// Most memory.
    pub memory_limit: Option<Bytes>,
    /// Memory that the pod expects to use.
    pub memory_request: Option<Bytes>,
    /// Most room on disk (`ephemeral-storage`).
    #[serde(default)]
    pub disk_limit: Option<Bytes>,
    /// Room on disk that the pod expects to use.
    #[serde(default)]
    pub disk_request: Option<Bytes>,
    /// What the operator counts, as in `example.com/dongle`.
    #[serde(default)]
    pub custom: BTreeMap<CustomName, u64>,
}

/// A port that a container listens on. Containers share the host's network: it is a port of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPort {
    /// Name that probes may use.
    pub name: Option<String>,
    /// Number, 1 to 65535.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        })
    }
}

/// A volume as one container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume.
    pub volume: ContainerName,
    /// Absolute path in the container.
    pub path: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// Who a container runs as; none means the image's user, or the node's own for processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Numeric user.
    pub uid: Option<u32>,
    /// Numeric group.
    pub gid: Option<u32>,
    /// Whether a start as user 0 is refused.
    pub non_root: bool,
    /// Whether gaining privileges by set-user-id programs is refused.
    pub no_new_privileges: bool,
}

/// A repeated check of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// How it is made.
    pub check: ProbeCheck,
    /// Seconds from the start of the container to the first check.
    pub initial_delay_s: u32,
    /// Seconds between two checks, at least 1.
    pub period_s: u32,
    /// Seconds after which a check counts as failed, at least 1.
    pub timeout_s: u32,
    /// Successes in a row that count, at least 1.
    pub success_threshold: u32,
    /// Failures in a row that count, at least 1.
    pub failure_threshold: u32,
}

/// How a probe checks a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeCheck {
    /// Runs a command in the container; exit code 0 is success.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Asks over HTTP; 200 to 399 is success.
    HttpGet {
        /// Host to ask; the node itself if none.
        host: Option<String>,
        /// Port, 1 to 65535.
        port: u16,
        /// Path with query.
        path: String,
        /// Extra headers.
        headers: Vec<(String, String)>,
    },
    /// Opens a TCP connection; that it opens is success.
    TcpSocket {
        /// Host to connect to; the node itself if none.
        host: Option<String>,
        /// Port, 1 to 65535.
        port: u16,
    },
}

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeKind {
    /// Is it alive? If not, it is restarted.
    Liveness,
    /// Can it serve?
    Readiness,
    /// Has it come up?
    Startup,
}

impl ProbeKind {
    /// The word in a manifest.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ProbeKind::Liveness => "liveness",
            ProbeKind::Readiness => "readiness",
            ProbeKind::Startup => "startup",
        }
    }
}
