//! What handlers work with, and how they read requests: every failure to read one is a [`Problem`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use purser_actors::port::RuntimeError;
use purser_actors::service::{self, Service, ServiceError};
use purser_events::pod::event::FailureClass;
use purser_events::{ContainerName, NameError, PodId, Timestamp};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::caller::{self, Caller};
use super::images::load_problem;
use super::ledger::allowance::Allowances;
use super::problem::Problem;
use crate::adapter::cdi::Cdi;
use crate::config::Config;
use crate::metrics::Exposition;

/// Largest body that is read, in bytes.
pub const BODY_LEN_MAX: usize = 256 * 1024;

/// What every handler works with.
#[derive(Clone)]
pub struct Api {
    /// The node.
    pub service: Service,
    /// The config in effect.
    pub config: Arc<Config>,
    /// How often each tenant may ask.
    pub allowances: Arc<Allowances>,
    /// How devices of containers are described; none where nobody is given any by that.
    pub cdi: Option<Arc<Cdi>>,
    /// What `/metrics` shows.
    pub exposition: Exposition,
    /// When the service was started.
    pub started_at: Timestamp,
    /// Turns true when the service goes down: streams end then.
    pub stop: watch::Receiver<bool>,
}

impl Api {
    /// Refuses what would need more disk than is left.
    ///
    /// # Errors
    /// The data folder's file system has less room than `free-disk-min-bytes`.
    pub fn check_disk(&self) -> Result<(), Problem> {
        let floor = self.config.free_disk_min_bytes;
        let Ok(stat) = nix::sys::statvfs::statvfs(&self.config.data_dir) else { return Ok(()) };
        // The types differ between platforms; on all of them they fit.
        let free = u128::from(stat.blocks_available()) * u128::from(stat.fragment_size());
        if u128::from(floor) <= free {
            return Ok(());
        }
        let detail = format!(
            "the file system of the node's data has {free} bytes left; nothing new is taken below {floor} \
             (`free-disk-min-bytes`)"
        );
        Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", detail))
    }
}

/// The pod that a path names.
pub struct PodPath(pub PodId);

impl<S: Send + Sync> FromRequestParts<S> for PodPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PodPath, Problem> {
        let (namespace, name): (String, String) = path(parts, state).await?;
        PodId::new(namespace, name).map(PodPath).map_err(|error| name_problem("name or namespace", &error))
    }
}

/// What stands at the places of a path that are named.
///
/// # Errors
/// It is not encoded as a path is.
pub async fn path<S: Send + Sync, T: DeserializeOwned + Send>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, Problem> {
    let Path(path) = Path::<T>::from_request_parts(parts, state)
        .await
        .map_err(|error| Problem::bad_request("malformed-path", error.body_text()))?;
    Ok(path)
}

/// A name in a request that is not well formed.
#[must_use]
pub fn name_problem(what: &str, error: &NameError) -> Problem {
    Problem::bad_request("malformed-name", format!("{what} {error}"))
}

/// The query of a request; an unknown parameter is refused by its type.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Problem> {
        let malformed = |error: QueryRejection| Problem::bad_request("malformed-query", cause_of(&error));
        Query::from_request_parts(parts, state).await.map(|Query(params)| Params(params)).map_err(malformed)
    }
}

/// What a rejection says at its root: the layers above only repeat each other.
fn cause_of(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Who asks, put there by the gate.
pub struct By(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<By, Problem> {
        Ok(By(By::of(parts)))
    }
}

impl By {
    /// Who asks.
    #[must_use]
    pub fn of(parts: &Parts) -> Caller {
        parts.extensions.get::<Caller>().cloned().expect("the gate is layered around every route")
    }
}

/// A request that changes something: who asks, whether it is a retry, and its body.
pub struct Change {
    /// On whose behalf, and the key of a retry.
    pub by: service::Request,
    /// The body.
    pub body: Bytes,
    /// The headers.
    pub headers: HeaderMap,
}

impl FromRequest<Api> for Change {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Change, Problem> {
        let (mut parts, body) = request.into_parts();
        let By(caller) = By::from_request_parts(&mut parts, api).await?;
        let within = Duration::from_millis(api.config.api.head_timeout_ms.get());
        let body = read(body, within).await?;
        let key = caller::key(&caller.principal, &parts.headers, &parts.method, &parts.uri, &body)?;
        let command = key.map(|key| service::CommandKey { id: key.id, fingerprint: key.fingerprint });
        let by = service::Request { principal: caller.principal, correlation: caller.correlation, command };
        Ok(Change { by, body, headers: parts.headers })
    }
}

impl Change {
    /// The body as JSON of this type, which must be there.
    ///
    /// # Errors
    /// There is no body, or it is not JSON, or not of this type.
    pub fn required<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        json(&self.headers, &self.body)
    }

    /// The body as JSON of this type; the default if there is no body.
    ///
    /// # Errors
    /// The body is not JSON, or not of this type.
    pub fn json<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        json(&self.headers, &self.body)
    }
}

/// Reads JSON of a type, naming the field that is wrong.
///
/// # Errors
/// The media type is another, the text is not JSON, or a field is wrong.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    let media = media_type(headers);
    if !matches!(media.as_str(), "" | "application/json") {
        return Err(unsupported(&media, "application/json"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        Problem::bad_request("malformed-body", format!("{path}: {}", error.into_inner()))
    })?;
    reader.end().map_err(|error| Problem::bad_request("malformed-body", error.to_string()))?;
    Ok(value)
}

/// The media type of a body without its parameters, in lower case; empty if there is none.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(axum::http::header::CONTENT_TYPE);
    // One that is no text is none that is taken anywhere.
    let value = value.map_or("", |value| value.to_str().unwrap_or("?"));
    let media = value.split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

/// A body of a media type that is not taken.
#[must_use]
pub fn unsupported(media: &str, taken: &str) -> Problem {
    let detail = format!("`{media}` is not taken here; send {taken}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
}

/// Reads a body whole.
///
/// # Errors
/// It is too large, ends early or does not come in time.
pub async fn read(body: Body, within: Duration) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("at most {BODY_LEN_MAX} bytes are read");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    };
    // One that says its length is not asked to go on.
    if (BODY_LEN_MAX as u64) < body.size_hint().lower() {
        return Err(too_large());
    }
    // A body that trickles in would hold its place among the open requests for ever.
    match tokio::time::timeout(within, Limited::new(body, BODY_LEN_MAX).collect()).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::bad_request("malformed-body", "the body ended early")),
        Err(_) => {
            let detail = "the body did not come within `api.head-timeout-ms`";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail))
        }
    }
}

/// A container's name in a request, checked.
///
/// # Errors
/// It is not well formed.
pub fn container_name(name: Option<String>) -> Result<Option<ContainerName>, Problem> {
    let checked = name.map(ContainerName::new).transpose();
    checked.map_err(|error| name_problem("container", &error))
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Problem {
        let detail = error.to_string();
        match error {
            ServiceError::Pod(rejection) => {
                Problem::new(status_of(rejection.code()), rejection.code(), detail)
            }
            ServiceError::Node(rejection) => {
                Problem::new(status_of(rejection.code()), rejection.code(), detail)
            }
            ServiceError::Ledger(rejection) => {
                Problem::new(status_of(rejection.code()), rejection.code(), detail)
            }
            ServiceError::Gpu(rejection) => {
                Problem::new(status_of(rejection.code()), rejection.code(), detail)
            }
            ServiceError::Pool(rejection) => {
                Problem::new(status_of(rejection.code()), rejection.code(), detail)
            }
            ServiceError::Invalid(errors) => Problem::invalid(errors.into_iter().map(Into::into)),
            ServiceError::KeyReused => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail),
            ServiceError::Busy { retry_after_ms } => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).retry_after(retry_after_ms)
            }
            ServiceError::NoRoom { .. } => {
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", detail)
            }
            ServiceError::Stopping => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail).retry_after(1_000)
            }
            ServiceError::Exec(error) => {
                let code = if names_no_program(&error) { "command-not-found" } else { "exec-failed" };
                // The runtime says what it could not do.
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, error.to_string())
            }
            ServiceError::AlreadyRun => Problem::new(StatusCode::CONFLICT, "already-run", detail),
            ServiceError::NoImages => Problem::new(StatusCode::CONFLICT, "no-images", detail),
            ServiceError::Image(error) => load_problem(error),
            ServiceError::SpecTooLarge { .. } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "spec-too-large", detail)
            }
        }
    }
}

/// Whether a command could not be run because there is no such program. A runtime says it in words only: runc, the
/// process runtime, and the system behind both.
fn names_no_program(error: &RuntimeError) -> bool {
    const WORDS: [&str; 4] = [
        "executable file not found",
        "was not found in PATH",
        "no such file or directory",
        "No such file or directory",
    ];
    error.class == FailureClass::Invalid && WORDS.iter().any(|words| error.message.contains(words))
}

/// The status that goes with the code of a refusal.
fn status_of(code: &str) -> StatusCode {
    match code {
        "pod-not-found" | "no-such-container" | "no-such-exec" | "no-such-tenant" | "no-such-resource"
        | "gpu-not-found" | "no-such-pool" | "no-such-task" | "no-such-member" => StatusCode::NOT_FOUND,
        "pod-gone" => StatusCode::GONE,
        "ambiguous-container" | "empty-command" | "reason-too-long" => StatusCode::BAD_REQUEST,
        "too-many-execs" | "queue-full" | "too-many-reservations" => StatusCode::TOO_MANY_REQUESTS,
        "bad-ttl" | "bad-limits" | "bad-tenant" | "bad-grace" | "bad-priority" | "bad-reason"
        | "bad-namespace" | "bad-resize" | "uncountable" | "bad-gpu-policy" | "bad-pool" | "bad-task"
        | "bad-until" | "bad-digest" => StatusCode::UNPROCESSABLE_ENTITY,
        "node-not-started" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}
