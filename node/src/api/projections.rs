//! The asynchronous projections: how they stand, and having their rows built again.
//!
//! That rows are built again is in the service's log and not in the journal: rows are a cache, no answer differs after
//! it, and what was true at a record must not depend on it. The store itself says that it was begun, so it is gone on
//! with after a kill.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use purser_events::Seq;
use purser_storage::projection::{GenerationStatus, ProjectionState};
use purser_storage::{ProjectionReader, ProjectionStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::history::unanswered;
use super::problem::Problem;
use super::state::{Api, By};

/// How a projection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionView {
    /// Its name.
    pub name: String,
    /// `building`, `following`, `rebuilding` or `paused`.
    pub state: String,
    /// Why it is paused, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Records that its answers do not hold yet.
    pub lag: u64,
    /// The rows that answer; absent before there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answering: Option<GenerationView>,
    /// The rows that are being built beside them, or for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<GenerationView>,
    /// The record that those must come to before they answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<u64>,
}

/// How far one generation of rows has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationView {
    /// Its number.
    pub generation: u32,
    /// Layout of its rows.
    pub layout: u32,
    /// The first record that it was made from.
    pub first: u64,
    /// The last record that it holds.
    pub cursor: u64,
    /// Records that concern it and could not be read.
    pub passed_over: u64,
}

/// The projections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionList {
    /// The journal's last record.
    pub seq: u64,
    /// The projections by name.
    pub items: Vec<ProjectionView>,
}

impl ProjectionView {
    /// A projection of a journal with this head.
    #[must_use]
    pub fn of(status: &ProjectionStatus, head: Seq) -> ProjectionView {
        ProjectionView {
            name: status.name.clone(),
            state: status.state().word().to_owned(),
            reason: status.paused.clone(),
            lag: status.lag(head),
            answering: status.answering.as_ref().map(GenerationView::from),
            building: status.building.as_ref().map(GenerationView::from),
            goal: status.building.map(|_| status.goal.0),
        }
    }

    /// Every projection of the node.
    pub(super) fn all(api: &Api) -> Vec<ProjectionView> {
        let journal = api.service.journal();
        let head = journal.head().seq;
        journal.projections().iter().map(|status| ProjectionView::of(status, head)).collect()
    }
}

impl From<&GenerationStatus> for GenerationView {
    fn from(status: &GenerationStatus) -> GenerationView {
        let GenerationStatus { number, layout, first, cursor, passed_over } = *status;
        GenerationView { generation: number, layout, first: first.0, cursor: cursor.0, passed_over }
    }
}

/// The projection of that name.
pub(super) fn running(api: &Api, name: &str) -> Result<ProjectionReader, Problem> {
    api.service.journal().projection(name).ok_or_else(|| {
        let known: Vec<String> = api.service.journal().projections().into_iter().map(|it| it.name).collect();
        let name: String = name.chars().take(64).collect();
        let detail = format!("there is no projection `{name}`; there is {}", known.join(", "));
        Problem::new(StatusCode::NOT_FOUND, "no-such-projection", detail)
    })
}

/// Shows how the projections stand.
#[utoipa::path(
    get, path = "/v1/projections", tag = "journal",
    responses((status = 200, description = "how they stand", body = ProjectionList))
)]
pub(super) async fn list(State(api): State<Api>) -> Json<ProjectionList> {
    let seq = api.service.journal().head().seq.0;
    Json(ProjectionList { seq, items: ProjectionView::all(&api) })
}

/// Has the rows of a projection built again, beside those that answer until the new ones can. A build that is under
/// way begins again; one that is paused goes on.
#[utoipa::path(
    post, path = "/v1/projections/{name}/rebuild", tag = "journal",
    params(("name" = String, Path, description = "the projection")),
    responses(
        (status = 202, description = "it has begun", body = ProjectionView),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rebuild(
    State(api): State<Api>,
    Path(name): Path<String>,
    By(caller): By,
) -> Result<(StatusCode, Json<ProjectionView>), Problem> {
    let projection = running(&api, &name)?;
    tracing::info!(projection = name, principal = %caller.principal, "a projection is asked to be built again");
    let status = projection.rebuild().await.map_err(unanswered)?;
    if status.state() == ProjectionState::Paused {
        let reason = status.paused.unwrap_or_default();
        let detail = format!("projection `{name}` is paused again: {reason}");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "projection-paused", detail));
    }
    let head = api.service.journal().head().seq;
    Ok((StatusCode::ACCEPTED, Json(ProjectionView::of(&status, head))))
}
