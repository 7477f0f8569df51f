//! The command line.

mod checks;
mod filters;
mod out;
mod values;
mod verbs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use purser_storage::checkpoint::VerifierKey;

pub use self::checks::*;
pub use self::filters::*;
pub use self::out::*;
pub use self::values::*;
pub use self::verbs::*;

const AFTER_HELP: &str = "Exit codes: 0 done; 1 nothing matched or holds; 2 usage; 3 input or output failed; \
                          4 the journal is damaged; 5 decisions are not reproduced; 6 it holds what only a newer release can read.";

/// Reads a Purser journal and says what was true, and why. Changes nothing.
#[derive(Debug, Parser)]
#[command(name = "purser-replay", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Where the journal is.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Tell nothing but the answer, and why there is none: no notes beside it
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Accepted for those who are used to it: times are always in UTC
    #[arg(long, global = true)]
    pub utc: bool,
    /// Accepted for those who are used to it: no pager is ever started
    #[arg(long, global = true)]
    pub no_pager: bool,
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
    /// A copy of a journal's folder, or of its segments; never the folder of a running node
    #[arg(long, value_name = "COPIED_FOLDER", global = true, help_heading = "Where the journal is")]
    pub dir: Option<PathBuf>,
    /// A folder of archived segments: with --dir for what was trimmed from the journal, else by itself
    #[arg(
        long,
        value_name = "FOLDER",
        global = true,
        conflicts_with_all = ["export", "socket"],
        help_heading = "Where the journal is"
    )]
    pub archive: Option<PathBuf>,
    /// With --dir: a folder of one's own in which `state` puts away what was true at every 50,000th record, so that
    /// it folds no more than that the next time
    #[arg(
        long,
        value_name = "FOLDER",
        global = true,
        conflicts_with_all = ["export", "socket"],
        help_heading = "Where the journal is"
    )]
    pub snapshots: Option<PathBuf>,
    /// A folder with keys of pods, `keys/subjects` in the node's data folder: without it, what was sealed with them is
    /// not shown. A live node gives no keys away, so this is needed with --socket too
    #[arg(long, value_name = "FOLDER", global = true, help_heading = "Where the journal is")]
    pub subject_keys: Option<PathBuf>,
    /// Several nodes, each by a name and its export, copied folder or socket: for log, timeline and stats
    #[arg(
        long = "node",
        value_name = "NAME=PATH",
        global = true,
        conflicts_with_all = ["export", "dir", "archive", "subject_keys", "snapshots", "socket"],
        help_heading = "Where the journal is"
    )]
    pub nodes: Vec<NodeSource>,
    /// A live node's socket [default: $PURSER_SOCKET, else the first that is there of
    /// $XDG_RUNTIME_DIR/purser.sock, ~/.local/state/purser/purser.sock, /run/purser/purser.sock, ./run/purser.sock]
    #[arg(long, value_name = "PATH", global = true, help_heading = "Where the journal is")]
    pub socket: Option<PathBuf>,
}

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say what the journal is: from when to when, of which node, which starts, what is in it
    Info(InfoArgs),
    /// List the streams
    Streams(StreamsArgs),
    /// List the types of events that this release knows, with their fields
    Schema(SchemaArgs),
    /// List records
    #[command(visible_alias = "ls")]
    Log(LogArgs),
    /// Show what a live node records, as it comes
    Follow(FollowArgs),
    /// Show one record whole
    Show(ShowArgs),
    /// Say what was true at a moment
    State(StateArgs),
    /// Show what differs between two moments
    Diff(DiffArgs),
    /// Show what happened to a pod, and how long it took
    Timeline(TimelineArgs),
    /// Say which record last set each field of what an entity is
    Blame(BlameArgs),
    /// Find the first record after which something holds
    Bisect(BisectArgs),
    /// Say what led to a record, or to a pod as it is
    Why(WhyArgs),
    /// Show all that one request set off, as a tree
    Trace(TraceArgs),
    /// List what was requested and not completed at a moment
    Intents(IntentsArgs),
    /// Count records, bytes and rates, and say how long things took
    Stats(StatsArgs),
    /// Make every recorded decision again by this release's rules, and compare
    ReplayCheck(ReplayCheckArgs),
    /// Say what another policy would have decided about what was asked of the ledger
    Whatif(WhatifArgs),
    /// Check that the journal is whole and is what was written
    Verify(VerifyArgs),
    /// Print a proof that a record is under a sealed checkpoint, or check one
    Proof(ProofArgs),
    /// Write the journal to a file that can be read anywhere
    Export(ExportArgs),
    /// Print what Prometheus would have shown over a past range, as OpenMetrics text with times
    Metrics(MetricsArgs),
    /// Say what tenants had, kept and used, and what that costs
    Bill(BillArgs),
    /// Write all that concerns a pod to one file, which can be read and verified like a journal
    Blackbox(BlackboxArgs),
    /// Write a page that says what ran, what failed, who waited and what was denied, with charts
    Report(ReportArgs),
    /// Make a new journal out of what survives of a damaged one, and say what was lost
    Salvage(SalvageArgs),
    /// Look through a journal on a terminal: its records, its time, what led to what and what was true
    Tui(TuiArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
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
    /// Only what is seen from this side
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["stream", "pod"])]
    pub view: Option<View>,
    /// After this record, or before the first record that is later than this time [default: the last record]
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    /// Print only the record's number and the digest of everything known
    #[arg(long, conflicts_with_all = ["stream", "pod", "view", "output"])]
    pub digest: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// A side from which a world is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// The node
    Node,
    /// Pods that are not gone
    Pods,
    /// Pods that went last
    Gone,
    /// Processes of containers
    Workers,
    /// GPUs, how they are and who holds them
    Gpus,
    /// Pools, and which rule says how many pods there are to be
    Pools,
    /// Slots of pools, and what is in them
    Slots,
    /// Tasks of pools that are known, and why they wait
    Tasks,
    /// What of each resource is there and given out
    Resources,
    /// Tenants, what they have and what bounds they have
    Tenants,
    /// What is kept for somebody
    Reservations,
    /// Pods that wait for resources
    Waiting,
    /// Violations that are open
    Violations,
    /// Streams that are no longer folded
    Quarantined,
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

/// Arguments of `tui`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay tui --export node.journal
  purser-replay tui --dir ./copy/journal --at yesterday
Keys: ? shows them, q ends.")]
pub struct TuiArgs {
    /// Begin at this record, or at the last one before this time [default: the first record]
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}
