//! Damage to the files of a stopped service's journal: a damaged store never stops the service, which makes it again
//! from the segments; a damaged segment is told in one line with an exit code of its own, and never taken for a
//! shorter history.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use purser_tests::purserd::{Purserd, Setup};

use super::journal_folder::{files, stopped};
use super::program::{Start, assert_ended, said, start};

/// A stopped service's data folder to be copied and damaged.
struct Original {
    purserd: Purserd,
    /// Its last record.
    head: u64,
}

impl Original {
    /// Without snapshots the start reads every segment.
    fn made(backend: &str, snapshot_every: u64) -> Original {
        // Nearly every commit has a segment of its own.
        let table = "[journal]\nsegment-bytes = 262144\nsegment-age-ms = 1";
        let more = format!("{table}\nsnapshot-every = {snapshot_every}\nbackend = \"{backend}\"\n");
        let mut purserd = stopped(&Setup { more, ..Setup::default() });
        purserd.restart();
        for number in 0..20 {
            purserd.purser_ok(["cordon", "--reason", &format!("{number} {}", "x".repeat(100))]);
            purserd.purser_ok(["uncordon"]);
        }
        assert!(purserd.stop().success());
        let bytes = fs::read(purserd.data_dir().join("journal/head")).unwrap();
        let head = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        Original { purserd, head }
    }

    fn journal(&self) -> PathBuf {
        self.purserd.data_dir().join("journal")
    }

    /// The segments in order, the open one last.
    fn segments(&self) -> Vec<PathBuf> {
        let segments: Vec<PathBuf> = files(&self.journal().join("segments")).into_keys().collect();
        let relative = |path: PathBuf| path.strip_prefix(self.journal()).unwrap().to_owned();
        let segments: Vec<PathBuf> = segments.into_iter().map(relative).collect();
        assert!(segments.len() > 3, "{segments:?}");
        segments
    }

    /// The largest of the store's files.
    fn largest_of(&self, store: &str) -> PathBuf {
        let files = files(&self.journal().join(store)).into_iter();
        let (path, _) = files.max_by_key(|(_, bytes)| bytes.len()).unwrap();
        path.strip_prefix(self.journal()).unwrap().to_owned()
    }

    /// Starts a copy whose journal was changed by `damage`.
    fn start_after(&self, damage: impl FnOnce(&Path)) -> Start {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        copy(&self.purserd.data_dir(), &data);
        damage(&data.join("journal"));
        let socket = folder.path().join("s");
        let variables =
            [("PURSER_DATA_DIR", data.to_str().unwrap()), ("PURSER_API__SOCKET", socket.to_str().unwrap())];
        start(&self.purserd.config(), &variables)
    }

    /// Sees that a copy starts all the same, with all of its records.
    #[track_caller]
    fn assert_starts(&self, what: &str, damage: impl FnOnce(&Path)) {
        let Start::Ready { output } = self.start_after(damage) else {
            panic!("{what}: the service did not start");
        };
        let text = said(&output);
        // It may have begun again in between.
        let replayed = text.rsplit("journal replayed head=").next().unwrap_or_default();
        let head: u64 = replayed.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(head, self.head, "{what}: a shorter history passed for the whole: {text}");
    }

    /// Sees that a copy does not start, and that its last words are one line that names these.
    #[track_caller]
    fn assert_told(&self, what: &str, words: &[&str], damage: impl FnOnce(&Path)) {
        let Start::Ended(output) = self.start_after(damage) else {
            panic!("{what}: damage passed for a sound journal");
        };
        assert_ended(&output, 74, &["journal", "records up to ", "purser-replay verify --dir COPY"]);
        // The service's log may come before; of the failure there is one line.
        let text = said(&output);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("COPY")).collect();
        let [line] = lines[..] else { panic!("{what}: {text}") };
        assert!(words.iter().all(|word| line.contains(word)), "{what}: {words:?} is not in: {line}");
    }
}

/// Copies every file, with who may read it: some are refused if others may.
fn copy(from: &Path, to: &Path) {
    for path in files(from).into_keys() {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

fn flip(file: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn cut(file: &Path, len: u64) {
    File::options().write(true).open(file).unwrap().set_len(len).unwrap();
}

/// The places of a file that hold something.
fn used(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    (0..).zip(bytes).filter(|(_, byte)| *byte != 0).map(|(at, _)| at).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn a_damaged_store_is_made_again(backend: &str, snapshot_every: u64) {
    let original = Original::made(backend, snapshot_every);
    let largest = original.largest_of(backend);
    let used = used(&original.journal().join(&largest));
    for number in 0..12 {
        let at = used[(used.len() - 1) * number / 11];
        let what = format!("bit at {at} of {}", used.len());
        original.assert_starts(&what, |journal| flip(&journal.join(&largest), at));
    }
    let end = used.last().copied().unwrap() + 1;
    for part in [0, 1, 4, 7] {
        let len = end * part / 8;
        let what = format!("cut to {len} of {end}");
        original.assert_starts(&what, |journal| cut(&journal.join(&largest), len));
    }
    original.assert_starts("every block", |journal| {
        let file = File::options().write(true).open(journal.join(&largest)).unwrap();
        for block in (0..end).step_by(4_096) {
            file.write_all_at(&[0xa5; 64], block + 1_000).unwrap();
        }
    });
    for path in files(&original.journal().join(backend)).into_keys() {
        let file = path.strip_prefix(original.journal()).unwrap();
        original.assert_starts(&format!("{} missing", file.display()), |journal| {
            fs::remove_file(journal.join(file)).unwrap();
        });
        original.assert_starts(&format!("{} foreign", file.display()), |journal| {
            fs::write(journal.join(file), "this is no such file\n".repeat(100)).unwrap();
        });
    }
    original.assert_starts("no store", |journal| fs::remove_dir_all(journal.join(backend)).unwrap());
    original.assert_starts("a file in its place", |journal| {
        fs::remove_dir_all(journal.join(backend)).unwrap();
        fs::write(journal.join(backend), "theirs").unwrap();
    });
    original.assert_starts("noted as damaged", |journal| fs::write(journal.join("suspect"), "").unwrap());
}

#[test]
fn damage_to_sled_does_not_stop_the_service() {
    a_damaged_store_is_made_again("sled", 0);
    a_damaged_store_is_made_again("sled", 8);
}

#[test]
fn damage_to_redb_does_not_stop_the_service() {
    a_damaged_store_is_made_again("redb", 0);
    a_damaged_store_is_made_again("redb", 8);
}

#[test]
fn a_damaged_segment_is_told() {
    let original = Original::made("sled", 0);
    let segments = original.segments();
    let (open, sealed) = segments.split_last().unwrap();
    for segment in [&sealed[0], &sealed[sealed.len() / 2], &sealed[sealed.len() - 1]] {
        let len = fs::metadata(original.journal().join(segment)).unwrap().len();
        for at in [0, 30, 71, 90, len / 2, len - 40, len - 1] {
            let what = format!("byte {at} of {len} of {}", segment.display());
            original.assert_told(&what, &[name(segment)], |journal| flip(&journal.join(segment), at));
        }
        for part in [0, 1, 4, 7] {
            let what = format!("{} cut to {part} eighths", segment.display());
            original
                .assert_told(&what, &[name(segment)], |journal| cut(&journal.join(segment), len * part / 8));
        }
    }
    for at in [0, 30, 71, 90] {
        original.assert_told("the open segment", &[name(open)], |journal| flip(&journal.join(open), at));
    }
}

#[test]
fn segments_that_are_missing_or_foreign_are_told() {
    let original = Original::made("sled", 0);
    let segments = original.segments();
    let (open, sealed) = segments.split_last().unwrap();
    let acknowledged = format!("but record {} was acknowledged", original.head);
    original.assert_told("the last missing", &[&acknowledged], |journal| {
        fs::remove_file(journal.join(open)).unwrap();
    });
    original.assert_told("one in the middle missing", &["is missing"], |journal| {
        fs::remove_file(journal.join(&sealed[1])).unwrap();
    });
    original.assert_told("all missing", &["ends at record 0", &acknowledged], |journal| {
        fs::remove_dir_all(journal.join("segments")).unwrap();
    });
    for segment in [&sealed[0], open] {
        original.assert_told("foreign", &[name(segment), "it is not a segment"], |journal| {
            fs::write(journal.join(segment), "this is no such file\n".repeat(100)).unwrap();
        });
    }
    original.assert_starts("head torn", |journal| fs::write(journal.join("head"), "torn").unwrap());
    let tail = |journal: &Path| {
        let file = File::options().write(true).open(journal.join(open)).unwrap();
        file.write_all_at(&[0xa5; 500], 100_000).unwrap();
    };
    original.assert_starts("other bytes in the room that was not used", tail);
}
