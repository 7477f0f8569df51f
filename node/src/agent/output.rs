//! What a task's program writes, on its way to the service: in order, with its place, and no faster than it is taken.

use std::time::Duration;

use hyper::body::Bytes;
use nix::fcntl::{FcntlArg, fcntl};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Agent;
use super::protocol::{Grip, OUTPUT_PIECE_LEN_MAX, code};

/// How long more output is waited for before a piece goes out.
const GATHER: Duration = Duration::from_millis(50);

/// How long more output is waited for after the program's end, in all. A process that has left the program's group may
/// hold it open.
const QUIET: Duration = Duration::from_secs(1);

/// The room that a read is given, in bytes.
const READ_LEN: usize = 16 << 10;

/// Room of a pipe where the kernel does not tell, in bytes: as much as any pipe has that nobody has changed.
const PIPE_LEN: usize = 64 << 10;

/// What the end of an output says that did not end by itself.
const CUT: &str =
    "\n[purser-agent: the output ends here; something that outlived the task goes on writing]\n";

/// Sends all that is written until nobody can write any more. At most one piece is held: while the service does not take
/// it, the program waits as soon as its pipe is full. What was written before the program's end was in the pipe then: no
/// more than fits into that is read afterwards, so that whoever goes on writing holds up nothing.
pub(super) async fn pump(agent: &Agent, grip: Grip, mut output: Receiver, mut ended: watch::Receiver<bool>) {
    let (mut offset, mut kept) = (0, true);
    let mut left = Left { in_pipe: room_of(&output), quiet_at: None };
    while let Some(piece) = next_piece(&mut output, &mut ended, &mut left).await {
        let len = piece.len() as u64;
        // What is beyond the log's bound is read all the same, so that the program goes on.
        if kept {
            kept = send(agent, grip, offset, piece).await;
        }
        offset += len;
    }
    // A pipe that is at its end gives nothing any more.
    if left.in_pipe == 0 && matches!(output.try_read(&mut [0]), Ok(1..)) {
        tracing::warn!(task = %grip.task, "something that outlived the task goes on writing: its output is cut");
        if kept {
            send(agent, grip, offset, Bytes::from_static(CUT.as_bytes())).await;
        }
    }
}

/// How much may still come that was written before the program's end.
struct Left {
    in_pipe: usize,
    /// Once the program has ended: from when on nothing is waited for any more.
    quiet_at: Option<Instant>,
}

impl Left {
    /// How much of a piece may be read, which has so much.
    fn room(&mut self, ended: &watch::Receiver<bool>, has: usize) -> usize {
        if *ended.borrow() {
            self.quiet_at.get_or_insert_with(|| Instant::now() + QUIET);
        }
        let whole = OUTPUT_PIECE_LEN_MAX - has;
        if self.quiet_at.is_some() { whole.min(self.in_pipe) } else { whole }
    }

    fn took(&mut self, len: usize) {
        if self.quiet_at.is_some() {
            self.in_pipe -= len.min(self.in_pipe);
        }
    }
}

fn room_of(output: &Receiver) -> usize {
    let room = fcntl(output, FcntlArg::F_GETPIPE_SZ).ok().and_then(|room| usize::try_from(room).ok());
    room.filter(|room| *room != 0).unwrap_or(PIPE_LEN)
}

/// Gathers a piece: none if the output is over.
async fn next_piece(
    output: &mut Receiver,
    ended: &mut watch::Receiver<bool>,
    left: &mut Left,
) -> Option<Bytes> {
    let mut piece = Vec::new();
    let mut room = [0; READ_LEN];
    let most = left.room(ended, 0).min(READ_LEN);
    let first = room.get_mut(..most).filter(|room| !room.is_empty())?;
    let read = tokio::select! {
        read = output.read(first) => read,
        () = quiet_end(ended) => {
            let most = left.room(ended, 0).min(READ_LEN);
            let first = room.get_mut(..most).filter(|room| !room.is_empty())?;
            // What was written before the end is there to be read at once.
            match timeout_at(left.quiet_at.unwrap_or_else(Instant::now), output.read(first)).await {
                Ok(read) => read,
                Err(_) => return None,
            }
        }
    };
    let mut read = read.ok()?;
    let until = Instant::now() + GATHER;
    while read > 0 {
        left.took(read);
        piece.extend_from_slice(room.get(..read).unwrap_or_default());
        let most = left.room(ended, piece.len()).min(READ_LEN);
        let Some(next) = room.get_mut(..most).filter(|room| !room.is_empty()) else { break };
        // An end or a failure shows again at the next read.
        let Ok(Ok(more)) = timeout_at(until, output.read(next)).await else { break };
        read = more;
    }
    Some(Bytes::from(piece)).filter(|piece| !piece.is_empty())
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
