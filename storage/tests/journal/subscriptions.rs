//! Following the journal: from disk and then live, at the reader's own pace, and told when that cannot be.

use purser_events::Seq;
use purser_storage::{Journal, StoredRecord, Subscription, SubscriptionError};

use crate::retention::{compress_all, fill_until_sealed, open_again, open_small};
use crate::support::*;

/// Records that are written while a reader sleeps.
const MANY: u64 = 10_000;

/// Records of one commit of those.
const EACH: u64 = 50;

async fn write_many(journal: &Journal, from: u64, count: u64) {
    for number in (from..from + count).step_by(usize::try_from(EACH).unwrap()) {
        let reasons: Vec<String> = (number..number + EACH).map(|number| format!("reason {number}")).collect();
        let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
        journal.append(append(stream(1), number, &reasons)).await.unwrap();
    }
}

/// Reads up to record `last` and sees that each comes once and in order.
async fn read_to(subscription: &mut Subscription, last: u64) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    while subscription.position() <= Seq(last) {
        let first = subscription.position();
        let batch = subscription.next().await.unwrap();
        assert!((1..=256).contains(&batch.len()), "{} records", batch.len());
        for (expected, record) in (first.0..).zip(&batch) {
            assert_eq!(record.header.seq, Seq(expected));
        }
        records.extend(batch);
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_sleeps_holds_nobody_up_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, committed) = open(dir.path()).unwrap();
    write_many(&journal, 0, EACH).await;
    let mut asleep = journal.subscribe(Seq(1)).unwrap();
    let mut late = journal.subscribe(Seq(EACH + 1)).unwrap();
    // Would not return if the writer waited for a reader.
    write_many(&journal, EACH, MANY).await;
    let read = read_to(&mut asleep, EACH + MANY).await;
    let records: Vec<_> = read.iter().map(|stored| stored.record().unwrap()).collect();
    assert_eq!(records, *committed.lock().unwrap());
    assert_eq!(read_to(&mut late, EACH + MANY).await, read[usize::try_from(EACH).unwrap()..]);
    // From here on as they come.
    let live = tokio::spawn(async move { read_to(&mut asleep, 2 * EACH + MANY).await });
    write_many(&journal, EACH + MANY, EACH).await;
    assert_eq!(live.await.unwrap().len() as u64, EACH);
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    let mut subscription = journal.subscribe(Seq(1)).unwrap();
    tokio::select! {
        biased;
        _ = subscription.next() => panic!("there is no record yet"),
        () = std::future::ready(()) => {}
    }
    write_many(&journal, 0, EACH).await;
    read_to(&mut subscription, EACH).await;
}

#[tokio::test]
async fn where_there_is_nothing_to_follow_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    write_many(&journal, 0, EACH).await;
    let beyond = journal.subscribe(Seq(EACH + 2)).err().unwrap();
    let SubscriptionError::Ahead { from, head } = beyond else { panic!("{beyond}") };
    assert_eq!((from, head), (Seq(EACH + 2), Seq(EACH)));
    let mut waiting = journal.subscribe(Seq(EACH + 1)).unwrap();
    let other = journal.clone();
    let waits = tokio::spawn(async move { waiting.next().await });
    tokio::task::spawn_blocking(|| journal.close()).await.unwrap().unwrap();
    assert!(matches!(waits.await.unwrap(), Err(SubscriptionError::Closed)));
    assert!(matches!(other.subscribe(Seq(1)), Err(SubscriptionError::Closed)));
}

#[tokio::test]
async fn what_was_trimmed_is_told_with_the_first_record_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 2).await;
    compress_all(&journal);
    let journal = open_again(journal, dir.path());
    let mut slow = journal.subscribe(Seq(1)).unwrap();
    let last = journal.segments()[0].last.seq;
    journal.trim(last, |_| true).unwrap();
    let expect = |error: SubscriptionError, asked: u64| {
        let SubscriptionError::Trimmed { from, first } = error else { panic!("{error}") };
        assert_eq!((from, first), (Seq(asked), last.next()));
    };
    expect(slow.next().await.unwrap_err(), 1);
    expect(journal.subscribe(last).err().unwrap(), last.0);
    let mut subscription = journal.subscribe(last.next()).unwrap();
    read_to(&mut subscription, journal.head().seq.0).await;
}
