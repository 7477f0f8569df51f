//! Whose a process of the machine is.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use purser_actors::port::{ProcessOwner, SeenGpus};
use purser_events::{PodId, PodUid, World};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::state::{self, Api};

/// Whose a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnerView {
    /// `Pod`, `Unknown` if it runs in none of this node's control groups, `Unreadable` if whose it is could not be read
    /// this time, or `Gone`.
    pub kind: String,
    /// The pod's uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its namespace; none if the node does not have the pod any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name; none if the node does not have the pod any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// In which of its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The try of this container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Its id as the container sees it; none if it sees the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_pid: Option<u32>,
    /// What an unknown process calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a process has of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessGpuView {
    /// Which.
    pub uuid: String,
    /// Memory that it uses, in bytes; null if the driver does not know.
    pub memory_bytes: Option<u64>,
    /// Time that the GPU was busy for it, 0 to 100; null if that cannot be read.
    pub sm_percent: Option<u32>,
}

/// A process of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodProcessView {
    /// Its id on the host.
    pub pid: u32,
    /// Whose it is.
    pub owner: OwnerView,
    /// The GPUs that it uses, as they were seen last.
    pub gpus: Vec<ProcessGpuView>,
}

/// What the node knows of a pod's name.
pub(crate) fn pod_name(world: &World, uid: PodUid) -> Option<PodId> {
    Some(world.pods.get(&uid)?.live()?.spec.id.clone())
}

impl OwnerView {
    /// Whose a process is, with the names that the node knows pods by.
    pub(super) fn of(owner: &ProcessOwner, world: &World) -> OwnerView {
        let nobody = |kind: &str| OwnerView {
            kind: kind.to_owned(),
            uid: None,
            namespace: None,
            pod: None,
            container: None,
            attempt: None,
            inner_pid: None,
            name: None,
        };
        match owner {
            ProcessOwner::Pod { pod, container, attempt, inner_pid } => {
                let id = pod_name(world, *pod);
                OwnerView {
                    uid: Some(pod.to_string()),
                    namespace: id.as_ref().map(|id| id.namespace().to_owned()),
                    pod: id.as_ref().map(|id| id.name().to_owned()),
                    container: Some(container.to_string()),
                    attempt: Some(*attempt),
                    inner_pid: *inner_pid,
                    ..nobody("Pod")
                }
            }
            ProcessOwner::Unknown { name } => OwnerView { name: name.clone(), ..nobody("Unknown") },
            ProcessOwner::Unreadable => nobody("Unreadable"),
            ProcessOwner::Gone => nobody("Gone"),
        }
    }
}

/// The process id in a path.
pub(super) struct Pid(u32);

impl<S: Send + Sync> FromRequestParts<S> for Pid {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Pid, Problem> {
        let text: String = state::path(parts, state).await?;
        let pid = text.parse().ok().filter(|pid| *pid != 0);
        pid.map(Pid).ok_or_else(|| {
            Problem::bad_request("malformed-path", "a process id is a number from 1 to 4294967295")
        })
    }
}

/// Says whose a process of the machine is, by its control group, and what it has of GPUs.
#[utoipa::path(
    get, path = "/v1/processes/{pid}", tag = "pods", params(("pid" = u32, Path)),
    responses(
        (status = 200, description = "a pod's", body = PodProcessView),
        (status = 404, description = "nobody's that the node knows, or there is none", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "it could not be read this time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(api): State<Api>, Pid(pid): Pid) -> Result<Json<PodProcessView>, Problem> {
    let nobody = |detail: String| Problem::new(StatusCode::NOT_FOUND, "no-such-process", detail);
    let owner = api.service.process_owner(pid).await;
    match &owner {
        ProcessOwner::Pod { .. } => {}
        ProcessOwner::Unknown { name } => {
            let name = name.as_ref().map_or(String::new(), |name| format!(" (`{name}`)"));
            let detail = format!("process {pid}{name} runs in no control group of this node: it is no pod's");
            return Err(nobody(detail));
        }
        ProcessOwner::Unreadable => {
            let detail = format!("what the kernel says of process {pid} could not be read this time");
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "process-unreadable", detail);
            return Err(problem.retry_after(1_000));
        }
        ProcessOwner::Gone => return Err(nobody(format!("there is no process {pid} on this machine"))),
    }
    let gpus = used_gpus(&api.service.gpus(), pid, &owner);
    Ok(Json(PodProcessView { pid, owner: api.service.world(|world| OwnerView::of(&owner, world)), gpus }))
}

/// What this very process has of GPUs: who had its pid before is another.
fn used_gpus(seen: &SeenGpus, pid: u32, owner: &ProcessOwner) -> Vec<ProcessGpuView> {
    let used = seen.answering().flat_map(|(gpu, readings)| {
        let processes = readings.processes.value().into_iter().flatten();
        let own = processes.filter(|process| process.pid == pid && process.owner == *owner);
        own.map(|process| ProcessGpuView {
            uuid: gpu.uuid.to_string(),
            memory_bytes: process.memory.map(|bytes| bytes.0),
            sm_percent: process.sm_percent,
        })
    });
    used.collect()
}
