//! Holds the journal's thread where it asks for the time: it has taken its next group then, and has not written it.
//!
//! So the thread moves only when told, one group at a time. Before it is let on, one more request is put in its
//! queue, a retry that changes nothing; so there is always a next group to hold it at, and what is in each group does
//! not depend on how fast threads are.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long one look at whether the thread has given up lasts.
const LOOK: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
struct State {
    /// Whether it holds anybody yet.
    shut: bool,
    arrived: u64,
    let_on: u64,
}

/// The gate. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on whoever comes is held.
    pub(super) fn shut(&self) {
        self.state().shut = true;
    }

    /// Lets everybody through, now and later.
    pub(super) fn open(&self) {
        self.state().shut = false;
        self.0.1.notify_all();
    }

    /// Comes to the gate.
    pub(super) fn pass(&self) {
        let mut state = self.state();
        if !state.shut {
            return;
        }
        state.arrived += 1;
        self.0.1.notify_all();
        while state.shut && state.let_on < state.arrived {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the one that is held go on.
    pub(super) fn let_on(&self) {
        let mut state = self.state();
        state.let_on = state.arrived;
        self.0.1.notify_all();
    }

    /// Waits until somebody is held; false if `given_up` says first that nobody will come.
    pub(super) fn await_arrival(&self, given_up: impl Fn() -> bool) -> bool {
        let mut state = self.state();
        while state.arrived == state.let_on {
            if given_up() {
                return false;
            }
            let waited = self.0.1.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
