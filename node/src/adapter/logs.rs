//! The output of containers, as the runtimes write it: raw bytes of both streams, appended to one file a try.

use std::io::ErrorKind;

use purser_actors::paths::PodPaths;
use purser_actors::port::ContainerKey;

/// Tries of a container whose output is kept: the one that runs and the one before it.
const ATTEMPTS_KEPT: u32 = 2;

/// Removes the output of the tries before the last one, when a new one is about to start.
///
/// # Errors
/// A file cannot be removed.
pub fn forget_old_attempts(paths: &PodPaths, starting: &ContainerKey) -> std::io::Result<()> {
    let folder = paths.logs(starting.pod, &starting.container);
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let attempt = name.to_str().and_then(|name| name.split('.').next()?.parse::<u32>().ok());
        if attempt.is_some_and(|attempt| attempt.saturating_add(ATTEMPTS_KEPT) <= starting.attempt) {
            let path = paths.logs(starting.pod, &starting.container).join(name);
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}
