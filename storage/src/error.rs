//! Why the journal could not do what was asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use purser_events::{CommandId, Seq, StreamId, StreamVersion};

use crate::folder::FolderError;
use crate::store::{StoreError, suspect_path};
use crate::terms::Class;
use crate::verify::Fault;

/// Why the journal could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in it is not what was written.
    #[error(
        "journal at `{dir}` is damaged: records up to {sound} are sound; copy the folder before anything else, see \
         with `purser-replay verify --dir COPY` what can be read, then start with a sound copy or an empty folder"
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// The last sound record.
        sound: Seq,
        /// What is wrong with the one after it.
        source: Fault,
    },
    /// Its first records are gone, and nothing says what came of them.
    #[error(
        "journal at `{dir}` begins after record {before}: put the segments before it back, or a snapshot from after it"
    )]
    Trimmed {
        /// The folder.
        dir: PathBuf,
        /// The last record that is gone.
        before: Seq,
    },
    /// Its first records are gone, and only a newer release can read what was kept of them.
    #[error(
        "journal at `{dir}` was trimmed, and its snapshot is of a newer release (layout {found}, this one knows up to \
         {known}): start that release"
    )]
    NewerSnapshot {
        /// The folder.
        dir: PathBuf,
        /// The layout of the snapshot.
        found: u32,
        /// The newest layout that this release knows.
        known: u32,
    },
    /// It holds records that only a newer release can read.
    #[error("journal at `{dir}` was written by a newer release from record {seq} on: start that release")]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// The first such record.
        seq: Seq,
        /// What is new in it.
        source: Fault,
    },
    /// The segments could be read at the start but cannot now.
    #[error("failed to read the segments")]
    Segment {
        /// What is wrong with them.
        source: Fault,
    },
    /// A record that is known to be there is not.
    #[error("record {seq} is not in the segments")]
    Missing {
        /// Which record.
        seq: Seq,
    },
    /// The stored answer of a command is malformed.
    #[error("stored answer of command {id} is malformed")]
    Answer {
        /// Which command.
        id: CommandId,
    },
    /// A number that the journal keeps about itself is malformed.
    #[error("stored value `{name}` is malformed")]
    Value {
        /// Which.
        name: &'static str,
    },
    /// The thread that writes could not be started.
    #[error("failed to start the journal's thread")]
    Thread(#[source] std::io::Error),
    /// A write failed before: what is on disk is unknown until the journal is opened again.
    #[error("the journal failed")]
    Failed(#[source] Arc<JournalError>),
    /// The thread that writes ended by a defect of ours.
    #[error("the journal's thread panicked")]
    Panicked,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether it may come of damage to the store, which can be made again.
    #[must_use]
    pub fn blames_store(&self) -> bool {
        match self {
            JournalError::Store(error) => !error.is_refusal(),
            JournalError::Answer { .. } | JournalError::Value { .. } => true,
            JournalError::Folder(_)
            | JournalError::Damaged { .. }
            | JournalError::Trimmed { .. }
            | JournalError::NewerSnapshot { .. }
            | JournalError::Newer { .. }
            | JournalError::Segment { .. }
            | JournalError::Missing { .. }
            | JournalError::Thread(_)
            | JournalError::Failed(_)
            | JournalError::Panicked
            | JournalError::Closed => false,
        }
    }

    /// Has the next start of the journal in `dir` make the store again, if that may help.
    pub(crate) fn note(&self, dir: &Path) {
        if !self.blames_store() {
            return;
        }
        let error = self as &dyn std::error::Error;
        tracing::error!(error, "the store may be damaged: the next start makes it again from the segments");
        if let Err(error) = std::fs::write(suspect_path(dir), "") {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "failed to note that the store is damaged"
            );
        }
    }
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another write came first: decide again on the newer state.
    #[error("stream {stream} is at version {actual}, not {expected}")]
    Conflict {
        /// The first stream that was not as expected.
        stream: StreamId,
        /// The version that the caller had decided on.
        expected: StreamVersion,
        /// The version that it has.
        actual: StreamVersion,
    },
    /// Too many requests of this class wait.
    #[error("too many requests of class {class} wait for the journal; try again in {retry_after_ms} ms")]
    Busy {
        /// Which class.
        class: Class,
        /// When there may be room, in milliseconds.
        retry_after_ms: u64,
    },
    /// The disk is so full that requests of this class are refused.
    #[error("the journal's disk has no room for requests of class {class}")]
    NoRoom {
        /// Which class.
        class: Class,
    },
    /// A record, a commit or an answer is longer than allowed.
    #[error("{len} bytes are to be written at once, at most {max} are allowed")]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The key of a stream's subject cannot be read or made: nothing is written without it.
    #[error("no key for {stream}: {reason}")]
    NoKey {
        /// The stream.
        stream: StreamId,
        /// What failed.
        reason: String,
    },
    /// A write failed before: what is on disk is unknown until the journal is opened again.
    #[error("the journal failed and takes no more records")]
    Fenced,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// There was neither an event nor an answer in the request.
    #[error("there is nothing to write")]
    NothingToWrite,
}

impl AppendError {
    pub(crate) fn no_key(stream: StreamId, error: &FolderError) -> AppendError {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        AppendError::NoKey { stream, reason: format!("{error}{cause}") }
    }
}
