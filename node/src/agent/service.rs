//! The service as the agent sees it: its routes over its socket, with the member's token.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use super::protocol::{
    Beat, Connect, Connected, Grip, Heartbeat, Orders, OutputTaken, Progress, Report, SLOTS_MAX,
};
use crate::link::{self, Unanswered};

/// Longest that an answer may take that is not held back on purpose.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Largest answer, in bytes: each slot's order has at most 32 KiB of arguments and environment and 64 KiB of secrets, six
/// times that in JSON.
const ANSWER_LEN_MAX: usize = SLOTS_MAX * (6 * (96 << 10) + (16 << 10));

/// Longest token, in bytes.
const TOKEN_LEN_MAX: u64 = 4_096;

/// Longest path of a unix socket, in bytes: what the kernel takes.
const SOCKET_LEN_MAX: usize = 107;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the token at `{path}` cannot be read: {source}")]
    Token { path: PathBuf, source: io::Error },
    #[error("nobody answers at `{path}`: {source}")]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("the service went away in the middle: {0}")]
    Broken(String),
    #[error("the service has not answered in time")]
    Late,
    #[error("the service answered what makes no sense: {0}")]
    Senseless(String),
    #[error("the service refused ({status} {code}): {detail}")]
    Refused { status: StatusCode, code: String, detail: String },
}

impl Fault {
    /// Whether the service refused with this code.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Fault::Refused { code, .. } if code == wanted)
    }

    /// Whether the session must be begun anew before another try can succeed.
    pub(super) fn ends_session(&self) -> bool {
        matches!(self, Fault::Refused { status: StatusCode::GONE, .. })
    }

    /// Whether another try would be refused as well.
    pub(super) fn is_final(&self) -> bool {
        const PASSING: [StatusCode; 5] = [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::GONE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        matches!(self, Fault::Refused { status, .. } if status.is_client_error() && !PASSING.contains(status))
    }
}

/// What an agent reads of a problem.
#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

/// The routes of the service, for one session.
#[derive(Debug, Clone)]
pub(super) struct Service {
    socket: PathBuf,
    token: PathBuf,
    session: Uuid,
}

impl Service {
    pub(super) fn new(socket: PathBuf, token: PathBuf, session: Uuid) -> Service {
        Service { socket, token, session }
    }

    pub(super) async fn connect(&self, connect: &Connect) -> Result<Connected, Fault> {
        self.say(Method::POST, "/v1/agent/sessions".into(), connect).await
    }

    pub(super) async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Beat, Fault> {
        self.say(Method::POST, self.path("heartbeat"), heartbeat).await
    }

    /// Asks for orders; the answer may be held back for `wait` if nothing has changed since `seen`.
    pub(super) async fn orders(&self, wait: Duration, seen: u64) -> Result<Orders, Fault> {
        let target = self.path(&format!("orders?waitMs={}&seen={seen}", wait.as_millis()));
        self.ask(Method::GET, target, None, Bytes::new(), wait + ANSWER_MAX).await
    }

    pub(super) async fn report(&self, grip: Grip, progress: &Progress) -> Result<(), Fault> {
        let report = Report { task: grip.task, token: grip.token, report: progress.clone() };
        self.call(Method::POST, self.path("reports"), Some(JSON), body_of(&report), ANSWER_MAX)
            .await
            .map(drop)
    }

    pub(super) async fn output(&self, grip: Grip, offset: u64, piece: Bytes) -> Result<OutputTaken, Fault> {
        let target = self.path(&format!("output/{}/{}?offset={offset}", grip.task, grip.token));
        self.ask(Method::POST, target, Some("application/octet-stream"), piece, ANSWER_MAX).await
    }

    pub(super) async fn leave(&self) -> Result<(), Fault> {
        let target = format!("/v1/agent/sessions/{}", self.session);
        self.call(Method::DELETE, target, None, Bytes::new(), ANSWER_MAX).await.map(drop)
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/agent/sessions/{}/{rest}", self.session)
    }

    async fn say<T: DeserializeOwned>(
        &self,
        method: Method,
        target: String,
        message: &impl Serialize,
    ) -> Result<T, Fault> {
        self.ask(method, target, Some(JSON), body_of(message), ANSWER_MAX).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: String,
        media: Option<&'static str>,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, Fault> {
        let answer = self.call(method, target, media, body, limit).await?;
        serde_json::from_slice(&answer).map_err(|error| Fault::Senseless(error.to_string()))
    }

    async fn call(
        &self,
        method: Method,
        target: String,
        media: Option<&'static str>,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Fault> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(media) = media {
            request = request.header(CONTENT_TYPE, media);
        }
        let request = request.header(AUTHORIZATION, self.bearer()?).body(Full::new(body));
        let request = request.map_err(|error| Fault::Senseless(error.to_string()))?;
        timeout(limit, self.exchange(request)).await.map_err(|_| Fault::Late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Fault> {
        let unreachable = |source| Fault::Unreachable { path: self.socket.clone(), source };
        let (_folder, path) = short(&self.socket).map_err(unreachable)?;
        let response = link::send(&path, request).await.map_err(|why| match why {
            Unanswered::Unreachable(source) => unreachable(source),
            Unanswered::Broken(error) => Fault::Broken(error.to_string()),
        })?;
        let status = response.status();
        let body = whole(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        // Whatever answers so, it refuses.
        let said: Said = serde_json::from_slice(&body).unwrap_or_default();
        Err(Fault::Refused { status, code: said.code, detail: said.detail })
    }

    /// The token, read anew each time: it is made before the agent runs, and again if its key is.
    fn bearer(&self) -> Result<HeaderValue, Fault> {
        let unreadable = |source| Fault::Token { path: self.token.clone(), source };
        let mut text = String::new();
        let file = File::open(&self.token).map_err(unreadable)?;
        file.take(TOKEN_LEN_MAX).read_to_string(&mut text).map_err(unreadable)?;
        let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
        // The cause would quote nothing, but neither does it help.
        let mut value = value.map_err(|_| unreadable(io::ErrorKind::InvalidData.into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

const JSON: &str = "application/json";

fn body_of(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message).expect("messages have text keys").into()
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Fault> {
    let body = Limited::new(response.into_body(), ANSWER_LEN_MAX);
    Ok(body.collect().await.map_err(|error| Fault::Broken(error.to_string()))?.to_bytes())
}

/// A path of the socket that the kernel takes, with what must stay open meanwhile.
fn short(socket: &Path) -> io::Result<(Option<File>, PathBuf)> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Ok((None, socket.to_path_buf()));
    };
    if socket.as_os_str().len() <= SOCKET_LEN_MAX {
        return Ok((None, socket.to_path_buf()));
    }
    let folder = File::open(folder)?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((Some(folder), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_deep_down_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("d".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        let socket = folder.join("agent.sock");
        let (_there, path) = short(&socket).unwrap();
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let (_here, path) = short(&socket).unwrap();
        let (reached, taken) = tokio::join!(tokio::net::UnixStream::connect(path), listener.accept());
        assert!(reached.is_ok() && taken.is_ok());
    }

    #[tokio::test]
    async fn a_missing_token_is_named_and_a_bad_one_is_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        let service = Service::new(dir.path().join("agent.sock"), token.clone(), Uuid::nil());
        let missing = service.leave().await.unwrap_err().to_string();
        assert!(missing.contains("token") && missing.contains("No such file"), "{missing}");
        std::fs::write(&token, "hunter2\nhunter3").unwrap();
        let bad = service.leave().await.unwrap_err();
        assert!(matches!(bad, Fault::Token { .. }) && !bad.to_string().contains("hunter"), "{bad}");
        std::fs::write(&token, "hunter2\n").unwrap();
        assert!(matches!(service.leave().await, Err(Fault::Unreachable { .. })));
    }
}
