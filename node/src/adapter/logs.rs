//! How long the output of containers is kept, whichever runtime writes it: one file a try, see
//! [`PodPaths::log`].

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
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
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

#[cfg(test)]
mod tests {
    use purser_events::{ContainerName, PodUid};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_the_try_before_keeps_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let paths = PodPaths::new(folder.path());
        let key = |attempt| ContainerKey {
            pod: PodUid(Uuid::from_u128(1)),
            container: ContainerName::new("app").unwrap(),
            attempt,
        };
        forget_old_attempts(&paths, &key(1)).expect("a container that never ran has nothing to remove");
        std::fs::create_dir_all(paths.log(&key(1)).parent().unwrap()).unwrap();
        (1..=4).for_each(|attempt| std::fs::write(paths.log(&key(attempt)), "x").unwrap());
        forget_old_attempts(&paths, &key(5)).unwrap();
        let kept: Vec<u32> = (1..=4).filter(|attempt| paths.log(&key(*attempt)).exists()).collect();
        assert_eq!(kept, [4]);
    }
}
