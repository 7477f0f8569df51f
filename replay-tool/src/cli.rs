//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use purser_events::event::LAYOUTS;
use purser_events::{PodId, PodUid, Seq, StreamId, Timestamp};
use purser_storage::checkpoint::VerifierKey;
use uuid::Uuid;

const AFTER_HELP: &str = "Exit codes: 0 done; 1 nothing matched; 2 usage; 3 input or output failed; \
                          4 the journal is damaged; 6 it holds what only a newer release can read.";

/// Reads a Purser journal and says what was true, and why. Changes nothing.
#[derive(Debug, Parser)]
#[command(name = "purser-replay", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Where the journal is.
    #[command(flatten)]
    pub source: SourceArgs,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where the journal is; a live node's socket if nothing is said.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// An export; `-` for standard input
    #[arg(long, value_name = "FILE", global = true, help_heading = "Where the journal is")]
    pub export: Option<PathBuf>,
    /// A copy of a journal's folder; never the folder of a running node
    #[arg(long, value_name = "COPIED_FOLDER", global = true, help_heading = "Where the journal is")]
    pub dir: Option<PathBuf>,
    /// With --dir: a folder of archived segments, for what was trimmed from the journal
    #[arg(
        long,
        value_name = "FOLDER",
        global = true,
        conflicts_with_all = ["export", "socket"],
        help_heading = "Where the journal is"
    )]
    pub archive: Option<PathBuf>,
    /// A folder with keys of pods, `keys/subjects` in the node's data folder: without it, what was sealed with them is
    /// not shown. A live node gives no keys away, so this is needed with --socket too
    #[arg(long, value_name = "FOLDER", global = true, help_heading = "Where the journal is")]
    pub subject_keys: Option<PathBuf>,
    /// A live node's socket [default: $PURSER_SOCKET, else the first that is there of
    /// $XDG_RUNTIME_DIR/purser.sock, ~/.local/state/purser/purser.sock, /run/purser/purser.sock, ./run/purser.sock]
    #[arg(long, value_name = "PATH", global = true, help_heading = "Where the journal is")]
    pub socket: Option<PathBuf>,
}

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List records
    Log(LogArgs),
    /// Show one record whole
    Show(ShowArgs),
    /// Say what was true at a moment
    State(StateArgs),
    /// Check that the journal is whole and is what was written
    Verify(VerifyArgs),
    /// Print a proof that a record is under a sealed checkpoint, or check one
    Proof(ProofArgs),
    /// Write the journal to a file that can be read anywhere
    Export(ExportArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

/// Arguments of `log`; different filters must all match.
#[derive(Debug, Default, Args)]
pub struct LogArgs {
    /// Only these records: A..B with both ends, A.., ..B or A
    #[arg(long, value_name = "A..B")]
    pub seq: Option<SeqRange>,
    /// Only records of this moment or later, as in 2026-03-01T12:30:00Z
    #[arg(short = 'S', long, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Only records of this moment or earlier
    #[arg(short = 'U', long, value_name = "TIME")]
    pub until: Option<Timestamp>,
    /// Only records of this pod and its workers: namespace/name, name or uid
    #[arg(long, value_name = "POD")]
    pub pod: Option<PodName>,
    /// Only records of this worker
    #[arg(long, value_name = "UID")]
    pub worker: Option<Uuid>,
    /// Only records of this stream, as in pod/UID
    #[arg(short, long, value_name = "KIND/UID")]
    pub stream: Option<StreamName>,
    /// Only records of this type, as in pod.admitted, or pod. for all of them; repeat for more
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub types: Vec<TypeName>,
    /// Only the last N that match
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// Newest first; all that match are held in memory
    #[arg(short, long)]
    pub reverse: bool,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: LogOutput,
}

/// How `log` shows records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogOutput {
    /// Two lines a record, and its payload
    #[default]
    Text,
    /// One line a record
    Oneline,
    /// One JSON array
    Json,
    /// One JSON object a line
    Jsonl,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Which record
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub seq: u64,
    /// Show the stored bytes too
    #[arg(long)]
    pub hex: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Text for people or JSON for programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Arguments of `state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// Only this stream's entity, as in pod/UID
    #[arg(value_name = "KIND/UID", conflicts_with = "pod")]
    pub stream: Option<StreamName>,
    /// Only this pod: namespace/name, name or uid
    #[arg(long, value_name = "POD")]
    pub pod: Option<PodName>,
    /// After this record, or before the first record that is later than this time [default: the last record]
    #[arg(long, value_name = "SEQ|TIME")]
    pub at: Option<Moment>,
    /// Print only the record's number and the digest of everything known
    #[arg(long, conflicts_with_all = ["stream", "pod", "output"])]
    pub digest: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The verifier key of the journal's first sealing key, as `purserd keys setup` printed it: checks who sealed what
    #[arg(long, value_name = "VKEY")]
    pub key: Option<VerifierKey>,
    /// Checkpoints that were kept elsewhere, one or many: the journal must continue them
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// How to tell
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `proof`.
#[derive(Debug, Args)]
pub struct ProofArgs {
    /// Which record
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub seq: u64,
    /// The verifier key of the journal's first sealing key, as `purserd keys setup` printed it
    #[arg(long, value_name = "VKEY")]
    pub key: VerifierKey,
    /// Check this proof instead of making one
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where to write, `-` for standard output; an existing file is not overwritten
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
    /// The first record to write
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    pub from: u64,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// Positions from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// Why an argument makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// Not a range of positions.
    #[error("expected A..B, A.., ..B or A, with A not after B")]
    Range,
    /// Not a stream.
    #[error("expected node/UID, pod/UID or worker/UID")]
    Stream,
    /// Not a pod.
    #[error("expected namespace/name, name or a uid: {0}")]
    Pod(#[source] purser_events::NameError),
    /// Not an event type.
    #[error("no event type is called so; there are {}", type_names())]
    Type,
    /// Not a moment.
    #[error("expected a record's number or a time as in 2026-03-01T12:30:00Z")]
    Moment,
}

fn type_names() -> String {
    LAYOUTS.iter().map(|layout| layout.name).collect::<Vec<_>>().join(", ")
}

impl FromStr for SeqRange {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<SeqRange, ArgumentError> {
        let number = |text: &str| text.parse().map(Seq).map_err(|_| ArgumentError::Range);
        let (first, last) = match text.split_once("..") {
            None => (number(text)?, number(text)?),
            Some(("", "")) => return Err(ArgumentError::Range),
            Some((first, "")) => (number(first)?, Seq(u64::MAX)),
            Some(("", last)) => (Seq(1), number(last)?),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        if first <= last { Ok(SeqRange { first, last }) } else { Err(ArgumentError::Range) }
    }
}

/// A stream by its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamName(pub StreamId);

impl FromStr for StreamName {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<StreamName, ArgumentError> {
        text.parse().map(StreamName).map_err(|_| ArgumentError::Stream)
    }
}

/// A pod by its name, which incarnations share, or one incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodName {
    /// Every pod of that name.
    Name(PodId),
    /// One incarnation.
    Incarnation(PodUid),
}

impl FromStr for PodName {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<PodName, ArgumentError> {
        if let Ok(uid) = Uuid::try_parse(text) {
            return Ok(PodName::Incarnation(PodUid(uid)));
        }
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        PodId::new(namespace, name).map(PodName::Name).map_err(ArgumentError::Pod)
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PodName::Name(id) => write!(f, "{id}"),
            PodName::Incarnation(uid) => write!(f, "{uid}"),
        }
    }
}

/// An event type, or the beginning of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeName(String);

impl TypeName {
    /// Whether a type is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.0.ends_with('.') { name.starts_with(&self.0) } else { name == self.0 }
    }
}

impl FromStr for TypeName {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<TypeName, ArgumentError> {
        let name = TypeName(text.to_owned());
        // A type that does not exist would silently match nothing.
        let known = LAYOUTS.iter().any(|layout| name.matches(layout.name));
        if known { Ok(name) } else { Err(ArgumentError::Type) }
    }
}

/// A place in history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this record.
    Seq(Seq),
    /// Before the first record that is later.
    Time(Timestamp),
}

impl FromStr for Moment {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Moment, ArgumentError> {
        if let Ok(seq) = text.parse() {
            return Ok(Moment::Seq(Seq(seq)));
        }
        text.parse().map(Moment::Time).map_err(|_| ArgumentError::Moment)
    }
}
