//! A disk that gets full: what matters least is refused first, and what ends pods is recorded to the last.

use std::path::Path;

use purser_events::Seq;
use purser_storage::{
    AppendError, Appended, BallastStanding, Class, Journal, JournalConfig, JournalError, Space, Terms,
};

use crate::lazy::open_on;
use crate::memory_disk::MemoryDisk;
use crate::support::*;

const MIB: u64 = 1 << 20;

fn config(dir: &Path, ballast_bytes: u64) -> JournalConfig {
    JournalConfig { segment_bytes: 2 * MIB, ballast_bytes, cache_bytes: MIB, ..JournalConfig::new(dir) }
}

async fn write_as(
    class: Class,
    journal: &Journal,
    version: u64,
    bytes: usize,
) -> Result<Appended, AppendError> {
    journal.append_on(append(stream(1), version, &[&"x".repeat(bytes)]), Terms::sync(class)).await
}

#[test]
fn used_is_told_in_percent_as_df_has_it() {
    let percent = |used, available| Space { used, available }.used_percent();
    assert_eq!([percent(0, 100), percent(899, 101), percent(1, 9_999), percent(1, 0)], [0, 89, 0, 100]);
    assert_eq!([percent(0, 0), percent(u64::MAX, u64::MAX)], [100, 50]);
}

#[tokio::test]
async fn observations_are_refused_on_demand() {
    let (disk, dir) = (MemoryDisk::of(64 * MIB), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_on(&disk, 1, config(dir.path(), 0)).unwrap();
    journal.shed_observations(true);
    let refused = write_as(Class::Observation, &journal, 0, 1).await.unwrap_err();
    assert_eq!(refused, AppendError::NoRoom { class: Class::Observation });
    write_as(Class::Lifecycle, &journal, 0, 1).await.unwrap();
    journal.shed_observations(false);
    write_as(Class::Observation, &journal, 1, 1).await.unwrap();
    assert_eq!(journal.stats().unwrap().refused.observation, 1);
}

#[tokio::test]
async fn the_ballast_is_made_only_where_there_is_room_and_kept_over_a_restart() {
    let (disk, dir) = (MemoryDisk::of(64 * MIB), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_on(&disk, 1, config(dir.path(), 8 * MIB)).unwrap();
    assert_eq!(journal.ballast(), BallastStanding::Absent);
    disk.leave(11 * MIB);
    assert!(!journal.make_ballast(95).unwrap());
    disk.take(0);
    assert!(journal.make_ballast(95).unwrap() && journal.make_ballast(95).unwrap());
    assert_eq!((journal.ballast(), disk.lens("ballast")), (BallastStanding::Held, vec![8 << 20]));
    assert_eq!(journal.stats().unwrap().ballast_bytes, 8 * MIB);
    journal.close().unwrap();
    let (journal, _, _) = open_on(&disk, 1, config(dir.path(), 8 * MIB)).unwrap();
    assert_eq!(journal.ballast(), BallastStanding::Held);
    journal.close().unwrap();
    let (journal, _, _) = open_on(&disk, 1, config(dir.path(), 4 * MIB)).unwrap();
    assert_eq!((journal.ballast(), disk.lens("ballast").len()), (BallastStanding::Absent, 0));
    assert!(journal.make_ballast(95).unwrap());
    journal.close().unwrap();
    let (journal, _, _) = open_on(&disk, 1, config(dir.path(), 0)).unwrap();
    assert!(!journal.make_ballast(95).unwrap());
    assert_eq!(disk.lens("ballast").len(), 0);
}

#[tokio::test]
async fn with_little_room_only_safety_is_recorded_and_gets_the_ballast() {
    let (disk, dir) = (MemoryDisk::of(64 * MIB), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_on(&disk, 1, config(dir.path(), 8 * MIB)).unwrap();
    assert!(journal.make_ballast(95).unwrap());
    write_as(Class::Lifecycle, &journal, 0, 1).await.unwrap();
    disk.leave(MIB);
    let refused = write_as(Class::Lifecycle, &journal, 1, 1).await.unwrap_err();
    assert_eq!(refused, AppendError::NoRoom { class: Class::Lifecycle });
    assert_eq!(journal.ballast(), BallastStanding::Held, "a refusal needs no room");
    write_as(Class::Safety, &journal, 1, 1).await.unwrap();
    assert_eq!((journal.ballast(), disk.lens("ballast").len()), (BallastStanding::GivenUp, 0));
    // The room that it gave is for the same.
    let refused = write_as(Class::Observation, &journal, 2, 1).await.unwrap_err();
    assert_eq!(refused, AppendError::NoRoom { class: Class::Observation });
    write_as(Class::Safety, &journal, 2, 1).await.unwrap();
    assert_eq!(journal.stats().unwrap().refused.lifecycle, 1);
    disk.take(0);
    write_as(Class::Lifecycle, &journal, 3, 1).await.unwrap();
    assert!(journal.make_ballast(95).unwrap());
    assert_eq!(journal.ballast(), BallastStanding::Held);
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_first_start_leaves_a_folder_to_start_in() {
    let (disk, dir) = (MemoryDisk::of(64 * MIB), tempfile::tempdir().unwrap());
    disk.leave(100 << 10);
    for number in 1..4 {
        let error = open_on(&disk, 1, config(dir.path(), 0)).unwrap_err();
        assert!(told(&error).contains("No space left on device"), "start {number}: {}", told(&error));
    }
    assert_eq!(disk.lens(".seg").len(), 0);
    disk.take(0);
    open_on(&disk, 1, config(dir.path(), 0)).unwrap();
}

/// Writes until the journal takes no more; gives what it acknowledged.
async fn write_to_the_end(journal: &Journal) -> u64 {
    for number in 0..10_000 {
        match write_as(Class::Safety, journal, number, 30_000).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, AppendError::Fenced);
                return number;
            }
        }
    }
    panic!("the disk does not get full");
}

#[tokio::test]
async fn a_journal_is_fenced_only_when_the_ballast_is_used_up() {
    let mut acknowledged = Vec::new();
    for ballast_bytes in [0, 6 * MIB] {
        let (disk, dir) = (MemoryDisk::of(64 * MIB), tempfile::tempdir().unwrap());
        let (journal, _, _) = open_on(&disk, 1, config(dir.path(), ballast_bytes)).unwrap();
        assert_eq!(journal.make_ballast(95).unwrap(), ballast_bytes > 0);
        disk.leave(MIB);
        acknowledged.push(write_to_the_end(&journal).await);
        let reason = journal.fatal().borrow().clone().unwrap();
        assert!(told(&*reason).contains("No space left on device"), "{}", told(&*reason));
        assert!(matches!(journal.close(), Err(JournalError::Failed(_))));
        assert_eq!(disk.lens("ballast").len(), 0);
        // With room again nothing is lost.
        disk.take(0);
        let (journal, replayed, _) = open_on(&disk, 1, config(dir.path(), ballast_bytes)).unwrap();
        let last = acknowledged.last().copied().unwrap_or_default();
        assert_eq!((replayed.len() as u64, journal.head().seq), (last, Seq(last)));
        write_as(Class::Lifecycle, &journal, last, 1).await.unwrap();
    }
    // 30 kB each: what the ballast gave is used for records nearly whole.
    assert!(acknowledged[0] + 170 < acknowledged[1], "{acknowledged:?}");
}

/// Where there is no room for what a segment takes ahead, it takes less before the ballast goes.
#[tokio::test]
async fn less_room_is_taken_before_the_ballast_is_given_up() {
    let (disk, dir) = (MemoryDisk::of(64 * MIB), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_on(&disk, 1, config(dir.path(), 4 * MIB)).unwrap();
    assert!(journal.make_ballast(95).unwrap());
    disk.leave(3 * MIB / 2);
    for number in 0..70 {
        write_as(Class::Lifecycle, &journal, number, 30_000).await.unwrap();
    }
    assert_eq!(journal.ballast(), BallastStanding::Held);
    let lens = disk.lens(".seg");
    assert_eq!((lens.len(), lens[1]), (2, 256 << 10));
}
