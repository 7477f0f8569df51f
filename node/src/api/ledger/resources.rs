//! Resources of the node: how much there is, how much of it is given out, to whom, and by which rules.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use purser_actors::durations::Took;
use purser_actors::ledger::count::Done;
use purser_actors::metering::Latest;
use purser_actors::service::Service;
use purser_actors::service::ledger::{HOLDERS_TOLD_MAX, largest_holders};
use purser_events::ledger::event::Drift;
use purser_events::ledger::manager::{ManagerMetrics, ResourceMetrics};
use purser_events::ledger::{Amounts, HolderId, LedgerPolicy, ResourceKind};
use purser_events::{Timestamp, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::LedgerAccepted;
use super::body::strict;
use super::limits::{LimitsView, problem};
use super::used::{seen, used_by_pods};
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
    /// How long decisions took since the service started; each is made for all managers at once.
    pub decisions: DecisionsView,
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
    /// Times that it took something back, since then.
    pub releases: u64,
    /// What it has done since the service started.
    pub since_start: CountsView,
    /// Its resources.
    pub resources: Vec<ResourceView>,
}

/// What a manager has done since the service started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountsView {
    /// Times that it gave something.
    pub allocations: u64,
    /// Times that a pod or reservation was refused since it had too little.
    pub refusals: u64,
    /// Times that it took something back.
    pub releases: u64,
}

/// How long decisions took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionsView {
    /// How many there were.
    pub count: u64,
    /// The mean, rounded up.
    pub mean_us: u64,
    /// What half of them took at most, rounded up to a power of two.
    pub median_us: u64,
    /// What 99 of a hundred took at most, rounded up to a power of two.
    pub percentile_99_us: u64,
}

impl From<Took> for DecisionsView {
    fn from(took: Took) -> DecisionsView {
        let Took { count, mean_us, median_us, percentile_99_us } = took;
        DecisionsView { count, mean_us, median_us, percentile_99_us }
    }
}

impl From<Done> for CountsView {
    fn from(done: Done) -> CountsView {
        let Done { allocations, refusals, releases } = done;
        CountsView { allocations, refusals, releases }
    }
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
    pub limits: LimitsView,
    /// What pods have, in percent of what the machine has.
    pub allocated_percent: Option<u64>,
    /// How much of what is free lies in pieces smaller than the largest, in percent, where that matters.
    pub fragmentation_percent: Option<u32>,
    /// What the pods themselves really use, each as it was measured last; null where that is not measured, or of none of
    /// those that run yet. Of ports, those on which the pods that lease them listen.
    pub used_by_pods: Option<u64>,
    /// What pods really use, in percent of what they have.
    pub used_percent: Option<u64>,
    /// When the oldest figure in `usedByPods` was measured; null where there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_as_of: Option<Timestamp>,
    /// What everything on the machine really uses, other programs too; null where that is not measured.
    pub used_by_machine: Option<u64>,
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
    // Cloned: what holders have is summed up, and nothing is committed while the world is read.
    let world = api.service.world(World::clone);
    Json(ResourcesView::of(&world, &api.service))
}

impl ResourcesView {
    /// The resources of a node in this state, with what its service has measured and counted.
    #[must_use]
    pub fn of(world: &World, service: &Service) -> ResourcesView {
        let (measured, counts) = (&service.measured(), service.ledger_counts());
        let ledger = &world.ledger;
        let seen = seen(world, measured);
        let managers = ledger.managers.all().map(|manager| {
            let ManagerMetrics { health, tally, resources } = manager.metrics(&seen, ledger.policy.strict);
            let first = resources.first().map(|resource| resource.kind.clone());
            ManagerView {
                name: first.as_ref().map(ToString::to_string).unwrap_or_default(),
                health: health.word().to_owned(),
                reason: health.reason().map(str::to_owned),
                allocations: tally.allocations,
                releases: tally.releases,
                since_start: first.map(|kind| counts.of(&kind)).unwrap_or_default().into(),
                resources: resources.iter().map(|it| ResourceView::of(world, measured, it)).collect(),
            }
        });
        let alerts = ledger
            .alerts
            .iter()
            .map(|(tenant, kind)| AlertView { tenant: tenant.to_string(), resource: kind.to_string() });
        ResourcesView {
            seq: world.head.0,
            managers: managers.collect(),
            decisions: counts.decisions().into(),
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

impl ResourceView {
    fn of(world: &World, measured: &Latest, metrics: &ResourceMetrics) -> ResourceView {
        let ResourceMetrics { kind, usage, limits, reserved, .. } = metrics;
        ResourceView {
            kind: kind.to_string(),
            capacity: usage.capacity,
            allocatable: usage.allocatable,
            allocated: metrics.allocated(),
            reserved: *reserved,
            free: usage.free(),
            limits: LimitsView::of(*limits, *usage),
            allocated_percent: metrics.allocated_percent(),
            fragmentation_percent: metrics.fragmentation_percent,
            used_by_pods: metrics.used_by_pods,
            used_percent: metrics.used_percent(),
            used_as_of: used_by_pods(measured, kind).as_of,
            used_by_machine: metrics.used_by_machine,
            holders: largest_holders(world, kind, HOLDERS_TOLD_MAX),
        }
    }
}

/// What reservations keep, by resource. Of ports those of the node's range, each number once, as they are given out.
#[must_use]
pub fn reserved(world: &World) -> Amounts {
    let mut sum: BTreeMap<ResourceKind, u64> = BTreeMap::new();
    let (range, mut numbers) = (world.ledger.capacity.ports, BTreeSet::new());
    for id in world.ledger.reservations.keys() {
        let Some(holding) = world.ledger.holdings.get(&HolderId::Reservation(*id)) else { continue };
        for (kind, amount) in holding.grant.amounts().iter() {
            let total = sum.entry(kind.clone()).or_default();
            *total = total.saturating_add(amount);
        }
        let ports = holding.grant.all_ports().map(|port| port.number);
        numbers.extend(ports.filter(|number| (range.first..=range.last).contains(number)));
    }
    sum.insert(ResourceKind::Ports, numbers.len() as u64);
    Amounts(sum)
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
pub(in crate::api) struct KindPath(pub(super) ResourceKind);

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
    let done = api.service.set_ledger_policy(policy, change.by).await;
    let at =
        |kind: &ResourceKind, field: &str| format!("limits.{kind}.{field}").trim_end_matches('.').to_owned();
    Ok(Json(done.map_err(|error| problem(error, at))?.into()))
}
