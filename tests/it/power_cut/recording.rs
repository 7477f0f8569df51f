//! The workload under strace: which calls it made, and what the folder was like afterwards.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use purser_tests::bounded;
use purser_tests::power::{Disk, Image, Step, Trace, UNTRACED};
use tempfile::TempDir;

use super::kept::Kind;
use super::workload::Ack;

/// Programs in a recording; each opens the journal once.
pub(super) const PARTS: usize = 4;

/// What tells the child which folder it works in.
pub(super) const FOLDER: &str = "PURSER_POWER_CHILD_FOLDER";
/// What tells the child where to write its acknowledgements.
pub(super) const ACKS: &str = "PURSER_POWER_CHILD_ACKS";
/// What tells the child its seed.
pub(super) const SEED: &str = "PURSER_POWER_CHILD_SEED";
/// What tells the child which kind of journal it writes.
pub(super) const KIND: &str = "PURSER_POWER_CHILD_KIND";
/// What tells the child whether it ends by a kill, without closing the journal.
pub(super) const KILLED: &str = "PURSER_POWER_CHILD_KILLED";

/// How the programs of a recording end.
const KILLED_OR_NOT: [bool; PARTS] = [false, true, true, false];

/// A program's calls and what the folder was really like when it had ended.
pub(super) struct Part {
    pub trace: Trace,
    pub left: Image,
}

/// Programs that worked in one folder, one after the other.
pub(super) struct Recording {
    home: PathBuf,
    pub parts: Vec<Part>,
    /// Removes the recording, unless it is to be kept.
    temporary: Option<TempDir>,
}

impl Recording {
    /// Runs the workload again and again: some programs close the journal, some are killed, and the next one goes on.
    pub(super) fn made(seed: u64, kind: Kind) -> Recording {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().canonicalize().unwrap();
        fs::create_dir(home.join("watched")).unwrap();
        let mut recording = Recording { home, parts: Vec::new(), temporary: Some(temporary) };
        for (number, killed) in KILLED_OR_NOT.into_iter().enumerate() {
            recording.trace(number, seed.wrapping_add(number as u64), killed, kind);
            let left = Image::read(&recording.watched()).unwrap();
            recording.parts.push(Part { trace: recording.read(number), left });
        }
        recording
    }

    /// Reads a recording that was kept.
    pub(super) fn kept(home: PathBuf) -> Recording {
        let mut recording = Recording { home, parts: Vec::new(), temporary: None };
        for number in 0..KILLED_OR_NOT.len() {
            let left = Image::read(&recording.home.join(format!("left-{number}"))).unwrap();
            recording.parts.push(Part { trace: recording.read(number), left });
        }
        recording
    }

    /// Leaves the recording for a look and says where.
    pub(super) fn keep(&mut self) -> &Path {
        if let Some(temporary) = self.temporary.take() {
            drop(temporary.keep());
            for (number, Part { left, .. }) in self.parts.iter().enumerate() {
                let folder = self.home.join(format!("left-{number}"));
                fs::create_dir(&folder).unwrap();
                left.save(&folder).unwrap();
            }
        }
        &self.home
    }

    /// The folder that the journal's folder is in, as the kernel names it.
    pub(super) fn watched(&self) -> PathBuf {
        self.home.join("watched")
    }

    fn acks(&self) -> PathBuf {
        self.home.join("acks")
    }

    fn trace(&self, number: usize, seed: u64, killed: bool, kind: Kind) {
        let mut strace = Command::new("strace");
        strace
            .args(["--seccomp-bpf", "-f", "-xx", "-y", "-v", "-s", "16777216", "-o"])
            .arg(self.trace_file(number))
            .args(["-e", &format!("trace={UNTRACED}")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "power_cut::the_workload_is_acknowledged", "--test-threads", "1"])
            .env(FOLDER, self.watched())
            .env(ACKS, self.acks())
            .env(SEED, seed.to_string())
            .env(KIND, kind.name())
            .stdin(Stdio::null());
        if killed {
            strace.env(KILLED, "1");
        }
        let ended = bounded::output(&mut strace);
        let as_told = if killed {
            ended.status.signal() == Some(Signal::SIGKILL as i32)
        } else {
            ended.status.success()
        };
        assert!(as_told, "the workload failed under strace ({}): {ended:?}", ended.status);
    }

    fn trace_file(&self, number: usize) -> PathBuf {
        self.home.join(format!("trace-{number}"))
    }

    fn read(&self, number: usize) -> Trace {
        let text = fs::read_to_string(self.trace_file(number)).unwrap();
        Trace::parse(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The disk before any of it.
    pub(super) fn disk(&self) -> Disk {
        Disk::new(&self.watched())
    }

    /// What a step tells a client, if it is an acknowledgement: it counts from the moment it begins to be written.
    pub(super) fn ack(&self, trace: &Trace, step: Step) -> Option<Ack> {
        let Step::Begins(index) = step else { return None };
        let call = &trace.calls[index];
        if call.name != "write" || call.descriptor_path(0)? != self.acks() {
            return None;
        }
        let line = String::from_utf8(call.bytes(1)?).expect("acknowledgements are text");
        Some(Ack::parse(&line).unwrap_or_else(|| panic!("no acknowledgement: {}", call.shown())))
    }
}

/// Where images are made: in memory where that is possible, for their syncs would only cost time.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
