//! Pods: apply, list, show, stop, start, delete.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use purser_actors::service::{Accepted, Outcome, Request, ServiceError};
use purser_events::ledger::tenant::Operation;
use purser_events::pod::spec::RuntimeClass;
use purser_events::pod::{Pod, PodSpec, PodState};
use purser_events::view::Entry;
use purser_events::{PodId, PodUid, StreamVersion, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::footing::Footing;
use super::ledger::grant::{Standing, WaitingView};
use super::ledger::shortage::told;
use super::problem::Problem;
use super::selector::Selector;
use super::state::{Api, Change, Params, PodPath, media_type, unsupported};
use super::view::{Around, PodView};
use crate::manifest::{self, Defaults, ManifestError};

/// What became of a request that changes something. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedView {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Its incarnation.
    pub uid: String,
    /// The last record that the request led to directly.
    pub seq: u64,
    /// `created`, `resized`, `unchanged` or `accepted`.
    pub outcome: String,
    /// Whether this is the first answer, given again to a retry.
    pub replayed: bool,
    /// Of a dry run: for what the pod would have to wait now, if it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_wait: Option<WaitingView>,
}

impl From<Accepted> for AcceptedView {
    fn from(accepted: Accepted) -> AcceptedView {
        let outcome = match accepted.outcome {
            Outcome::Created => "created",
            Outcome::Resized => "resized",
            Outcome::Unchanged => "unchanged",
            Outcome::Accepted => "accepted",
        };
        AcceptedView {
            namespace: accepted.pod.namespace().to_owned(),
            name: accepted.pod.name().to_owned(),
            uid: accepted.uid.to_string(),
            seq: accepted.seq.0,
            outcome: outcome.to_owned(),
            replayed: accepted.replayed,
            would_wait: None,
        }
    }
}

/// How a manifest is to be applied.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApplyParams {
    /// Only check the manifest; nothing is recorded.
    #[serde(default)]
    dry_run: bool,
    /// The namespace of a manifest that names none; `default` if this is absent too.
    namespace: Option<String>,
}

/// Runs a pod, given its Kubernetes `v1` Pod manifest as JSON or YAML; does nothing if it runs already. One that differs
/// in limits and requests of `cpu` and `memory` alone is resized in place.
#[utoipa::path(
    post, path = "/v1/pods", tag = "pods", params(ApplyParams),
    request_body(content((Object = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 201, description = "admitted", body = AcceptedView),
        (status = 200, description = "it was so already, or the dry run found nothing wrong", body = AcceptedView),
        (status = 422, description = "fields are wrong", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn apply(
    State(api): State<Api>,
    Params(params): Params<ApplyParams>,
    change: Change,
) -> Result<Response, Problem> {
    let spec = spec_of(&api, &change, params.namespace)?;
    let _permit = api.enter(spec.id.namespace(), Operation::Create)?;
    if params.dry_run {
        return dry_run(&api, &spec, change.by);
    }
    if api.service.would_add(&spec.id, &change.by)? {
        api.check_disk()?;
    }
    let accepted = api.service.apply(spec, change.by).await.map_err(|error| told(&api.service, error))?;
    let status = match accepted.outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Unchanged | Outcome::Resized | Outcome::Accepted => StatusCode::OK,
    };
    Ok((status, Json(AcceptedView::from(accepted))).into_response())
}

fn spec_of(api: &Api, change: &Change, namespace: Option<String>) -> Result<PodSpec, Problem> {
    let (document, defaults) = document_of(api, change, namespace)?;
    Ok(manifest::pod_spec(document, &defaults)?)
}

/// The one document of a body, and what holds where it says nothing.
pub(super) fn document_of(
    api: &Api,
    change: &Change,
    namespace: Option<String>,
) -> Result<(Value, Defaults), Problem> {
    let media = media_type(&change.headers);
    let taken = ["", "application/json", "application/yaml", "application/x-yaml", "text/yaml"];
    if !taken.contains(&media.as_str()) {
        return Err(unsupported(&media, "application/yaml or application/json"));
    }
    let mut defaults = Defaults { runtime: api.service.default_runtime(), ..Defaults::default() };
    if let Some(namespace) = namespace {
        defaults.namespace = namespace;
    }
    let mut documents = manifest::documents(&change.body, &manifest::Limits::default())?;
    match (documents.pop(), documents.len()) {
        (Some(only), 0) => Ok((only, defaults)),
        (_, more) => {
            let found = if more == 0 { 0 } else { more + 1 };
            let detail = format!("a request applies one document; this body has {found}");
            Err(Problem::bad_request("malformed-manifest", detail))
        }
    }
}

fn dry_run(api: &Api, spec: &PodSpec, by: Request) -> Result<Response, Problem> {
    let errors = api.service.check(spec);
    if !errors.is_empty() {
        return Err(Problem::invalid(errors.into_iter().map(Into::into)));
    }
    let known = api.service.world(|world| find(world, &spec.id).map(|(pod, _)| pod));
    let same = known.as_ref().and_then(Pod::live).is_some_and(|pod| *pod.spec == *spec);
    let live = known.as_ref().and_then(Pod::live);
    let resize = live.map(|pod| api.service.would_resize(pod, spec)).transpose();
    let resizes = resize.map_err(|error| told(&api.service, error))?.unwrap_or(false);
    if let Some(path) = live.and_then(|pod| pod.spec.first_conflict(spec)).filter(|_| !resizes) {
        let detail = format!("pod `{}` exists with another specification (`{path}` differs)", spec.id);
        return Err(Problem::new(StatusCode::CONFLICT, "spec-conflict", detail));
    }
    let standing = if same || resizes {
        Standing::None
    } else {
        let (world, uid) = api.service.prospect(spec, by).map_err(|error| told(&api.service, error))?;
        Standing::of(&world, uid)
    };
    let would_wait = match standing {
        Standing::Waits(waiting) => Some(waiting),
        Standing::None | Standing::Holds(_) => None,
    };
    let view = AcceptedView {
        namespace: spec.id.namespace().to_owned(),
        name: spec.id.name().to_owned(),
        uid: known.as_ref().and_then(Pod::live).map(|pod| pod.uid.to_string()).unwrap_or_default(),
        seq: api.service.journal().head().seq.0,
        outcome: match (same, resizes) {
            (true, _) => "unchanged",
            (false, true) => "resized",
            (false, false) => "created",
        }
        .to_owned(),
        replayed: false,
        would_wait,
    };
    Ok(Json(view).into_response())
}

impl From<ManifestError> for Problem {
    fn from(error: ManifestError) -> Problem {
        match error {
            ManifestError::Fields(errors) => Problem::invalid(errors.into_iter().map(Into::into)),
            ManifestError::TextTooLarge { .. } | ManifestError::DocumentTooLarge { .. } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", error.to_string())
            }
            ManifestError::Syntax { .. } | ManifestError::TooManyDocuments { .. } => {
                Problem::bad_request("malformed-manifest", error.to_string())
            }
        }
    }
}

/// Which pods to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only pods of this namespace.
    namespace: Option<String>,
    /// Only pods with these labels: `key=value`, `key!=value`, `key` or `!key`, separated by commas.
    label: Option<String>,
}

/// Pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodList {
    /// Always `v1`.
    pub api_version: String,
    /// Always `PodList`.
    pub kind: String,
    /// The journal's head that this list is at least as new as: where to follow the feed from.
    pub seq: u64,
    /// The pods by namespace and name.
    pub items: Vec<PodView>,
}

/// Lists the pods that are not gone.
#[utoipa::path(
    get, path = "/v1/pods", tag = "pods", params(ListParams),
    responses((status = 200, description = "the pods", body = PodList))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(params): Params<ListParams>,
) -> Result<Json<PodList>, Problem> {
    let selector = Selector::parse(params.label.as_deref().unwrap_or_default())
        .map_err(|detail| Problem::bad_request("malformed-query", format!("label: {detail}")))?;
    // The pods are cloned and made into views outside: whoever reads the world holds the writer up.
    let (seq, found, world) = api.service.world(|world| {
        let wanted = |id: &PodId| params.namespace.as_deref().is_none_or(|name| name == id.namespace());
        let found: Vec<_> = world
            .registry
            .entries
            .iter()
            .filter(|(id, _)| wanted(id))
            .filter_map(|(_, entry)| Some((world.pod(entry.uid)?.live()?.clone(), entry.clone())))
            .filter(|(pod, _)| selector.matches(&pod.spec.labels))
            .collect();
        (world.head, found, world.clone())
    });
    let mut queue = Standing::of_queue(&world);
    let mut footings: BTreeMap<RuntimeClass, Footing> = BTreeMap::new();
    let view = |(pod, entry): &(PodState, Entry)| {
        let standing = queue.remove(&pod.uid).unwrap_or_else(|| Standing::of(&world, pod.uid));
        let class = pod.spec.runtime;
        let footing = footings.entry(class).or_insert_with(|| Footing::of(&api.service, class));
        PodView::new(pod, entry, None, footing, Around::of(&world, pod, standing))
    };
    let items = found.iter().map(view).collect();
    Ok(Json(PodList { api_version: "v1".to_owned(), kind: "PodList".to_owned(), seq: seq.0, items }))
}

fn find(world: &World, id: &PodId) -> Option<(Pod, Entry)> {
    let entry = world.registry.entries.get(id)?;
    Some((world.pod(entry.uid)?.clone(), entry.clone()))
}

/// Shows one pod.
#[utoipa::path(
    get, path = "/v1/namespaces/{namespace}/pods/{name}", tag = "pods",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "the pod", body = PodView),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(api): State<Api>, PodPath(id): PodPath) -> Result<Json<PodView>, Problem> {
    let found = api.service.world(|world| {
        let (pod, entry) = find(world, &id)?;
        let pod = pod.live()?;
        let around = Around::of(world, pod, Standing::of(world, entry.uid));
        Some((pod.clone(), entry, around))
    });
    let (pod, entry, around) = found.ok_or_else(|| not_found(&id))?;
    let around = Around { limits: api.service.limits_in_force(&pod).await, ..around };
    let version = version_of(&api, pod.uid, &entry).await;
    let footing = Footing::of(&api.service, pod.spec.runtime);
    Ok(Json(PodView::new(&pod, &entry, version, &footing, around)))
}

/// The version of the record that an entry speaks of; none if it cannot be read now.
async fn version_of(api: &Api, uid: PodUid, entry: &Entry) -> Option<StreamVersion> {
    let (journal, last) = (api.service.journal().clone(), entry.last);
    let read = tokio::task::spawn_blocking(move || journal.read(last, 1)).await.ok()?.ok()?;
    read.first().filter(|record| record.header.stream == uid.stream()).map(|record| record.header.version)
}

/// The answer to whoever asks for a pod that is not there.
#[must_use]
pub fn not_found(id: &PodId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "pod-not-found", format!("there is no pod `{id}`"))
}

/// What a service refused to do with a pod; a pod that is not there is named.
#[must_use]
pub fn refusal(id: &PodId, error: ServiceError) -> Problem {
    named(id, error.into())
}

/// A problem with a pod that is not there named.
pub(super) fn named(id: &PodId, problem: Problem) -> Problem {
    match problem {
        problem if &*problem.code == "pod-not-found" => not_found(id),
        problem => problem,
    }
}

/// How a pod is to end.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EndParams {
    /// Seconds from the request to end until the kill; the pod's own if absent.
    grace_period_seconds: Option<u32>,
}

/// Removes a pod for good. The answer comes once that is on disk; the pod is gone when the feed says so.
#[utoipa::path(
    delete, path = "/v1/namespaces/{namespace}/pods/{name}", tag = "pods",
    params(("namespace" = String, Path), ("name" = String, Path), EndParams),
    responses(
        (status = 202, description = "on its way", body = AcceptedView),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    PodPath(id): PodPath,
    Params(params): Params<EndParams>,
    change: Change,
) -> Result<(StatusCode, Json<AcceptedView>), Problem> {
    let accepted = api.service.delete(&id, params.grace_period_seconds, change.by).await;
    let accepted = accepted.map_err(|error| refusal(&id, error))?;
    Ok((StatusCode::ACCEPTED, Json(accepted.into())))
}

/// Stops a pod's containers; the pod stays and can be started again.
#[utoipa::path(
    post, path = "/v1/namespaces/{namespace}/pods/{name}/stop", tag = "pods",
    params(("namespace" = String, Path), ("name" = String, Path), EndParams),
    responses((status = 202, description = "on its way", body = AcceptedView))
)]
pub(super) async fn stop(
    State(api): State<Api>,
    PodPath(id): PodPath,
    Params(params): Params<EndParams>,
    change: Change,
) -> Result<(StatusCode, Json<AcceptedView>), Problem> {
    let accepted = api.service.stop(&id, params.grace_period_seconds, change.by).await;
    let accepted = accepted.map_err(|error| refusal(&id, error))?;
    Ok((StatusCode::ACCEPTED, Json(accepted.into())))
}

/// Starts a pod that has stopped or failed.
#[utoipa::path(
    post, path = "/v1/namespaces/{namespace}/pods/{name}/start", tag = "pods",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 202, description = "on its way", body = AcceptedView))
)]
pub(super) async fn start(
    State(api): State<Api>,
    PodPath(id): PodPath,
    change: Change,
) -> Result<(StatusCode, Json<AcceptedView>), Problem> {
    let accepted = api.service.start(&id, change.by).await;
    let accepted = accepted.map_err(|error| named(&id, told(&api.service, error)))?;
    Ok((StatusCode::ACCEPTED, Json(accepted.into())))
}
