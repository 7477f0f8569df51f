//! The node itself: how it stands, and whether it takes new pods.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use purser_events::node::state::RuntimeStanding;
use purser_events::{Timestamp, World};
use purser_storage::sealer::{SealingState, SealingStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::projections::ProjectionView;
use super::state::{Api, Change};

/// How the node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// The node's uid.
    pub node: Option<String>,
    /// Its host's name.
    pub hostname: Option<String>,
    /// Release of the service.
    pub version: String,
    /// Whether it has recovered and takes requests.
    pub ready: bool,
    /// When the service was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// Milliseconds since then.
    pub uptime_ms: u64,
    /// Starts of the service that the journal knows.
    pub starts: u64,
    /// Starts that found no orderly stop before them.
    pub unclean_starts: u64,
    /// Why new pods are refused, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<String>,
    /// `Low` if the journal's disk fills up and observations are not recorded, `Full` if new pods are refused too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_pressure: Option<String>,
    /// The record up to which `worldDigest` speaks.
    pub seq: u64,
    /// Fingerprint of everything that the journal says up to `seq`, in hex.
    pub world_digest: String,
    /// Which opening of the journal this is.
    pub epoch: u64,
    /// Bytes that the journal takes on disk.
    pub journal_bytes: u64,
    /// The first record that was not trimmed.
    pub journal_first: u64,
    /// The last record up to which the node's state is what could be read of another release's snapshot: the records
    /// before it were trimmed and cannot be folded again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed_upto: Option<u64>,
    /// Sealed segments of the journal that wait for the archive.
    pub segments_to_archive: usize,
    /// Why the last try to archive one failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_failure: Option<String>,
    /// Sealed segments of the journal that were found damaged since the service started, by their first record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_segments: Vec<u64>,
    /// Folds of the journal that follow it.
    #[serde(default)]
    pub projections: Vec<ProjectionView>,
    /// Whether signed checkpoints are made.
    pub sealing: SealingView,
    /// Runtimes by name.
    pub runtimes: BTreeMap<String, RuntimeView>,
    /// The runtime of pods that name none.
    pub default_runtime: String,
    /// Pods by state.
    pub pods: BTreeMap<String, usize>,
    /// Pods that are left as they are: the node lacks their runtime, or cannot follow their records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmanaged_pods: Vec<String>,
    /// Worker processes that the node knows.
    pub workers: usize,
    /// Broken rules of the node's own state: a defect to report.
    pub inconsistencies: Vec<String>,
    /// Records of the journal that this release could not read when it started.
    pub unreadable_records: u64,
}

/// Whether the journal is sealed while it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealingView {
    /// `on`; `off` without a key; `stopped` if it should be on and cannot.
    pub state: String,
    /// Why it is off or stopped, or why the key could not be replaced when it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last record that a checkpoint is over.
    pub sealed_seq: u64,
    /// Number of the period of the key in force.
    pub period: u64,
}

impl From<&SealingStatus> for SealingView {
    fn from(status: &SealingStatus) -> SealingView {
        let (state, reason) = match &status.state {
            SealingState::On => ("on", status.overdue.clone()),
            SealingState::Off => ("off", Some("there is no key: see `purserd keys setup`".to_owned())),
            SealingState::Stopped { reason } => ("stopped", Some(reason.clone())),
        };
        SealingView { state: state.to_owned(), reason, sealed_seq: status.sealed, period: status.period }
    }
}

/// How a runtime stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeView {
    /// Whether it answers.
    pub up: bool,
    /// What it calls itself, or what was seen instead of an answer.
    pub detail: String,
}

/// Says how the node stands.
#[utoipa::path(
    get, path = "/v1/status", tag = "node",
    responses((status = 200, description = "how it stands", body = StatusView))
)]
pub(super) async fn status(State(api): State<Api>) -> Result<Json<StatusView>, Problem> {
    let described = tokio::task::spawn_blocking(move || describe(&api)).await;
    let failed =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the status was not computed");
    described.map(Json).map_err(failed)
}

fn describe(api: &Api) -> StatusView {
    // Cloned: the digest of many pods takes a while, and nothing is committed while the world is read.
    let world = api.service.world(World::clone);
    let known = world.node.known();
    let started_at = Some(api.started_at);
    let mut pods: BTreeMap<String, usize> = BTreeMap::new();
    for entry in world.registry.entries.values() {
        *pods.entry(entry.phase.clone().into_owned()).or_default() += 1;
    }
    let runtimes = known.map(|node| &node.runtimes).into_iter().flatten().map(|(class, standing)| {
        let (up, detail) = match standing {
            _ if !api.service.has_runtime(*class) => (false, "this node does not have it now".to_owned()),
            RuntimeStanding::Up { version } => (true, version.clone()),
            RuntimeStanding::Down { message } => (false, message.clone()),
        };
        (class.word().to_owned(), RuntimeView { up, detail })
    });
    StatusView {
        node: world.node_uid.map(|uid| uid.to_string()),
        hostname: known.map(|node| node.last_start.hostname.clone()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: api.service.ready(),
        started_at,
        uptime_ms: api.service.now().ms_since(api.started_at),
        starts: known.map_or(0, |node| node.starts),
        unclean_starts: known.map_or(0, |node| node.unclean_starts),
        cordoned: known.and_then(|node| node.cordoned.clone()),
        disk_pressure: known
            .and_then(|node| node.disk_pressure.as_ref())
            .map(|changed| format!("{:?}", changed.pressure)),
        seq: world.head.0,
        world_digest: hex(&world.digest()),
        epoch: api.service.journal().epoch(),
        journal_bytes: api.service.journal().stats().map_or(0, |stats| stats.bytes_on_disk),
        journal_first: api.service.journal().before().seq.next().0,
        assumed_upto: api.service.assumed_upto().map(|upto| upto.0),
        segments_to_archive: api.service.segments_to_archive(),
        archive_failure: api.service.archive_failure(),
        damaged_segments: api.service.damaged_segments().iter().map(|first| first.0).collect(),
        projections: ProjectionView::all(api),
        sealing: SealingView::from(&*api.service.journal().sealing().borrow()),
        runtimes: runtimes.collect(),
        default_runtime: api.service.default_runtime().word().to_owned(),
        pods,
        unmanaged_pods: api.service.unmanaged().iter().map(ToString::to_string).collect(),
        workers: world.workers.len(),
        inconsistencies: api.service.inconsistencies().iter().map(ToString::to_string).collect(),
        unreadable_records: api.service.unreadable_records(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why the node is to refuse new pods.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CordonRequest {
    /// The reason, at most 256 bytes. Without one, the reason in force stays.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What became of a request to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAccepted {
    /// The last record that the request led to, or the node's last if it was so already.
    pub seq: u64,
}

/// Makes the node refuse new pods; those that run go on.
#[utoipa::path(
    post, path = "/v1/node/cordon", tag = "node", request_body = Option<CordonRequest>,
    responses((status = 200, description = "so it is", body = NodeAccepted))
)]
pub(super) async fn cordon(State(api): State<Api>, change: Change) -> Result<Json<NodeAccepted>, Problem> {
    let request: CordonRequest = change.json()?;
    let seq = api.service.cordon(request.reason, change.by).await?;
    Ok(Json(NodeAccepted { seq: seq.0 }))
}

/// Makes the node take new pods again.
#[utoipa::path(
    post, path = "/v1/node/uncordon", tag = "node",
    responses((status = 200, description = "so it is", body = NodeAccepted))
)]
pub(super) async fn uncordon(State(api): State<Api>, change: Change) -> Result<Json<NodeAccepted>, Problem> {
    let seq = api.service.uncordon(change.by).await?;
    Ok(Json(NodeAccepted { seq: seq.0 }))
}

/// Says that the service answers at all.
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, description = "it does", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether the service has recovered and takes requests.
#[utoipa::path(
    get, path = "/readyz", tag = "probes",
    responses(
        (status = 200, description = "it does", body = String),
        (status = 503, description = "not yet, or no more", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn readyz(State(api): State<Api>) -> Result<&'static str, Problem> {
    if api.service.ready() {
        return Ok("ready\n");
    }
    let detail = "the service is starting or stopping";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).retry_after(1_000))
}

/// Shows metrics in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "probes",
    responses((status = 200, description = "the metrics", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let rendered = tokio::task::spawn_blocking(move || api.exposition.render(&api.service)).await;
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "metrics were not rendered");
    let text = rendered.map_err(failed)?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
