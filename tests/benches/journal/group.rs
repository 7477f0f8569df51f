//! Group commit for the references, in the shape of the journal's own: one thread takes what waits, writes it
//! together, syncs once, then answers everyone.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

/// Most requests that are made durable together, as in the journal.
const GROUP_LEN_MAX: usize = 256;

/// Requests that may wait, as in the journal.
const QUEUE_LEN_MAX: usize = 4_096;

/// Something that makes frames durable.
pub(crate) trait Sink: Send {
    /// Returns once the frames survive a loss of power.
    fn commit(&mut self, frames: &[Vec<u8>]);
}

/// A frame, and who waits for it.
pub(crate) struct Request {
    pub(crate) frame: Vec<u8>,
    pub(crate) reply: oneshot::Sender<()>,
}

/// The thread before a sink.
pub(crate) struct Group {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Group {
    /// Starts it.
    pub(crate) fn before(mut sink: Box<dyn Sink>) -> Group {
        let (requests, mut waiting) = mpsc::channel::<Request>(QUEUE_LEN_MAX);
        let thread = std::thread::spawn(move || {
            let (mut frames, mut replies) = (Vec::new(), Vec::new());
            while let Some(first) = waiting.blocking_recv() {
                let mut next = Some(first);
                while let Some(Request { frame, reply }) = next {
                    frames.push(frame);
                    replies.push(reply);
                    next = if frames.len() < GROUP_LEN_MAX { waiting.try_recv().ok() } else { None };
                }
                sink.commit(&frames);
                frames.clear();
                for reply in replies.drain(..) {
                    reply.send(()).expect("who asked waits for the answer");
                }
            }
        });
        Group { requests: Some(requests), thread: Some(thread) }
    }

    /// Where requests go.
    pub(crate) fn requests(&self) -> mpsc::Sender<Request> {
        self.requests.clone().expect("it is there until the group ends")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Without senders the thread ends once it has served what waits.
        self.requests.take();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the group's thread panicked");
    }
}
