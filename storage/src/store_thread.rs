//! The thread that gives the store each group while the segment is being synced.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::JournalError;
use crate::store::{Batch, Store, StoreError};

/// Applies one batch at a time, beside the thread that waits for the disk.
pub(crate) struct StoreThread {
    /// None only while it is dropped.
    batches: Option<SyncSender<Batch>>,
    results: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    pub(crate) fn start(store: Arc<dyn Store>) -> Result<StoreThread, JournalError> {
        let (batches, waiting) = sync_channel::<Batch>(1);
        let (done, results) = sync_channel(1);
        let run = move || {
            for batch in waiting {
                if done.send(store.apply(batch)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("journal-store".to_owned()).spawn(run);
        let thread = Some(thread.map_err(JournalError::Thread)?);
        Ok(StoreThread { batches: Some(batches), results, thread })
    }

    /// Begins to apply a batch; [`StoreThread::finish`] must be called before the next.
    pub(crate) fn begin(&self, batch: Batch) {
        if let Some(batches) = &self.batches {
            // A thread that is gone is told by `finish`.
            let _ = batches.send(batch);
        }
    }

    /// Waits until the batch is in the store.
    pub(crate) fn finish(&self) -> Result<(), JournalError> {
        self.results.recv().map_err(|_| JournalError::Panicked)?.map_err(JournalError::Store)
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.batches.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told by `finish`.
            let _ = thread.join();
        }
    }
}
