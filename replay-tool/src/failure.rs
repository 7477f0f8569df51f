//! Why the tool ends, in words and as an exit code.

use std::io;
use std::path::PathBuf;

use purser_events::{IllegalTransition, Seq, causes};
use purser_storage::export::ExportError;
use purser_storage::offline::{SourceError, SourceFailure};
use purser_storage::{FolderError, PayloadError};

use crate::http::HttpError;

/// How the tool ends. The codes are for scripts and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// It found what was asked for.
    Ok = 0,
    /// Nothing matched.
    NothingMatched = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Something could not be read or written.
    Io = 3,
    /// The journal is not what was written.
    Integrity = 4,
    /// What is decided again is not what is on record.
    Determinism = 5,
    /// The journal holds event types or versions that this release does not know.
    Unknown = 6,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The one of two that matters more: damage before all else.
    #[must_use]
    pub(crate) fn or_worse(self, other: Exit) -> Exit {
        match (self, other) {
            (Exit::Integrity, _) | (_, Exit::Integrity) => Exit::Integrity,
            (one, other) => one.max(other),
        }
    }

    /// How a reading ends that met a payload which could not be read.
    pub(crate) fn of_payload(error: &PayloadError) -> Exit {
        match error {
            error if error.is_withheld() => Exit::Ok,
            error if error.is_unknown() => Exit::Unknown,
            _ => Exit::Integrity,
        }
    }
}

/// Why the tool could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The journal cannot be read, or not any further.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A live node cannot be asked.
    #[error("failed to ask the node at `{socket}`")]
    Node {
        /// The node's socket.
        socket: PathBuf,
        /// What went wrong.
        source: HttpError,
    },
    /// A file cannot be opened or made.
    #[error("failed to open `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("failed to write the output")]
    Output(#[source] io::Error),
    /// An export cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// No source was given and no node was found.
    #[error(
        "no journal to read: give --export FILE, --dir COPIED_FOLDER or --socket PATH (looked for {looked_for})"
    )]
    NoSource {
        /// The sockets that are not there.
        looked_for: String,
    },
    /// There is no terminal to show something on.
    #[error("output and messages must go to a terminal: for a pipe there are `log`, `why` and `state`")]
    NoTerminal,
    /// More than one source was given.
    #[error("--export, --dir and --socket exclude each other")]
    ManySources,
    /// Several nodes were given to what is about one.
    #[error("{what} about one node: give --export FILE, --dir COPIED_FOLDER or --socket PATH")]
    OneNodeOnly {
        /// What was asked for, with its verb.
        what: &'static str,
    },
    /// What is not live cannot be followed.
    #[error("only a live node can be followed: give --socket PATH")]
    NotLive,
    /// Two nodes were given the same name.
    #[error("two nodes are called `{name}`: give each a name of its own")]
    SameName {
        /// The name.
        name: String,
    },
    /// Worlds are to be put away of what cannot be read from the middle on.
    #[error("--snapshots needs --dir: only a folder can be read from the middle on")]
    SnapshotsAlone,
    /// Worlds are to be put away in what is read.
    #[error("--snapshots must lie outside of the folder that is read: nothing is ever written into that")]
    SnapshotsInside,
    /// Worlds are named to what does not use them.
    #[error("--snapshots is for `state`, which begins with them, and `verify`, which compares them")]
    SnapshotsUnused,
    /// Two options do not go together.
    #[error("{option} does not go with the format {format}")]
    NotWith {
        /// The option.
        option: &'static str,
        /// The format, and what to do instead.
        format: &'static str,
    },
    /// What was written would be said in between what is written.
    #[error("-o json says on standard output what was written: write it to a file")]
    SaidInBetween,
    /// A policy file makes no sense.
    #[error("`{path}` cannot be used")]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Samples are to be taken without end.
    #[error("--step must be longer than nothing, as in 1m")]
    NoStep,
    /// More samples are asked for than are given.
    #[error("more than {most} samples of a series: give a longer --step, or --since and --until")]
    ManySteps {
        /// Most samples.
        most: i64,
    },
    /// A price table makes no sense.
    #[error("failed to read prices from `{path}`: {reason}")]
    Prices {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// More is on record of pools than is held in memory.
    #[error(
        "there are more than {max} records of `{pool}` and the other pools of the policy file: name fewer pools, or ask the \
         node with `purser pool simulate --since`"
    )]
    PoolTooLong {
        /// A pool.
        pool: String,
        /// Most records.
        max: usize,
    },
    /// A sum is beyond what can be counted.
    #[error("a line of the bill is too large to be counted: give a shorter time or a price in a larger unit")]
    Overflow,
    /// A bill has more lines than are kept.
    #[error(
        "the bill has more than {max} lines: ask for less time with --since and --until, or for longer lines with --by"
    )]
    BillTooLong {
        /// Lines that are kept.
        max: usize,
    },
    /// A state is asked for that the source does not reach back to.
    #[error("the source begins after record {before}: a state needs the journal from its first record")]
    Partial {
        /// The record before the first.
        before: Seq,
    },
    /// A proof is asked for that needs records from before the source.
    #[error("the source begins after record {before}: a proof needs the journal from its first record")]
    PartialProof {
        /// The record before the first.
        before: Seq,
    },
    /// Standard input could not be kept for what reads a journal more than once.
    #[error(
        "failed to keep standard input in a temporary file: this reads the journal more than once; set TMPDIR to a folder \
         with room, or give --export FILE"
    )]
    Spool(#[source] io::Error),
    /// Standard input is longer than is kept.
    #[error(
        "standard input has more than {len_max} bytes, and this reads the journal more than once: put it into a file and \
         give --export FILE"
    )]
    SpoolFull {
        /// Most that is kept, in bytes.
        len_max: u64,
    },
    /// The file that a cursor is kept in cannot be used.
    #[error("failed to {verb} the cursor file `{path}`")]
    CursorFile {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record names one as its cause that is not before it.
    #[error(
        "record {seq} names record {cause} as its cause, which is not before it: see `purser-replay verify`"
    )]
    LaterCause {
        /// The record.
        seq: Seq,
        /// What it names.
        cause: Seq,
    },
    /// A search was asked for nothing, or for two things.
    #[error("give either --where EXPR or `run COMMAND`")]
    OneQuestion,
    /// What is searched for is there from the beginning.
    #[error("it holds already after record {seq}: give an earlier --good, or ask for something else")]
    HoldsAlready {
        /// The first moment.
        seq: Seq,
    },
    /// There is no moment to look at.
    #[error("no record is after --good and not after --bad, up to record {last}: give an earlier --good")]
    NothingBetween {
        /// The last record that may be looked at.
        last: Seq,
    },
    /// A command that was to be asked cannot be run.
    #[error("failed to run `{program}`")]
    Command {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A command that was asked did not answer.
    #[error("`{program}` did not answer ({status}): 0 is yes, 1 to 124 no, 125 cannot tell")]
    CommandFailed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
    },
    /// No record speaks of a pod.
    #[error("there is no pod `{pod}` in the journal")]
    NoPod {
        /// What was asked for.
        pod: String,
    },
    /// The source has fewer starts of the node.
    #[error(
        "the source has {starts} starts of the node: --boot takes 1 to {starts}, 0 for the last, -1 for the one before"
    )]
    NoBoot {
        /// Starts that it has.
        starts: i64,
    },
    /// The record that a cursor means is another one here.
    #[error(
        "record {seq} is not the one that the cursor is of: this is another journal, or it was changed; see \
         `purser-replay verify`"
    )]
    OtherJournal {
        /// The record.
        seq: Seq,
    },
    /// A record says what cannot have happened after those before it.
    #[error("record {seq} does not follow from what is before it: see `purser-replay replay-check`")]
    Illegal {
        /// The record.
        seq: Seq,
        /// What is impossible.
        source: IllegalTransition,
    },
    /// The journal ends before the record that a cursor means.
    #[error(
        "the journal ends with record {last}, and the cursor is of record {seq}: this is another journal, or its end is \
         missing; see `purser-replay verify`"
    )]
    Shorter {
        /// The record of the cursor.
        seq: Seq,
        /// The last record that there is.
        last: Seq,
    },
    /// A file that was kept elsewhere is not what it should be.
    #[error("`{path}` cannot be used")]
    Elsewhere {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No checkpoint is over the record.
    #[error("record {seq} is not sealed: the last good checkpoint is of {sealed} records")]
    NotSealed {
        /// The record asked about.
        seq: Seq,
        /// Records under the last good checkpoint.
        sealed: u64,
    },
    /// The evidence shows that somebody was at the journal, or the proof shows nothing.
    #[error("nothing is proven: {reason}")]
    NotProven {
        /// Why.
        reason: String,
    },
    /// A record is asked for that the source does not hold.
    #[error("the source holds records {first} to {last}, not record {asked}")]
    NoRecord {
        /// Its first record.
        first: Seq,
        /// Its last record; one less than the first if there is none.
        last: Seq,
        /// The record asked for.
        asked: Seq,
    },
}

impl Failure {
    /// What a file from elsewhere should have held.
    pub(crate) fn not_one(
        path: &std::path::Path,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Failure {
        Failure::Elsewhere { path: path.to_owned(), source: Box::new(source) }
    }

    /// The exit code that goes with it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Source(error) => match error.failure() {
                SourceFailure::Io => Exit::Io,
                SourceFailure::Integrity => Exit::Integrity,
                SourceFailure::Unknown => Exit::Unknown,
            },
            Failure::Node { .. } | Failure::Open { .. } | Failure::Output(_) | Failure::Export(_) => Exit::Io,
            Failure::NoSource { .. }
            | Failure::ManySources
            | Failure::NoTerminal
            | Failure::OneNodeOnly { .. }
            | Failure::SameName { .. }
            | Failure::NotLive
            | Failure::SpoolFull { .. }
            | Failure::OneQuestion
            | Failure::HoldsAlready { .. }
            | Failure::NothingBetween { .. }
            | Failure::SnapshotsAlone
            | Failure::SnapshotsInside
            | Failure::SnapshotsUnused
            | Failure::NotWith { .. }
            | Failure::SaidInBetween
            | Failure::NoStep
            | Failure::ManySteps { .. }
            | Failure::Prices { .. }
            | Failure::Policy { .. }
            | Failure::Overflow
            | Failure::BillTooLong { .. }
            | Failure::PoolTooLong { .. }
            | Failure::Partial { .. }
            | Failure::PartialProof { .. } => Exit::Usage,
            Failure::Spool(_) | Failure::CursorFile { .. } => Exit::Io,
            Failure::Elsewhere { .. } | Failure::Command { .. } | Failure::CommandFailed { .. } => Exit::Io,
            Failure::NotProven { .. }
            | Failure::OtherJournal { .. }
            | Failure::Shorter { .. }
            | Failure::Illegal { .. }
            | Failure::LaterCause { .. } => Exit::Integrity,
            Failure::NoRecord { .. }
            | Failure::NotSealed { .. }
            | Failure::NoPod { .. }
            | Failure::NoBoot { .. } => Exit::NothingMatched,
        }
    }

    /// The failure with its causes, and what to do if there is something.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = causes::told(self);
        if let Failure::Source(SourceError::Folder(FolderError::Locked { .. })) = self {
            text.push_str("; this folder is live: use --socket, or a copy");
        }
        text
    }
}
