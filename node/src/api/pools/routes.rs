//! Pools: set, list, show, remove, unfreeze.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use purser_actors::port::FieldError;
use purser_actors::service::Outcome;
use purser_events::ledger::tenant::Operation;
use purser_events::pool::{PoolName, PoolSpec};
use purser_events::{Timestamp, World};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::PoolAccepted;
use super::view::{PoolList, PoolView, all};
use crate::api::pods;
use crate::api::problem::Problem;
use crate::api::state::{Api, Change, Params, name_problem, path};
use crate::manifest;

/// The pool that a path names.
pub(in crate::api) struct PoolPath(pub(in crate::api) PoolName);

impl<S: Send + Sync> FromRequestParts<S> for PoolPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PoolPath, Problem> {
        let name: String = path(parts, state).await?;
        PoolName::new(name).map(PoolPath).map_err(|error| name_problem("pool", &error))
    }
}

/// How a pool is to be set.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SetParams {
    /// Only check the manifest; nothing is recorded.
    #[serde(default)]
    dry_run: bool,
    /// The namespace of a manifest that names none; `default` if this is absent too.
    namespace: Option<String>,
}

/// Sets a pool, given its manifest as JSON or YAML: makes it, or changes it into what the manifest says.
#[utoipa::path(
    put, path = "/v1/pools/{name}", tag = "pools", params(("name" = String, Path), SetParams),
    request_body(content((Object = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 200, description = "so it is, or the dry run found nothing wrong", body = PoolAccepted),
        (status = 201, description = "it was made", body = PoolAccepted),
        (status = 409, description = "refused", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "fields are wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn set(
    State(api): State<Api>,
    PoolPath(name): PoolPath,
    Params(params): Params<SetParams>,
    change: Change,
) -> Result<Response, Problem> {
    let spec = read(&api, &name, &change, params.namespace)?;
    let _permit = api.enter(&spec.namespace, Operation::Create)?;
    if params.dry_run {
        let outcome = prospect(&api.service.world(World::clone), &name, &spec);
        let seq = api.service.journal().head().seq.0;
        return Ok(
            Json(PoolAccepted { pool: name.to_string(), seq, outcome: outcome.to_owned() }).into_response()
        );
    }
    api.check_disk()?;
    let done = api.service.apply_pool(&name, spec, change.by).await?;
    let (status, outcome) = match done.outcome {
        Outcome::Created => (StatusCode::CREATED, "created"),
        Outcome::Resized | Outcome::Accepted => (StatusCode::OK, "changed"),
        Outcome::Unchanged => (StatusCode::OK, "unchanged"),
    };
    let view = PoolAccepted { pool: name.to_string(), seq: done.seq.0, outcome: outcome.to_owned() };
    Ok((status, Json(view)).into_response())
}

/// What a manifest says of the pool that the path names.
fn read(api: &Api, name: &PoolName, change: &Change, namespace: Option<String>) -> Result<PoolSpec, Problem> {
    let (document, defaults) = pods::document_of(api, change, namespace)?;
    let (named, spec) = manifest::pool_spec(document, &defaults)?;
    let mut errors = vec![];
    if named != *name {
        let message = format!("is {named}, and the path names {name}");
        errors.push(FieldError { path: "metadata.name".to_owned(), message });
    }
    errors.extend(api.service.check_pool(&spec));
    if errors.is_empty() { Ok(spec) } else { Err(Problem::invalid(errors.into_iter().map(Into::into))) }
}

/// What setting a pool would come to.
fn prospect(world: &World, name: &PoolName, spec: &PoolSpec) -> &'static str {
    match world.pools.get(name).and_then(|pool| pool.spec.as_deref()) {
        None => "created",
        Some(held) if held == spec => "unchanged",
        Some(_) => "changed",
    }
}

/// Lists the pools.
#[utoipa::path(
    get, path = "/v1/pools", tag = "pools",
    responses((status = 200, description = "the pools", body = PoolList))
)]
pub(in crate::api) async fn list(State(api): State<Api>) -> Json<PoolList> {
    // Views are made outside: whoever reads the world holds the writer up.
    let (seq, pools) = api.service.world(|world| (world.head, all(world)));
    let items = pools.iter().filter_map(|(name, pool)| PoolView::short(name, pool, seq)).collect();
    Json(PoolList { seq: seq.0, items })
}

/// Shows a pool: members with their slots, who waits, and the last decisions on the number of pods.
#[utoipa::path(
    get, path = "/v1/pools/{name}", tag = "pools", params(("name" = String, Path)),
    responses(
        (status = 200, description = "the pool", body = PoolView),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn show(
    State(api): State<Api>,
    PoolPath(name): PoolPath,
) -> Result<Json<PoolView>, Problem> {
    let found = api.service.world(|world| world.pools.get(&name).map(|pool| (world.head, pool.clone())));
    let view = found.and_then(|(seq, pool)| PoolView::whole(&name, &pool, seq, api.service.now()));
    view.map(Json).ok_or_else(|| not_found(&name))
}

fn not_found(name: &PoolName) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-pool", format!("there is no pool `{name}`"))
}

/// How a pool is to go.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveParams {
    /// End tasks that run or wait for their confirmation instead of waiting for them.
    #[serde(default)]
    force: bool,
}

/// Removes a pool. The answer comes once that is on disk; the pool goes when its running and planned tasks have ended.
#[utoipa::path(
    delete, path = "/v1/pools/{name}", tag = "pools", params(("name" = String, Path), RemoveParams),
    responses(
        (status = 202, description = "on its way", body = PoolAccepted),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn remove(
    State(api): State<Api>,
    PoolPath(name): PoolPath,
    Params(params): Params<RemoveParams>,
    change: Change,
) -> Result<(StatusCode, Json<PoolAccepted>), Problem> {
    let done = api.service.delete_pool(&name, params.force, change.by).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted(&name, done.seq.0))))
}

fn accepted(name: &PoolName, seq: u64) -> PoolAccepted {
    PoolAccepted { pool: name.to_string(), seq, outcome: "accepted".to_owned() }
}

/// For how long freeze windows are not to count: one of the two.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnfreezeRequest {
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// For so many milliseconds from now on.
    for_ms: Option<u64>,
}

/// Lifts the freeze of a pool for a while, of at most 31 days.
#[utoipa::path(
    post, path = "/v1/pools/{name}/unfreeze", tag = "pools", params(("name" = String, Path)),
    request_body = UnfreezeRequest,
    responses(
        (status = 200, description = "so it is", body = PoolAccepted),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn unfreeze(
    State(api): State<Api>,
    PoolPath(name): PoolPath,
    change: Change,
) -> Result<Json<PoolAccepted>, Problem> {
    let until = match change.required::<UnfreezeRequest>()? {
        UnfreezeRequest { until: Some(until), for_ms: None } => until,
        UnfreezeRequest { until: None, for_ms: Some(ms) } => api.service.now().plus_ms(ms),
        UnfreezeRequest { until: None, for_ms: None }
        | UnfreezeRequest { until: Some(_), for_ms: Some(_) } => {
            return Err(Problem::bad_request("malformed-body", "give one of `until` and `forMs`"));
        }
    };
    let done = api.service.unfreeze_pool(&name, until, change.by).await?;
    Ok(Json(accepted(&name, done.seq.0)))
}
