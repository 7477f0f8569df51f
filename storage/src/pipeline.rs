//! Work on the pieces of something long on several threads, with what comes of it in the order of the pieces. Few
//! pieces are under way at a time, so memory does not grow with their number.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder, Scope};

/// Most threads that work at once.
const WORKERS_MAX: usize = 8;

/// Pieces that wait before each of them, and as many behind it.
const AHEAD: usize = 2;

/// Has `work` done on all pieces, and hands what comes of each to `fold`, in their order, as long as that says that it
/// wants more. `pieces` and `work` are called on threads of their own, `fold` on this one. Fails if there are none.
pub(crate) fn in_order<P: Send, R: Send>(
    pieces: impl Iterator<Item = P> + Send,
    work: &(impl Fn(P) -> R + Sync),
    mut fold: impl FnMut(R) -> bool,
) -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
    thread::scope(|scope| {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (input, taken) = sync_channel(AHEAD);
            let (done, output) = sync_channel(AHEAD);
            begin(scope, "journal-worker", move || each(&taken, &done, work))?;
            inputs.push(input);
            outputs.push(output);
        }
        begin(scope, "journal-cutter", move || hand_out(pieces, &inputs))?;
        // Piece n went to worker n modulo their number, so the next one is always known.
        for output in outputs.iter().cycle() {
            let Ok(result) = output.recv() else { break };
            if !fold(result) {
                break;
            }
        }
        // Who waits for room is told by that that nobody wants it any more.
        drop(outputs);
        Ok(())
    })
}

/// Starts a thread, whose panic is the scope's.
pub(crate) fn begin<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    does: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, does).map(drop)
}

fn hand_out<P>(pieces: impl Iterator<Item = P>, inputs: &[SyncSender<P>]) {
    for (piece, input) in pieces.zip(inputs.iter().cycle()) {
        if input.send(piece).is_err() {
            return;
        }
    }
}

fn each<P, R>(pieces: &Receiver<P>, done: &SyncSender<R>, work: &impl Fn(P) -> R) {
    for piece in pieces {
        if done.send(work(piece)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_pieces() {
        let mut found = Vec::new();
        let work = |piece: u64| {
            // The first of each row takes longest.
            (0..(10 - piece % 10) * 1_000).fold(piece, |sum, step| std::hint::black_box(sum ^ step ^ step))
        };
        in_order(0..1_000, &work, |result| {
            found.push(result);
            true
        })
        .unwrap();
        assert_eq!(found, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_goes_on_once_it_is_enough() {
        let mut found = 0;
        in_order(0_u64.., &|piece| piece, |piece| {
            found = piece;
            piece < 100
        })
        .unwrap();
        assert_eq!(found, 100);
    }
}
