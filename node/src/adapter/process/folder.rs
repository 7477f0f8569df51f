//! The folder of one attempt: its files, and the lock that says whether its shim lives.
//!
//! The lock belongs to the open file and not to a pid: whoever starts the shim takes it and hands the open
//! file on, the shim holds it to its end, and the kernel lets go of it when the last of them is gone. So while
//! the lock is held something may still happen here, and once it is free nothing will by itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::records::{self, Ending, Keep, Plan, State};
use crate::adapter::volumes::private_folder;

/// The folder of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn at(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn make(&self) -> std::io::Result<()> {
        private_folder(&self.path)
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Takes the lock: none if a shim, or someone who is about to start one, holds it.
    ///
    /// # Errors
    /// The folder is not there.
    pub(super) fn try_lock(&self) -> std::io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.lock_path())?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes the lock as [`Folder::try_lock`] does, but sits out those who hold it only for a look.
    ///
    /// # Errors
    /// The folder is not there.
    pub(super) fn lock_soon(&self) -> std::io::Result<Option<File>> {
        const TRIES: u32 = 100;
        for _ in 0..TRIES {
            if let Some(lock) = self.try_lock()? {
                return Ok(Some(lock));
            }
            sleep(Duration::from_millis(10));
        }
        self.try_lock()
    }

    pub(super) fn plan(&self) -> std::io::Result<Option<Plan>> {
        records::read(&self.path.join("plan.json"))
    }

    pub(super) fn write_plan(&self, plan: &Plan) -> std::io::Result<()> {
        records::write(&self.path.join("plan.json"), plan, Keep::Processes)
    }

    pub(super) fn state(&self) -> std::io::Result<Option<State>> {
        records::read(&self.path.join("state.json"))
    }

    pub(super) fn write_state(&self, state: &State, keep: Keep) -> std::io::Result<()> {
        records::write(&self.path.join("state.json"), state, keep)
    }

    pub(super) fn ending(&self) -> std::io::Result<Option<Ending>> {
        records::read(&self.path.join("exit.json"))
    }

    pub(super) fn write_ending(&self, ending: &Ending) -> std::io::Result<()> {
        records::write(&self.path.join("exit.json"), ending, Keep::Power)
    }

    /// Removes the folder with all in it, and its parent if it was the last in there.
    pub(super) fn remove(&self) -> std::io::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if let Some(parent) = self.path.parent() {
            // Fails where other attempts are in it, which is what is wanted.
            let _ = std::fs::remove_dir(parent);
        }
        Ok(())
    }
}
