//! Tasks: submit, list, show, confirm, discard, cancel.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use purser_actors::port::Ids;
use purser_actors::service::{Outcome, Request, TaskAccepted as Done};
use purser_events::ledger::tenant::Operation;
use purser_events::pod::spec::EnvVar;
use purser_events::pool::{Pool, PoolName, SecretVar, Task, TaskId, TaskKind, TaskSpec, Workspace};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::TaskAccepted;
use super::routes::PoolPath;
use super::task_view::{TaskList, TaskView, find};
use crate::adapter::clock::UuidV7;
use crate::api::feed;
use crate::api::ledger::gate::DEFAULT_NAMESPACE;
use crate::api::problem::{Problem, WrongField};
use crate::api::state::{Api, Change, Params, path};

/// Tasks that are listed at most.
const LISTED_MAX: usize = 1_000;

/// The task that a path names.
pub(in crate::api) struct TaskPath(pub(in crate::api) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TaskPath, Problem> {
        let id: String = path(parts, state).await?;
        let id = Uuid::try_parse(&id);
        id.map(|id| TaskPath(TaskId(id)))
            .map_err(|_| Problem::bad_request("malformed-name", "a task's id is a uuid"))
    }
}

/// A task that is to be done.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskRequest {
    /// Its id, drawn by whoever submits it: submitted again it is the same task. The node draws one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<Uuid>,
    /// `plan`, `apply`, `plan_and_apply`, `drift_check` or `work`.
    #[serde(default = "work")]
    #[schema(value_type = String)]
    pub kind: TaskKind,
    /// What it is about: applies of one workspace come one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Who comes first: more before less.
    #[serde(default)]
    pub priority: i32,
    /// Program and arguments; of a plan with an apply, those of the plan.
    pub argv: Vec<String>,
    /// Program and arguments of the apply that follows a plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apply_argv: Vec<String>,
    /// Environment beside the agent's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Variables whose values are secrets of the pool's `secretRefs`: read on the node when the task begins, on no record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, SecretSource>,
    /// Where it runs; the agent's working folder if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// How long each phase may take, in seconds; as the pool says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// For people and filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Where the value of a variable is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSource {
    /// A secret that the pool's `secretRefs` name.
    pub secret: String,
    /// Which file of it; absent if the secret is one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

fn work() -> TaskKind {
    TaskKind::Work
}

impl TaskRequest {
    /// What is to be done. An id that is not given is that of the request's key, so that a retry means the same task.
    fn into_spec(self, by: &Request) -> Result<TaskSpec, Problem> {
        let workspace = self.workspace.as_deref().map(Workspace::new).transpose();
        let workspace = workspace.map_err(|error| {
            Problem::invalid([WrongField { path: "workspace".to_owned(), message: error.to_string() }])
        })?;
        let env = self.env.into_iter().map(|(name, value)| EnvVar { name, value });
        let secret = |(name, source): (String, SecretSource)| {
            let SecretSource { secret, key } = source;
            SecretVar { name, secret, key }
        };
        Ok(TaskSpec {
            id: TaskId(self.id.or(by.command.map(|key| key.id.0)).unwrap_or_else(|| UuidV7.uuid())),
            kind: self.kind,
            workspace,
            priority: self.priority,
            argv: self.argv,
            apply_argv: self.apply_argv,
            env: env.collect(),
            secrets: self.secret_env.into_iter().map(secret).collect(),
            working_dir: self.working_dir,
            timeout_s: self.timeout_seconds,
            labels: self.labels,
        })
    }
}

/// Gives a pool a task.
#[utoipa::path(
    post, path = "/v1/pools/{name}/tasks", tag = "tasks", params(("name" = String, Path)),
    request_body = TaskRequest,
    responses(
        (status = 201, description = "it is in the queue, or in a slot", body = TaskAccepted),
        (status = 200, description = "it was submitted before", body = TaskAccepted),
        (status = 404, description = "there is no such pool", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "refused", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "fields are wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn submit(
    State(api): State<Api>,
    PoolPath(pool): PoolPath,
    change: Change,
) -> Result<Response, Problem> {
    let spec = change.required::<TaskRequest>()?.into_spec(&change.by)?;
    let namespace = api.service.world(|world| {
        let pool = world.pools.get(&pool)?;
        pool.spec.as_ref().map(|spec| spec.namespace.clone())
    });
    // Whoever names a pool that is not there counts as one who names no namespace.
    let namespace = namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let _permit = api.enter(namespace, Operation::Create)?;
    api.check_disk()?;
    let done = api.service.submit_task(&pool, spec, change.by).await?;
    let is_new = done.of.outcome != Outcome::Unchanged;
    let (status, outcome) =
        if is_new { (StatusCode::CREATED, "created") } else { (StatusCode::OK, "unchanged") };
    Ok((status, Json(TaskAccepted { outcome: outcome.to_owned(), ..told(&api, done) })).into_response())
}

/// What became of a request about a task, and how far the task is after that.
fn told(api: &Api, done: Done) -> TaskAccepted {
    let Done { task, of } = done;
    let state = api.service.world(|world| {
        let found = world.pools.get(&of.pool).and_then(|pool| pool.task(task));
        found.map_or("forgotten", Task::word)
    });
    let outcome = if of.outcome == Outcome::Unchanged { "unchanged" } else { "accepted" };
    TaskAccepted {
        task: task.to_string(),
        pool: of.pool.to_string(),
        seq: of.seq.0,
        outcome: outcome.to_owned(),
        state: state.to_owned(),
    }
}

/// Which tasks to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only tasks of this pool.
    pool: Option<String>,
    /// Only tasks in this state, as in a task's `state`.
    state: Option<String>,
}

/// Lists tasks: those that have not ended, and the newest that have; at most 1,000, the newest first.
#[utoipa::path(
    get, path = "/v1/tasks", tag = "tasks", params(ListParams),
    responses((status = 200, description = "the tasks", body = TaskList))
)]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    Params(params): Params<ListParams>,
) -> Result<Json<TaskList>, Problem> {
    let (seq, pools) = api.service.world(|world| {
        let wanted = |name: &PoolName| params.pool.as_deref().is_none_or(|wanted| wanted == name.as_str());
        let pools: Vec<(PoolName, Pool)> = world
            .pools
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, pool)| (name.clone(), pool.clone()))
            .collect();
        (world.head, pools)
    });
    if let (Some(name), []) = (&params.pool, pools.as_slice()) {
        let detail = format!("there is no pool `{}`", crate::manifest::shown_key(name));
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-pool", detail));
    }
    let now = api.service.now();
    let mut items: Vec<TaskView> = pools
        .iter()
        .flat_map(|(name, pool)| pool.tasks.values().map(move |task| TaskView::of(name, pool, task, now)))
        .filter(|task| params.state.as_ref().is_none_or(|state| *state == task.state))
        .collect();
    items.sort_by(|one, other| (other.submitted_at, &other.id).cmp(&(one.submitted_at, &one.id)));
    let total = items.len() as u64;
    items.truncate(LISTED_MAX);
    Ok(Json(TaskList { seq: seq.0, total, items }))
}

/// Shows a task, with what is on record of it.
#[utoipa::path(
    get, path = "/v1/tasks/{id}", tag = "tasks", params(("id" = String, Path)),
    responses(
        (status = 200, description = "the task", body = TaskView),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn show(
    State(api): State<Api>,
    TaskPath(id): TaskPath,
) -> Result<Json<TaskView>, Problem> {
    let (name, pool) = api.service.world(|world| find(world, id)).ok_or_else(|| not_found(id))?;
    let task = pool.task(id).ok_or_else(|| not_found(id))?;
    let mut view = TaskView::of(&name, &pool, task, api.service.now());
    let (service, submitted_at) = (api.service.clone(), task.submitted_at);
    let read = tokio::task::spawn_blocking(move || service.task_records(&name, id, submitted_at)).await;
    let internal = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
    let records = read.map_err(|_| internal("the task's records were not read".to_owned()))?;
    let records = records.map_err(|error| internal(error.to_string()))?;
    view.history = records.iter().map(|record| feed::json(record, &record.event())).collect();
    Ok(Json(view))
}

/// The answer to whoever asks for a task that is not there.
#[must_use]
pub fn not_found(id: TaskId) -> Problem {
    let detail = format!(
        "there is no task `{id}`, or it ended so long ago that the node has forgotten it: ask the journal"
    );
    Problem::new(StatusCode::NOT_FOUND, "no-such-task", detail)
}

/// Has a planned change applied.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/confirm", tag = "tasks", params(("id" = String, Path)),
    responses(
        (status = 200, description = "so it is", body = TaskAccepted),
        (status = 409, description = "no plan of it waits", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn confirm(
    State(api): State<Api>,
    TaskPath(id): TaskPath,
    change: Change,
) -> Result<Json<TaskAccepted>, Problem> {
    let done = api.service.confirm_task(id, change.by).await?;
    Ok(Json(told(&api, done)))
}

/// Drops a planned change.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/discard", tag = "tasks", params(("id" = String, Path)),
    responses(
        (status = 200, description = "so it is", body = TaskAccepted),
        (status = 409, description = "no plan of it waits", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn discard(
    State(api): State<Api>,
    TaskPath(id): TaskPath,
    change: Change,
) -> Result<Json<TaskAccepted>, Problem> {
    let done = api.service.discard_task(id, change.by).await?;
    Ok(Json(told(&api, done)))
}

/// Ends a task: one that waits at once, one that runs once its agent has ended it.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path)),
    responses(
        (status = 200, description = "so it is, or will be", body = TaskAccepted),
        (status = 409, description = "it has ended already", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn cancel(
    State(api): State<Api>,
    TaskPath(id): TaskPath,
    change: Change,
) -> Result<Json<TaskAccepted>, Problem> {
    let done = api.service.cancel_task(id, change.by).await?;
    Ok(Json(told(&api, done)))
}
