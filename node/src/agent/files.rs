//! The agent's folder of work: who it is, what it has, and the folders of its tasks. What is here outlives the agent.
//!
//! ```text
//! lock                          held by the agent that runs
//! agent.json                    the agent's session
//! has/<task>.<token>.json       what was begun, or how it ended while that is not acknowledged
//! has/<task>.<token>.message    what the task says of its end
//! tasks/<task>/                 where the task runs
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::protocol::{Grip, Held, MESSAGE_LEN_MAX, Progress};

/// The version of the files that are written and read here.
const VERSION: u32 = 1;

/// Largest file of the agent's own, in bytes.
const FILE_LEN_MAX: u64 = 64 << 10;

/// Why the folder of work cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("another agent works in `{path}`: give each agent a folder of its own with --work-dir")]
    InUse { path: PathBuf },
    #[error("failed to use `{path}`: name a folder that this user may write to with --work-dir")]
    Unusable { path: PathBuf, source: io::Error },
}

/// What an agent before this one left behind.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its session, and whether the service has heard of that.
    pub(super) session: Option<Session>,
    /// Begun, and it did not live to see the end.
    pub(super) begun: Vec<Held>,
    /// Ended, and nobody has acknowledged it.
    pub(super) ended: Vec<(Held, End)>,
    /// Tasks whose folder waits for an apply.
    pub(super) keeps: Vec<Uuid>,
}

/// Who an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) id: Uuid,
    /// Whether the service has heard of it.
    pub(super) known: bool,
}

/// The folder of work.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// Held for as long as the agent lives.
    _lock: File,
}

/// A file of the agent.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    content: T,
}

/// An assignment as it is on file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    held: Held,
    /// How it ended; none while it runs.
    end: Option<End>,
}

/// How an assignment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// What is told of it.
    pub(super) progress: Progress,
    /// Whether the task's folder is kept for an apply.
    pub(super) keep: bool,
}

impl Files {
    /// Opens the folder, made if need be, and says what is in it.
    ///
    /// # Errors
    /// It cannot be written, or another agent works in it.
    pub(super) fn open(folder: &Path) -> Result<(Files, Found), FilesError> {
        let unusable = |source| FilesError::Unusable { path: folder.to_path_buf(), source };
        for made in [folder.to_path_buf(), folder.join("has"), folder.join("tasks")] {
            DirBuilder::new().recursive(true).mode(0o700).create(&made).map_err(unusable)?;
        }
        // Absolute, because tasks run in other folders.
        let folder = folder.canonicalize().map_err(unusable)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FilesError::InUse { path: folder }),
            Err(fs::TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let files = Files { folder: folder.clone(), _lock: lock };
        let found = files.found().map_err(unusable)?;
        Ok((files, found))
    }

    fn found(&self) -> io::Result<Found> {
        let mut found = Found { session: self.read(&self.folder.join("agent.json")), ..Found::default() };
        let mut tasks = Vec::new();
        for path in entries(&self.folder.join("has"))? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let Some(Kept { held, end }) = self.read::<Kept>(&path) else {
                // Not had, so the service counts it as lost.
                fs::remove_file(&path)?;
                continue;
            };
            tasks.push(held.task);
            match end {
                None => found.begun.push(held),
                Some(end) => found.ended.push((held, end)),
            }
        }
        let folders = entries(&self.folder.join("tasks"))?.into_iter();
        let named = folders.filter_map(|path| path.file_name()?.to_str()?.parse().ok());
        found.keeps = named.filter(|task| !tasks.contains(task)).collect();
        Ok(found)
    }

    /// Writes down which session is this agent's.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub(super) fn write_session(&self, session: Session) -> io::Result<()> {
        write(&self.folder.join("agent.json"), session)
    }

    /// Writes down that an assignment is begun, before it is.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub(super) fn write_begun(&self, held: Held) -> io::Result<()> {
        write(&self.path_of(grip_of(held), "json"), Kept { held, end: None })
    }

    /// Writes down how an assignment ended.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub(super) fn write_end(&self, held: Held, end: &End) -> io::Result<()> {
        write(&self.path_of(grip_of(held), "json"), Kept { held, end: Some(end.clone()) })
    }

    /// Removes what is on file of an assignment, but not the task's folder.
    pub(super) fn remove(&self, grip: Grip) {
        for extension in ["json", "message"] {
            gone(fs::remove_file(self.path_of(grip, extension)), "an assignment's file");
        }
    }

    /// Where a task runs.
    pub(super) fn task_folder(&self, task: Uuid) -> PathBuf {
        self.folder.join("tasks").join(task.to_string())
    }

    /// Makes an empty folder for a task.
    ///
    /// # Errors
    /// What was there cannot be removed, or the disk is full.
    pub(super) fn make_task_folder(&self, task: Uuid) -> io::Result<()> {
        let folder = self.task_folder(task);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        DirBuilder::new().mode(0o700).create(folder)
    }

    /// Removes a task's folder with all that is in it.
    pub(super) fn remove_task_folder(&self, task: Uuid) {
        gone(fs::remove_dir_all(self.task_folder(task)), "a task's folder");
    }

    /// Where a task may say something of its end.
    pub(super) fn message_path(&self, grip: Grip) -> PathBuf {
        self.path_of(grip, "message")
    }

    /// What a task has said of its end: at most [`MESSAGE_LEN_MAX`] bytes, empty if nothing.
    pub(super) fn message(&self, grip: Grip) -> String {
        let mut bytes = Vec::new();
        let limit = MESSAGE_LEN_MAX as u64;
        // A task may have put a pipe there: nobody waits for one who writes.
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(self.message_path(grip));
        let read = file.and_then(|file| file.take(limit).read_to_end(&mut bytes));
        if let Err(error) = read
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(task = %grip.task, %error, "a task's message could not be read");
        }
        bounded(&String::from_utf8_lossy(&bytes))
    }

    fn path_of(&self, grip: Grip, extension: &str) -> PathBuf {
        self.folder.join("has").join(format!("{}.{}.{extension}", grip.task, grip.token))
    }

    /// Reads one of the agent's own files: none if it is not there, damaged, or another version's.
    fn read<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_LEN_MAX).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => tracing::warn!(path = %path.display(), %error, "a file could not be read"),
            Ok(_) => {}
        }
        match serde_json::from_slice::<Versioned<T>>(&bytes) {
            Ok(held) if held.version == VERSION => Some(held.content),
            Ok(held) => {
                tracing::warn!(path = %path.display(), version = held.version, "a file is of another version");
                None
            }
            Err(_) => {
                tracing::warn!(path = %path.display(), "a file is damaged");
                None
            }
        }
    }
}

fn grip_of(held: Held) -> Grip {
    Grip { task: held.task, token: held.token }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

/// Writes a file whole or not at all. It survives the end of any process; with the machine the pod ends too.
fn write<T: Serialize>(path: &Path, content: T) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&serde_json::to_vec(&Versioned { version: VERSION, content })?)?;
    fs::rename(&unfinished, path)
}

fn gone(removed: io::Result<()>, what: &'static str) {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, "{what} could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A text as it may go into a report: no control characters but line ends, and not too long.
pub(super) fn bounded(text: &str) -> String {
    let mut out = String::new();
    for letter in text.trim().chars().filter(|letter| *letter == '\n' || !letter.is_control()) {
        if out.len() + letter.len_utf8() > MESSAGE_LEN_MAX {
            break;
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(task: u128) -> Held {
        Held { task: Uuid::from_u128(task), token: 3, slot: 1 }
    }

    fn ended() -> End {
        End { progress: Progress::Planned { changes: true, summary: "1 to add".into() }, keep: true }
    }

    #[test]
    fn what_one_agent_leaves_the_next_one_finds() {
        let dir = tempfile::tempdir().unwrap();
        let (files, found) = Files::open(dir.path()).unwrap();
        assert!(found.session.is_none() && found.keeps.is_empty());
        let session = Session { id: Uuid::from_u128(9), known: true };
        files.write_session(session).unwrap();
        for task in 1..=3 {
            files.make_task_folder(Uuid::from_u128(task)).unwrap();
        }
        files.write_begun(held(1)).unwrap();
        files.write_begun(held(2)).unwrap();
        files.write_end(held(2), &ended()).unwrap();
        assert!(matches!(Files::open(dir.path()), Err(FilesError::InUse { .. })));
        drop(files);
        let (files, found) = Files::open(dir.path()).unwrap();
        assert_eq!(found.session, Some(session));
        assert_eq!((found.begun, found.ended), (vec![held(1)], vec![(held(2), ended())]));
        assert_eq!(found.keeps, [Uuid::from_u128(3)]);
        files.remove(grip_of(held(1)));
        files.remove_task_folder(held(1).task);
        drop(files);
        let (_, found) = Files::open(dir.path()).unwrap();
        assert!(found.begun.is_empty() && found.keeps == [Uuid::from_u128(3)]);
    }

    #[test]
    fn a_damaged_file_counts_as_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (files, _) = Files::open(dir.path()).unwrap();
        files.write_begun(held(1)).unwrap();
        fs::write(files.path_of(grip_of(held(1)), "json"), "{").unwrap();
        fs::write(dir.path().join("agent.json"), r#"{"version":2,"content":null}"#).unwrap();
        drop(files);
        let (_, found) = Files::open(dir.path()).unwrap();
        assert!(found.session.is_none() && found.begun.is_empty());
    }

    #[test]
    fn messages_are_bounded_and_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let (files, _) = Files::open(dir.path()).unwrap();
        let grip = grip_of(held(1));
        assert_eq!(files.message(grip), "");
        fs::write(files.message_path(grip), b" two\nlines\x1b[31m\xff \n").unwrap();
        assert_eq!(files.message(grip), "two\nlines[31m\u{fffd}");
        fs::write(files.message_path(grip), "\u{20ac}".repeat(1_000)).unwrap();
        assert!(files.message(grip).len() <= MESSAGE_LEN_MAX);
        assert_eq!(bounded(&"é".repeat(1_000)).len(), MESSAGE_LEN_MAX);
        files.remove(grip);
        nix::unistd::mkfifo(&files.message_path(grip), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(files.message(grip), "");
    }
}
