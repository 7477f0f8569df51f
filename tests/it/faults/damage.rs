//! Damage to the files of a stopped service's journal: it is told in one line with an exit code of its own, and
//! never taken for a shorter history.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::journal_folder::{files, stopped_service};
use super::program::{Start, assert_ended, said, start};

/// A stopped service's data folder to be copied and damaged.
struct Original {
    purserd: purser_tests::purserd::Purserd,
    /// Its last record.
    head: u64,
}

impl Original {
    fn made() -> Original {
        let mut purserd = stopped_service();
        purserd.restart();
        for number in 0..60 {
            purserd.purser_ok(["cordon", "--reason", &format!("{number} {}", "x".repeat(100))]);
            purserd.purser_ok(["uncordon"]);
        }
        assert!(purserd.stop().success());
        let bytes = fs::read(purserd.data_dir().join("journal/head")).unwrap();
        let head = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        Original { purserd, head }
    }

    /// Starts a copy whose journal was changed by `damage`, and sees that it is sound or says what it is not.
    /// Gives whether it started.
    #[track_caller]
    fn starts_after(&self, what: &str, damage: impl FnOnce(&Path)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        copy(&self.purserd.data_dir(), &data);
        damage(&data.join("journal"));
        let socket = folder.path().join("s");
        let variables =
            [("PURSER_DATA_DIR", data.to_str().unwrap()), ("PURSER_API__SOCKET", socket.to_str().unwrap())];
        match start(&self.purserd.config(), &variables) {
            Start::Ready { output } => {
                let text = said(&output);
                let replayed = text.split("journal replayed head=").nth(1).unwrap_or_default();
                let head: u64 = replayed.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(head, self.head, "{what}: a shorter history passed for the whole: {text}");
                true
            }
            Start::Ended(output) => {
                let told = ["journal", "purser-replay verify --dir COPY"];
                eprintln!("{what}: {}", said(&output).lines().last().unwrap_or_default());
                assert_ended(&output, 74, &told);
                // The service's log may come before; of the failure there is one line.
                let lines = said(&output).lines().filter(|line| line.contains("COPY")).count();
                assert_eq!(lines, 1, "{what}: {}", said(&output));
                false
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
}

fn flip(file: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// The places of a file that hold something.
fn used(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    (0..).zip(bytes).filter(|(_, byte)| *byte != 0).map(|(at, _)| at).collect()
}

#[test]
fn a_flipped_bit_is_told() {
    let original = Original::made();
    let db = original.purserd.data_dir().join("journal/sled/db");
    let used = used(&db);
    let mut refused = 0;
    for number in 0..24 {
        let at = used[(used.len() - 1) * number / 23];
        let what = format!("bit at {at} of {}", used.len());
        refused += u32::from(!original.starts_after(&what, |journal| flip(&journal.join("sled/db"), at)));
    }
    assert!(refused > 0, "no flipped bit was noticed");
}

#[test]
fn a_file_that_was_cut_short_is_told() {
    let original = Original::made();
    let db = original.purserd.data_dir().join("journal/sled/db");
    let end = used(&db).last().copied().unwrap() + 1;
    for part in [0, 1, 2, 4, 6, 7] {
        let len = end * part / 8;
        let cut = |journal: &Path| {
            File::options().write(true).open(journal.join("sled/db")).unwrap().set_len(len).unwrap();
        };
        let started = original.starts_after(&format!("cut to {len} of {end}"), cut);
        assert!(!started, "a journal cut to {len} of {end} bytes passed for the whole");
    }
    let last = |journal: &Path| {
        File::options().write(true).open(journal.join("sled/db")).unwrap().set_len(end - 3).unwrap();
    };
    original.starts_after("three bytes cut off", last);
}

#[test]
fn files_that_are_missing_or_foreign_are_told() {
    let original = Original::made();
    let journal = original.purserd.data_dir().join("journal");
    let names: Vec<PathBuf> =
        files(&journal).into_keys().map(|path| path.strip_prefix(&journal).unwrap().to_path_buf()).collect();
    for name in names.iter().filter(|name| name.starts_with("sled")) {
        original.starts_after(&format!("{} missing", name.display()), |journal| {
            fs::remove_file(journal.join(name)).unwrap();
        });
        original.starts_after(&format!("{} foreign", name.display()), |journal| {
            fs::write(journal.join(name), "this is no such file\n".repeat(100)).unwrap();
        });
    }
    let gone = |journal: &Path| fs::remove_dir_all(journal.join("sled")).unwrap();
    assert!(!original.starts_after("no store", gone));
    let torn = |journal: &Path| fs::write(journal.join("head"), "torn").unwrap();
    assert!(original.starts_after("head torn", torn), "the journal is sound without that file");
}
