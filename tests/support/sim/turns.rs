//! Every dealing of the node with the outside waits for its turn, which the simulator gives; and any of them can be
//! the last one that the node lives to see.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use purser_actors::port::ContainerKey;

/// What waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// A call whose effect is yet to come.
    Begin(&'static str),
    /// An answer that is on its way.
    End(&'static str),
    /// To hear how a container ended: its turn comes when that has happened.
    Ended(ContainerKey),
    /// A request's answer to who asked.
    Reply,
}

/// How a turn goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// As asked.
    Well,
    /// It fails.
    Badly,
}

#[derive(Debug)]
struct Turn {
    asked: Asked,
    fate: Option<Fate>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    turns: BTreeMap<u64, Turn>,
    /// Turns that are still taken before the node dies.
    fuse: Option<u64>,
    dead: bool,
    taken: u64,
}

/// All that waits for its turn. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<State>>);

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn; for ever, if the node dies before it comes.
    pub(super) async fn take(&self, asked: Asked) -> Fate {
        let number = {
            let mut state = self.state();
            let number = state.next;
            state.next += 1;
            state.turns.insert(number, Turn { asked, fate: None, waker: None });
            number
        };
        Waiting { turns: self.clone(), number }.await
    }

    /// What waits, in the order in which it came.
    pub(super) fn waiting(&self) -> Vec<(u64, Asked)> {
        let state = self.state();
        let waiting = state.turns.iter().filter(|(_, turn)| turn.fate.is_none());
        waiting.map(|(number, turn)| (*number, turn.asked.clone())).collect()
    }

    /// Gives one its turn.
    pub(super) fn give(&self, number: u64, fate: Fate) {
        let waker = {
            let mut state = self.state();
            let Some(turn) = state.turns.get_mut(&number) else { return };
            turn.fate = Some(fate);
            turn.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The node dies at the turn after so many.
    pub(super) fn light_fuse(&self, turns: u64) {
        self.state().fuse = Some(turns);
    }

    /// Puts the fuse out.
    pub(super) fn put_out(&self) {
        self.state().fuse = None;
    }

    /// Whether the node died: nothing that it does has any effect.
    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Turns that were taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.state().taken
    }

    /// The next life of the node begins.
    pub(super) fn revive(&self) {
        let mut state = self.state();
        (state.fuse, state.dead) = (None, false);
        state.turns.clear();
    }
}

impl State {
    /// Takes a turn that was given; none if it was not, or the node is dead.
    fn settle(&mut self, number: u64) -> Option<Fate> {
        let fate = self.turns.get(&number)?.fate?;
        match &mut self.fuse {
            _ if self.dead => return None,
            Some(0) => {
                self.dead = true;
                return None;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.taken += 1;
        Some(fate)
    }
}

struct Waiting {
    turns: Turns,
    number: u64,
}

impl Future for Waiting {
    type Output = Fate;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fate> {
        let mut state = self.turns.state();
        if let Some(fate) = state.settle(self.number) {
            return Poll::Ready(fate);
        }
        if let Some(turn) = state.turns.get_mut(&self.number) {
            turn.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turns.state().turns.remove(&self.number);
    }
}
