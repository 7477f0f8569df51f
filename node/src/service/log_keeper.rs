//! Keeps the output of each container within its bound: the oldest part of a file that grew too long is given
//! back to the file system. Offsets stay as they are, so whoever writes or reads goes on undisturbed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use purser_actors::Service;
use purser_actors::port::ContainerKey;
use purser_events::pod::Pod;

/// Time between two looks at all files.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What file systems can give back at least: a block.
const BLOCK_LEN: u64 = 4_096;

/// Looks after the output of every container that runs; never returns.
pub(super) async fn keep(service: Service, bytes_max: u64) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let paths = running(&service);
        let swept = tokio::task::spawn_blocking(move || {
            for path in paths {
                if let Err(error) = shorten(&path, bytes_max) {
                    tracing::warn!(%error, path = %path.display(), "failed to shorten a container's output");
                }
            }
        });
        if let Err(error) = swept.await {
            tracing::warn!(%error, "failed to look after containers' output");
        }
    }
}

fn running(service: &Service) -> Vec<PathBuf> {
    let keys: Vec<ContainerKey> = service.world(|world| {
        let live = world.pods.values().filter_map(Pod::live);
        let key = |pod, container, attempt| ContainerKey { pod, container, attempt };
        live.flat_map(|pod| {
            pod.containers
                .iter()
                .filter(|container| container.attempt().is_some())
                .map(move |container| key(pod.uid, container.name.clone(), container.attempts))
        })
        .collect()
    });
    keys.iter().map(|key| service.paths().log(key)).collect()
}

/// Gives the oldest part of a file back, so that half of the bound is left, if it takes more than the bound.
fn shorten(path: &Path, bytes_max: u64) -> io::Result<()> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    let taken = metadata.blocks().saturating_mul(512);
    if !metadata.is_file() || taken <= bytes_max {
        return Ok(());
    }
    let surplus = metadata.len().saturating_sub(bytes_max / 2) / BLOCK_LEN * BLOCK_LEN;
    let file: File = OpenOptions::new().write(true).open(path)?;
    let surplus = i64::try_from(surplus).map_err(io::Error::other)?;
    if surplus > 0 {
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, how, 0, surplus)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_part_is_given_back_and_the_end_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: Vec<u8> = (0..100_000_u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        std::fs::write(file.path(), &text).unwrap();
        shorten(file.path(), 100_000).unwrap();
        let metadata = file.path().metadata().unwrap();
        assert_eq!(metadata.len(), text.len() as u64);
        assert!(metadata.blocks() * 512 <= 100_000, "{} blocks", metadata.blocks());
        let left = std::fs::read(file.path()).unwrap();
        assert_eq!(left[left.len() - 50_000..], text[text.len() - 50_000..]);
    }

    #[test]
    fn a_short_file_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        shorten(file.path(), 4_096).unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "hello\n");
        shorten(Path::new("/nonexistent/log"), 1).unwrap();
    }
}
