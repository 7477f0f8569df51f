//! Violations: which there were, and the policy by which they are seen and answered.

use axum::Json;
use axum::extract::State;
use purser_actors::service::ServiceError;
use purser_events::node::NodeRejection;
use purser_events::pod::Pod;
use purser_events::view::registry::Registry;
use purser_events::view::violations::{EpisodeStep, PastEpisode, PodGaps, StepKind};
use purser_events::violation::hold::{Held, holds, processor_time};
use purser_events::violation::{MonitorPolicy, ViolationKind};
use purser_events::{Bytes, PodId, PodUid, Timestamp, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::ledger::body::{invalid, strict};
use super::node::NodeAccepted;
use super::problem::Problem;
use super::state::{Api, Change, Params};

/// Episodes in an answer where the request does not say.
const LIMIT_DEFAULT: usize = 100;
/// Most episodes in one answer: as many as are remembered.
const LIMIT_MAX: usize = 1_000;

/// Which violations to show.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ViolationParams {
    /// Only of this pod: its uid, or `namespace/name` of the one that has that name now, or had it last.
    pod: Option<String>,
    /// Only on this GPU.
    gpu: Option<String>,
    /// Only of this kind, as in `gpu_memory_over_quota`.
    kind: Option<String>,
    /// Only such as are open.
    open: Option<bool>,
    /// Only such as had not ended before this moment (RFC 3339).
    since: Option<String>,
    /// How many, from 1 to 1,000; 100 if absent.
    limit: Option<usize>,
}

/// Violations, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViolationList {
    /// Everything up to this record is in the answer.
    pub as_of: u64,
    /// The violations.
    pub items: Vec<ViolationView>,
    /// When the limits of the pod that was asked for were not checked; absent if they always were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<EnforcementView>,
    /// What of the pod that was asked for is held back now because of violations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HoldView>,
}

/// Something of a pod that is held back while it breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldView {
    /// `processors` or `gpu-memory`.
    pub what: String,
    /// Of which GPU; absent of processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// What it may have meanwhile, in words.
    pub limit: String,
}

/// One violation, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViolationView {
    /// Which.
    pub id: String,
    /// What was violated.
    pub kind: String,
    /// On which GPU; null if it was of a pod alone.
    pub gpu: Option<String>,
    /// By which incarnation of a pod; null if no pod did it.
    pub pod_uid: Option<String>,
    /// What that pod is called, as far as that is remembered.
    pub pod: Option<String>,
    /// The last rung: `record`, `warn`, `throttle`, `evict` or `cordon`.
    pub level: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ended; null if it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// How long it was open, in milliseconds; until now if it is.
    pub duration_ms: u64,
    /// What its figures count: `permille`, `bytes`, `processes` or `flag`.
    pub unit: String,
    /// The most that was seen, as far as it is on record.
    pub peak: u64,
    /// What is allowed.
    pub limit: u64,
    /// Use over the limit, summed over seconds; null while it is open.
    pub area: Option<u64>,
    /// What was seen when it began.
    pub evidence: String,
    /// What became of it, in order.
    pub steps: Vec<ViolationStep>,
}

/// A step of a violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ViolationStep {
    /// The record that tells of it.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The rung.
    pub level: String,
    /// `escalated`, `requested`, `completed`, `failed`, `skipped` or `resolved`.
    pub what: String,
    /// Why, or what came of it.
    pub reason: String,
}

/// When the limits of a pod were not checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnforcementView {
    /// Hundredths of a percent of its life in which they were; null if nobody remembers when that began.
    pub enforced_hundredths: Option<u64>,
    /// How long they were not, in milliseconds.
    pub gaps_ms: u64,
    /// How often.
    pub gaps: u64,
    /// The last times, oldest first; `until` is absent of one that goes on.
    pub recent: Vec<GapView>,
}

/// A time in which limits were not checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GapView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// `service_down`, `driver_away` or `no_figures`.
    pub cause: String,
}

impl ViolationView {
    fn of(episode: &PastEpisode, registry: &Registry, now: Timestamp) -> ViolationView {
        ViolationView {
            id: episode.id.to_string(),
            kind: episode.kind.word().to_owned(),
            gpu: episode.gpu.as_ref().map(ToString::to_string),
            pod_uid: episode.pod.map(|pod| pod.to_string()),
            pod: episode.pod.and_then(|pod| name(registry, pod)).map(ToString::to_string),
            level: episode.level.word().to_owned(),
            since: episode.since,
            until: episode.until,
            duration_ms: episode.duration_ms.unwrap_or_else(|| now.ms_since(episode.since)),
            unit: format!("{:?}", episode.kind.unit()).to_lowercase(),
            peak: episode.peak,
            limit: episode.limit,
            area: episode.area,
            evidence: episode.evidence.clone(),
            steps: episode.steps.iter().map(ViolationStep::from).collect(),
        }
    }
}

impl From<&EpisodeStep> for ViolationStep {
    fn from(step: &EpisodeStep) -> ViolationStep {
        let what = match step.what {
            StepKind::Escalated => "escalated",
            StepKind::Requested => "requested",
            StepKind::Ended(outcome) => outcome.word(),
            StepKind::Resolved => "resolved",
        };
        let (level, what) = (step.level.word().to_owned(), what.to_owned());
        ViolationStep { seq: step.seq.0, at: step.at, level, what, reason: step.reason.clone() }
    }
}

impl HoldView {
    /// What of a pod is held back.
    fn of(world: &World, pod: PodUid) -> Vec<HoldView> {
        let Some(state) = world.pod(pod).and_then(Pod::live) else { return vec![] };
        let processors = || {
            let containers = state.containers.iter().filter_map(|held| state.spec.container(&held.name));
            let kept = containers
                .map(|spec| format!("`{}` {}m", spec.name, processor_time(spec.resources.cpu_limit).0));
            kept.collect::<Vec<_>>().join(", ")
        };
        let view = |(held, limit): (&Held, &Bytes)| {
            let (gpu, limit) = match held {
                Held::Processors => (None, processors()),
                Held::GpuMemory(gpu) => (Some(gpu.to_string()), format!("{} MiB", limit.0 >> 20)),
            };
            HoldView { what: held.word().to_owned(), gpu, limit }
        };
        let holds = holds(world);
        holds.iter().filter(|((of, _), _)| *of == pod).map(|((_, held), limit)| view((held, limit))).collect()
    }
}

impl EnforcementView {
    /// What is known of a pod; none if its limits were always checked.
    fn of(world: &World, pod: PodUid, now: Timestamp) -> Option<EnforcementView> {
        let known = world.violations.gaps.get(&pod)?;
        let gaps_ms = known.until(now);
        let admitted = world.registry.entries.values().find(|entry| entry.uid == pod);
        let life_ms = admitted.map(|entry| now.ms_since(entry.admitted_at)).filter(|life| *life > 0);
        let enforced = |life: u64| life.saturating_sub(gaps_ms).saturating_mul(10_000) / life;
        Some(EnforcementView {
            enforced_hundredths: life_ms.map(enforced),
            gaps_ms,
            gaps: known.count + u64::from(!known.open.is_empty()),
            recent: gaps(known),
        })
    }
}

fn gaps(known: &PodGaps) -> Vec<GapView> {
    let over = known.recent.iter().map(|gap| GapView {
        since: gap.since,
        until: Some(gap.until),
        cause: gap.cause.word().to_owned(),
    });
    let open = known.open.iter().map(|gap| GapView {
        since: gap.since,
        until: None,
        cause: gap.cause.word().to_owned(),
    });
    over.chain(open).collect()
}

fn name(registry: &Registry, pod: PodUid) -> Option<&PodId> {
    let live = registry.entries.iter().find(|(_, entry)| entry.uid == pod).map(|(id, _)| id);
    live.or_else(|| registry.recent.iter().find(|gone| gone.uid == pod).and_then(|gone| gone.id.as_ref()))
}

/// Shows violations, also of pods that are gone; the last 1,000 are remembered.
#[utoipa::path(
    get, path = "/v1/violations", tag = "node", params(ViolationParams),
    responses((status = 200, description = "the violations", body = ViolationList))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(params): Params<ViolationParams>,
) -> Result<Json<ViolationList>, Problem> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request("malformed-query", format!("`limit` must be 1 to {LIMIT_MAX}")));
    }
    let kind = params.kind.as_deref().map(|word| {
        ViolationKind::from_word(word).ok_or_else(|| {
            let known = ViolationKind::ALL.map(ViolationKind::word).join(", ");
            Problem::bad_request("malformed-query", format!("`kind` must be one of {known}"))
        })
    });
    let kind = kind.transpose()?;
    let since = params.since.as_deref().map(|text| {
        text.parse::<Timestamp>().map_err(|error| {
            Problem::bad_request("malformed-query", format!("`since` must be a moment of RFC 3339: {error}"))
        })
    });
    let since = since.transpose()?;
    let now = api.service.now();
    let found = api.service.world(|world| {
        let pod = params.pod.as_deref().map(|text| pod_of(&world.registry, text)).transpose()?;
        params.gpu.as_deref().map_or(Ok(()), |gpu| known_gpu(world, gpu))?;
        let all = world.violations.all().rev().filter(|it| {
            kind.is_none_or(|kind| it.kind == kind)
                && pod.is_none_or(|pod| it.pod == Some(pod))
                && params
                    .gpu
                    .as_deref()
                    .is_none_or(|gpu| it.gpu.as_ref().is_some_and(|it| it.as_str() == gpu))
                && params.open.is_none_or(|open| it.until.is_none() == open)
                && since.is_none_or(|since| it.until.is_none_or(|until| since <= until))
        });
        let items = all.take(limit).map(|it| ViolationView::of(it, &world.registry, now)).collect();
        let enforcement = pod.and_then(|pod| EnforcementView::of(world, pod, now));
        let held = pod.map(|pod| HoldView::of(world, pod)).unwrap_or_default();
        Ok(ViolationList { as_of: world.head.0, items, enforcement, held })
    });
    found.map(Json)
}

/// A name that no GPU has, or had when something was told of it, is a mistake.
fn known_gpu(world: &World, gpu: &str) -> Result<(), Problem> {
    let is_told_of = || world.violations.all().any(|it| it.gpu.as_ref().is_some_and(|it| it.as_str() == gpu));
    if world.gpus.keys().any(|known| known.as_str() == gpu) || is_told_of() {
        return Ok(());
    }
    let detail = format!("no GPU is called `{gpu}`");
    Err(Problem::new(axum::http::StatusCode::NOT_FOUND, "gpu-not-found", detail))
}

fn pod_of(registry: &Registry, text: &str) -> Result<PodUid, Problem> {
    if let Ok(uid) = text.parse::<uuid::Uuid>() {
        return Ok(PodUid(uid));
    }
    let id = text.split_once('/').and_then(|(namespace, name)| PodId::new(namespace, name).ok());
    let Some(id) = id else {
        let detail = "`pod` must be a uid or `namespace/name`";
        return Err(Problem::bad_request("malformed-query", detail));
    };
    registry.latest(&id).ok_or_else(|| {
        Problem::new(axum::http::StatusCode::NOT_FOUND, "pod-not-found", format!("no pod is called `{id}`"))
    })
}

/// Shows the policy by which violations are seen and answered.
#[utoipa::path(
    get, path = "/v1/policy/monitor", tag = "node",
    responses((status = 200, description = "the policy", body = Object))
)]
pub(super) async fn policy(State(api): State<Api>) -> Json<MonitorPolicy> {
    let known = |world: &World| world.node.known().map(|node| node.monitor.in_force.clone());
    Json(api.service.world(known).unwrap_or_default())
}

/// Puts a policy in force, all of it at once; it holds until the config's changes.
#[utoipa::path(
    put, path = "/v1/policy/monitor", tag = "node", request_body = Object,
    responses(
        (status = 200, description = "so it is", body = NodeAccepted),
        (status = 422, description = "it cannot be", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn set_policy(
    State(api): State<Api>,
    change: Change,
) -> Result<Json<NodeAccepted>, Problem> {
    let policy: MonitorPolicy = strict(change.required::<Value>()?)?;
    match api.service.set_monitor(policy, change.by).await {
        Ok(seq) => Ok(Json(NodeAccepted { seq: seq.0 })),
        Err(ServiceError::Node(NodeRejection::BadMonitorPolicy { error })) => {
            let message = format!("must be {}, is {}", error.wanted, error.value);
            Err(invalid(camel(&error.field), message))
        }
        Err(error) => Err(error.into()),
    }
}

/// A name of the config as the API has it.
pub(crate) fn camel(kebab: &str) -> String {
    let mut parts = kebab.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut letters = part.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &head.into_iter().chain(letters).collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_the_body_has_them() {
        let policy = serde_json::to_value(MonitorPolicy::default()).unwrap();
        for kebab in ["interval-ms", "eviction-grace-s", "allowed-processes", "strict"] {
            assert!(policy.get(camel(kebab)).is_some(), "{kebab}");
        }
    }
}
