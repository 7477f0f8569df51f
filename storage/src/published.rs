//! What the thread that writes shows to all others.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use purser_events::Seq;
use tokio::sync::watch;

use crate::error::JournalError;
use crate::observer::JournalObserver;
use crate::store_thread::StoreFailed;
use crate::verify::Head;

/// What is durable, for readers.
pub(crate) struct Published {
    state: Mutex<PublishedState>,
    pub heads: watch::Sender<Seq>,
    /// Turns true when the journal is being closed.
    pub ended: watch::Sender<bool>,
    pub fatal: watch::Sender<Option<Arc<JournalError>>>,
    pub observer: OnceLock<Box<dyn JournalObserver>>,
}

#[derive(Clone, Copy)]
pub(crate) struct PublishedState {
    pub head: Head,
    /// Answers from this place in order on may not be shown yet.
    pub answers_end: u64,
}

impl Published {
    pub(crate) fn new(head: Head, answers_end: u64) -> Published {
        Published {
            state: Mutex::new(PublishedState { head, answers_end }),
            heads: watch::Sender::new(head.seq),
            ended: watch::Sender::new(false),
            fatal: watch::Sender::new(None),
            observer: OnceLock::new(),
        }
    }

    pub(crate) fn state(&self) -> PublishedState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, state: PublishedState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Why the store failed: whoever made it fail has told that.
    pub(crate) fn why(&self, StoreFailed: StoreFailed) -> JournalError {
        let fatal = self.fatal.borrow().clone();
        fatal.map_or(JournalError::Panicked, JournalError::Failed)
    }

    /// Tells those who follow that they are to end.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Tells that nothing more will be written; the first reason stays.
    pub(crate) fn fence(&self, error: JournalError) {
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            fatal.get_or_insert_with(|| Arc::new(error));
            first
        });
    }
}

/// Tells that the thread is gone, if it goes by a panic; in programs that abort on one it has nothing to do.
pub(crate) struct FenceOnPanic(pub Arc<Published>);

impl Drop for FenceOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fence(JournalError::Panicked);
        }
    }
}
