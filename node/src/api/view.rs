//! What callers see of a pod: an object in the shape of a Kubernetes Pod.

mod around;
pub mod sizes;

use std::collections::BTreeMap;

use purser_actors::port::ContainerKey;
use purser_events::pod::event::Exit;
use purser_events::pod::spec::Role;
use purser_events::pod::{Container, ContainerState, Phase, PodState, Setup};
use purser_events::view::Entry;
use purser_events::{StreamVersion, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::footing::Footing;
use super::ledger::grant::{GrantView, Standing, WaitingView};
use super::ledger::shortage::ShortageView;
use crate::manifest;

pub use around::{Around, Limits};
pub use sizes::{ResizeView, SizesView};

/// A pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// Always `v1`.
    pub api_version: String,
    /// Always `Pod`.
    pub kind: String,
    /// Its names.
    pub metadata: Metadata,
    /// The manifest's `spec` as it was admitted.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// How it stands.
    pub status: PodStatus,
}

/// A pod's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// This incarnation of it.
    pub uid: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Which generation of its specification it is: 1 as admitted, one more with each resize.
    #[serde(default)]
    pub generation: u32,
    /// When it was admitted.
    #[schema(value_type = String, format = DateTime)]
    pub creation_timestamp: Timestamp,
}

/// How a pod stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Pending, Provisioning, Running, Stopping, Stopped, Terminating or Failed.
    pub phase: String,
    /// Why, in a word, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// `Initialized`, `ContainersReady`, `Ready`, `RuntimeAvailable`, and `PodResizeInProgress` while it is resized.
    pub conditions: Vec<Condition>,
    /// When every container had been started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start_time: Option<Timestamp>,
    /// Its init containers in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Its containers in order.
    pub container_statuses: Vec<ContainerStatus>,
    /// What Kubernetes has no field for.
    pub purser: PodFacts,
}

/// Something that is so or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// What.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, in a word, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What Kubernetes has no field for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodFacts {
    /// What runs its containers.
    pub runtime: String,
    /// Which run it is in; `start` after a stop begins another.
    pub run: u32,
    /// The record that admitted it.
    pub admitted_seq: u64,
    /// The last record of its stream.
    pub last_seq: u64,
    /// Position of that record in the stream; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_version: Option<u64>,
    /// The incarnation that had its name before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// Whether its containers are held to their limits; not so for processes of a node that may not write control
    /// groups.
    pub limits_enforced: bool,
    /// Commands that run in it by request.
    pub open_execs: usize,
    /// How much it matters beside others on its GPUs: `low`, `medium`, `high` or `critical`; absent if it asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// On whose account it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What the node gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<GrantView>,
    /// The resize that it saw last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeView>,
    /// Why it waits for resources, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingView>,
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// The word for its state, as in `CrashLoopBackOff`.
    pub word: String,
    /// Its state.
    pub state: StateView,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<StateView>,
    /// Whether it runs and can serve.
    pub ready: bool,
    /// Whether it runs and its startup probe, if it has one, has succeeded.
    pub started: bool,
    /// Times that it was started again after it had ended.
    pub restart_count: u32,
    /// Times that the kernel killed something in it for want of memory.
    pub oom_kills: u32,
    /// What the ledger has for it, by its requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allocated_resources: BTreeMap<String, String>,
    /// What it is held to; absent in lists, and while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<SizesView>,
    /// The image as in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Digest of the image that runs.
    #[serde(default, rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Runtime, incarnation, container and try.
    #[serde(default, rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Process id on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_pid: Option<u32>,
    /// The worker that it is, while it runs.
    #[serde(default, rename = "workerUID", skip_serializing_if = "Option::is_none")]
    pub worker_uid: Option<String>,
}

/// A container's state: one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum StateView {
    /// It does not run yet, or not now.
    #[serde(rename_all = "camelCase")]
    Waiting {
        /// Why, in a word.
        reason: String,
        /// Why, in a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// It runs.
    #[serde(rename_all = "camelCase")]
    Running {
        /// Since when.
        #[schema(value_type = String, format = DateTime)]
        started_at: Timestamp,
    },
    /// It ended.
    #[serde(rename_all = "camelCase")]
    Terminated {
        /// Exit code; 128 + signal for a process that a signal ended.
        exit_code: u8,
        /// What it means, in a word.
        reason: String,
        /// When.
        #[schema(value_type = String, format = DateTime)]
        finished_at: Timestamp,
    },
}

impl StateView {
    fn ended(exit: &Exit) -> StateView {
        StateView::Terminated {
            exit_code: exit.code,
            reason: exit.reason.word().to_owned(),
            finished_at: exit.finished_at,
        }
    }

    fn waiting(reason: &str, message: Option<String>) -> StateView {
        StateView::Waiting { reason: reason.to_owned(), message }
    }
}

impl PodView {
    /// A pod as the world has it. `version` is the last of its stream, if it was looked up.
    #[must_use]
    pub fn new(
        pod: &PodState,
        entry: &Entry,
        version: Option<StreamVersion>,
        footing: &Footing,
        around: Around,
    ) -> PodView {
        let mut manifest = manifest::to_manifest(&pod.spec);
        PodView {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            metadata: Metadata {
                name: pod.spec.id.name().to_owned(),
                namespace: pod.spec.id.namespace().to_owned(),
                uid: pod.uid.to_string(),
                labels: pod.spec.labels.clone(),
                annotations: pod.spec.annotations.clone(),
                generation: pod.generation(),
                creation_timestamp: entry.admitted_at,
            },
            spec: manifest.get_mut("spec").map(Value::take).unwrap_or_default(),
            status: status(pod, entry, version, footing, around),
        }
    }
}

fn status(
    pod: &PodState,
    entry: &Entry,
    version: Option<StreamVersion>,
    footing: &Footing,
    around: Around,
) -> PodStatus {
    let Around { standing, tenant, stopped, limits } = around;
    let (resources, waiting) = match standing {
        Standing::None => (None, None),
        Standing::Holds(grant) => (Some(grant), None),
        Standing::Waits(waiting) => (None, Some(waiting)),
    };
    let trouble = footing.trouble(pod.spec.runtime);
    let (reason, message) = match (footing, &trouble) {
        (Footing::Missing, Some((reason, message))) => (Some(reason.clone()), Some(message.clone())),
        (Footing::Here { .. } | Footing::Missing, _) => match &waiting {
            Some(waiting) => (Some("Unschedulable".to_owned()), Some(short_of(waiting))),
            None => match stopped {
                Some((reason, message)) => (Some(reason.to_owned()), Some(message)),
                None => why(pod),
            },
        },
    };
    let views = |role| -> Vec<ContainerStatus> {
        let of_role = pod.containers.iter().filter(|container| container.role == role);
        of_role.map(|container| container_status(pod, container, &limits)).collect()
    };
    PodStatus {
        phase: pod.phase.word().to_owned(),
        reason,
        message,
        conditions: conditions(pod, trouble),
        start_time: pod.started_at,
        init_container_statuses: views(Role::Init),
        container_statuses: views(Role::App),
        purser: PodFacts {
            runtime: pod.spec.runtime.word().to_owned(),
            run: pod.run,
            admitted_seq: entry.admitted_by.0,
            last_seq: entry.last.0,
            stream_version: version.map(|version| version.0),
            supersedes: pod.supersedes.map(|uid| uid.to_string()),
            limits_enforced: matches!(footing, Footing::Here { limits_enforced: true, .. }),
            open_execs: pod.execs.len(),
            qos: pod.spec.claims.gpu.as_ref().map(|_| pod.spec.claims.qos.word().to_owned()),
            tenant,
            resources,
            resize: ResizeView::of(pod),
            waiting,
        },
    }
}

/// What a pod that waits is short of, in a sentence.
fn short_of(waiting: &WaitingView) -> String {
    let each: Vec<String> = waiting.shortages.iter().map(ShortageView::sentence).collect();
    if each.is_empty() { "it is about to be given what it needs".to_owned() } else { each.join("; ") }
}

/// Why a pod is where it is, in a word and in a sentence.
fn why(pod: &PodState) -> (Option<String>, Option<String>) {
    use purser_events::pod::event::FailureReason as F;
    match (&pod.phase, &pod.setup) {
        (Phase::Failed(F::InitContainer { container, code }), _) => {
            let message = format!("init container `{container}` ended with exit code {code}");
            (Some("InitContainerFailed".to_owned()), Some(message))
        }
        (Phase::Failed(F::Container { container, code, .. }), _) => {
            let message = format!("container `{container}` ended with exit code {code}");
            (Some("ContainerFailed".to_owned()), Some(message))
        }
        (Phase::Stopped(cause), _) => (Some(format!("{cause:?}")), None),
        (_, Setup::Failed { class, message, .. }) => (Some(class.word().to_owned()), Some(message.clone())),
        (
            Phase::Pending
            | Phase::Provisioning
            | Phase::Running
            | Phase::Stopping { .. }
            | Phase::Terminating { .. },
            Setup::NotBegun | Setup::Requested { .. } | Setup::Done,
        ) => (None, None),
    }
}

fn conditions(pod: &PodState, trouble: Option<(String, String)>) -> Vec<Condition> {
    let initialized = pod.inits().all(ended_well);
    let ready = pod.apps().all(Container::is_ready);
    let condition = |kind: &str, holds: bool| Condition {
        kind: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: None,
        message: None,
    };
    let available = condition("RuntimeAvailable", trouble.is_none());
    let (reason, message) = trouble.unzip();
    let known = [
        condition("Initialized", initialized),
        condition("ContainersReady", ready),
        condition("Ready", pod.is_ready()),
        Condition { reason, message, ..available },
    ];
    known.into_iter().chain(ResizeView::condition(pod)).collect()
}

fn ended_well(container: &Container) -> bool {
    matches!(&container.state, ContainerState::Exited { exit, .. } if exit.code == 0)
}

fn container_status(pod: &PodState, container: &Container, limits: &Limits) -> ContainerStatus {
    let spec = pod.spec.container(&container.name);
    let held = limits.get(&container.name).copied();
    let attempt = container.attempt();
    let key = |attempt| ContainerKey { pod: pod.uid, container: container.name.clone(), attempt };
    let id = (container.attempts > 0)
        .then(|| format!("{}://{}", pod.spec.runtime.word(), key(container.attempts)));
    let exited = matches!(container.state, ContainerState::Exited { .. });
    let last = container.last_exit.as_ref().filter(|_| !exited);
    ContainerStatus {
        name: container.name.to_string(),
        word: container.word().to_owned(),
        state: state(pod, container),
        last_state: last.map(StateView::ended),
        // An init container has done its part when it has ended well, as in Kubernetes.
        ready: container.is_ready() || (container.role == Role::Init && ended_well(container)),
        started: matches!(container.state, ContainerState::Running { startup_passed: true, .. }),
        restart_count: container.restarts,
        oom_kills: container.oom_kills,
        allocated_resources: spec.map(|spec| sizes::allocated(&spec.resources)).unwrap_or_default(),
        resources: spec.zip(held).map(|(spec, held)| sizes::in_force(&spec.resources, held)),
        image: spec.and_then(|spec| spec.image.clone()),
        image_id: container.image.as_ref().map(|image| image.digest.clone()),
        container_id: id,
        host_pid: attempt.map(|attempt| attempt.process.host_pid),
        worker_uid: attempt.map(|attempt| attempt.worker.to_string()),
    }
}

/// What a container waits for whose image or volumes are not there.
fn waiting_for_setup(setup: &Setup) -> StateView {
    match setup {
        Setup::Failed { class, message, retry_at, .. } => {
            StateView::waiting(class.word(), Some(format!("{message}; tried again at {retry_at}")))
        }
        Setup::NotBegun | Setup::Requested { .. } | Setup::Done => StateView::waiting("Waiting", None),
    }
}

fn state(pod: &PodState, container: &Container) -> StateView {
    match &container.state {
        ContainerState::Waiting if matches!(pod.setup, Setup::Failed { .. }) => waiting_for_setup(&pod.setup),
        ContainerState::Waiting | ContainerState::Creating { .. } => {
            StateView::waiting(container.word(), None)
        }
        ContainerState::CreateFailed { message, .. } => {
            StateView::waiting(container.word(), Some(message.clone()))
        }
        ContainerState::BackOff { until, why, .. } => {
            StateView::waiting(container.word(), Some(format!("{why}; started again at {until}")))
        }
        ContainerState::Running { attempt, .. } | ContainerState::Stopping { attempt, .. } => {
            StateView::Running { started_at: attempt.started_at }
        }
        ContainerState::Exited { exit, .. } => StateView::ended(exit),
    }
}
