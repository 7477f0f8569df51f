//! How far a redaction has come: which segments it has written anew, and what was in them before.
//!
//! A segment's line is durable before the new file takes the old one's place, so that after a stop at any moment the
//! old hash can still be told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use purser_events::Seq;
use uuid::Uuid;

use super::Rewritten;
use crate::disk::Disk;
use crate::folder::{FolderError, io_error};
use crate::retention::{from_hex, to_hex};
use crate::segment::unfinished;

/// Longest file that is read, in bytes.
const LEN_MAX: usize = 64 << 20;

const FIRST_WORD: &str = "redaction ";

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    path: PathBuf,
    redaction: Uuid,
    lines: BTreeMap<Seq, Rewritten>,
}

impl Progress {
    /// What is known of this redaction. The file of another one, which is over, says nothing.
    pub(super) fn read(disk: &dyn Disk, dir: &Path, redaction: Uuid) -> Result<Progress, FolderError> {
        let path = path(dir);
        let bytes = disk.read_small(&path, LEN_MAX).map_err(|error| io_error("read", &path, error))?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let lines = text.and_then(|text| parse(&text, redaction)).unwrap_or_default();
        Ok(Progress { path, redaction, lines })
    }

    /// What became of a segment, if it was to be written anew.
    pub(super) fn of(&self, first: Seq) -> Option<&Rewritten> {
        self.lines.get(&first)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Rewritten> {
        self.lines.values()
    }

    /// Adds a segment, durable.
    pub(super) fn note(&mut self, disk: &dyn Disk, line: Rewritten) -> Result<(), FolderError> {
        self.lines.insert(line.first, line);
        let mut text = format!("{FIRST_WORD}{}\n", self.redaction);
        for Rewritten { first, records, before, after } in self.lines.values() {
            text.push_str(&format!("{first} {records} {} {}\n", to_hex(before), to_hex(after)));
        }
        let written = disk.replace(&self.path, &unfinished(&self.path), text.as_bytes());
        written.map_err(|error| io_error("write", &self.path, error))
    }
}

/// Where it is. It is removed once the end of the redaction is on record.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("redaction")
}

fn parse(text: &str, redaction: Uuid) -> Option<BTreeMap<Seq, Rewritten>> {
    let mut lines = text.lines();
    let id = lines.next()?.strip_prefix(FIRST_WORD)?.parse::<Uuid>().ok()?;
    if id != redaction {
        return None;
    }
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (first, records) = (Seq(words.next()?.parse().ok()?), words.next()?.parse().ok()?);
        let (before, after) = (from_hex(words.next()?)?, from_hex(words.next()?)?);
        words.next().is_none().then_some((first, Rewritten { first, records, before, after }))
    };
    lines.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn what_was_noted_is_read_again_for_the_same_redaction_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let mut progress = Progress::read(&SystemDisk, dir.path(), ours).unwrap();
        assert_eq!(progress.of(Seq(1)), None);
        let line = |first| Rewritten { first: Seq(first), records: 3, before: [1; 32], after: [0xab; 32] };
        progress.note(&SystemDisk, line(1)).unwrap();
        progress.note(&SystemDisk, line(90)).unwrap();
        let again = Progress::read(&SystemDisk, dir.path(), ours).unwrap();
        assert_eq!(again, progress);
        assert_eq!(again.of(Seq(90)), Some(&line(90)));
        assert_eq!(Progress::read(&SystemDisk, dir.path(), other).unwrap().lines().count(), 0);
        for damaged in ["", "redaction", "redaction 7", "1 2 3", "\u{0}\n"] {
            std::fs::write(path(dir.path()), damaged).unwrap();
            assert_eq!(Progress::read(&SystemDisk, dir.path(), ours).unwrap().lines().count(), 0);
        }
    }
}
