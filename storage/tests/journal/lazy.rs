//! Lazy appends: answered before they are durable, shown after, and never in another order.

use std::path::Path;
use std::sync::Arc;

use purser_events::{Record, Seq, StreamVersion};
use purser_storage::store::{Backend, FolderStores};
use purser_storage::{Append, AppendError, Class, Durability, Journal, JournalConfig, JournalError, Terms};
use uuid::Uuid;

use crate::memory_disk::MemoryDisk;
use crate::support::*;

pub(crate) const LAZY: Terms = Terms { class: Class::Observation, durability: Durability::Lazy };

/// Opens a journal with its segments on `disk`, in boot number `boot`.
pub(crate) fn open_on(
    disk: &MemoryDisk,
    boot: u128,
    config: JournalConfig,
) -> Result<(Journal, Vec<Record>, Committed), JournalError> {
    let stores =
        FolderStores { dir: config.dir.clone(), backend: Backend::Sled, cache_bytes: config.cache_bytes };
    let config = JournalConfig { boot_id: Some(Uuid::from_u128(boot)), ..config };
    collecting(|replay, commit| {
        Journal::open_on(Arc::new(disk.clone()), &stores, config, || NOW, replay, commit)
    })
}

fn config(dir: &Path) -> JournalConfig {
    JournalConfig { segment_bytes: 256 << 10, cache_bytes: 1 << 20, ..JournalConfig::new(dir) }
}

#[tokio::test]
async fn a_lazy_append_is_answered_before_the_sync_and_shown_after_it() {
    let (disk, dir) = (MemoryDisk::default(), tempfile::tempdir().unwrap());
    let (journal, _, committed) = open_on(&disk, 1, config(dir.path())).unwrap();
    let syncs = disk.syncs();
    disk.hold_syncs(true);
    let lazy = journal.append_on(append(stream(1), 0, &["a"]), LAZY).await.unwrap();
    assert_eq!(lazy.records[0].header.seq, Seq(1));
    assert_eq!((journal.head().seq, disk.syncs()), (Seq::ZERO, syncs));
    assert_eq!(journal.read(Seq(1), 10).unwrap(), []);
    assert_eq!(journal.read_stream(stream(1), StreamVersion(1), 10).unwrap(), []);
    assert!(committed.lock().unwrap().is_empty());
    // Whoever writes next decides on it.
    let next = {
        let journal = journal.clone();
        tokio::spawn(async move { journal.append(append(stream(1), 1, &["b"])).await })
    };
    disk.hold_syncs(false);
    let next = next.await.unwrap().unwrap();
    assert_eq!(journal.head().seq, Seq(2));
    assert_eq!(*committed.lock().unwrap(), [lazy.records, next.records].concat());
    assert_eq!(journal.read(Seq(1), 10).unwrap().len(), 2);
}

#[tokio::test]
async fn a_lazy_append_becomes_durable_though_nothing_follows() {
    let (disk, dir) = (MemoryDisk::default(), tempfile::tempdir().unwrap());
    let (journal, _, committed) = open_on(&disk, 1, config(dir.path())).unwrap();
    let mut followed = journal.subscribe(Seq(1)).unwrap();
    journal.append_on(append(stream(1), 0, &["a"]), LAZY).await.unwrap();
    assert_eq!(followed.next().await.unwrap().len(), 1);
    assert_eq!(committed.lock().unwrap().len(), 1);
    journal.append_on(append(stream(1), 1, &["b"]), LAZY).await.unwrap();
    journal.close().unwrap();
    assert_eq!(committed.lock().unwrap().len(), 2, "the close syncs what is left");
    assert_eq!(open_on(&disk, 2, config(dir.path())).unwrap().1.len(), 2);
}

#[tokio::test]
async fn a_kill_loses_no_lazy_append() {
    let (disk, dir) = (MemoryDisk::default(), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_on(&disk, 1, config(dir.path())).unwrap();
    journal.append(append(stream(1), 0, &["a"])).await.unwrap();
    disk.hold_syncs(true);
    for version in 1..4 {
        journal.append_on(append(stream(1), version, &["b"]), LAZY).await.unwrap();
    }
    let again = tempfile::tempdir().unwrap();
    let left = disk.after_kill(dir.path(), again.path());
    let (journal_again, replayed, _) = open_on(&left, 1, config(again.path())).unwrap();
    assert_eq!((replayed.len(), journal_again.head().seq), (4, Seq(4)));
    disk.hold_syncs(false);
}

#[tokio::test]
async fn a_sync_that_fails_fences_and_shows_nothing() {
    let (disk, dir) = (MemoryDisk::default(), tempfile::tempdir().unwrap());
    let (journal, _, committed) = open_on(&disk, 1, config(dir.path())).unwrap();
    let mut fatal = journal.fatal();
    disk.fail_syncs();
    journal.append_on(append(stream(1), 0, &["a"]), LAZY).await.unwrap();
    // Nobody waits for it: the deadline does.
    let reason = fatal.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(told(&*reason).contains("failed to sync"), "{}", told(&*reason));
    let refused = journal.append_on(append(stream(1), 1, &["b"]), LAZY).await.unwrap_err();
    assert_eq!((refused, journal.head().seq), (AppendError::Fenced, Seq::ZERO));
    assert!(committed.lock().unwrap().is_empty());
    assert!(matches!(journal.close(), Err(JournalError::Failed(_))));
}

/// An answer that was told to the outside must not be taken back.
#[tokio::test]
async fn the_answer_to_a_command_is_never_lazy() {
    let (disk, dir) = (MemoryDisk::default(), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_on(&disk, 1, config(dir.path())).unwrap();
    disk.fail_syncs();
    let answered = Append { command: Some(command(1, b"answer")), ..append(stream(1), 0, &["a"]) };
    assert_eq!(journal.append_on(answered, LAZY).await.unwrap_err(), AppendError::Fenced);
}

/// The footer of a segment says that all before it is durable.
#[tokio::test]
async fn a_segment_is_not_sealed_over_what_may_be_lost() {
    let (disk, dir) = (MemoryDisk::default(), tempfile::tempdir().unwrap());
    let config = |dir: &Path| JournalConfig { lazy_ms_max: u64::MAX, ..config(dir) };
    let (journal, _, _) = open_on(&disk, 1, config(dir.path())).unwrap();
    disk.hold_syncs(true);
    let writing = tokio::spawn(async move {
        let long = "x".repeat(30_000);
        for version in 0.. {
            journal.append_on(append(stream(1), version, &[&long]), LAZY).await.unwrap();
        }
    });
    // Nothing but the full segment asks for one.
    while !disk.holds_a_sync() {
        tokio::task::yield_now().await;
    }
    let again = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("format"), again.path().join("format")).unwrap();
    let mut first = true;
    let left = disk.after_power_cut(dir.path(), again.path(), || !std::mem::take(&mut first));
    // Before anything can fail: a thread that waits for its sync would be waited for.
    disk.hold_syncs(false);
    writing.abort();
    let opened = open_on(&left, 2, config(again.path()));
    let (_, replayed, _) = opened.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(replayed, []);
}

/// Writes at random, cuts the power, and looks at what is left.
async fn survives_a_power_cut(seed: u64) {
    let mut random = Random(seed);
    let (disk, dir) = (MemoryDisk::default(), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_on(&disk, 1, config(dir.path())).unwrap();
    let (mut written, mut durable) = (Vec::new(), 0);
    for number in 0..=random.index(40) {
        // Short ones come through a cut whole, long ones fill segments.
        let len_max = if random.index(4) == 0 { 30_000 } else { 300 };
        let reason = "x".repeat(random.index(len_max));
        let reasons: &[&str] = if number % 2 == 0 { &[&reason] } else { &[&reason, "end"] };
        let request = append(stream(1), written.len() as u64, reasons);
        let lazy = random.index(4) > 0;
        let terms = if lazy { LAZY } else { Terms::default() };
        written.extend(journal.append_on(request, terms).await.unwrap().records);
        durable = if lazy { durable } else { written.len() };
    }
    let again = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("format"), again.path().join("format")).unwrap();
    let one_lost_in = 2 << (2 * random.index(3));
    let left = disk.after_power_cut(dir.path(), again.path(), || random.index(one_lost_in) > 0);
    let (journal, replayed, _) = open_on(&left, 2, config(again.path()))
        .unwrap_or_else(|error| panic!("seed {seed}: {}", told(&error)));
    assert!(durable <= replayed.len(), "seed {seed}: {} of {durable} records are left", replayed.len());
    assert_eq!(replayed, written[..replayed.len()], "seed {seed}");
    let next = journal.append(append(stream(1), replayed.len() as u64, &["goes on"])).await.unwrap();
    assert_eq!(next.records[0].header.seq.0, replayed.len() as u64 + 1, "seed {seed}");
}

#[tokio::test]
async fn a_power_cut_takes_lazy_appends_from_the_end_only() {
    for seed in 0..60 {
        survives_a_power_cut(seed).await;
    }
}
