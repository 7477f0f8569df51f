//! What an acknowledged append promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use purser_events::{CommandId, Seq, StreamVersion};
use purser_storage::{Append, AppendError, CommitCost, JournalObserver};
use uuid::Uuid;

use crate::support::*;

#[tokio::test]
async fn records_come_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, replayed, committed) = open(dir.path()).unwrap();
    assert!(replayed.is_empty());
    assert_eq!((journal.epoch(), journal.head().seq), (1, Seq::ZERO));
    let first = journal.append(append(stream(1), 0, &["a", "b"])).await.unwrap();
    let second = journal.append(append(stream(2), 0, &["c"])).await.unwrap();
    let written = [first.records, second.records].concat();
    assert_eq!(written.iter().map(|record| record.header.seq.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(written.iter().map(|record| record.header.version.0).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(written.iter().all(|record| record.header.time == NOW && record.header.epoch == 1));
    assert_eq!(*committed.lock().unwrap(), written);
    let head = journal.head();
    journal.close().unwrap();

    let (journal, replayed, committed) = open(dir.path()).unwrap();
    assert_eq!(replayed, written);
    assert!(committed.lock().unwrap().is_empty(), "a replay is no commit");
    assert_eq!(journal.head(), head);
    assert_eq!(journal.epoch(), 2);
    let third = journal.append(append(stream(1), 2, &["d"])).await.unwrap();
    let header = &third.records[0].header;
    assert_eq!((header.seq, header.version, header.epoch), (Seq(4), StreamVersion(3), 2));
}

#[tokio::test]
async fn reading_is_bounded_and_by_stream() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    for number in 0..10_u64 {
        journal.append(append(stream((number % 2).into()), number / 2, &["x"])).await.unwrap();
    }
    let seqs = |records: Vec<purser_storage::StoredRecord>| -> Vec<u64> {
        records.iter().map(|record| record.header.seq.0).collect()
    };
    assert_eq!(seqs(journal.read(Seq(3), 4).unwrap()), [3, 4, 5, 6]);
    assert_eq!(seqs(journal.read(Seq::ZERO, 2).unwrap()), [1, 2]);
    assert_eq!(seqs(journal.read(Seq(11), 4).unwrap()), [0; 0]);
    assert_eq!(seqs(journal.read(Seq(u64::MAX), 4).unwrap()), [0; 0]);
    let from = |seq: u64| journal.records(Seq(seq)).unwrap().map(Result::unwrap).collect();
    assert_eq!(seqs(from(3)), [3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(from(0), journal.read(Seq(1), 100).unwrap());
    assert_eq!((seqs(from(11)), seqs(from(u64::MAX))), (vec![], vec![]));
    let begun = journal.records(Seq(9)).unwrap();
    journal.append(append(stream(0), 5, &["after it was begun"])).await.unwrap();
    assert_eq!(begun.map(|record| record.unwrap().header.seq.0).collect::<Vec<_>>(), [9, 10]);
    assert_eq!(seqs(journal.read_stream(stream(1), StreamVersion(2), 3).unwrap()), [4, 6, 8]);
    assert_eq!(seqs(journal.read_stream(stream(7), StreamVersion(0), 3).unwrap()), [0; 0]);
    let record = &journal.read(Seq(3), 1).unwrap()[0];
    assert_eq!(record.event().unwrap(), event("x"));
}

#[tokio::test]
async fn a_request_decided_on_an_old_version_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    let both = Append {
        writes: vec![write(stream(1), 0, &["a"]), write(stream(2), 1, &["b"])],
        origin: origin(),
        command: Some(command(5, b"never given")),
    };
    // Sent together, so that they may be made durable together.
    let (good, bad, late) = tokio::join!(
        journal.append(append(stream(1), 0, &["first"])),
        journal.append(both),
        journal.append(append(stream(1), 1, &["second"])),
    );
    assert_eq!(good.unwrap().records.len(), 1);
    let (expected, actual) = (StreamVersion(0), StreamVersion(1));
    assert_eq!(bad.unwrap_err(), AppendError::Conflict { stream: stream(1), expected, actual });
    assert_eq!(late.unwrap().records[0].header.seq, Seq(2));
    assert_eq!(journal.head().seq, Seq(2));
    assert_eq!(journal.answer(CommandId(Uuid::from_u128(5))).unwrap(), None);
    let read_only = Append {
        writes: vec![write(stream(1), 1, &[]), write(stream(2), 0, &["b"])],
        origin: origin(),
        command: None,
    };
    let conflict = journal.append(read_only).await.unwrap_err();
    assert!(matches!(conflict, AppendError::Conflict { actual: StreamVersion(2), .. }), "{conflict:?}");
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    let ask =
        |answer: &[u8]| Append { command: Some(command(7, answer)), ..append(stream(1), 0, &["a", "b"]) };
    let (first, together) = tokio::join!(journal.append(ask(b"first")), journal.append(ask(b"second")));
    let first = first.unwrap();
    assert_eq!((first.records.len(), &first.duplicate), (2, &None));
    let duplicate = together.unwrap().duplicate.unwrap();
    assert_eq!((&duplicate.answer[..], duplicate.first, duplicate.last), (&b"first"[..], Seq(1), Seq(2)));
    journal.close().unwrap();

    let (journal, _, _) = open(dir.path()).unwrap();
    assert_eq!(journal.answer(CommandId(Uuid::from_u128(7))).unwrap().as_ref(), Some(&duplicate));
    let retried = journal.append(ask(b"third")).await.unwrap();
    assert_eq!((retried.records.len(), retried.duplicate.as_ref()), (0, Some(&duplicate)));
    assert_eq!(journal.head().seq, Seq(2));
    // A refusal is an answer without records.
    let refusal = Append { writes: vec![], origin: origin(), command: Some(command(8, b"refused")) };
    assert_eq!(journal.append(refusal).await.unwrap().records, []);
    let refused = journal.answer(CommandId(Uuid::from_u128(8))).unwrap().unwrap();
    assert_eq!((&refused.answer[..], refused.first, refused.last), (&b"refused"[..], Seq::ZERO, Seq::ZERO));
}

#[tokio::test]
async fn what_is_empty_or_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    assert_eq!(journal.append(append(stream(1), 0, &[])).await.unwrap_err(), AppendError::NothingToWrite);
    let long = "x".repeat(61 * 1024);
    let error = journal.append(append(stream(1), 0, &[&long])).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { len, .. } if len > 61 * 1024), "{error:?}");
    let big = "x".repeat(50 * 1024);
    let error = journal.append(append(stream(1), 0, &[&big[..]; 21])).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { max: 1_048_576, .. }), "{error:?}");
    let answered = Append { command: Some(command(1, &[0; 4_097])), ..append(stream(1), 0, &["a"]) };
    assert_eq!(journal.append(answered).await.unwrap_err(), AppendError::TooLarge { len: 4_097, max: 4_096 });
    assert_eq!(journal.append(append(stream(1), 0, &[&big[..]; 20])).await.unwrap().records.len(), 20);
    assert_eq!(journal.read(Seq(1), 1_000).unwrap().len(), 20, "1 MB of frames is read at once");
}

#[derive(Default, Clone)]
struct Commits {
    largest: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

impl JournalObserver for Commits {
    fn committed(&self, cost: CommitCost) {
        self.largest.fetch_max(cost.requests, Ordering::Relaxed);
        self.requests.fetch_add(cost.requests, Ordering::Relaxed);
    }

    fn answered(&self, _: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_writers_share_syncs_and_leave_no_gap() {
    const WRITERS: u64 = 64;
    const EACH: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, committed) = open(dir.path()).unwrap();
    let commits = Commits::default();
    journal.observe(commits.clone());
    let mut subscription = journal.subscribe(Seq(1)).unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut seqs = Vec::new();
                for number in 0..EACH {
                    let appended =
                        journal.append(append(stream(writer.into()), number, &["x"])).await.unwrap();
                    // What was acknowledged can be read.
                    let seq = appended.records[0].header.seq;
                    assert!(journal.head().seq >= seq);
                    assert_eq!(journal.read(seq, 1).unwrap()[0].record().unwrap(), appended.records[0]);
                    seqs.push(seq.0);
                }
                seqs
            })
        })
        .collect();
    let mut seqs = Vec::new();
    for writer in writers {
        seqs.extend(writer.await.unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=WRITERS * EACH).collect::<Vec<_>>());
    let mut followed = Vec::new();
    while followed.len() as u64 != WRITERS * EACH {
        followed.extend(subscription.next().await.unwrap().iter().map(|record| record.header.seq.0));
    }
    assert_eq!(followed, seqs, "who follows sees every record once, in order");
    let order: Vec<u64> = committed.lock().unwrap().iter().map(|record| record.header.seq.0).collect();
    assert_eq!(order, seqs, "the projection sees every record once, in order");
    assert_eq!(commits.requests.load(Ordering::Relaxed) as u64, WRITERS * EACH);
    assert_eq!(commits.answered.load(Ordering::Relaxed) as u64, WRITERS * EACH);
    assert!(commits.largest.load(Ordering::Relaxed) > 1, "no two requests shared a sync");
    let stats = journal.stats().unwrap();
    assert_eq!((stats.head.seq.0, stats.queue_len), (WRITERS * EACH, 0));
    assert!(stats.bytes_on_disk > 0);
}
