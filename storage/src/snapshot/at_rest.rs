//! Snapshots as files that nobody writes, for whoever compares them with the records that they were made from.

use std::path::{Path, PathBuf};

use purser_events::Seq;

use super::{Decoded, Unusable, decode};
use crate::disk::SystemDisk;
use crate::folder::FolderError;
use crate::verify::Head;

/// Why a snapshot's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// The system refuses it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(&'static str),
    /// A newer release wrote it.
    #[error("a newer release wrote it: it has layout {found}, this one knows up to {known}")]
    Newer {
        /// Its layout.
        found: u32,
        /// The newest that this release knows.
        known: u32,
    },
}

/// A snapshot as it was put away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The last record that is folded in.
    pub head: Head,
    /// Number of the layout of the body.
    pub layout: u32,
    /// What a capture gave.
    pub body: Vec<u8>,
}

impl SnapshotFile {
    /// Reads a file; `known` is the newest layout of a body that the caller can read.
    ///
    /// # Errors
    /// It cannot be read, is not what was written, or is of a newer release.
    pub fn read(path: &Path, known: u32) -> Result<SnapshotFile, SnapshotFileError> {
        let bytes = super::read(&SystemDisk, path)?;
        SnapshotFile::parse(&bytes.unwrap_or_default(), known)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// They are not what was written, or are of a newer release.
    pub fn parse(bytes: &[u8], known: u32) -> Result<SnapshotFile, SnapshotFileError> {
        match decode(bytes, known) {
            Ok(Decoded { head, layout, body }) => Ok(SnapshotFile { head, layout, body: body.to_vec() }),
            Err(Unusable::Damaged(reason)) => Err(SnapshotFileError::Damaged(reason)),
            Err(Unusable::Newer { found, known }) => Err(SnapshotFileError::Newer { found, known }),
        }
    }
}

/// The snapshots in a journal's folder, which stays as it is, oldest first: each by its file, with the record that the
/// file's name says; none if the name says none.
///
/// # Errors
/// The folder cannot be read.
pub fn list(dir: &Path) -> Result<Vec<(Option<Seq>, PathBuf)>, FolderError> {
    let mut paths = super::list(&SystemDisk, dir)?;
    paths.reverse();
    let seq = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok().map(Seq);
    Ok(paths.into_iter().map(|path| (seq(&path), path)).collect())
}
