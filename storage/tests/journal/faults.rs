//! A store that fails: nothing that was not made durable is acknowledged, and nothing is tried twice.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use purser_events::{CommandId, Seq};
use purser_storage::answers::ANSWERS_LEN_MAX;
use purser_storage::store::{Batch, Visit};
use purser_storage::{
    Append, AppendError, Journal, JournalConfig, JournalError, Replayed, Store, StoreError,
};
use uuid::Uuid;

use crate::support::*;

/// A store in memory whose calls fail from a given one on.
#[derive(Default)]
struct Memory {
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    applies: AtomicU64,
    syncs: AtomicU64,
    /// The first call of `apply` that fails, from 1; 0 for none.
    apply_fails_at: AtomicU64,
    /// The first call of `sync` that fails, from 1; 0 for none.
    sync_fails_at: AtomicU64,
    /// If set, every sync waits for a permit.
    permits: Mutex<Option<mpsc::Receiver<()>>>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Memory>);

fn failed(action: &'static str) -> StoreError {
    let source = io::Error::from_raw_os_error(28).into();
    StoreError { action, path: PathBuf::from("memory"), source }
}

fn fails(calls: &AtomicU64, fails_at: &AtomicU64) -> bool {
    let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
    let first = fails_at.load(Ordering::SeqCst);
    first != 0 && call >= first
}

impl Store for Shared {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        if fails(&self.0.applies, &self.0.apply_fails_at) {
            return Err(failed("write to"));
        }
        let mut map = self.0.map.lock().unwrap();
        for (key, value) in batch.writes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        if let Some(permits) = &*self.0.permits.lock().unwrap_or_else(PoisonError::into_inner) {
            permits.recv().expect("the test gives a permit for every sync");
        }
        if fails(&self.0.syncs, &self.0.sync_fails_at) { Err(failed("sync")) } else { Ok(()) }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.map.lock().unwrap().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        for (key, value) in self.0.map.lock().unwrap().range(from.to_vec()..to.to_vec()) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let map = self.0.map.lock().unwrap();
        Ok(map.range(from.to_vec()..to.to_vec()).next_back().map(|(key, _)| key.clone()))
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

fn open_on(store: &Shared, queue_len_max: usize) -> Result<Journal, JournalError> {
    let config = JournalConfig { queue_len_max, ..JournalConfig::new("memory") };
    let readable = |found| assert!(matches!(found, Replayed::Record(_)), "{found:?}");
    Journal::open_on(store.clone(), config, || NOW, readable, |_| {})
}

async fn fences(store: Shared) {
    let journal = open_on(&store, 64).unwrap();
    let mut fatal = journal.fatal();
    assert!(fatal.borrow().is_none());
    journal.append(append(stream(1), 0, &["a"])).await.unwrap();
    let (first, second) = tokio::join!(
        journal.append(append(stream(1), 1, &["b"])),
        journal.append(append(stream(2), 0, &["c"])),
    );
    assert_eq!((first.unwrap_err(), second.unwrap_err()), (AppendError::Fenced, AppendError::Fenced));
    fatal.changed().await.unwrap();
    let reason = fatal.borrow().clone().unwrap();
    assert!(told(&*reason).contains("No space left on device"), "{}", told(&*reason));
    assert_eq!(journal.head().seq, Seq(1), "what was not made durable is not shown");
    assert_eq!(journal.read(Seq(1), 10).unwrap().len(), 1);
    let calls = || (store.0.applies.load(Ordering::SeqCst), store.0.syncs.load(Ordering::SeqCst));
    let before = calls();
    assert_eq!(journal.append(append(stream(3), 0, &["d"])).await.unwrap_err(), AppendError::Fenced);
    let error = journal.close().unwrap_err();
    assert!(matches!(error, JournalError::Failed(_)), "{error:?}");
    assert_eq!(calls(), before, "the store is left alone after a failure");
}

// The first call of each is the count of openings, the second is the first append.
#[tokio::test]
async fn a_failed_write_fences_the_journal() {
    let store = Shared::default();
    store.0.apply_fails_at.store(3, Ordering::SeqCst);
    fences(store).await;
}

#[tokio::test]
async fn a_failed_sync_fences_the_journal() {
    let store = Shared::default();
    store.0.sync_fails_at.store(3, Ordering::SeqCst);
    fences(store).await;
}

#[test]
fn a_store_that_fails_at_the_start_is_an_error() {
    for fault in ["apply", "sync"] {
        let store = Shared::default();
        let at = if fault == "apply" { &store.0.apply_fails_at } else { &store.0.sync_fails_at };
        at.store(1, Ordering::SeqCst);
        assert!(matches!(open_on(&store, 1), Err(JournalError::Store(_))), "{fault}");
    }
}

#[tokio::test]
async fn nothing_is_told_or_shown_before_the_sync() {
    let store = Shared::default();
    let journal = open_on(&store, 1).unwrap();
    let (permit, permits) = mpsc::channel();
    *store.0.permits.lock().unwrap() = Some(permits);
    let first = {
        let journal = journal.clone();
        let asked = Append { command: Some(command(1, b"answer")), ..append(stream(1), 0, &["a"]) };
        tokio::spawn(async move { journal.append(asked).await })
    };
    // Once the store has the record, only the sync is missing.
    while store.get(b"e\0\0\0\0\0\0\0\x01").unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished());
    assert_eq!(journal.head().seq, Seq::ZERO);
    assert_eq!(journal.read(Seq(1), 10).unwrap(), []);
    assert_eq!(journal.answer(CommandId(Uuid::from_u128(1))).unwrap(), None);
    // The thread is busy: one request may wait, the next is refused.
    let mut waiting = Box::pin(journal.append(append(stream(2), 0, &["b"])));
    assert!(futures_poll(&mut waiting).await.is_none());
    assert_eq!(journal.append(append(stream(3), 0, &["c"])).await.unwrap_err(), AppendError::Busy);
    permit.send(()).unwrap();
    assert_eq!(first.await.unwrap().unwrap().records[0].header.seq, Seq(1));
    assert!(journal.answer(CommandId(Uuid::from_u128(1))).unwrap().is_some());
    permit.send(()).unwrap();
    assert_eq!(waiting.await.unwrap().records[0].header.seq, Seq(2));
}

/// Polls a future once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_handle_that_outlives_the_close_says_so() {
    let journal = open_on(&Shared::default(), 8).unwrap();
    let other = journal.clone();
    journal.close().unwrap();
    assert_eq!(other.append(append(stream(1), 0, &["a"])).await.unwrap_err(), AppendError::Closed);
    assert!(matches!(other.read(Seq(1), 1), Err(JournalError::Closed)));
    assert!(matches!(other.stats(), Err(JournalError::Closed)));
    assert!(matches!(other.answer(CommandId(Uuid::nil())), Err(JournalError::Closed)));
}

#[tokio::test]
async fn the_oldest_answers_make_way() {
    const MORE: u64 = 300;
    let store = Shared::default();
    let journal = open_on(&store, 4_096).unwrap();
    let answer =
        |id: u64| Append { writes: vec![], origin: origin(), command: Some(command(id.into(), b"x")) };
    let ids: Vec<u64> = (1..=ANSWERS_LEN_MAX + MORE).collect();
    for some in ids.chunks(2_000) {
        let requests: Vec<_> = some
            .iter()
            .map(|&id| {
                let journal = journal.clone();
                tokio::spawn(async move { journal.append(answer(id)).await })
            })
            .collect();
        for request in requests {
            request.await.unwrap().unwrap();
        }
    }
    let known =
        |journal: &Journal, id: u64| journal.answer(CommandId(Uuid::from_u128(id.into()))).unwrap().is_some();
    assert!((1..=MORE).all(|id| !known(&journal, id)));
    assert!((MORE + 1..=ANSWERS_LEN_MAX + MORE).all(|id| known(&journal, id)));
    journal.close().unwrap();
    // The order goes on where it was.
    let journal = open_on(&store, 8).unwrap();
    journal.append(answer(1_000_000)).await.unwrap();
    assert!(!known(&journal, MORE + 1) && known(&journal, MORE + 2) && known(&journal, 1_000_000));
    let kept = store.0.map.lock().unwrap().keys().filter(|key| key[0] == b'c').count();
    assert_eq!(kept as u64, ANSWERS_LEN_MAX);
}

/// Opens a journal on what another left, after a change to its bytes.
async fn reopened(change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) -> JournalError {
    let store = Shared::default();
    let journal = open_on(&store, 8).unwrap();
    for number in 0..5 {
        journal.append(append(stream(1), number, &["x"])).await.unwrap();
    }
    journal.close().unwrap();
    change(&mut store.0.map.lock().unwrap());
    open_on(&store, 8).unwrap_err()
}

fn key(seq: u8) -> Vec<u8> {
    vec![b'e', 0, 0, 0, 0, 0, 0, 0, seq]
}

#[tokio::test]
async fn missing_repeated_and_swapped_records_are_named() {
    let missing = reopened(|map| drop(map.remove(&key(3)))).await;
    assert!(told(&missing).contains("record 3 is missing"), "{}", told(&missing));
    assert!(told(&missing).contains("up to 2 are sound"), "{}", told(&missing));
    let swapped = reopened(|map| {
        let (third, fourth) = (map[&key(3)].clone(), map[&key(4)].clone());
        map.insert(key(3), fourth);
        map.insert(key(4), third);
    })
    .await;
    assert!(
        told(&swapped).contains("record 3 is missing: record 4 stands in its place"),
        "{}",
        told(&swapped)
    );
    let flipped = reopened(|map| map.get_mut(&key(5)).unwrap()[60] ^= 4).await;
    assert!(told(&flipped).contains("record 5 is damaged: checksum"), "{}", told(&flipped));
    let shortened = reopened(|map| drop(map.remove(&key(1)))).await;
    assert!(told(&shortened).contains("record 1 is missing"), "{}", told(&shortened));
}

/// A record of another journal is sound in itself: only the chain tells.
#[tokio::test]
async fn a_record_of_another_journal_breaks_the_chain() {
    let other = Shared::default();
    let journal = open_on(&other, 8).unwrap();
    for number in 0..5 {
        journal.append(append(stream(1), number, &["forged"])).await.unwrap();
    }
    journal.close().unwrap();
    let forged = other.0.map.lock().unwrap()[&key(4)].clone();
    let error = reopened(|map| drop(map.insert(key(4), forged))).await;
    assert!(told(&error).contains("record 4 breaks the chain"), "{}", told(&error));
}
