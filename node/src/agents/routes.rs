//! What agents may ask: the routes of `docs/agent-protocol.md`, behind the gate that knows whose agent asks.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use purser_actors::Service;
use purser_actors::pool::Called;
use purser_actors::port::MemberId;
use purser_actors::service::{self, AgentError};
use purser_events::pool::{TaskExit, TaskId, TaskReport, Token};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use uuid::Uuid;

use super::output::{OutputError, TaskOutputs};
use super::{Agents, member_of, orders};
use crate::agent::protocol::{
    At, Beat, Connect, Connected, Grip, Heartbeat, Held, KEPT_MAX, MESSAGE_LEN_MAX, OUTPUT_PIECE_LEN_MAX,
    Orders, OutputTaken, PROTOCOL, Poll, Progress, REQUEST_LEN_MAX, Report, SLOTS_MAX, WAIT_MS_MAX, code,
};
use crate::api::admission::{Gate, admit};
use crate::api::listen::stopped;
use crate::api::problem::Problem;
use crate::api::state::{self, By};

/// Time between two heartbeats, in milliseconds.
const HEARTBEAT_MS: u64 = 10_000;
/// After when an agent that has connected too often may try again, in milliseconds.
const TOO_OFTEN_MS: u64 = 5_000;
/// Longest release that an agent may name, in bytes.
const VERSION_LEN_MAX: usize = 64;

/// What the agents' routes work with.
#[derive(Clone)]
pub struct AgentsApi {
    /// The node.
    pub service: Service,
    /// What tasks print.
    pub outputs: TaskOutputs,
    /// The agents' place, which has the secrets of tasks.
    pub agents: Agents,
    /// Time within which the body of a request must have come.
    pub body_within: Duration,
    /// Turns true when the service goes down.
    pub stop: watch::Receiver<bool>,
}

/// The agents' routes behind their gate.
pub fn router(api: AgentsApi, passed: Arc<Gate>) -> Router {
    Router::new()
        .route("/v1/agent/sessions", post(connect))
        .route("/v1/agent/sessions/{session}", delete(leave))
        .route("/v1/agent/sessions/{session}/heartbeat", post(beat))
        .route("/v1/agent/sessions/{session}/orders", get(take_orders))
        .route("/v1/agent/sessions/{session}/reports", post(report))
        .route("/v1/agent/sessions/{session}/output/{task}/{token}", post(print))
        .fallback(no_such_route)
        .layer(axum::middleware::from_fn_with_state(passed, admit))
        .with_state(api)
}

async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    let detail = format!("`{path}` is no path for agents");
    Problem::new(StatusCode::NOT_FOUND, "no-such-route", detail)
}

/// An agent's request: whose agent, and on whose behalf what follows is recorded.
struct Agent {
    member: MemberId,
    by: service::Request,
}

impl<S: Send + Sync> FromRequestParts<S> for Agent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Agent, Problem> {
        let caller = By::of(parts);
        let member = member_of(&caller.principal);
        let member = member.expect("the gate lets nobody in here but agents");
        let by =
            service::Request { principal: caller.principal, correlation: caller.correlation, command: None };
        Ok(Agent { member, by })
    }
}

/// A body that is JSON of this type.
struct Message<T>(T);

impl<T: DeserializeOwned> FromRequest<AgentsApi> for Message<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &AgentsApi) -> Result<Message<T>, Problem> {
        let headers: HeaderMap = request.headers().clone();
        let body = state::read(request.into_body(), api.body_within).await?;
        check(body.len() <= REQUEST_LEN_MAX, || format!("a request may have {REQUEST_LEN_MAX} bytes"))?;
        Ok(Message(state::json(&headers, &body)?))
    }
}

/// The part of a path that is named, and the query.
struct Place<P, Q = ()>(P, Q);

impl<S: Send + Sync, P: DeserializeOwned + Send, Q: DeserializeOwned + Send> FromRequestParts<S>
    for Place<P, Q>
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Place<P, Q>, Problem> {
        let path = state::path(parts, state).await?;
        let query = Query::<Q>::from_request_parts(parts, state).await;
        let query = query.map_err(|error| Problem::bad_request("malformed-query", error.body_text()))?;
        Ok(Place(path, query.0))
    }
}

/// Refuses what is beyond a bound.
fn check(fits: bool, bound: impl FnOnce() -> String) -> Result<(), Problem> {
    if fits { Ok(()) } else { Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out-of-bounds", bound())) }
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Problem {
        let detail = error.to_string();
        match error {
            AgentError::SessionUnknown => Problem::new(StatusCode::GONE, code::SESSION_UNKNOWN, detail),
            // Whoever speaks for a member that is gone is to end as well.
            AgentError::SessionReplaced | AgentError::NoMember => {
                Problem::new(StatusCode::GONE, code::SESSION_REPLACED, detail)
            }
            AgentError::StaleToken => Problem::new(StatusCode::CONFLICT, code::STALE_TOKEN, detail),
            AgentError::TooOften => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-often", detail).retry_after(TOO_OFTEN_MS)
            }
            AgentError::Service(error) => error.into(),
        }
    }
}

/// What an agent has, and the tasks whose plans it keeps.
type Grips = (Vec<(TaskId, Token)>, Vec<TaskId>);

/// What an agent says that it has, within bounds.
fn grips(has: &[Held], keeps: &[Uuid]) -> Result<Grips, Problem> {
    let fits = has.len() <= SLOTS_MAX && keeps.len() <= KEPT_MAX;
    check(fits, || format!("an agent has at most {SLOTS_MAX} tasks and keeps at most {KEPT_MAX}"))?;
    let has = has.iter().map(|held| (TaskId(held.task), Token(held.token))).collect();
    Ok((has, keeps.iter().copied().map(TaskId).collect()))
}

fn dropped(drop: Vec<(TaskId, Token)>) -> Vec<Grip> {
    drop.into_iter().map(|(task, token)| Grip { task: task.0, token: token.0 }).collect()
}

fn forgotten(forget: Vec<TaskId>) -> Vec<Uuid> {
    forget.into_iter().map(|task| task.0).collect()
}

async fn connect(
    State(api): State<AgentsApi>,
    Agent { member, by }: Agent,
    Message(asked): Message<Connect>,
) -> Result<Json<Connected>, Problem> {
    let Connect { protocol, session, version, fresh, has, keeps } = asked;
    if protocol != PROTOCOL {
        let detail = format!("protocol {protocol} is not spoken here; this service speaks {PROTOCOL}");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code::UNSUPPORTED_PROTOCOL, detail));
    }
    let is_plain = version.len() <= VERSION_LEN_MAX && !version.chars().any(char::is_control);
    check(is_plain, || format!("`version` may have {VERSION_LEN_MAX} bytes and no control characters"))?;
    let (has, keeps) = grips(&has, &keeps)?;
    let called = Called { session, version, fresh, has, keeps };
    let standing = api.service.agent_connect(&member, called, by).await?;
    Ok(Json(Connected {
        pool: member.pool.to_string(),
        member: member.member,
        slots: standing.slots,
        heartbeat_ms: HEARTBEAT_MS,
        drop: dropped(standing.drop),
        forget: forgotten(standing.forget),
    }))
}

async fn leave(
    State(api): State<AgentsApi>,
    Agent { member, by }: Agent,
    Path(session): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    api.service.agent_leave(&member, session, by).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn beat(
    State(api): State<AgentsApi>,
    Agent { member, by }: Agent,
    Path(session): Path<Uuid>,
    Message(beat): Message<Heartbeat>,
) -> Result<Json<Beat>, Problem> {
    let Heartbeat { has, keeps, leaving } = beat;
    let (has, keeps) = grips(&has, &keeps)?;
    let standing = api.service.agent_beat(&member, session, (&has, &keeps), leaving, by).await?;
    Ok(Json(Beat { drop: dropped(standing.drop), forget: forgotten(standing.forget) }))
}

async fn take_orders(
    State(api): State<AgentsApi>,
    Agent { member, by }: Agent,
    Place(session, poll): Place<Uuid, Poll>,
) -> Result<Json<Orders>, Problem> {
    let wait = Duration::from_millis(poll.wait_ms.min(WAIT_MS_MAX));
    let mut stop = api.stop.clone();
    let orders = tokio::select! {
        orders = api.service.agent_orders(&member, session, poll.seen, wait) => orders,
        // Nobody is to wait for an answer that holds the service up.
        () = stopped(&mut stop) => api.service.agent_orders(&member, session, poll.seen, Duration::ZERO).await,
    };
    let (orders, unreadable) = orders::told(orders?, &api.agents).await;
    for (grip, message) in unreadable {
        // It has not begun: nothing of it is anywhere but on record, and there it ends.
        let report = TaskReport::Finished { exit: None, message, timed_out: false, cancelled: false };
        api.service.agent_report(&member, session, grip, report, by.clone()).await?;
    }
    Ok(Json(orders))
}

async fn report(
    State(api): State<AgentsApi>,
    Agent { member, by }: Agent,
    Path(session): Path<Uuid>,
    Message(Report { task, token, report }): Message<Report>,
) -> Result<StatusCode, Problem> {
    let fits = |text: &str| {
        check(text.len() <= MESSAGE_LEN_MAX, || format!("a text may have {MESSAGE_LEN_MAX} bytes"))
    };
    let report = match report {
        Progress::Started {} => TaskReport::Started,
        Progress::Planned { changes, summary } => {
            fits(&summary)?;
            TaskReport::Planned { changes, summary }
        }
        Progress::Finished { exit_code, signal, message, timed_out, cancelled } => {
            fits(&message)?;
            let exit = exit_code.map(TaskExit::Code).or(signal.map(TaskExit::Signal));
            TaskReport::Finished { exit, message, timed_out, cancelled }
        }
    };
    api.service.agent_report(&member, session, (TaskId(task), Token(token)), report, by).await?;
    Ok(StatusCode::OK)
}

async fn print(
    State(api): State<AgentsApi>,
    Agent { member, .. }: Agent,
    Place((session, task, token), at): Place<(Uuid, Uuid, u64), At>,
    body: Body,
) -> Result<Response, Problem> {
    let grip = (TaskId(task), Token(token));
    api.service.agent_prints(&member, session, grip)?;
    let bytes = state::read(body, api.body_within).await?;
    check(bytes.len() <= OUTPUT_PIECE_LEN_MAX, || format!("a piece may have {OUTPUT_PIECE_LEN_MAX} bytes"))?;
    let outputs = api.outputs.clone();
    let kept =
        tokio::task::spawn_blocking(move || outputs.keep(&member.pool, grip.0, grip.1, at.offset, &bytes));
    let kept = kept.await.map_err(|error| OutputError::Io(std::io::Error::other(error)));
    match kept.and_then(|kept| kept) {
        Ok(offset) => Ok(Json(OutputTaken { offset }).into_response()),
        Err(error @ OutputError::TooLong { .. }) => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code::OUTPUT_FULL, error.to_string()))
        }
        Err(OutputError::Io(error)) => {
            tracing::warn!(%task, %error, "failed to keep a task's output");
            let detail = "the output could not be kept; send it again";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "output-failed", detail).retry_after(1_000))
        }
    }
}
