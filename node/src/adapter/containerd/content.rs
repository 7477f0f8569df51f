//! containerd's store of blobs, addressed by digest.

use std::collections::BTreeMap;
use std::pin::Pin;

use containerd_client::services::v1::{
    AbortRequest, Info, InfoRequest, ReadContentRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use prost_types::FieldMask;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::connection::{CALL_LIMIT, Connection, LAYER_LIMIT, within};
use super::document::DOCUMENT_LEN_MAX;
use super::failure::is_absent;

/// Bytes of one message of a blob that is written.
const PIECE_LEN: usize = 1 << 20;

/// The bytes of a blob as they come in.
pub(super) type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// Whether a blob is there; if it is, it stays as long as the line's lease.
pub(super) async fn has(line: &Connection, digest: &str) -> Result<bool, Status> {
    // First: what an earlier try left may be collected at any moment.
    line.keep("content", digest).await?;
    let request = line.request(InfoRequest { digest: digest.to_owned() });
    match within(CALL_LIMIT, line.content().info(request)).await {
        Ok(_) => Ok(true),
        Err(status) if is_absent(&status) => Ok(false),
        Err(status) => Err(status),
    }
}

/// Reads a whole document; one that is longer than any honest one is an error.
pub(super) async fn read(line: &Connection, digest: &str) -> Result<Vec<u8>, Status> {
    let request = line.request(ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 });
    let mut stream = within(CALL_LIMIT, line.content().read(request)).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await? {
        bytes.extend_from_slice(&piece.data);
        if bytes.len() as u64 > DOCUMENT_LEN_MAX {
            return Err(Status::out_of_range("the document is too long"));
        }
    }
    Ok(bytes)
}

/// Adds labels to a blob that is there.
pub(super) async fn label(
    line: &Connection,
    digest: &str,
    labels: BTreeMap<String, String>,
) -> Result<(), Status> {
    if labels.is_empty() {
        return Ok(());
    }
    let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
    let info = Info { digest: digest.to_owned(), labels: labels.into_iter().collect(), ..Info::default() };
    let request = line.request(UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) });
    within(CALL_LIMIT, line.content().update(request)).await.map(|_| ())
}

/// A blob that is to be written.
pub(super) struct NewBlob<'a> {
    /// What its bytes must have.
    pub(super) digest: &'a str,
    /// How many bytes it must have.
    pub(super) len: u64,
    /// What it is to be labelled with.
    pub(super) labels: BTreeMap<String, String>,
    /// A name for this try to write it, which no other try has.
    pub(super) ticket: String,
}

/// Writes a blob; containerd checks its digest and length. One that is there already is only labelled.
pub(super) async fn write(line: &Connection, blob: NewBlob<'_>, reader: BlobReader) -> Result<(), Status> {
    let (pieces, receiver) = mpsc::channel(4);
    let feed = feed(&blob, reader, pieces);
    let send = async {
        let request = line.request(ReceiverStream::new(receiver));
        let mut replies = within(LAYER_LIMIT, line.content().write(request)).await?;
        let mut committed = false;
        while let Some(reply) = replies.message().await? {
            committed = reply.action == WriteAction::Commit as i32;
        }
        if committed { Ok(()) } else { Err(Status::aborted("the blob ended before it was complete")) }
    };
    let both = async { tokio::join!(feed, send) };
    let (fed, sent) = match tokio::time::timeout(LAYER_LIMIT, both).await {
        Ok(results) => results,
        Err(_) => (Ok(()), Err(Status::deadline_exceeded("the blob did not arrive in time"))),
    };
    match (fed, sent) {
        (Ok(()), Ok(())) => Ok(()),
        (_, Err(status)) if status.code() == Code::AlreadyExists => {
            label(line, blob.digest, blob.labels.clone()).await
        }
        (Err(source), _) => {
            abort(line, &blob.ticket).await;
            Err(Status::data_loss(source.to_string()))
        }
        (Ok(()), Err(status)) => {
            abort(line, &blob.ticket).await;
            Err(status)
        }
    }
}

async fn feed(
    blob: &NewBlob<'_>,
    mut reader: BlobReader,
    pieces: mpsc::Sender<WriteContentRequest>,
) -> std::io::Result<()> {
    let message = |action: WriteAction, offset: u64, data: Vec<u8>| WriteContentRequest {
        action: action as i32,
        r#ref: blob.ticket.clone(),
        total: i64::try_from(blob.len).unwrap_or(i64::MAX),
        expected: blob.digest.to_owned(),
        offset: i64::try_from(offset).unwrap_or(i64::MAX),
        data,
        labels: Default::default(),
    };
    let mut offset = 0_u64;
    loop {
        let mut piece = Vec::with_capacity(PIECE_LEN);
        // Whole pieces: a registry's chunks are small, and each message costs a turn.
        while piece.len() < PIECE_LEN {
            if (&mut reader).take((PIECE_LEN - piece.len()) as u64).read_buf(&mut piece).await? == 0 {
                break;
            }
        }
        if piece.is_empty() {
            break;
        }
        let len = piece.len() as u64;
        if offset + len > blob.len {
            return Err(std::io::Error::other(format!("it has more than the {} bytes announced", blob.len)));
        }
        // A receiver that is gone has its own reason, which is told to the caller.
        if pieces.send(message(WriteAction::Write, offset, piece)).await.is_err() {
            return Ok(());
        }
        offset += len;
    }
    let mut last = message(WriteAction::Commit, offset, Vec::new());
    last.labels = blob.labels.clone().into_iter().collect();
    let _gone_receiver_tells_why = pieces.send(last).await;
    Ok(())
}

async fn abort(line: &Connection, ticket: &str) {
    let request = line.request(AbortRequest { r#ref: ticket.to_owned() });
    if let Err(status) = within(CALL_LIMIT, line.content().abort(request)).await
        && !is_absent(&status)
    {
        // The lease ends the half-written blob too, only later.
        tracing::debug!(code = ?status.code(), "failed to abort a half-written blob");
    }
}
