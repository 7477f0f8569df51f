//! `purser exec`.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::exec::ExecLine;
use crate::cli::arguments::Exec;
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::name;

/// Pieces of input that wait to be sent.
const CHUNKS_MAX: usize = 4;

/// Longest line of an answer, in bytes: a piece of output has 64 KiB at most.
const LINE_LEN_MAX: usize = 1 << 20;

/// Runs a command in a container and ends with its exit code; 127 if there is no such program, 126 if it cannot be
/// run.
pub(in crate::cli) async fn run(client: &Client, namespace: Option<&str>, exec: Exec) -> Result<u8, Failure> {
    match send(client, namespace, exec).await {
        Err(failure) => match code_of_unrun(&failure) {
            Some(code) => {
                eprintln!("{}", failure.sentence());
                Ok(code)
            }
            None => Err(failure),
        },
        ended => ended,
    }
}

async fn send(client: &Client, namespace: Option<&str>, exec: Exec) -> Result<u8, Failure> {
    if exec.tty {
        let message = "there are no terminals (-t) yet; leave it out, -i alone passes standard input on";
        return Err(Failure::Usage(message.to_owned()));
    }
    let id = name::parse(&exec.name, namespace)?;
    let path = name::path(&id, "/exec");
    let response = if exec.stdin {
        let command = json!(exec.command).to_string();
        let target = with_query(&path, &[("container", exec.container), ("command", Some(command))]);
        let chunks = ReceiverStream::new(input()).map(|bytes| Ok(Frame::data(bytes)));
        let request = Request::post(target)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(BodyExt::boxed(StreamBody::new(chunks)));
        client.send(request.map_err(|error| Failure::Usage(error.to_string()))?).await?
    } else {
        let body = json!({ "container": exec.container, "command": exec.command });
        client.open(&Call::post(path).json(&body)).await?
    };
    print(response.into_body()).await
}

/// The exit code of a command that could not be run, as shells have it; none if it was not for the command's sake.
fn code_of_unrun(failure: &Failure) -> Option<u8> {
    let Failure::Refused(problem) = failure else { return None };
    match &*problem.code {
        "command-not-found" => Some(127),
        "exec-failed" => Some(126),
        _ => None,
    }
}

/// Standard input as it comes, read on a thread of its own: reading from a terminal cannot be waited for.
fn input() -> mpsc::Receiver<Bytes> {
    let (chunks, read) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut chunk = [0; 16 * 1024];
        let mut stdin = std::io::stdin().lock();
        while let Ok(len @ 1..) = stdin.read(&mut chunk) {
            if chunks.blocking_send(Bytes::copy_from_slice(&chunk[..len])).is_err() {
                return;
            }
        }
    });
    read
}

async fn print(mut body: Incoming) -> Result<u8, Failure> {
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Broken(error.to_string()))?;
        rest.extend_from_slice(frame.data_ref().map_or(&[], |bytes| bytes.as_ref()));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(code) = take(&line)? {
                return Ok(code);
            }
        }
        if rest.len() > LINE_LEN_MAX {
            return Err(Failure::Senseless("a line is too long".to_owned()));
        }
    }
    Err(Failure::Broken("it is not known how the command ended".to_owned()))
}

/// Prints one line's output; gives the exit code if it is the last.
fn take(line: &[u8]) -> Result<Option<u8>, Failure> {
    let senseless = |error: &dyn std::fmt::Display| Failure::Senseless(error.to_string());
    match serde_json::from_slice(line).map_err(|error| senseless(&error))? {
        ExecLine::Output { stream, data } => {
            let bytes = STANDARD.decode(data).map_err(|error| senseless(&error))?;
            if stream == "stderr" {
                std::io::stderr().write_all(&bytes)?;
            } else {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Ok(None)
        }
        ExecLine::Exited { exit_code } => Ok(Some(exit_code)),
        ExecLine::Failed { error } => Err(Failure::Refused(Box::new(error))),
    }
}
