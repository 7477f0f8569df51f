//! The fields of a pool's manifest, outside its template.

use std::sync::LazyLock;

use purser_events::pool::{ScalingPolicy, TaskPolicy};
use serde_json::Value;

use super::super::error::FieldErrors;
use super::super::path::Place;
use super::super::table::{Field, Kind, Shape, SupportedField, field, object, shown};

const REPLICAS_MAX: i64 = ScalingPolicy::REPLICAS_MAX as i64;
/// Waits, in seconds: a day at most.
const WAIT: Kind = Kind::Whole(0, 86_400);
const SILENCE: Kind = Kind::Whole(10, 86_400);
const TIMEOUT: Kind = Kind::Whole(1, TaskPolicy::TIMEOUT_S_MAX as i64);
/// Seconds that a plan may wait for somebody's word: 30 days at most.
const CONFIRMATION: Kind = Kind::Whole(1, 30 * 86_400);
const ON_END: Kind = Kind::Word(&["retry", "fail"]);

/// `apiVersion` of a pool's manifest.
pub const API_VERSION: &str = "purser.dev/v1";
/// `kind` of a pool's manifest.
pub const KIND: &str = "Pool";

const POOL_FIELDS: &[Field] = &[
    field("apiVersion", Kind::Word(&[API_VERSION]), "required"),
    field("kind", Kind::Word(&[KIND]), "required"),
    field("metadata.name", Kind::Text, "required; a DNS label of at most 40 characters"),
    field(
        "metadata.namespace",
        Kind::Text,
        "the namespace of the pool's pods, a DNS label; `default` if absent",
    ),
    field(
        "spec.replicas.min",
        Kind::Whole(0, REPLICAS_MAX),
        "pods that there are at least, outside of freeze windows; 1 if absent",
    ),
    field(
        "spec.replicas.max",
        Kind::Whole(1, REPLICAS_MAX),
        "required; pods that there are at most, at least `min`",
    ),
    field(
        "spec.slots.policy",
        Kind::Word(&["seed", "exclusive", "flexible"]),
        "which slot takes which task; `seed` if absent",
    ),
    field("spec.slots.count", Kind::Whole(1, 64), "slots of each pod; 3 if absent, with `flexible` 4"),
    field(
        "spec.scaling.upAbovePercent",
        Kind::Whole(1, 100),
        "a pod is added when more of the slots are used; 80 if absent",
    ),
    field(
        "spec.scaling.downBelowPercent",
        Kind::Whole(0, 99),
        "a pod is taken away when less of the slots is used; less than `upAbovePercent`; 20 if absent",
    ),
    field(
        "spec.scaling.stabilizationSeconds.up",
        WAIT,
        "how long use must have been above before a pod is added; 10 if absent",
    ),
    field(
        "spec.scaling.stabilizationSeconds.down",
        WAIT,
        "how long use must have been below before a pod is taken away; 300 if absent",
    ),
    field(
        "spec.scaling.maxUnavailable",
        Kind::Whole(1, REPLICAS_MAX),
        "pods that may be missing at once while pods are rebuilt; 1 if absent",
    ),
    field(
        "spec.freezeWindows[].days[]",
        Kind::Word(&DAYS),
        "days on which the window begins; every day if absent",
    ),
    field("spec.freezeWindows[].from", Kind::Text, "required; the time of day as `22:00`"),
    field(
        "spec.freezeWindows[].to",
        Kind::Text,
        "required; the time of day as `06:00`, on the next day if it is before `from`; `24:00` is the day's end",
    ),
    field("spec.timeZone", Kind::Text, "whose clock the windows go by, as `Europe/Berlin`; `UTC` if absent"),
    field(
        "spec.tasks.onLost",
        ON_END,
        "what becomes of a task whose pod or agent was lost; `retry` if absent",
    ),
    field(
        "spec.tasks.onFailed",
        ON_END,
        "what becomes of a task that failed by itself; one that had begun to apply is never tried again for that; `fail` \
         if absent",
    ),
    field("spec.tasks.attempts", Kind::Whole(1, 100), "how often a task is tried at most; 3 if absent"),
    field(
        "spec.tasks.backOffSeconds.first",
        WAIT,
        "wait before the third try, doubled each time (the second comes at once); 10 if absent",
    ),
    field(
        "spec.tasks.backOffSeconds.max",
        WAIT,
        "longest wait between tries, at least `first`; 300 if absent",
    ),
    field(
        "spec.tasks.timeoutSeconds",
        TIMEOUT,
        "how long a phase of a task that does not say may take; 3600 if absent",
    ),
    field(
        "spec.tasks.reservationSeconds",
        CONFIRMATION,
        "how long a planned change waits for its confirmation; 86400 if absent",
    ),
    field("spec.tasks.queueMax", Kind::Whole(1, 100_000), "tasks that may wait at once; 10000 if absent"),
    field(
        "spec.tasks.keptMax",
        Kind::Whole(0, 10_000),
        "ended tasks that are kept, the newest; 1000 if absent",
    ),
    field(
        "spec.agents.offlineAfterSeconds",
        Kind::Whole(30, 86_400),
        "silence of an agent after which its pod counts as lost; 120 if absent",
    ),
    field(
        "spec.agents.startWithinSeconds",
        SILENCE,
        "how long a pod may take until its agent is there; 600 if absent",
    ),
    field(
        "spec.agents.cancelGraceSeconds",
        Kind::Whole(0, 3_600),
        "from the wish to end a task until it is killed; 30 if absent",
    ),
    field("spec.secretRefs[].name", Kind::Text, "required; a secret whose change has idle pods rebuilt"),
    field("spec.configRefs[].name", Kind::Text, "required; a config whose change has idle pods rebuilt"),
];

/// The days of the week as manifests name them, Monday first.
pub(super) const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The shape of a pool's manifest without `spec.template`.
pub(super) static POOL: LazyLock<Shape> = LazyLock::new(|| object(POOL_FIELDS));

/// Refuses a field that is not in the table.
pub(super) fn refuse(place: &Place, _: Value, errors: &mut FieldErrors) {
    let message = match place.pattern().as_str() {
        "spec.replicas" => "must be a map with min and max",
        _ => "unknown field",
    };
    errors.add(&place.path(), message);
}

/// Every field that a pool's manifest may have.
#[must_use]
pub fn pool_fields() -> Vec<SupportedField> {
    let mut fields: Vec<SupportedField> =
        POOL_FIELDS.iter().map(|it| shown((it.pattern.to_owned(), it))).collect();
    let before = fields.iter().position(|it| it.path == "spec.replicas.min").unwrap_or(fields.len());
    let of_pod =
        |path: &str, holds: &str, note| SupportedField { path: path.into(), holds: holds.into(), note };
    let template = [
        of_pod("spec.template.metadata.labels", "map of strings", "labels of the pods"),
        of_pod(
            "spec.template.metadata.annotations",
            "map of strings",
            "annotations of the pods, read as those of a Pod; no `purser.dev/reservation`, which is one pod's",
        ),
        of_pod("spec.template.spec", "as `spec` of a Pod", "required; what is run, see manifests.md"),
    ];
    fields.splice(before..before, template);
    fields.push(of_pod(
        "status",
        "anything",
        "not read: what `purser get pool NAME -o yaml` shows may be applied again",
    ));
    fields
}
