//! Who is in a group: all that come until it is closed, or only those who waited when it was begun.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use purser_storage::{CommitCost, Journal, JournalConfig, JournalObserver};

use crate::support::*;

/// Keeps the number of requests in each group.
#[derive(Clone, Default)]
struct Groups(Arc<Mutex<Vec<usize>>>);

impl JournalObserver for Groups {
    fn committed(&self, cost: CommitCost) {
        self.0.lock().unwrap().push(cost.requests);
    }

    fn answered(&self, _: Duration) {}
}

/// The groups of two requests, the second of which comes when the first is in a group that is not written yet.
async fn groups(group_wait_us_max: u64) -> Vec<usize> {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { group_wait_us_max, ..JournalConfig::new(dir.path()) };
    let (arrived, arrivals) = channel();
    let (go, gone): (Sender<()>, _) = channel();
    let held = Arc::new(AtomicBool::new(false));
    let holding = Arc::clone(&held);
    let now = move || {
        // The thread asks for the time once it has begun a group.
        if holding.load(Ordering::Acquire) {
            arrived.send(()).unwrap();
            assert!(gone.recv().is_err(), "it goes on once nobody can send any more");
        }
        NOW
    };
    let journal = Journal::open(config, now, |_| {}, |_| {}).unwrap();
    let groups = Groups::default();
    journal.observe(groups.clone());
    held.store(true, Ordering::Release);
    let mut first = Box::pin(journal.append(append(stream(1), 0, &["first"])));
    let mut second = Box::pin(journal.append(append(stream(2), 0, &["second"])));
    let mut nobody = Context::from_waker(Waker::noop());
    // Each is in the queue once it was polled.
    assert!(first.as_mut().poll(&mut nobody).is_pending());
    arrivals.recv().unwrap();
    held.store(false, Ordering::Release);
    assert!(second.as_mut().poll(&mut nobody).is_pending());
    drop(go);
    first.await.unwrap();
    second.await.unwrap();
    groups.0.lock().unwrap().clone()
}

#[tokio::test]
async fn who_comes_while_a_group_is_made_is_in_it() {
    assert_eq!(groups(500).await, [2]);
}

#[tokio::test]
async fn without_a_wait_a_group_is_what_waited_when_it_was_begun() {
    assert_eq!(groups(0).await, [1, 1]);
}
