//! Writing again what may never have reached the disk.
//!
//! When a sync fails, the kernel takes the pages for clean all the same. A process that comes after reads them and
//! finds them sound; its own syncs write nothing; a loss of power takes them, and what was written after them stays.
//! So what is not known to be durable is written again before anything follows it.

use std::path::Path;

use purser_events::Seq;

use super::HEADER_LEN;
use super::footer::Mark;
use super::listing::open;
use crate::disk::Disk;
use crate::folder::{FolderError, io_error};

/// Bytes that are written at a time.
const STEP: usize = 1 << 16;

/// Writes a plain segment again from behind the record `durable` on, as far as `marks` tell where that is, and makes it
/// durable. With its first record goes its header: that was synced before, and that may have failed.
pub(crate) fn write_again(
    disk: &dyn Disk,
    path: &Path,
    marks: &[Mark],
    durable: Seq,
) -> Result<(), FolderError> {
    let file = open(disk, path, true)?;
    // From one that stands before the last durable record: one before the next may stand behind answers that were
    // written with that, and have no place of their own.
    let from = marks.iter().rev().find(|mark| mark.seq <= durable);
    // The header stands right before the first entry.
    let mut at = from.map(|mark| mark.at).filter(|at| HEADER_LEN as u64 != *at).unwrap_or(0);
    let mut buffer = vec![0; STEP];
    loop {
        let read = file.read_up_to(&mut buffer, at).map_err(|error| io_error("read", path, error))?;
        let bytes = buffer.get(..read).unwrap_or_default();
        // Room that nothing was written to is not written either.
        if bytes.iter().any(|byte| *byte != 0) {
            file.write_all_at(bytes, at).map_err(|error| io_error("write", path, error))?;
        }
        if read < STEP {
            return file.sync_data().map_err(|error| io_error("sync", path, error));
        }
        at += read as u64;
    }
}
