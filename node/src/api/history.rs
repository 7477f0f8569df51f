//! The history of pods: what became of every incarnation that the journal knows.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use purser_actors::history::{self, HistoryPage, HistoryQuery};
use purser_events::view::{Incarnation, PastContainer};
use purser_events::{Principal, Seq, Timestamp};
use purser_storage::projection::ReadError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::projections::running;
use super::state::{Api, Params};

/// Incarnations in an answer where the request does not say.
const LIMIT_DEFAULT: usize = 100;

/// Most incarnations in one answer.
pub const LIMIT_MAX: usize = 500;

/// How long a request waits for the record that it wants in its answer.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Which incarnations to show.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryParams {
    /// Only pods of this namespace.
    namespace: Option<String>,
    /// Only pods of this name.
    name: Option<String>,
    /// Only pods that were admitted on behalf of this principal, as in `uid:0` or `token:ci`.
    principal: Option<String>,
    /// Only pods that had not ended before this moment (RFC 3339).
    since: Option<String>,
    /// Only pods that had been admitted by this moment (RFC 3339).
    until: Option<String>,
    /// How many, from 1 to 500; 100 if absent.
    limit: Option<usize>,
    /// Where the answer before went no further, as it says.
    #[serde(rename = "continue")]
    token: Option<String>,
    /// Wait, for up to 5 s, until the answer holds this record; `head` stands for the journal's last one.
    at_least: Option<String>,
}

/// Incarnations of pods, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryList {
    /// Everything up to this record is in the answer.
    pub as_of: u64,
    /// The first record that the history was made from: of what ended before it, nothing is known here.
    pub first: u64,
    /// The incarnations.
    pub items: Vec<HistoryItem>,
    /// What to ask for as `continue` to go on; absent at the end. A page may be short, or empty, before that.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What became of one incarnation of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// Which incarnation it is.
    pub uid: String,
    /// The pod's namespace; absent if the record of its admission is not known.
    pub namespace: Option<String>,
    /// The pod's name; absent if the record of its admission is not known.
    pub name: Option<String>,
    /// Its state: `Terminated` once it is gone.
    pub phase: String,
    /// How it came to rest last: `Completed`, `Stopped`, `Failed` or `Removed`.
    pub result: Option<String>,
    /// When it was admitted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub admitted_at: Option<Timestamp>,
    /// On whose behalf it was admitted.
    pub admitted_by: Option<String>,
    /// When every container of its last run had been started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When nothing of it ran any more.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// On whose behalf it was last asked to stop or to go.
    pub ended_by: Option<String>,
    /// Runs so far; `start` after a stop begins another.
    pub runs: u32,
    /// Restarts of its containers in all.
    pub restarts: u32,
    /// Exit code of the container that ended last.
    pub exit_code: Option<u8>,
    /// What that exit means.
    pub exit_reason: Option<String>,
    /// Its containers, init containers first.
    pub containers: Vec<HistoryContainer>,
    /// The first record that is known of it.
    pub first: u64,
    /// The last record that is known of it.
    pub last: u64,
    /// Records of it that could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u32,
}

/// What became of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryContainer {
    /// Its name.
    pub name: String,
    /// Its image, the beginning of it if it is long.
    pub image: Option<String>,
    /// The first word of its command.
    pub program: Option<String>,
    /// Times that it was started again after it had ended.
    pub restarts: u32,
    /// Its last exit code.
    pub exit_code: Option<u8>,
    /// What that exit means.
    pub exit_reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it asks about by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<&Incarnation> for HistoryItem {
    fn from(pod: &Incarnation) -> HistoryItem {
        let exit = pod.last_exit().map(|(_, exit)| exit);
        HistoryItem {
            uid: pod.uid.to_string(),
            namespace: pod.id.as_ref().map(|id| id.namespace().to_owned()),
            name: pod.id.as_ref().map(|id| id.name().to_owned()),
            phase: pod.phase.clone().into_owned(),
            result: pod.result.map(|result| result.word().to_owned()),
            admitted_at: pod.admitted_at,
            admitted_by: pod.admitted_by.as_ref().map(ToString::to_string),
            started_at: pod.started_at,
            ended_at: pod.ended_at,
            ended_by: pod.ended_by.as_ref().map(ToString::to_string),
            runs: pod.runs,
            restarts: pod.restarts(),
            exit_code: exit.map(|exit| exit.code),
            exit_reason: exit.map(|exit| exit.reason.word().to_owned()),
            containers: pod.containers.iter().map(HistoryContainer::from).collect(),
            first: pod.first.0,
            last: pod.last.0,
            unreadable: pod.unreadable,
        }
    }
}

impl From<&PastContainer> for HistoryContainer {
    fn from(container: &PastContainer) -> HistoryContainer {
        HistoryContainer {
            name: container.name.to_string(),
            image: container.image.clone(),
            program: container.program.clone(),
            restarts: container.restarts,
            exit_code: container.last_exit.map(|exit| exit.code),
            exit_reason: container.last_exit.map(|exit| exit.reason.word().to_owned()),
        }
    }
}

/// Shows what became of pods, also of those that are long gone.
#[utoipa::path(
    get, path = "/v1/history", tag = "journal", params(HistoryParams),
    responses(
        (status = 200, description = "the incarnations", body = HistoryList),
        (status = 503, description = "not yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn history(
    State(api): State<Api>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<HistoryList>, Problem> {
    let rows = running(&api, history::NAME)?;
    let head = api.service.journal().head().seq;
    let at_least = params.at_least.as_deref().map(|text| record(text, head)).transpose()?;
    let query = query_of(params)?;
    if let Some(seq) = at_least {
        match tokio::time::timeout(WAIT_MAX, rows.at_least(seq)).await {
            Ok(waited) => waited.map_err(unanswered)?,
            // What is being built says so itself.
            Err(_) if rows.status().answering.is_none() => {}
            Err(_) => {
                let cursor = rows.status().cursor();
                let detail = format!("the history has come to record {cursor}, not yet to record {seq}");
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-caught-up", detail);
                return Err(problem.retry_after(1_000));
            }
        }
    }
    let read = tokio::task::spawn_blocking(move || history::list(&rows, &query)).await;
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the history was not read");
    let HistoryPage { items, next, as_of, first } = read.map_err(failed)?.map_err(unanswered)?;
    let first = first.max(api.service.journal().before().seq.next());
    Ok(Json(HistoryList {
        as_of: as_of.0,
        first: first.0,
        items: items.iter().map(HistoryItem::from).collect(),
        token: next.map(|seq| seq.to_string()),
    }))
}

fn query_of(params: HistoryParams) -> Result<HistoryQuery, Problem> {
    let moment = |name: &str, text: Option<String>| {
        let wrong = |text: &str| {
            malformed(format!("`{name}` must be a moment as in 2026-01-31T12:00:00Z, not `{text}`"))
        };
        text.map(|text| text.parse::<Timestamp>().map_err(|_| wrong(&text))).transpose()
    };
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(malformed(format!("`limit` must be from 1 to {LIMIT_MAX}, not {limit}")));
    }
    let wrong_token = || malformed("`continue` must be what the answer before gave under that name");
    let before = params.token.map(|text| text.parse().map(Seq).map_err(|_| wrong_token())).transpose()?;
    let wrong_principal = || malformed("`principal` must be as in `uid:0` or `token:name`");
    let principal =
        params.principal.map(|text| Principal::exactly(&text).ok_or_else(wrong_principal)).transpose()?;
    Ok(HistoryQuery {
        namespace: params.namespace,
        name: params.name,
        principal,
        since: moment("since", params.since)?,
        until: moment("until", params.until)?,
        before,
        limit,
    })
}

/// The record that an answer is to hold.
fn record(text: &str, head: Seq) -> Result<Seq, Problem> {
    if text == "head" {
        return Ok(head);
    }
    let seq = text.parse().map(Seq);
    let seq = seq.map_err(|_| malformed("`atLeast` must be a sequence number or `head`"))?;
    if seq > head {
        return Err(malformed(format!("`atLeast` is {seq}, but the journal's last record is {head}")));
    }
    Ok(seq)
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::bad_request("malformed-query", detail)
}

/// Why a projection gave no answer, as callers see it.
pub(super) fn unanswered(error: ReadError) -> Problem {
    let detail = error.to_string();
    let unavailable = |code| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail.clone());
    match error {
        ReadError::BeingBuilt { .. } => unavailable("being-built").retry_after(1_000),
        ReadError::Paused { .. } => unavailable("projection-paused"),
        ReadError::Closed => unavailable("stopping").retry_after(1_000),
        ReadError::Rows(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the rows of a projection cannot be read"
            );
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_checked_by_name() {
        let wrong = [
            (HistoryParams { limit: Some(0), ..HistoryParams::default() }, "`limit`"),
            (HistoryParams { limit: Some(LIMIT_MAX + 1), ..HistoryParams::default() }, "`limit`"),
            (HistoryParams { since: Some("yesterday".to_owned()), ..HistoryParams::default() }, "`since`"),
            (HistoryParams { until: Some(String::new()), ..HistoryParams::default() }, "`until`"),
            (HistoryParams { token: Some("x".to_owned()), ..HistoryParams::default() }, "`continue`"),
            (HistoryParams { principal: Some("a\nb".to_owned()), ..HistoryParams::default() }, "`principal`"),
        ];
        for (params, field) in wrong {
            let problem = query_of(params).unwrap_err();
            assert!(problem.detail.starts_with(field), "{problem:?}");
            assert_eq!((problem.status, &*problem.code), (400, "malformed-query"));
        }
        assert_eq!(query_of(HistoryParams::default()).unwrap().limit, LIMIT_DEFAULT);
        assert_eq!(record("head", Seq(7)).unwrap(), Seq(7));
        assert_eq!(record("7", Seq(7)).unwrap(), Seq(7));
        for text in ["8", "-1", "tail"] {
            assert!(record(text, Seq(7)).unwrap_err().detail.starts_with("`atLeast`"));
        }
    }
}
