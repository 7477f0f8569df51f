//! Resources of the node: how much there is, how much of it is given out, to whom, and by which rules.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use purser_actors::service::ledger::{HOLDERS_TOLD_MAX, largest_holders};
use purser_events::World;
use purser_events::ledger::event::{Drift, NodeUse};
use purser_events::ledger::manager::percent_of;
use purser_events::ledger::{Amounts, HolderId, LedgerPolicy, Limits, ResourceKind, ResourceManager, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::LedgerAccepted;
use super::body::{amount_at, strict};
use crate::api::problem::Problem;
use crate::api::state::{Api, Change, path};

/// All that the node gives out. Amounts are in the resource's unit: thousandths of a core, bytes, percent of one GPU, or
/// pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesView {
    /// The record up to which this speaks.
    pub seq: u64,
    /// Who gives resources out.
    pub managers: Vec<ManagerView>,
    /// The rules in force, as `PUT /v1/policy/resources` takes them.
    #[schema(value_type = Object)]
    pub policy: LedgerPolicy,
    /// In what the machine differs from the ledger.
    pub drifts: Vec<DriftView>,
    /// Tenants that use more of a bound than their alert says.
    pub alerts: Vec<AlertView>,
    /// Pods that wait for resources.
    pub waiting: usize,
    /// Reservations that are in force.
    pub reservations: usize,
}

/// A manager of resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerView {
    /// The first of its resources.
    pub name: String,
    /// `Healthy`, `Degraded`, `Unhealthy` or `Stopped`.
    pub health: String,
    /// Why, if it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Times that it gave something, since the journal's beginning.
    pub allocations: u64,
    /// Times that it took something back.
    pub releases: u64,
    /// Its resources.
    pub resources: Vec<ResourceView>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceView {
    /// Which.
    pub kind: String,
    /// What the machine has.
    pub capacity: u64,
    /// What is given out at most.
    pub allocatable: u64,
    /// What pods have.
    pub allocated: u64,
    /// What reservations keep.
    pub reserved: u64,
    /// What may still be given out.
    pub free: u64,
    /// Its limits.
    #[schema(value_type = Object)]
    pub limits: Limits,
    /// What pods have, in percent of what the machine has.
    pub allocated_percent: Option<u64>,
    /// How much of what is free lies in pieces smaller than the largest, in percent, where that matters.
    pub fragmentation_percent: Option<u32>,
    /// What is really used, if it was measured.
    pub used: Option<u64>,
    /// What is really used, in percent of what pods have.
    pub used_percent: Option<u64>,
    /// Who has most of it.
    pub holders: Vec<String>,
}

/// One way in which the machine differs from the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftView {
    /// A word for its kind.
    pub kind: String,
    /// What differs: a control group, an interface, a port or a pod's uid.
    pub subject: String,
}

/// A tenant near its bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    /// Who.
    pub tenant: String,
    /// Of what.
    pub resource: String,
}

/// Shows what the node gives out, to whom, and by which rules.
#[utoipa::path(
    get, path = "/v1/resources", tag = "resources",
    responses((status = 200, description = "the resources", body = ResourcesView))
)]
pub(in crate::api) async fn resources(State(api): State<Api>) -> Json<ResourcesView> {
    let used = api.service.measured().node;
    // Cloned: what holders have is summed up, and nothing is committed while the world is read.
    let world = api.service.world(World::clone);
    Json(ResourcesView::of(&world, used))
}

impl ResourcesView {
    /// The resources of a node that really uses so much.
    #[must_use]
    pub fn of(world: &World, used: Option<NodeUse>) -> ResourcesView {
        let ledger = &world.ledger;
        let reserved = reserved(world);
        let strict = ledger.policy.strict;
        let managers = ledger.managers.all().map(|manager| {
            let kinds = manager.kinds();
            let health = manager.health(kinds.first().and_then(|kind| used_of(used, kind)), strict);
            let resources = manager.usage(strict);
            let resources = resources.into_iter().map(|(kind, usage)| {
                let row = Row { world, manager, reserved: reserved.get(&kind), used: used_of(used, &kind) };
                row.view(&kind, usage)
            });
            ManagerView {
                name: kinds.first().map(ToString::to_string).unwrap_or_default(),
                health: health.word().to_owned(),
                reason: health.reason().map(str::to_owned),
                allocations: manager.tally().allocations,
                releases: manager.tally().releases,
                resources: resources.collect(),
            }
        });
        let alerts = ledger
            .alerts
            .iter()
            .map(|(tenant, kind)| AlertView { tenant: tenant.to_string(), resource: kind.to_string() });
        ResourcesView {
            seq: world.head.0,
            managers: managers.collect(),
            policy: LedgerPolicy::clone(&ledger.policy),
            drifts: ledger.drifts.iter().map(DriftView::from).collect(),
            alerts: alerts.collect(),
            waiting: ledger.waiting.size(),
            reservations: ledger.reservations.size(),
        }
    }

    /// The resource of that name.
    #[must_use]
    pub fn resource(&self, kind: &str) -> Option<&ResourceView> {
        self.managers.iter().flat_map(|manager| &manager.resources).find(|resource| resource.kind == kind)
    }
}

/// What one resource is shown from.
struct Row<'a> {
    world: &'a World,
    manager: &'a dyn ResourceManager,
    reserved: u64,
    used: Option<u64>,
}

impl Row<'_> {
    fn view(&self, kind: &ResourceKind, usage: Usage) -> ResourceView {
        let allocated = usage.allocated.saturating_sub(self.reserved);
        ResourceView {
            kind: kind.to_string(),
            capacity: usage.capacity,
            allocatable: usage.allocatable,
            allocated,
            reserved: self.reserved,
            free: usage.free(),
            limits: self.manager.limits(kind),
            allocated_percent: percent_of(allocated, usage.capacity),
            fragmentation_percent: self.manager.fragmentation(kind),
            used: self.used,
            used_percent: self.used.and_then(|used| percent_of(used, allocated)),
            holders: largest_holders(self.world, kind, HOLDERS_TOLD_MAX),
        }
    }
}

/// What reservations keep, by resource.
#[must_use]
pub fn reserved(world: &World) -> Amounts {
    let mut sum: BTreeMap<ResourceKind, u64> = BTreeMap::new();
    for id in world.ledger.reservations.keys() {
        let Some(holding) = world.ledger.holdings.get(&HolderId::Reservation(*id)) else { continue };
        for (kind, amount) in holding.grant.amounts().iter() {
            let total = sum.entry(kind.clone()).or_default();
            *total = total.saturating_add(amount);
        }
    }
    Amounts(sum)
}

/// What is really used of a resource, as far as that is measured.
fn used_of(used: Option<NodeUse>, kind: &ResourceKind) -> Option<u64> {
    let used = used?;
    match kind {
        ResourceKind::Cpu => Some(used.cpu_mean.0),
        ResourceKind::Memory => Some(used.memory_mean.0),
        ResourceKind::Disk => Some(used.disk.0),
        ResourceKind::Pods
        | ResourceKind::Gpus
        | ResourceKind::GpuShare
        | ResourceKind::GpuMemory
        | ResourceKind::Ports
        | ResourceKind::Subnets
        | ResourceKind::Custom(_) => None,
    }
}

impl From<&Drift> for DriftView {
    fn from(drift: &Drift) -> DriftView {
        let subject = match drift {
            Drift::StrayCgroup(name) | Drift::StrayInterface(name) => name.clone(),
            Drift::RunsWithoutGrant(pod) | Drift::WrongCpus(pod) => pod.to_string(),
            Drift::ForeignListener(port) => format!("{}/{}", port.number, port.protocol),
        };
        DriftView { kind: drift.word().to_owned(), subject }
    }
}

/// The resource that a path names; the slash of one that the operator counts is encoded there.
pub(in crate::api) struct KindPath(ResourceKind);

impl<S: Send + Sync> FromRequestParts<S> for KindPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<KindPath, Problem> {
        let name: String = path(parts, state).await?;
        name.parse().map(KindPath).map_err(|error| {
            let name: String = name.chars().take(128).collect();
            Problem::new(StatusCode::NOT_FOUND, "no-such-resource", format!("`{name}` {error}"))
        })
    }
}

/// Limits of a resource. What is absent has its default: no hard or soft limit, 100 and 0 percent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsRequest {
    /// Most of what is there that is used at all, as in `64Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard: Option<String>,
    /// From here on the resource counts as degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<String>,
    /// How much is given out of what is there, in percent: 100 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overcommit_percent: Option<u32>,
    /// What is kept for the system, in percent of what is there: 0 to 90.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_percent: Option<u32>,
}

impl LimitsRequest {
    fn read(&self, kind: &ResourceKind) -> Result<Limits, Problem> {
        let plain = Limits::default();
        let mut errors = vec![];
        let mut amount = |path: &str, text: &Option<String>| {
            let read = text.as_ref().map(|text| amount_at(kind, path, text)).transpose();
            read.unwrap_or_else(|error| {
                errors.push(error);
                None
            })
        };
        let (hard, soft) = (amount("hard", &self.hard), amount("soft", &self.soft));
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        Ok(Limits {
            hard,
            soft,
            overcommit_percent: self.overcommit_percent.unwrap_or(plain.overcommit_percent),
            reserve_percent: self.reserve_percent.unwrap_or(plain.reserve_percent),
        })
    }
}

/// Puts limits of a resource in force. What is given out stays given.
#[utoipa::path(
    put, path = "/v1/resources/{kind}/limits", tag = "resources", request_body = LimitsRequest,
    params(("kind" = String, Path, description = "the resource; a slash in it is written %2F")),
    responses(
        (status = 200, description = "so it is", body = LedgerAccepted),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "they cannot be", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn set_limits(
    State(api): State<Api>,
    KindPath(kind): KindPath,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let limits = change.required::<LimitsRequest>()?.read(&kind)?;
    let done = api.service.set_limits(kind, limits, change.by).await?;
    Ok(Json(done.into()))
}

/// Why a manager is to give out nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// The reason, one line of at most 256 bytes.
    pub reason: String,
}

/// Gives out nothing of a resource, nor of the others of its manager, from now on. What is given out stays given.
#[utoipa::path(
    post, path = "/v1/resources/{kind}/stop", tag = "resources", request_body = StopRequest,
    params(("kind" = String, Path, description = "the resource; a slash in it is written %2F")),
    responses((status = 200, description = "so it is", body = LedgerAccepted))
)]
pub(in crate::api) async fn stop(
    State(api): State<Api>,
    KindPath(kind): KindPath,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let StopRequest { reason } = change.required()?;
    let done = api.service.stop_manager(kind, reason, change.by).await?;
    Ok(Json(done.into()))
}

/// Gives out a resource again, and those of the same manager.
#[utoipa::path(
    post, path = "/v1/resources/{kind}/start", tag = "resources",
    params(("kind" = String, Path, description = "the resource; a slash in it is written %2F")),
    responses((status = 200, description = "so it is", body = LedgerAccepted))
)]
pub(in crate::api) async fn start(
    State(api): State<Api>,
    KindPath(kind): KindPath,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let done = api.service.start_manager(kind, change.by).await?;
    Ok(Json(done.into()))
}

/// Shows the rules by which resources are given out.
#[utoipa::path(
    get, path = "/v1/policy/resources", tag = "resources",
    responses((status = 200, description = "the rules", body = Object))
)]
pub(in crate::api) async fn policy(State(api): State<Api>) -> Json<LedgerPolicy> {
    Json(api.service.world(|world| LedgerPolicy::clone(&world.ledger.policy)))
}

/// Puts rules in force, all of them at once; they hold until the config's change.
#[utoipa::path(
    put, path = "/v1/policy/resources", tag = "resources", request_body = Object,
    responses(
        (status = 200, description = "so it is", body = LedgerAccepted),
        (status = 422, description = "they cannot be", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn set_policy(
    State(api): State<Api>,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let policy: LedgerPolicy = strict(change.required::<Value>()?)?;
    let done = api.service.set_ledger_policy(policy, change.by).await?;
    Ok(Json(done.into()))
}
