//! What is told when: nothing before it is durable, nothing after the close, and `Busy` to those who are too many.

use std::path::Path;
use std::sync::Arc;

use purser_events::{CommandId, Seq, StreamVersion};
use purser_storage::answers::ANSWERS_LEN_MAX;
use purser_storage::{Append, AppendError, Class, Journal, JournalConfig, JournalError};
use uuid::Uuid;

use crate::faulty_disk::FaultyDisk;
use crate::memory_store::Memory;
use crate::support::*;

fn open_on(disk: &FaultyDisk, stores: &Memory, dir: &Path, queue_len_max: usize) -> Journal {
    let config = JournalConfig { queue_len_max, ..JournalConfig::new(dir) };
    Journal::open_on(Arc::new(disk.clone()), stores, config, || NOW, |_| {}, |_| {}).unwrap()
}

#[tokio::test]
async fn nothing_is_told_or_shown_before_the_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, stores) = (FaultyDisk::sound(), Memory::default());
    let journal = open_on(&disk, &stores, dir.path(), 1);
    disk.hold_syncs(true);
    let first = {
        let journal = journal.clone();
        let asked = Append { command: Some(command(1, b"answer")), ..append(stream(1), 0, &["a"]) };
        tokio::spawn(async move { journal.append(asked).await })
    };
    // Once the store knows of the record, only the sync is missing.
    while stores.change(|map| map.keys().all(|key| key[0] != b's')) {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished());
    assert_eq!(journal.head().seq, Seq::ZERO);
    assert_eq!(journal.read(Seq(1), 10).unwrap(), []);
    assert_eq!(journal.read_stream(stream(1), StreamVersion(1), 10).unwrap(), []);
    assert_eq!(journal.answer(CommandId(Uuid::from_u128(1))).unwrap(), None);
    // The thread is busy: one request may wait, the next is refused.
    let mut waiting = Box::pin(journal.append(append(stream(2), 0, &["b"])));
    assert!(polled(&mut waiting).await.is_none());
    let refused = journal.append(append(stream(3), 0, &["c"])).await.unwrap_err();
    assert!(matches!(refused, AppendError::Busy { class: Class::Lifecycle, .. }), "{refused}");
    disk.hold_syncs(false);
    assert_eq!(first.await.unwrap().unwrap().records[0].header.seq, Seq(1));
    assert!(journal.answer(CommandId(Uuid::from_u128(1))).unwrap().is_some());
    assert_eq!(waiting.await.unwrap().records[0].header.seq, Seq(2));
}

/// Polls a future once.
async fn polled<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
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
    let dir = tempfile::tempdir().unwrap();
    let journal = open_on(&FaultyDisk::sound(), &Memory::default(), dir.path(), 8);
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
    let dir = tempfile::tempdir().unwrap();
    let (disk, stores) = (FaultyDisk::sound(), Memory::default());
    let journal = open_on(&disk, &stores, dir.path(), 4_096);
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
    // The order goes on where it was, in the store that was there and in one made again.
    for stores in [stores.clone(), Memory::default()] {
        let journal = open_on(&disk, &stores, dir.path(), 8);
        assert!((1..=MORE).all(|id| !known(&journal, id)));
        assert!((MORE + 2..=ANSWERS_LEN_MAX + MORE).all(|id| known(&journal, id)));
        journal.append(answer(1_000_000)).await.unwrap();
        assert!(!known(&journal, MORE + 1) && known(&journal, MORE + 2) && known(&journal, 1_000_000));
        let kept = stores.change(|map| map.keys().filter(|key| key[0] == b'c').count());
        assert_eq!(kept as u64, ANSWERS_LEN_MAX);
        journal.close().unwrap();
    }
}

#[tokio::test]
async fn a_head_file_that_was_torn_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 2).await;
    for torn in [&[][..], &[0; 44], &[7; 43], &[1; 100]] {
        std::fs::write(dir.path().join("head"), torn).unwrap();
        let (journal, replayed, _) = open(dir.path()).unwrap();
        assert_eq!(replayed.len(), 2);
        journal.close().unwrap();
    }
}
