//! Arguments of the verbs that answer questions.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use purser_events::event::LAYOUTS;
use uuid::Uuid;

use super::{FilterArgs, Moment, Output, PodName, RecordOrPod, StreamName, Target, TypeName};
use crate::expr::StateExpr;
use crate::when::Span;

/// Arguments of `info`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  purser-replay info --dir /backup/journal")]
pub struct InfoArgs {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `streams`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay streams --kind pod --open
  purser-replay streams --sort size")]
pub struct StreamsArgs {
    /// Only streams of this kind
    #[arg(long, value_parser = PossibleValuesParser::new(kinds()))]
    pub kind: Option<String>,
    /// Only streams that are not over: their pod is not gone, their worker has not ended
    #[arg(long)]
    pub open: bool,
    /// In which order
    #[arg(long, value_enum, default_value_t)]
    pub sort: StreamOrder,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The order in which streams are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum StreamOrder {
    /// By kind and uid
    Name,
    /// The oldest first
    #[default]
    Age,
    /// The largest first
    Size,
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay schema -t pod.admitted
  purser-replay schema -o json")]
pub struct SchemaArgs {
    /// Only this type, as in pod.admitted, or pod. for all of them; more by commas, or repeated
    #[arg(short = 't', long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<TypeName>,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay diff 1200 1300
  purser-replay diff yesterday --pod web")]
pub struct DiffArgs {
    /// The one moment: after this record, or before the first record that is later than this time
    #[arg(value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub from: Moment,
    /// The other moment [default: the last record]
    #[arg(value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub to: Option<Moment>,
    /// Only this stream's entity, as in pod/UID
    #[arg(short, long, value_name = "KIND/UID", conflicts_with = "pod")]
    pub stream: Option<StreamName>,
    /// Only this pod: namespace/name, name or uid
    #[arg(long, value_name = "POD")]
    pub pod: Option<PodName>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `timeline`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  purser-replay timeline default/web")]
pub struct TimelineArgs {
    /// Which pod: namespace/name or name for every incarnation, or the uid of one
    #[arg(value_name = "POD")]
    pub pod: PodName,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `blame`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay blame web --field phase
  purser-replay blame node/0190a5d0-0000-7000-8000-000000000001 --at yesterday")]
pub struct BlameArgs {
    /// Which entity: a pod by namespace/name, name or uid, or a stream
    #[arg(value_name = "POD|KIND/UID")]
    pub target: Target,
    /// After this record, or before the first record that is later than this time [default: the last record]
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    /// Only this field and what is in it
    #[arg(long, value_name = "PATH")]
    pub field: Option<String>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `bisect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay bisect --where 'pods.*.phase.Failed'
  purser-replay bisect --pod web --where 'containers[0].restarts >= 3'
  purser-replay bisect --monotone run jq -e '.workersRegistered >= 100'")]
pub struct BisectArgs {
    /// What is to hold of the state
    #[arg(long = "where", value_name = "EXPR")]
    pub holds: Option<StateExpr>,
    /// Ask about this stream's entity, as in pod/UID, and not about the whole world
    #[arg(short, long, value_name = "KIND/UID", conflicts_with = "pod")]
    pub stream: Option<StreamName>,
    /// Ask about this pod: namespace/name, name or uid
    #[arg(long, value_name = "POD")]
    pub pod: Option<PodName>,
    /// A moment at which it does not hold yet [default: before the first record]
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub good: Option<Moment>,
    /// A moment up to which to look [default: the last record]
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub bad: Option<Moment>,
    /// Once it holds, it holds ever after: look at the middle each time, not at every moment
    #[arg(long)]
    pub monotone: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// How to ask, if not by --where.
    #[command(subcommand)]
    pub how: Option<BisectHow>,
}

/// Another way to ask.
#[derive(Debug, Subcommand)]
pub enum BisectHow {
    /// Run a command with the state as JSON on its standard input: code 0 is yes, 1 to 124 no, 125 cannot tell
    Run(BisectRunArgs),
}

/// Arguments of `bisect run`.
#[derive(Debug, Args)]
pub struct BisectRunArgs {
    /// The program and its arguments; PURSER_SEQ and PURSER_TIME say at which moment
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay why 1234
  purser-replay why web
  purser-replay why 1234 --down --dot | dot -Tsvg > effects.svg")]
pub struct WhyArgs {
    /// A record, or a pod: then its last record
    #[arg(value_name = "SEQ|POD")]
    pub of: RecordOrPod,
    /// Show what it led to, and not what led to it
    #[arg(long)]
    pub down: bool,
    /// At most so many steps
    #[arg(long, value_name = "N")]
    pub depth: Option<usize>,
    /// Print a graph for Graphviz
    #[arg(long, conflicts_with = "output")]
    pub dot: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  purser-replay trace 019a0000-0000-7000-8000-000000000005")]
pub struct TraceArgs {
    /// The correlation that `show` tells of a record
    #[arg(value_name = "CORRELATION")]
    pub correlation: Uuid,
    /// At most so many steps
    #[arg(long, value_name = "N")]
    pub depth: Option<usize>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `intents`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay intents
  purser-replay intents --at yesterday --older-than 5m")]
pub struct IntentsArgs {
    /// After this record, or before the first record that is later than this time [default: the last record]
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    /// Only what has been open for so long
    #[arg(long, value_name = "SPAN")]
    pub older_than: Option<Span>,
    /// Also what is open and no intent: pods that wait, alerts, workers that run
    #[arg(long)]
    pub all: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay stats --since yesterday
  purser-replay stats --pod web -o json")]
pub struct StatsArgs {
    /// Which records.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The kinds of streams, in the order of their events.
fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<&str> =
        LAYOUTS.iter().filter_map(|layout| layout.name.split_once('.')).map(|(kind, _)| kind).collect();
    kinds.dedup();
    kinds
}
