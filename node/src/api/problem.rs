//! Failures as callers see them: `application/problem+json` (RFC 9457) with a code for programs and the
//! fields that are wrong.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use purser_actors::port::FieldError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ledger::shortage::ShortageView;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:purser:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Box<str>,
    /// The same for every problem of this code.
    #[schema(value_type = String)]
    pub title: Box<str>,
    /// The status of the answer.
    pub status: u16,
    /// What was wrong this time, and what to do about it.
    #[schema(value_type = String)]
    pub detail: Box<str>,
    /// A stable word for programs.
    #[schema(value_type = String)]
    pub code: Box<str>,
    /// The fields that are wrong, if the request had some.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<WrongField>)]
    pub errors: Box<[WrongField]>,
    /// All that there is too little of, if that is why.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<ShortageView>)]
    pub shortages: Box<[ShortageView]>,
    /// Milliseconds after which another try may succeed, if it is known.
    #[serde(rename = "retryAfterMs", default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A field that is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WrongField {
    /// Where, as in `spec.containers[0].image`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl From<FieldError> for WrongField {
    fn from(error: FieldError) -> WrongField {
        WrongField { path: error.path, message: error.message }
    }
}

impl Problem {
    /// A problem with its status, code and what was wrong this time.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:purser:problem:{code}").into(),
            title: title_of(code, status),
            status: status.as_u16(),
            detail: detail.into().into(),
            code: code.into(),
            errors: Box::default(),
            shortages: Box::default(),
            retry_after_ms: None,
        }
    }

    /// A request that cannot be understood.
    pub fn bad_request(code: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// A request with wrong fields.
    pub fn invalid(errors: impl IntoIterator<Item = WrongField>) -> Problem {
        let errors: Box<[WrongField]> = errors.into_iter().collect();
        let detail = match &*errors {
            [only] => format!("{}: {}", only.path, only.message),
            several => format!("{} fields are wrong", several.len()),
        };
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
    }

    /// The same problem with the time after which another try may succeed.
    #[must_use]
    pub fn retry_after(self, ms: u64) -> Problem {
        Problem { retry_after_ms: Some(ms), ..self }
    }
}

fn title_of(code: &str, status: StatusCode) -> Box<str> {
    let title = match code {
        "invalid" => "The manifest or request has fields that are wrong",
        "malformed-manifest" => "The manifest cannot be read",
        "malformed-body" => "The body cannot be read",
        "malformed-query" => "The query cannot be read",
        "malformed-header" => "A header cannot be read",
        "body-too-large" => "The body is too large",
        "body-too-slow" => "The body did not come in time",
        "unsupported-media-type" => "The body has a media type that is not taken here",
        "no-such-route" => "There is nothing at this path",
        "method-not-allowed" => "This path does not take this method",
        "rate-limited" => "The caller makes too many requests",
        "too-many-open-requests" => "Too many requests are open",
        "unauthorized" => "The bearer token is missing or unknown",
        "pod-not-found" => "There is no such pod",
        "spec-conflict" => "The pod exists with another specification",
        "being-deleted" => "The pod is being deleted",
        "pod-gone" => "The pod is gone",
        "cordoned" => "The node takes no new pods",
        "wrong-phase" => "The pod's state does not allow this",
        "no-such-container" => "The pod has no such container",
        "ambiguous-container" => "The pod has several containers and none was named",
        "container-not-running" => "The container does not run",
        "too-many-execs" => "Too many commands run in this pod",
        "key-reused" => "The Idempotency-Key was used for another request",
        "already-run" => "The command was begun under this Idempotency-Key before",
        "unmanaged" => "The node cannot act on this pod now",
        "stopping" => "The service is stopping",
        "busy" => "The service is busy",
        "command-not-found" => "The container has no such program",
        "exec-failed" => "The command could not be run",
        "no-log" => "There is no such log",
        "no-such-projection" => "There is no such projection",
        "being-built" => "The answer is being built",
        "not-caught-up" => "The answer does not hold the record yet",
        "projection-paused" => "The projection is paused",
        "journal-trimmed" => "The records are no longer here",
        "beyond-head" => "The record is beyond the journal's last one",
        "disk-full" => "The data folder's file system is almost full",
        "insufficient-resources" => "There is too little of what was asked for",
        "priority-too-high" => "The pod's priority is more than its tenant's pods may have",
        "queue-full" => "Too many pods wait for resources",
        "advice-failed" => "The recorded use cannot be read",
        "stale-token" => "The reservation is no longer the caller's",
        "reservation-exists" => "The reservation exists and is another",
        "bad-ttl" => "The time of the reservation is out of range",
        "too-many-reservations" => "There are too many reservations",
        "bad-limits" => "The limits cannot be put in force",
        "bad-tenant" => "The tenant cannot be taken",
        "bad-grace" => "The grace is out of range",
        "bad-priority" => "The bound of priorities is out of range",
        "bad-reason" => "The reason cannot be taken",
        "bad-namespace" => "The namespace is no tenant's name",
        "uncountable" => "More is asked for than can be counted",
        "no-images" => "The node has no runtime with images",
        "unusable-archive" => "The archive cannot be used",
        "runtime-unavailable" => "The runtime does not answer",
        "runtime-failed" => "The runtime failed",
        "spec-too-large" => "The specification is too large",
        _ => {
            let other =
                title_of_pools(code).or_else(|| title_of_gpus(code)).or_else(|| title_of_tenants(code));
            other.or(status.canonical_reason()).unwrap_or("The request failed")
        }
    };
    title.into()
}

/// The title that goes with a code of GPUs.
fn title_of_gpus(code: &str) -> Option<&'static str> {
    Some(match code {
        "gpu-not-found" => "There is no such GPU",
        "gpu-not-lost" => "The GPU is not gone",
        "gpu-still-named" => "The GPU is still named by the driver or the config",
        "gpu-still-held" => "Somebody has something of the GPU",
        "bad-gpu-policy" => "The policy of the GPUs cannot be put in force",
        _ => return None,
    })
}

/// The title that goes with a code of tenants, resources and reservations.
fn title_of_tenants(code: &str) -> Option<&'static str> {
    Some(match code {
        "namespace-taken" => "The namespace is another tenant's",
        "no-such-tenant" => "Nothing was set for the tenant",
        "no-such-resource" => "The node has no such resource",
        "no-such-reservation" => "There is no such reservation",
        "tenant-rate-limited" => "The tenant makes too many requests",
        "tenant-too-many-requests" => "The tenant has too many requests under way",
        _ => return None,
    })
}

/// The title that goes with a code of pools and tasks.
fn title_of_pools(code: &str) -> Option<&'static str> {
    Some(match code {
        "no-such-pool" => "There is no such pool",
        "pool-leaving" => "The pool is being removed",
        "bad-pool" => "The pool cannot be taken",
        "wrong-pool" => "The name is another pool's",
        "bad-task" => "The task cannot be taken",
        "task-exists" => "The task exists and is another",
        "no-such-task" => "There is no such task",
        "not-apply-pending" => "No plan of the task waits for a confirmation",
        "agent-away" => "The agent that has the plan is away",
        "task-over" => "The task has ended",
        "too-late" => "The confirmation came too late",
        "bad-until" => "The moment cannot be taken",
        _ => return None,
    })
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem has text keys");
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(ms) = self.retry_after_ms {
            // Whole seconds, rounded up: too early would be refused again.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
        }
        response
    }
}
