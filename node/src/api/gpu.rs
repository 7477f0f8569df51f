//! One GPU: what is on record of it, what was read of it last, and what may be asked of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use purser_actors::service::ServiceError;
use purser_actors::service::ledger::name_of;
use purser_events::gpu::{Evidence, FaultCount, GpuHealthPolicy, GpuRejection, GpuState, xid};
use purser_events::ledger::{GpuGrant, GpuUuid, HolderId, Holding};
use purser_events::{Timestamp, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::feed;
use super::gpus::SeenGpuView;
use super::ledger::body::strict;
use super::node::{CordonRequest, NodeAccepted};
use super::problem::Problem;
use super::state::{Api, Change, path};

/// Everything about one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuDetailView {
    /// The last record that is known here.
    pub seq: u64,
    /// Which.
    pub uuid: String,
    /// What it is, as it is on record.
    pub facts: FactsView,
    /// How it is, as it is on record.
    pub health: HealthView,
    /// Faults that its driver told of, by NVIDIA's number.
    pub faults: BTreeMap<String, FaultCountView>,
    /// Who has what of it.
    pub bindings: Vec<BindingView>,
    /// What was seen of it last; absent while nothing lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenGpuView>,
    /// Its last records, the newest last, as the feed has them.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
}

/// What a GPU is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FactsView {
    /// What it is called.
    pub model: Option<String>,
    /// Its memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Release of its driver.
    pub driver: Option<String>,
    /// Of an instance of MIG, the GPU that it is a part of.
    pub parent: Option<String>,
    /// Whether it is divided (MIG): its instances are given out in its place.
    pub is_divided: Option<bool>,
    /// Errors of its memory that were not corrected, as far as they are known.
    pub ecc_uncorrected: Option<u64>,
}

/// How a GPU is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthView {
    /// `Healthy`, `Degraded`, `Probation`, `Unresponsive`, `Lost`, `Faulty` or `Cordoned`.
    pub word: String,
    /// Whether it takes pods.
    pub takes_pods: bool,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since when it is so, but for a cordon.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What was seen then.
    #[schema(value_type = Object)]
    pub evidence: Evidence,
    /// How often it was of no use again before its probation was over, one after the other.
    pub relapses: u32,
    /// That nothing of it is to be given out, if somebody wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<CordonView>,
    /// That pods are to leave it, if somebody wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
}

/// That the pods that have something of a GPU are stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainView {
    /// Who wants it.
    pub by: String,
    /// Seconds that each has to end; absent for what its manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// How a GPU is to be drained.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DrainRequest {
    /// Why, at most 256 bytes. Without one, the reason of a cordon in force stays.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds that each pod has to end, at most a day; without it, what its manifest says.
    #[serde(default)]
    pub grace_seconds: Option<u32>,
}

/// That nothing of a GPU is to be given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CordonView {
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultCountView {
    /// What it means, in a few words.
    pub meaning: String,
    /// How often it was told.
    pub count: u64,
    /// When last.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
}

/// What somebody has of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingView {
    /// Who, as `namespace/name` of a pod, or a reservation.
    pub holder: String,
    /// The pod's uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// How much of its compute, in percent.
    pub share_percent: u32,
    /// How much of its memory, in bytes.
    pub memory_bytes: u64,
    /// Whether nobody else has anything of it.
    pub whole: bool,
}

/// The GPU that a path names; a slash in its name is encoded there.
pub(super) struct GpuPath(GpuUuid);

impl<S: Send + Sync> FromRequestParts<S> for GpuPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<GpuPath, Problem> {
        let name: String = path(parts, state).await?;
        GpuUuid::new(&name)
            .map(GpuPath)
            .map_err(|error| Problem::bad_request("malformed-name", format!("uuid {error}")))
    }
}

/// Shows everything about one GPU. Waits for no GPU.
#[utoipa::path(
    get, path = "/v1/gpus/{uuid}", tag = "resources",
    params(("uuid" = String, Path, description = "the GPU; a slash in it is written %2F")),
    responses(
        (status = 200, description = "the GPU", body = GpuDetailView),
        (status = 404, description = "it was never seen", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    GpuPath(uuid): GpuPath,
) -> Result<Json<GpuDetailView>, Problem> {
    let seen = api.service.gpus().gpus.into_iter().find(|gpu| gpu.uuid == uuid);
    let seen = api.service.world(|world| seen.map(|gpu| SeenGpuView::of(gpu, world)));
    let known = api.service.world(|world| GpuDetailView::of(world, &uuid));
    let view = known.ok_or_else(|| Problem::from(ServiceError::Gpu(GpuRejection::NotFound)))?;
    let read = tokio::task::spawn_blocking(move || api.service.gpu_records(&uuid)).await;
    let internal = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
    let records = read.map_err(|_| internal("the GPU's records were not read".to_owned()))?;
    let records = records.map_err(|error| internal(error.to_string()))?;
    let events = records.iter().map(|record| feed::json(record, &record.event())).collect();
    Ok(Json(GpuDetailView { seen, events, ..view }))
}

impl GpuDetailView {
    /// What is on record of a GPU; none of one that was never seen.
    fn of(world: &World, uuid: &GpuUuid) -> Option<GpuDetailView> {
        let gpu = world.gpus.get(uuid)?.known()?;
        let of_holder = |(holder, holding): (&HolderId, &Arc<Holding>)| {
            let grants = holding.grant.gpus.iter().filter(|grant| grant.uuid == *uuid);
            grants.map(|grant| BindingView::of(world, *holder, grant)).collect::<Vec<_>>()
        };
        let fault = |(xid, fault): (&u32, &FaultCount)| (xid.to_string(), FaultCountView::of(*xid, *fault));
        Some(GpuDetailView {
            seq: world.head.0,
            uuid: uuid.to_string(),
            facts: FactsView {
                model: gpu.facts.model.clone(),
                memory_bytes: gpu.facts.memory.map(|memory| memory.0),
                driver: gpu.facts.driver.clone(),
                parent: gpu.facts.parent.as_ref().map(ToString::to_string),
                is_divided: gpu.facts.is_divided,
                ecc_uncorrected: gpu.facts.ecc_uncorrected,
            },
            health: HealthView::from(gpu),
            faults: gpu.faults.iter().map(fault).collect(),
            bindings: world.ledger.holdings.iter().flat_map(of_holder).collect(),
            seen: None,
            events: vec![],
        })
    }
}

impl From<&GpuState> for HealthView {
    fn from(gpu: &GpuState) -> HealthView {
        let cordon = gpu.cordon.as_ref().map(|cordon| CordonView {
            by: cordon.by.to_string(),
            reason: cordon.reason.clone(),
            at: cordon.at,
        });
        let drain = gpu.drain.as_ref().map(|drain| DrainView {
            by: drain.by.to_string(),
            grace_seconds: drain.grace_s,
            at: drain.at,
        });
        HealthView {
            word: gpu.word().to_owned(),
            takes_pods: gpu.takes_pods(),
            detail: gpu.health.detail(),
            since: gpu.since,
            evidence: gpu.evidence.clone(),
            relapses: gpu.relapses,
            cordon,
            drain,
        }
    }
}

impl HealthView {
    /// What keeps the GPU from taking pods, or slows it down, in a line.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let cordon =
            self.cordon.as_ref().map(|cordon| format!("cordoned by {}: {}", cordon.by, cordon.reason));
        let parts: Vec<String> = self.detail.iter().cloned().chain(cordon).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl FaultCountView {
    fn of(xid: u32, fault: FaultCount) -> FaultCountView {
        FaultCountView { meaning: xid::word(xid).to_owned(), count: fault.count, last_at: fault.last_at }
    }
}

impl BindingView {
    fn of(world: &World, holder: HolderId, grant: &GpuGrant) -> BindingView {
        let pod = match holder {
            HolderId::Pod(pod) => Some(pod.to_string()),
            HolderId::Reservation(_) => None,
        };
        BindingView {
            holder: name_of(world, holder),
            pod,
            share_percent: grant.share,
            memory_bytes: grant.memory.0,
            whole: grant.whole,
        }
    }
}

/// Gives nothing of a GPU out from now on; pods keep what they have.
#[utoipa::path(
    post, path = "/v1/gpus/{uuid}/cordon", tag = "resources", request_body = CordonRequest,
    params(("uuid" = String, Path, description = "the GPU; a slash in it is written %2F")),
    responses((status = 200, description = "so it is", body = NodeAccepted))
)]
pub(super) async fn cordon(
    State(api): State<Api>,
    GpuPath(uuid): GpuPath,
    change: Change,
) -> Result<Json<NodeAccepted>, Problem> {
    let CordonRequest { reason } = change.json()?;
    let seq = api.service.cordon_gpu(&uuid, reason, change.by).await?;
    Ok(Json(NodeAccepted { seq: seq.0 }))
}

/// Gives a GPU out again once its probation is over, and forgives the faults that took it out.
#[utoipa::path(
    post, path = "/v1/gpus/{uuid}/uncordon", tag = "resources",
    params(("uuid" = String, Path, description = "the GPU; a slash in it is written %2F")),
    responses((status = 200, description = "so it is", body = NodeAccepted))
)]
pub(super) async fn uncordon(
    State(api): State<Api>,
    GpuPath(uuid): GpuPath,
    change: Change,
) -> Result<Json<NodeAccepted>, Problem> {
    let seq = api.service.uncordon_gpu(&uuid, change.by).await?;
    Ok(Json(NodeAccepted { seq: seq.0 }))
}

/// Gives nothing of a GPU out from now on, and stops the pods that have something of it; a restart of the service goes on
/// with it.
#[utoipa::path(
    post, path = "/v1/gpus/{uuid}/drain", tag = "resources", request_body = DrainRequest,
    params(("uuid" = String, Path, description = "the GPU; a slash in it is written %2F")),
    responses((status = 200, description = "it has begun", body = NodeAccepted))
)]
pub(super) async fn drain(
    State(api): State<Api>,
    GpuPath(uuid): GpuPath,
    change: Change,
) -> Result<Json<NodeAccepted>, Problem> {
    let DrainRequest { reason, grace_seconds } = change.json()?;
    let seq = api.service.drain_gpu(&uuid, reason, grace_seconds, change.by).await?;
    Ok(Json(NodeAccepted { seq: seq.0 }))
}

/// Lets go of what is known of a GPU that is gone for good and of which nobody has anything.
#[utoipa::path(
    post, path = "/v1/gpus/{uuid}/forget", tag = "resources",
    params(("uuid" = String, Path, description = "the GPU; a slash in it is written %2F")),
    responses(
        (status = 200, description = "so it is", body = NodeAccepted),
        (status = 409, description = "it is not gone, or held", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn forget(
    State(api): State<Api>,
    GpuPath(uuid): GpuPath,
    change: Change,
) -> Result<Json<NodeAccepted>, Problem> {
    let seq = api.service.forget_gpu(&uuid, change.by).await?;
    Ok(Json(NodeAccepted { seq: seq.0 }))
}

/// Shows the numbers by which it is decided when a GPU takes pods.
#[utoipa::path(
    get, path = "/v1/policy/gpus", tag = "resources",
    responses((status = 200, description = "the numbers", body = Object))
)]
pub(super) async fn policy(State(api): State<Api>) -> Json<GpuHealthPolicy> {
    let policy = api.service.world(|world| world.node.known().map(|node| node.policy.gpus.clone()));
    Json(policy.unwrap_or_default())
}

/// Puts these numbers in force, all of them at once; they hold until the config's change.
#[utoipa::path(
    put, path = "/v1/policy/gpus", tag = "resources", request_body = Object,
    responses(
        (status = 200, description = "so it is", body = NodeAccepted),
        (status = 422, description = "they cannot be", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn set_policy(
    State(api): State<Api>,
    change: Change,
) -> Result<Json<NodeAccepted>, Problem> {
    let policy: GpuHealthPolicy = strict(change.required::<Value>()?)?;
    let seq = api.service.set_gpu_policy(policy, change.by).await?;
    Ok(Json(NodeAccepted { seq: seq.0 }))
}
