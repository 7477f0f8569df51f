//! Rows behind the journal: each record in them once whatever happens, old ones that answer until new ones can, and
//! nothing of it in the journal's way.

use std::path::Path;
use std::sync::Arc;

use purser_events::Seq;
use purser_storage::Journal;
use purser_storage::disk::SystemDisk;
use purser_storage::projection::{GenerationStatus, ProjectionState, ReadError};
use purser_storage::store::{Backend, FolderStores, Stores};

use crate::memory_store::Memory;
use crate::redaction::{redact_on, subject_stream};
use crate::retention::{compress_all, fill_until_sealed, open_again, open_small};
use crate::row_faults::RowFaults;
use crate::support::*;
use crate::tally::*;

/// Records of most journals here: several batches, the last of which is not full.
const RECORDS: u64 = 1_100;

fn on_folder(dir: &Path, backend: Backend) -> FolderStores {
    FolderStores { dir: dir.to_owned(), backend, cache_bytes: 1 << 20 }
}

fn close(journal: Journal) {
    journal.close().unwrap();
}

/// Sees that what answers is what the whole journal gives, and gives it.
#[track_caller]
fn assert_true(
    journal: &Journal,
    tally: &purser_storage::projection::ProjectionReader,
    layout: u32,
) -> Count {
    let ((answering, count), as_of) = ask(tally).unwrap();
    assert_eq!((answering, as_of), (layout, journal.head().seq));
    assert_eq!(count, plainly(journal, layout));
    assert_eq!(seqs(tally).len() as u64, count.0);
    count
}

async fn rows_follow_and_are_there_after_a_restart(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let stores = on_folder(dir.path(), backend);
    let (journal, tally) = open_with(dir.path(), &stores, Tally::new(1));
    write_records(&journal, RECORDS).await;
    tally.at_least(journal.head().seq).await.unwrap();
    let before = assert_true(&journal, &tally, 1);
    let status = until_settled(&journal, &tally, 1).await;
    let first = status.answering.unwrap();
    assert_eq!((status.state(), status.lag(journal.head().seq)), (ProjectionState::Following, 0));
    assert_eq!((first.first, first.passed_over), (Seq(1), RECORDS / 100));
    close(journal);

    let again = Tally::new(1);
    let log = Arc::clone(&again.log);
    let (journal, tally) = open_with(dir.path(), &stores, again);
    tally.at_least(journal.head().seq).await.unwrap();
    assert_eq!(assert_true(&journal, &tally, 1), before);
    assert_eq!(tally.status().answering, Some(first));
    write_records(&journal, 10).await;
    until_settled(&journal, &tally, 1).await;
    assert_true(&journal, &tally, 1);
    let folded: Vec<u64> = log.lock().unwrap().iter().map(|(_, seq)| seq.0).collect();
    assert_eq!(folded, (RECORDS + 1..=RECORDS + 10).collect::<Vec<_>>());
    close(journal);

    // The store is lost: so are the rows, and they are built from the first record on.
    stores.set_aside().unwrap();
    let (journal, tally) = open_with(dir.path(), &stores, Tally::new(1));
    tally.at_least(journal.head().seq).await.unwrap();
    assert_true(&journal, &tally, 1);
}

async fn old_rows_answer_and_go_on_until_the_new_ones_can(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let stores = on_folder(dir.path(), backend);
    let (journal, tally) = open_with(dir.path(), &stores, Tally::new(1));
    write_records(&journal, RECORDS).await;
    until_settled(&journal, &tally, 1).await;
    let before = assert_true(&journal, &tally, 1);
    close(journal);

    let newer = Tally::new(2);
    let (is_half, go_on) = newer.gate(2, RECORDS / 2);
    let log = Arc::clone(&newer.log);
    let (journal, tally) = open_with(dir.path(), &stores, newer);
    tokio::task::block_in_place(|| is_half.recv()).unwrap();
    let status = tally.status();
    assert_eq!((status.state(), status.goal), (ProjectionState::Rebuilding, Seq(RECORDS)));
    assert!((1..RECORDS).contains(&status.building.unwrap().cursor.0), "{status:?}");
    assert_eq!(ask(&tally).unwrap(), ((1, before), Seq(RECORDS)));
    // What is written meanwhile is in the old rows before the new ones have come so far.
    write_records(&journal, 10).await;
    go_on.send(()).unwrap();
    until_settled(&journal, &tally, 2).await;
    assert_true(&journal, &tally, 2);
    let place = |entry| log.lock().unwrap().iter().position(|it| *it == entry).unwrap();
    assert!(place((1, Seq(RECORDS + 1))) < place((2, Seq(RECORDS))));

    // On demand too, with the same layout.
    let first = tally.status().answering.unwrap();
    let begun = tally.rebuild().await.unwrap();
    assert!(begun.building.or(begun.answering).unwrap().number > first.number, "{begun:?}");
    let status = until_settled(&journal, &tally, 2).await;
    assert_true(&journal, &tally, 2);
    assert!(status.answering.unwrap().number > first.number);
}

async fn rows_that_cannot_be_read_are_not_shown(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let stores = on_folder(dir.path(), backend);
    let (journal, tally) = open_with(dir.path(), &stores, Tally::new(1));
    write_records(&journal, RECORDS).await;
    until_settled(&journal, &tally, 1).await;
    close(journal);
    let alone = Tally::new(3).alone();
    let (is_half, go_on) = alone.gate(3, RECORDS / 2);
    let (journal, tally) = open_with(dir.path(), &stores, alone);
    tokio::task::block_in_place(|| is_half.recv()).unwrap();
    let refused = ask(&tally).unwrap_err();
    let ReadError::BeingBuilt { at, of, .. } = refused else { panic!("{refused}") };
    assert!((1..RECORDS).contains(&at.0) && of == Seq(RECORDS), "{refused}");
    assert_eq!(tally.status().state(), ProjectionState::Building);
    drop(go_on);
    until_settled(&journal, &tally, 3).await;
    assert_true(&journal, &tally, 3);
    close(journal);

    // A release that is put back builds its own again.
    let (journal, tally) = open_with(dir.path(), &stores, Tally::new(1));
    until_settled(&journal, &tally, 1).await;
    assert_true(&journal, &tally, 1);
}

macro_rules! on_each_backend {
    ($($case:ident),+ $(,)?) => {
        mod on_sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(purser_storage::store::Backend::Sled).await;
            })+
        }

        mod on_redb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(purser_storage::store::Backend::Redb).await;
            })+
        }
    };
}

on_each_backend!(
    rows_follow_and_are_there_after_a_restart,
    old_rows_answer_and_go_on_until_the_new_ones_can,
    rows_that_cannot_be_read_are_not_shown,
);

/// Every batch of rows is the last one once, and reaches the store or does not: the journal goes on, and the next start
/// ends with each record in the rows once, and with nothing left of generations that are over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_batch_is_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Memory::default();
    let (journal, tally) = open_with(dir.path(), &RowFaults::sound(begun.clone()), Tally::new(1));
    write_records(&journal, RECORDS).await;
    until_settled(&journal, &tally, 1).await;
    close(journal);
    let mut number = 0;
    loop {
        number += 1;
        let mut intact = false;
        for last_is_done in [false, true] {
            let stores = RowFaults::after(begun.repaired(), number, last_is_done);
            let (journal, tally) = open_with(dir.path(), &stores, Tally::new(2));
            let head = journal.head().seq;
            let over = |status: &purser_storage::ProjectionStatus| {
                let follows = status.answering.is_some_and(|it| it.layout == 2 && it.cursor >= head);
                status.paused.is_some() || (follows && status.building.is_none() && !status.removing)
            };
            let status = until(&tally, over).await;
            assert_eq!(status.paused.is_none(), stores.is_intact(), "batch {number}: {status:?}");
            if let Some(reason) = &status.paused {
                assert!(reason.contains("failed to write to the store"), "{reason}");
                assert_eq!(status.state(), ProjectionState::Paused);
            }
            intact = stores.is_intact();
            assert!(journal.fatal().borrow().is_none(), "the journal failed with a projection");
            close(journal);
            let stores = RowFaults::sound(stores.memory.repaired());
            let (journal, tally) = open_with(dir.path(), &stores, Tally::new(2));
            until_settled(&journal, &tally, 2).await;
            assert_true(&journal, &tally, 2);
            let kept = tally.status().answering.unwrap();
            close(journal);
            let rows = stores.memory.change(|map| map.keys().filter(|key| key[0] == b'p').count() as u64);
            // Those of one generation, its place, the count, and which generations there are.
            assert_eq!(rows, RECORDS - kept.passed_over + 3, "batch {number}");
        }
        if intact {
            break;
        }
    }
    assert!(number > 8, "only {number} batches were written");
}

/// A projection that the store fails holds nothing up, says so, and goes on with new rows when asked to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_projection_can_be_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::default();
    let (journal, tally) = open_with(dir.path(), &RowFaults::sound(memory.clone()), Tally::new(1));
    write_records(&journal, RECORDS).await;
    until_settled(&journal, &tally, 1).await;
    // A row is damaged under it.
    memory.change(|map| {
        let row = map.iter_mut().find(|(key, _)| key.ends_with(b"count")).unwrap().1;
        *row.last_mut().unwrap() ^= 1;
    });
    write_records(&journal, 10).await;
    let status = until(&tally, |status| status.paused.is_some()).await;
    assert!(status.paused.as_ref().unwrap().contains("`projection` is malformed"), "{status:?}");
    assert!(matches!(tally.at_least(journal.head().seq).await, Err(ReadError::Paused { .. })));
    assert!(matches!(ask(&tally), Err(ReadError::Rows(_))));
    tally.rebuild().await.unwrap();
    until_settled(&journal, &tally, 1).await;
    assert_true(&journal, &tally, 1);
    close(journal);
    // And the next start does not trust the store.
    assert!(dir.path().join("suspect").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_is_counted_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    for number in 0..299 {
        journal.append(append(stream(1), number, &["sound"])).await.unwrap();
    }
    journal.append(append(subject_stream(), 0, &["not for ever"])).await.unwrap();
    close(journal);
    redact_on(Arc::new(SystemDisk), dir.path()).unwrap();
    let stores = on_folder(dir.path(), Backend::Sled);
    let (journal, tally) = open_with(dir.path(), &stores, Tally::new(1));
    assert!(journal.read(Seq(300), 1).unwrap()[0].redacted);
    let status = until_settled(&journal, &tally, 1).await;
    let GenerationStatus { passed_over, cursor, .. } = status.answering.unwrap();
    assert_eq!((passed_over, cursor), (1, Seq(300)));
    assert_eq!(assert_true(&journal, &tally, 1).0, 299);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_stay_until_the_rows_have_them_and_rows_go_with_their_records() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 3).await;
    compress_all(&journal);
    let journal = open_again(journal, dir.path());
    let waits = Tally::new(1);
    let (is_there, go_on) = waits.gate(1, 100);
    journal.project(Arc::new(waits)).unwrap();
    let tally = journal.projection("tally").unwrap();
    tokio::task::block_in_place(|| is_there.recv()).unwrap();
    assert!(journal.protected_from() <= Seq(100));
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, 0);
    drop(go_on);
    until_settled(&journal, &tally, 1).await;
    let before = assert_true(&journal, &tally, 1);
    assert!(journal.protected_from() > Seq(100));
    let last = journal.segments()[1].last.seq;
    assert_eq!(journal.trim(last, |_| true).unwrap().segments, 2);
    // What was folded stays, rows that speak of what is gone do not.
    let next = journal.head().seq.0;
    let (id, version) = (u128::from(next % 3 + 1), next / 3);
    journal.append(append(stream(id), version, &["x"])).await.unwrap();
    tally.at_least(journal.head().seq).await.unwrap();
    let ((_, count), _) = ask(&tally).unwrap();
    assert_eq!(count.0, before.0 + 1);
    assert_eq!(seqs(&tally)[0], last.0 + 1);
    // Built again, they say what the journal has.
    tally.rebuild().await.unwrap();
    let status = until_settled(&journal, &tally, 1).await;
    assert_eq!(status.answering.unwrap().first, last.next());
    assert_true(&journal, &tally, 1);
}
