//! The journal as a file: what `purser-replay` opens.

use std::io::{self, BufWriter, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use purser_events::Seq;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::problem::Problem;
use super::state::{Api, Params};

/// Bytes that are handed over at a time.
const CHUNK_LEN: usize = 64 * 1024;

/// Chunks that wait for a slow reader before the export waits too.
const CHUNKS_MAX: usize = 4;

/// Where an export begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportParams {
    /// The first record; the first of all if absent.
    from: Option<u64>,
}

/// Sends the journal up to its present head as an export. A body that ends early is not a whole export.
#[utoipa::path(
    get, path = "/v1/journal/export", tag = "journal", params(ExportParams),
    responses((status = 200, description = "the export", body = Vec<u8>, content_type = "application/octet-stream"))
)]
pub(super) async fn export(
    State(api): State<Api>,
    Params(params): Params<ExportParams>,
) -> Result<Response, Problem> {
    let journal = api.service.journal().clone();
    let from = Seq(params.from.unwrap_or(1).max(1));
    let (chunks, read) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(CHUNK_LEN, Chunks(chunks.clone()));
        let written = journal.export(from, &mut out).map_err(io::Error::other);
        if let Err(error) = written.and_then(|_| out.flush()) {
            tracing::debug!(%error, "an export ended early");
            // Breaks the body off, so that the reader knows; whoever went away needs no telling.
            let _ = chunks.blocking_send(Err(error));
        }
    });
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(read)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
