//! Removing a file so that its bytes are not left behind, as far as the disk allows.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Writes zeros over the first `len_max` bytes of a file, syncs it and removes its name. The folder is not synced.
pub(crate) fn erase(path: &Path, len_max: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)?;
    let len = file.metadata()?.len().min(len_max as u64);
    let zeros = vec![0; usize::try_from(len).unwrap_or(len_max)];
    file.write_all_at(&zeros, 0)?;
    file.sync_all()?;
    fs::remove_file(path)
}
