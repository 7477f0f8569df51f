//! What a task's program writes, on its way to the service: in order, with its place, and no faster than it is taken.

use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Agent;
use super::protocol::{Grip, OUTPUT_PIECE_LEN_MAX, code};

/// How long more output is waited for before a piece goes out.
const GATHER: Duration = Duration::from_millis(50);

/// How long nothing must come after the program's end for the output to count as over. A process that has left the
/// program's group may hold it open.
const QUIET: Duration = Duration::from_secs(1);

/// The room that a read is given, in bytes.
const READ_LEN: usize = 16 << 10;

/// Sends all that is written until nobody can write any more. At most one piece is held: while the service does not take
/// it, the program waits as soon as its pipe is full.
pub(super) async fn pump(agent: &Agent, grip: Grip, mut output: Receiver, mut ended: watch::Receiver<bool>) {
    let (mut offset, mut kept) = (0, true);
    while let Some(piece) = next_piece(&mut output, &mut ended).await {
        let len = piece.len() as u64;
        // What is beyond the log's bound is read all the same, so that the program goes on.
        if kept {
            kept = send(agent, grip, offset, piece).await;
        }
        offset += len;
    }
}

/// Gathers a piece: none if the output is over.
async fn next_piece(output: &mut Receiver, ended: &mut watch::Receiver<bool>) -> Option<Bytes> {
    let mut piece = Vec::with_capacity(READ_LEN);
    let first = tokio::select! {
        read = output.read_buf(&mut piece) => read,
        () = quiet_end(ended) => {
            // What was written before the end is there to be read at once.
            match timeout(QUIET, output.read_buf(&mut piece)).await {
                Ok(read) => read,
                Err(_) => return None,
            }
        }
    };
    if first.ok()? == 0 {
        return None;
    }
    let until = Instant::now() + GATHER;
    while piece.len() < OUTPUT_PIECE_LEN_MAX - READ_LEN {
        piece.reserve(READ_LEN);
        let mut room = [0; READ_LEN];
        match timeout_at(until, output.read(&mut room)).await {
            Ok(Ok(read)) if read > 0 => piece.extend_from_slice(room.get(..read).unwrap_or_default()),
            // An end or a failure shows again at the next read.
            Ok(_) | Err(_) => break,
        }
    }
    Some(piece.into())
}

/// Returns once the program has ended.
async fn quiet_end(ended: &mut watch::Receiver<bool>) {
    if ended.wait_for(|ended| *ended).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Sends a piece until the service has all of it. False if it will take no more.
async fn send(agent: &Agent, grip: Grip, offset: u64, mut piece: Bytes) -> bool {
    let mut at = offset;
    let end = offset + piece.len() as u64;
    while at < end {
        let sent = agent.until_answered("send output", || agent.service.output(grip, at, piece.clone()));
        match sent.await {
            Ok(taken) => {
                let next = taken.offset.clamp(at, end);
                if next == at {
                    // It says that it took nothing of it: asking again would go on for ever.
                    tracing::warn!(task = %grip.task, "the service takes no output at {at}");
                    return false;
                }
                piece = piece.slice(usize::try_from(next - at).unwrap_or(piece.len()).min(piece.len())..);
                at = next;
            }
            Err(fault) => {
                if fault.is(code::OUTPUT_FULL) {
                    tracing::info!(task = %grip.task, "the task's log is full; the rest of its output is not kept");
                }
                return false;
            }
        }
    }
    true
}
