//! The output of containers, as every runtime writes it: raw bytes of both streams, appended to one file a try.
//!
//! A file that grew too long gives its older part away to a second one beside it, `<attempt>.log.1`, of which
//! there is one: what was in there before is gone.

mod reader;
mod rotation;

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use purser_actors::paths::PodPaths;
use purser_actors::port::ContainerKey;

pub use self::reader::{LogReader, LogStart};
pub use self::rotation::{LOG_LEN_MAX, keep_short, shorten_all};

/// Tries of a container whose output is kept: the one that runs and the one before it.
const ATTEMPTS_KEPT: u32 = 2;

/// Removes the output of the tries before the last one, when a new one is about to start.
///
/// # Errors
/// A file cannot be removed.
pub fn forget_old_attempts(paths: &PodPaths, starting: &ContainerKey) -> std::io::Result<()> {
    let folder = paths.logs(starting.pod, &starting.container);
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name();
        let attempt = name.to_str().and_then(|name| name.split('.').next()?.parse::<u32>().ok());
        if attempt.is_some_and(|attempt| attempt.saturating_add(ATTEMPTS_KEPT) <= starting.attempt) {
            match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// The try before this one: the one whose output `logs --previous` shows.
#[must_use]
pub fn previous(key: &ContainerKey) -> Option<ContainerKey> {
    let attempt = key.attempt.checked_sub(1).filter(|attempt| *attempt > 0)?;
    Some(ContainerKey { attempt, ..key.clone() })
}

/// Where the older part of a log is.
fn older_part(log: &Path) -> PathBuf {
    let mut path = OsString::from(log);
    path.push(".1");
    path.into()
}

/// What keeps reading and shortening a log apart. The lock is on the folder: a container has its log open, and
/// could lock that itself for ever.
fn folder_of(log: &Path) -> std::io::Result<File> {
    File::open(log.parent().unwrap_or(Path::new("/")))
}
