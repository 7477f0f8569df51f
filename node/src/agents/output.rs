//! What tasks print: a file for each time that a task was given to a slot, bounded, and gone with the task.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use purser_events::pool::{PoolName, TaskId, Token};

use crate::adapter::volumes::private_folder;
use crate::config::Config;

/// Why output was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The task has printed as much as is kept of it.
    #[error("the task has printed as much as is kept of one: {bytes_max} bytes (`pools.task-log-bytes-max`)")]
    TooLong {
        /// Bytes that are kept.
        bytes_max: u64,
    },
    /// The file cannot be written.
    #[error("failed to keep a task's output")]
    Io(#[from] io::Error),
}

/// Where the output of tasks is. Names in paths are checked labels, uuids and numbers only.
#[derive(Debug, Clone)]
pub struct TaskOutputs {
    root: PathBuf,
    bytes_max: u64,
}

impl TaskOutputs {
    /// Output below `root`: at most `bytes_max` of each time that a task is run.
    #[must_use]
    fn new(root: PathBuf, bytes_max: u64) -> TaskOutputs {
        TaskOutputs { root, bytes_max }
    }

    /// Output where this config has it.
    #[must_use]
    pub fn of(config: &Config) -> TaskOutputs {
        TaskOutputs::new(config.data_dir.join("tasks"), config.pools.task_log_bytes_max.get())
    }

    fn folder(&self, pool: &PoolName, task: TaskId) -> PathBuf {
        self.root.join(pool.as_str()).join(task.to_string())
    }

    /// Where the output is of one time that a task was given to a slot.
    #[must_use]
    pub fn file(&self, pool: &PoolName, task: TaskId, token: Token) -> PathBuf {
        self.folder(pool, task).join(format!("{token}.log"))
    }

    /// The files with all that a task has printed, the oldest first. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn files(&self, pool: &PoolName, task: TaskId) -> io::Result<Vec<PathBuf>> {
        let folder = self.folder(pool, task);
        let mut tokens = names(&folder)?
            .into_iter()
            .filter_map(|name| name.strip_suffix(".log")?.parse::<u64>().ok())
            .collect::<Vec<_>>();
        tokens.sort_unstable();
        Ok(tokens.into_iter().map(|token| folder.join(format!("{token}.log"))).collect())
    }

    /// Keeps what a task has printed from `offset` on, and says how much is kept now. What overlaps is skipped; of what
    /// would leave a gap nothing is kept: whoever sends goes on where the answer says. Blocks on the disk.
    ///
    /// # Errors
    /// It is more than is kept, or the disk fails.
    pub fn keep(
        &self,
        pool: &PoolName,
        task: TaskId,
        token: Token,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, OutputError> {
        private_folder(&self.folder(pool, task))?;
        let path = self.file(pool, task, token);
        // Never truncated: it may have output already.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let len = file.metadata()?.len();
        if self.bytes_max < len {
            // It says so at its end.
            return Err(OutputError::TooLong { bytes_max: self.bytes_max });
        }
        let known = len.checked_sub(offset).and_then(|known| usize::try_from(known).ok());
        let Some(new) = known.map(|known| bytes.get(known..).unwrap_or_default()) else { return Ok(len) };
        let room = usize::try_from(self.bytes_max.saturating_sub(len)).unwrap_or(usize::MAX);
        let taken = new.get(..room).unwrap_or(new);
        file.write_all_at(taken, len)?;
        if taken.len() < new.len() {
            // Behind the last byte that is kept: whoever reads it knows that this is not all.
            let note = format!("\n[the output was longer: {} bytes of it are kept]\n", self.bytes_max);
            file.write_all_at(note.as_bytes(), self.bytes_max)?;
            return Err(OutputError::TooLong { bytes_max: self.bytes_max });
        }
        Ok(len + taken.len() as u64)
    }

    /// Removes the output of every task that is not known any more. Blocks on the disk.
    ///
    /// # Errors
    /// A folder cannot be read or removed.
    pub fn sweep(&self, is_known: impl Fn(&PoolName, TaskId) -> bool) -> io::Result<()> {
        for pool in names(&self.root)? {
            let Ok(name) = PoolName::new(pool.as_str()) else { continue };
            let folder = self.root.join(&pool);
            for task in names(&folder)? {
                let Ok(id) = task.parse() else { continue };
                if !is_known(&name, TaskId(id)) {
                    fs::remove_dir_all(folder.join(&task))?;
                }
            }
        }
        Ok(())
    }
}

/// The names in a folder; none if there is no folder.
fn names(folder: &std::path::Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn outputs(folder: &tempfile::TempDir) -> (TaskOutputs, PoolName, TaskId) {
        let outputs = TaskOutputs::new(folder.path().join("tasks"), 8);
        (outputs, PoolName::new("iac").unwrap(), TaskId(Uuid::from_u128(7)))
    }

    #[test]
    fn what_comes_twice_is_kept_once_and_a_gap_is_not_filled() {
        let folder = tempfile::tempdir().unwrap();
        let (outputs, pool, task) = outputs(&folder);
        let keep = |offset, bytes: &[u8]| outputs.keep(&pool, task, Token(1), offset, bytes).unwrap();
        assert_eq!(keep(0, b"abc"), 3);
        assert_eq!(keep(0, b"abc"), 3);
        assert_eq!(keep(1, b"bcde"), 5);
        assert_eq!(keep(7, b"xx"), 5, "the answer says where to go on");
        assert_eq!(fs::read(outputs.file(&pool, task, Token(1))).unwrap(), b"abcde");
    }

    #[test]
    fn more_than_the_bound_is_refused_and_what_fits_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (outputs, pool, task) = outputs(&folder);
        for bytes in [b"0123456789".as_slice(), b"0123456789", &[b'x'; 200]] {
            let refused = outputs.keep(&pool, task, Token(1), 0, bytes);
            assert!(matches!(refused, Err(OutputError::TooLong { bytes_max: 8 })));
        }
        let kept = fs::read_to_string(outputs.file(&pool, task, Token(1))).unwrap();
        assert_eq!(kept, "01234567\n[the output was longer: 8 bytes of it are kept]\n");
    }

    #[test]
    fn output_goes_with_its_task_and_is_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (outputs, pool, task) = outputs(&folder);
        for token in [10, 9] {
            outputs.keep(&pool, task, Token(token), 0, b"x").unwrap();
        }
        let other = TaskId(Uuid::from_u128(8));
        outputs.keep(&pool, other, Token(11), 0, b"y").unwrap();
        let expected: Vec<PathBuf> = [9, 10].map(|token| outputs.file(&pool, task, Token(token))).into();
        assert_eq!(outputs.files(&pool, task).unwrap(), expected);
        outputs.sweep(|_, known| known == other).unwrap();
        assert_eq!(outputs.files(&pool, task).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(outputs.files(&pool, other).unwrap().len(), 1);
    }
}
