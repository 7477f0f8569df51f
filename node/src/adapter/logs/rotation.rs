//! Keeping logs short while containers write to them.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use purser_actors::paths::PodPaths;

use super::{folder_of, older_part};

/// Length at which a log is shortened, in bytes, unless the operator says otherwise.
pub const LOG_LEN_MAX: u64 = 16 << 20;
/// Time between two looks at the length of every log.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What is cut off is a multiple of this: every file system that can cut wants whole blocks of its own.
const CUT_STEP: u64 = 64 << 10;

/// Keeps every log below `paths` at `len_max` bytes, as seen from one look to the next. Never returns.
pub async fn keep_short(paths: PodPaths, len_max: u64) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let root = paths.root().to_path_buf();
        let look = tokio::task::spawn_blocking(move || shorten_all(&PodPaths::new(root), len_max));
        match look.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to look at the logs"),
            Err(error) => tracing::error!(%error, "looking at the logs was broken off"),
        }
    }
}

/// Shortens every log that is longer than `len_max` bytes, and says how many were. One that cannot be
/// shortened is reported and holds up no other.
///
/// # Errors
/// The folder of all pods cannot be read.
pub fn shorten_all(paths: &PodPaths, len_max: u64) -> std::io::Result<usize> {
    let mut shortened = 0;
    for pod in entries(paths.root())? {
        for container in entries(&pod.join("logs")).unwrap_or_default() {
            let logs = entries(&container).unwrap_or_default();
            for log in logs.iter().filter(|path| path.extension().is_some_and(|end| end == "log")) {
                match shorten(log, len_max) {
                    Ok(done) => shortened += usize::from(done),
                    Err(error) => tracing::warn!(log = %log.display(), %error, "failed to shorten a log"),
                }
            }
        }
    }
    Ok(shortened)
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn shorten(log: &Path, len_max: u64) -> std::io::Result<bool> {
    let held = log.symlink_metadata()?;
    if !held.is_file() || held.len() <= len_max {
        return Ok(false);
    }
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(log)?;
    // The cut must not reach the end of the file.
    let cut = (file.metadata()?.len().saturating_sub(1)) / CUT_STEP * CUT_STEP;
    let unfinished = log.with_extension("log.tmp");
    let mut older = options.read(false).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let copied = copy(&mut file, cut, &mut older);
    copied.inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    let folder = folder_of(log)?;
    folder.lock()?;
    // The older part has its name before the cut: a crash in between shows it twice rather than never.
    fs::rename(&unfinished, older_part(log))?;
    if !cut_off(&file, cut)? {
        empty(&mut file, &mut older)?;
    }
    Ok(true)
}

fn copy(from: &mut File, len: u64, to: &mut File) -> std::io::Result<u64> {
    from.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut from.take(len), to)
}

/// Takes the first `len` bytes out of a file that others append to, so that nothing they write is lost. Says
/// whether the file system can do that.
fn cut_off(file: &File, len: u64) -> std::io::Result<bool> {
    let Ok(len) = i64::try_from(len) else { return Ok(false) };
    if len == 0 {
        return Ok(false);
    }
    match fallocate(file, FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, 0, len) {
        Ok(()) => Ok(true),
        Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Moves what is left of a file behind the older part. What is written between the last read and the emptying
/// is lost: it is for file systems that know nothing better.
fn empty(file: &mut File, older: &mut File) -> std::io::Result<()> {
    std::io::copy(file, older)?;
    file.set_len(0)
}
