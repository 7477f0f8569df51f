//! Commands in a container: output as lines of JSON while the command runs, its exit code at the end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use purser_actors::port::{ExecChunk, ExecIo, OutputStream};
use purser_actors::service::{self, Service, ServiceError};
use purser_events::{ContainerName, PodId};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use utoipa::{IntoParams, ToSchema};

use super::caller;
use super::pods::refusal;
use super::problem::Problem;
use super::state::{Api, By, Change, Params, PodPath, container_name, media_type, unsupported};

/// The media type of an answer: one JSON object a line.
pub const NDJSON: &str = "application/x-ndjson";

/// The media type of a body that is what the command reads.
const RAW: &str = "application/octet-stream";

/// Most arguments, the program included.
const ARGS_MAX: usize = 1_024;

/// Most bytes of all arguments.
const ARGS_BYTES_MAX: usize = 64 * 1024;

/// Pieces of output that wait for a slow reader before the command waits too.
const CHUNKS_MAX: usize = 16;

/// What is to be run.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Where; the pod's only container if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// What the command reads; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

/// What is to be run, when the body is what the command reads.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExecParams {
    /// With a body of `application/octet-stream`: where; the pod's only container if absent.
    container: Option<String>,
    /// With a body of `application/octet-stream`: program and arguments as a JSON array of strings.
    command: Option<String>,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ExecLine {
    /// A piece of output.
    Output {
        /// `stdout` or `stderr`.
        stream: String,
        /// The bytes in Base64.
        data: String,
    },
    /// The command ended: the last line.
    #[serde(rename_all = "camelCase")]
    Exited {
        /// Exit code, 128 + signal if a signal ended it.
        exit_code: u8,
    },
    /// The command could not be run, or it is not known how it ended: the last line.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// Runs a command in a running container. Answers with one JSON object a line: `{"stream","data"}` for output in
/// Base64, then `{"exitCode"}` or `{"error"}`. The command is killed when the connection closes.
///
/// With `application/json` the body says what to run. With `application/octet-stream` the query says it, and the
/// body, which may go on while output comes, is what the command reads.
#[utoipa::path(
    post, path = "/v1/namespaces/{namespace}/pods/{name}/exec", tag = "pods",
    params(("namespace" = String, Path), ("name" = String, Path), ExecParams),
    request_body(content((ExecRequest = "application/json"), (Vec<u8> = "application/octet-stream"))),
    responses((status = 200, description = "output and exit code", body = ExecLine, content_type = "application/x-ndjson"))
)]
pub(super) async fn exec(
    State(api): State<Api>,
    PodPath(id): PodPath,
    Params(params): Params<ExecParams>,
    request: Request,
) -> Result<Response, Problem> {
    let media = media_type(request.headers());
    let (order, by) = match media.as_str() {
        RAW => streamed(params, request)?,
        "" | "application/json" => given(&api, request).await?,
        other => return Err(unsupported(other, "application/json or application/octet-stream")),
    };
    check(&order.argv)?;
    begin(api.service, id, order, by).await
}

struct Order {
    container: Option<ContainerName>,
    argv: Vec<String>,
    stdin: Option<Pin<Box<dyn AsyncRead + Send>>>,
}

async fn given(api: &Api, request: Request) -> Result<(Order, service::Request), Problem> {
    let change = Change::from_request(request, api).await?;
    let asked: ExecRequest = change.json()?;
    let stdin = asked
        .stdin
        .map(|text| Box::pin(io::Cursor::new(text.into_bytes())) as Pin<Box<dyn AsyncRead + Send>>);
    let order = Order { container: container_name(asked.container)?, argv: asked.command, stdin };
    Ok((order, change.by))
}

fn streamed(params: ExecParams, request: Request) -> Result<(Order, service::Request), Problem> {
    let (parts, body) = request.into_parts();
    let caller = By::of(&parts);
    // What the command reads is not part of the key: it has not come yet.
    let key = caller::key(&caller.principal, &parts.headers, &parts.method, &parts.uri, &[])?;
    let command = key.map(|key| service::CommandKey { id: key.id, fingerprint: key.fingerprint });
    let by = service::Request { principal: caller.principal, correlation: caller.correlation, command };
    let wrong = || Problem::bad_request("malformed-query", "command: must be a JSON array of strings");
    let argv = serde_json::from_str(params.command.as_deref().unwrap_or_default()).map_err(|_| wrong())?;
    let read = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let order = Order { container: container_name(params.container)?, argv, stdin: Some(Box::pin(read)) };
    Ok((order, by))
}

fn check(argv: &[String]) -> Result<(), Problem> {
    let bytes: usize = argv.iter().map(String::len).sum();
    if argv.len() > ARGS_MAX || bytes > ARGS_BYTES_MAX {
        let detail = format!("a command has at most {ARGS_MAX} arguments and {ARGS_BYTES_MAX} bytes");
        return Err(Problem::bad_request("command-too-long", detail));
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err(Problem::bad_request("malformed-body", "an argument holds a zero byte"));
    }
    Ok(())
}

/// Starts the command. A refusal that comes before any output is an answer of its own; what comes later is a line.
async fn begin(service: Service, id: PodId, order: Order, by: service::Request) -> Result<Response, Problem> {
    let (output, mut chunks) = mpsc::channel(CHUNKS_MAX);
    let io = ExecIo { stdin: order.stdin, output };
    let pod = id.clone();
    let mut running: Running =
        Box::pin(async move { service.exec(&pod, order.container, order.argv, io, by).await });
    let first = tokio::select! {
        // Output that is there already comes first: nothing of a quick command is lost.
        biased;
        chunk = chunks.recv() => chunk,
        ended = running.as_mut() => return ended_quietly(&id, ended, chunks),
    };
    if first.is_none() {
        // Nothing can come any more, as when the command was refused: how it ended is the whole answer.
        let ended = running.await;
        return ended_quietly(&id, ended, chunks);
    }
    let stream = Lines { first, chunks, running: Some(running) };
    Ok(respond(Body::from_stream(stream)))
}

/// The answer for a command of which nothing was sent yet.
fn ended_quietly(
    id: &PodId,
    ended: Result<u8, ServiceError>,
    chunks: mpsc::Receiver<ExecChunk>,
) -> Result<Response, Problem> {
    let code = ended.map_err(|error| refusal(id, error))?;
    Ok(respond(Body::from(last_lines(chunks, code))))
}

type Running = Pin<Box<dyn Future<Output = Result<u8, ServiceError>> + Send>>;

fn last_lines(mut chunks: mpsc::Receiver<ExecChunk>, code: u8) -> Vec<u8> {
    let mut lines = Vec::new();
    while let Ok(chunk) = chunks.try_recv() {
        lines.extend_from_slice(&line(&output_line(&chunk)));
    }
    lines.extend_from_slice(&line(&ExecLine::Exited { exit_code: code }));
    lines
}

fn respond(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

/// The lines of an answer; dropping them drops the command, which kills it.
struct Lines {
    first: Option<ExecChunk>,
    chunks: mpsc::Receiver<ExecChunk>,
    /// None once the last line is out.
    running: Option<Running>,
}

impl futures_util::Stream for Lines {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(line(&output_line(&first)))));
        }
        if let Poll::Ready(Some(chunk)) = self.chunks.poll_recv(context) {
            return Poll::Ready(Some(Ok(line(&output_line(&chunk)))));
        }
        let Some(running) = &mut self.running else { return Poll::Ready(None) };
        let Poll::Ready(ended) = running.as_mut().poll(context) else { return Poll::Pending };
        // What was written between the two looks above comes before the end.
        let mut lines = Vec::new();
        while let Ok(chunk) = self.chunks.try_recv() {
            lines.extend_from_slice(&line(&output_line(&chunk)));
        }
        lines.extend_from_slice(&line(&match ended {
            Ok(exit_code) => ExecLine::Exited { exit_code },
            Err(error) => ExecLine::Failed { error: error.into() },
        }));
        self.running = None;
        Poll::Ready(Some(Ok(lines.into())))
    }
}

fn output_line(chunk: &ExecChunk) -> ExecLine {
    let stream = match chunk.stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    };
    ExecLine::Output { stream: stream.to_owned(), data: STANDARD.encode(&chunk.bytes) }
}

fn line(line: &ExecLine) -> Bytes {
    let mut bytes = serde_json::to_vec(line).expect("a line has text keys");
    bytes.push(b'\n');
    bytes.into()
}
