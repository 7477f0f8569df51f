//! HTTP over the service's socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use purser_actors::port::Ids;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use crate::adapter::clock::UuidV7;
use crate::api::caller::IDEMPOTENCY_KEY;
use crate::api::problem::{MEDIA_TYPE, Problem};
use crate::link::{self, Unanswered};

/// How long a request is made again when the service goes away in the middle of it: a restart takes less.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Wait between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Largest answer that is read as a whole, in bytes.
const ANSWER_LEN_MAX: usize = 256 << 20;

/// What a request carries.
pub(super) type Payload = BoxBody<Bytes, io::Error>;

/// The service behind its socket.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
}

/// A request that can be made again.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query, encoded.
    pub(super) target: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn get(target: impl Into<String>) -> Call {
        Call { method: Method::GET, target: target.into(), content_type: None, body: Bytes::new() }
    }

    pub(super) fn post(target: impl Into<String>) -> Call {
        Call { method: Method::POST, ..Call::get(target) }
    }

    pub(super) fn put(target: impl Into<String>) -> Call {
        Call { method: Method::PUT, ..Call::get(target) }
    }

    pub(super) fn patch(target: impl Into<String>) -> Call {
        Call { method: Method::PATCH, ..Call::get(target) }
    }

    pub(super) fn delete(target: impl Into<String>) -> Call {
        Call { method: Method::DELETE, ..Call::get(target) }
    }

    pub(super) fn json(self, body: &serde_json::Value) -> Call {
        Call { content_type: Some("application/json"), body: body.to_string().into(), ..self }
    }
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Client {
        Client { socket }
    }

    /// Asks, and gives the answer if it is a success.
    pub(super) async fn open(&self, call: &Call) -> Result<Response<Incoming>, Failure> {
        self.ask(call, None).await
    }

    /// Asks, and reads the answer as JSON.
    pub(super) async fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        parse(&whole(self.open(call).await?).await?)
    }

    /// Asks for a change under a key of its own. When the service goes away in the middle, asks again with the
    /// same key: the answer is then that of the first try, if that one got through.
    pub(super) async fn change<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        let key = UuidV7.uuid().to_string();
        let until = Instant::now() + RETRY_MAX;
        let mut reached = false;
        loop {
            let answer = match self.ask(call, Some(&key)).await {
                Ok(answer) => whole(answer).await,
                Err(failure) => Err(failure),
            };
            match answer {
                Ok(bytes) => return parse(&bytes),
                Err(failure @ Failure::Unreachable { .. }) if !reached => return Err(failure),
                Err(failure) if failure.is_passing() && Instant::now() < until => reached = true,
                Err(failure) => return Err(failure),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Sends a request whose body cannot be sent twice, and reads the answer as JSON.
    pub(super) async fn send_once<T: DeserializeOwned>(
        &self,
        request: Request<Payload>,
    ) -> Result<T, Failure> {
        parse(&whole(self.send(request).await?).await?)
    }

    async fn ask(&self, call: &Call, key: Option<&str>) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder().method(call.method.clone()).uri(&call.target);
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(content_type) = call.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request.body(Full::new(call.body.clone()).map_err(|never| match never {}).boxed());
        self.send(request.map_err(|error| Failure::Usage(error.to_string()))?).await
    }

    /// Sends a request as it is, and gives the answer if it is a success.
    pub(super) async fn send(&self, request: Request<Payload>) -> Result<Response<Incoming>, Failure> {
        let response = link::send(&self.socket, request).await.map_err(|why| match why {
            Unanswered::Unreachable(source) => Failure::Unreachable { socket: self.socket.clone(), source },
            Unanswered::Broken(error) => Failure::Broken(error.to_string()),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if media != Some(MEDIA_TYPE) {
            return Err(Failure::Senseless(format!("HTTP status {status}")));
        }
        Err(Failure::Refused(Box::new(parse::<Problem>(&whole(response).await?)?)))
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_LEN_MAX);
    let read = body.collect().await.map_err(|error| Failure::Broken(error.to_string()))?;
    Ok(read.to_bytes())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Senseless(error.to_string()))
}

/// Text as it may stand in a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A path with a query of those parameters that are there.
pub(super) fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let present = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let pairs: Vec<String> = present.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}
