//! Arguments of the verbs that make something for other programs or readers.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FilterArgs, Output, PodName};
use crate::expr::RecordField;
use crate::when::{Span, When};

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub struct ExportArgs {
    /// Where to write, `-` for standard output; an existing file is not overwritten
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
    /// What to write
    #[arg(short, long, value_enum, default_value_t)]
    pub format: ExportFormat,
    /// With the format journal: the first record to write
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    pub from: u64,
    /// With the format csv: its columns, by the paths of --where, separated by commas
    /// [default: @seq,@time,@type,@stream,@version,@epoch,@principal,@cause,@correlation and the payload]
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    pub fields: Vec<RecordField>,
    /// Replace the texts of pods and of who asked, each by a number of its own; not with the format journal
    #[arg(long)]
    pub redact: bool,
    /// How to say what was written: text on standard error, or json on standard output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Which records; not with the format journal.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What an export is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Records as they are stored, to be read as a source and verified
    #[default]
    Journal,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values, as RFC 4180 has them
    Csv,
    /// A trace for Perfetto: tracks of pods, workers, GPUs and the node, with arrows from causes
    Perfetto,
    /// Spans in the JSON form of OTLP, one trace a request, one batch a line
    Otlp,
    /// Apache Parquet
    Parquet,
}

const EXPORT_EXAMPLES: &str = "Examples:
  purser-replay export node.purser
  purser-replay export day.jsonl --format jsonl --since yesterday --redact
  purser-replay export ends.csv -f csv -t pod.container-exited --fields @time,container,exit.code
  purser-replay export trace.json -f perfetto --pod web
  purser-replay export spans.jsonl -f otlp --boot 0
  purser-replay export all.parquet -f parquet";

/// Arguments of `metrics`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  purser-replay metrics --since yesterday --step 1m > past.om
  promtool tsdb create-blocks-from openmetrics past.om ./data")]
pub struct MetricsArgs {
    /// From this moment on [default: the first record]
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<When>,
    /// Up to this moment [default: the last record]
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<When>,
    /// Time between two samples
    #[arg(long, value_name = "SPAN", default_value = "1m")]
    pub step: Span,
}

/// Arguments of `bill`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  purser-replay bill --prices prices.toml --since 2026-03-01 --until 2026-04-01 --by day -o csv")]
pub struct BillArgs {
    /// Prices for a unit and an hour, see docs/replay.md
    #[arg(long, value_name = "FILE")]
    pub prices: PathBuf,
    /// From this moment on [default: the first record]
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<When>,
    /// Up to this moment, at most to the last record
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<When>,
    /// What a line is for
    #[arg(long, value_enum, default_value_t)]
    pub by: Period,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: BillOutput,
}

/// The time that a line of a bill is for, in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Period {
    /// All of it
    #[default]
    All,
    /// An hour
    Hour,
    /// A day
    Day,
}

/// How a bill is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum BillOutput {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// Comma-separated values
    Csv,
}

/// Arguments of `blackbox`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  purser-replay blackbox web web.purser && purser-replay timeline web --export web.purser")]
pub struct BlackboxArgs {
    /// Which pod: namespace/name, name or uid; by a name, all of its incarnations
    #[arg(value_name = "POD")]
    pub pod: PodName,
    /// Where to write; an existing file is not overwritten
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
    /// How to say what is in it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  purser-replay report incident.html --dir /backup/journal")]
pub struct ReportArgs {
    /// Where to write the page, `-` for standard output; an existing file is not overwritten
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
    /// With json: its answers on standard output as well
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}
