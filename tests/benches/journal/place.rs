//! Where the benchmarks keep what they write: a folder on the disk that the build is on, gone at the end.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use purser_tests::bench::number_from;
use tempfile::TempDir;

use crate::child;

/// File systems that keep nothing on a disk: a sync there says nothing.
const IN_MEMORY: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];

/// A folder on a disk, and the long journal in it that several benchmarks share.
pub(crate) struct Place {
    folder: TempDir,
    events: u64,
    filled: OnceCell<PathBuf>,
}

impl Place {
    /// Makes the folder and says what it is on.
    pub(crate) fn new() -> Place {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(parent).expect("the build's folder can be written");
        let folder = TempDir::with_prefix_in("journal-bench-", parent).expect("a folder can be made there");
        let (kind, device) = mounted_at(folder.path());
        assert!(!IN_MEMORY.contains(&kind.as_str()), "{} is in memory, not on a disk", parent.display());
        println!("journal: data on {kind} ({device}), events from seed {:#x}", crate::event::SEED);
        let events = number_from("PURSER_BENCH_EVENTS", 5_000_000).max(1_000);
        Place { folder, events, filled: OnceCell::new() }
    }

    /// A new folder with nothing in it.
    pub(crate) fn empty(&self, name: &str) -> PathBuf {
        let dir = self.folder.path().join(name);
        fs::create_dir(&dir).expect("a folder can be made");
        dir
    }

    /// Removes such a folder, and waits until the disk has that behind it: whoever comes next shall not pay for it.
    pub(crate) fn remove(&self, dir: &Path) {
        fs::remove_dir_all(dir).expect("the folder can be removed");
        let parent = File::open(self.folder.path()).expect("the folder can be opened");
        parent.sync_all().expect("the folder can be synced");
    }

    /// A copy of a folder, holes and all.
    pub(crate) fn copy(&self, of: &Path, name: &str) -> PathBuf {
        let dir = self.folder.path().join(name);
        let copied = Command::new("cp").arg("-a").arg(of).arg(&dir).status().expect("cp can be run");
        assert!(copied.success(), "the folder is not copied");
        dir
    }

    /// How many events the long journal holds.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The long journal, filled by a process of its own that closed it.
    pub(crate) fn filled(&self) -> &Path {
        self.filled.get_or_init(|| {
            let dir = self.empty("long");
            let report = child::finish(child::Task::Fill, &dir, self.events);
            let took = report.took().as_secs_f64();
            println!(
                "filled: {} events in batches of {}, {took:.1} s",
                report.events,
                crate::event::FILL_BATCH
            );
            dir
        })
    }
}

/// Kind and device of the file system that a path is on.
fn mounted_at(path: &Path) -> (String, String) {
    let path = path.canonicalize().expect("the folder was just made");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the kernel tells what is mounted");
    let mut nearest = (0, String::new(), String::new());
    for line in mounts.lines() {
        let mut fields = line.split_whitespace();
        let (Some(device), Some(at), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // Of two mounts at one place the later one is seen.
        if path.starts_with(at) && at.len() >= nearest.0 {
            nearest = (at.len(), kind.to_owned(), device.to_owned());
        }
    }
    assert!(!nearest.1.is_empty(), "{} is on no mount that the kernel lists", path.display());
    (nearest.1, nearest.2)
}
