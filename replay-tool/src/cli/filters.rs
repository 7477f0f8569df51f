//! Arguments of `log`, and the filters that other verbs share with it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use purser_events::pool::PoolName;
use uuid::Uuid;

use super::{LogOutput, PodName, SeqRange, StreamName, TypeName};
use crate::cursor::Cursor;
use crate::expr::{RecordExpr, RecordField};
use crate::pattern::Pattern;
use crate::when::When;

/// Which records are meant; different filters must all match.
#[derive(Debug, Default, Args)]
pub struct FilterArgs {
    /// Only these records: A..B with both ends, A.., ..B or A
    #[arg(long, value_name = "A..B")]
    pub seq: Option<SeqRange>,
    /// Only records of this moment or later: 2026-03-01T12:30:00Z, 2026-03-01, now, today, yesterday, -2h, '2h ago'
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<When>,
    /// Only records of this moment or earlier
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<When>,
    /// Only records from the Nth start of the node in the source to the next; 0 is the last start, -1 the one before
    #[arg(short = 'b', long, value_name = "N", allow_negative_numbers = true)]
    pub boot: Option<i64>,
    /// Only records of this pod and its workers, and the ledger's about it: namespace/name, name or uid
    #[arg(long, value_name = "POD")]
    pub pod: Option<PodName>,
    /// Only records of this worker
    #[arg(long, value_name = "UID")]
    pub worker: Option<Uuid>,
    /// Only records that name this GPU, and those of pods while they hold it
    #[arg(long, value_name = "GPU_UUID")]
    pub gpu: Option<String>,
    /// Only records that name this tenant, and those of pods from when the ledger has them on its account
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Only records of this pool, of its members' pods and their workers, and the ledger's about them
    #[arg(long, value_name = "POOL")]
    pub pool: Option<PoolName>,
    /// Only records of this stream, as in pod/UID
    #[arg(short, long, value_name = "KIND/UID")]
    pub stream: Option<StreamName>,
    /// Only records of this type, as in pod.admitted, or pod. for all of them; more by commas, or repeated
    #[arg(short = 't', long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<TypeName>,
    /// Only records of this request: what `show` tells as its correlation
    #[arg(long, value_name = "CORRELATION")]
    pub correlation: Option<Uuid>,
    /// Only records of who asked for them: `uid:1000`, `token:ci` or `node`
    #[arg(long, value_name = "PRINCIPAL")]
    pub principal: Option<String>,
    /// Only records for which this holds, as in 'exit.code != 0 and @principal ~ "^uid:"'
    #[arg(long = "where", value_name = "EXPR")]
    pub holds: Option<RecordExpr>,
    /// Only records whose line, as --output oneline shows it, has a match of this regular expression
    #[arg(short = 'g', long, value_name = "PATTERN")]
    pub grep: Option<Pattern>,
}

impl FilterArgs {
    /// Whether every record is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let FilterArgs {
            seq,
            since,
            until,
            boot,
            pod,
            worker,
            gpu,
            tenant,
            pool,
            stream,
            types,
            correlation,
            principal,
            holds,
            grep,
        } = self;
        let place = seq.is_none() && since.is_none() && until.is_none() && boot.is_none();
        let whose = pod.is_none() && worker.is_none() && gpu.is_none() && tenant.is_none() && pool.is_none();
        let whose = whose && stream.is_none();
        let whose = whose && correlation.is_none() && principal.is_none();
        place && whose && types.is_empty() && holds.is_none() && grep.is_none()
    }
}

/// Arguments of `log`.
#[derive(Debug, Default, Args)]
#[command(after_help = LOG_EXAMPLES)]
pub struct LogArgs {
    /// Which records.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only records after the one that --show-cursor told of
    #[arg(long, value_name = "CURSOR")]
    pub after_cursor: Option<Cursor>,
    /// Go on after the record that this file names, if it is there, and note in it up to which record was read
    #[arg(long, value_name = "FILE", conflicts_with = "after_cursor")]
    pub cursor_file: Option<PathBuf>,
    /// Tell on standard error up to which record the journal was read, for --after-cursor
    #[arg(long)]
    pub show_cursor: bool,
    /// Only the last N that match
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// Newest first; all that match are held in memory
    #[arg(short, long)]
    pub reverse: bool,
    /// Draw what led to what beside one line a record; reads the journal twice
    #[arg(long, conflicts_with_all = ["reverse", "output"])]
    pub graph: bool,
    /// The same as --output oneline
    #[arg(long, conflicts_with_all = ["graph", "output"])]
    pub oneline: bool,
    /// With --output json or jsonl: only these parts of each, by the paths of --where, separated by commas
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    pub output_fields: Vec<RecordField>,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: LogOutput,
}

impl LogArgs {
    /// How to show them, by whichever argument says so.
    #[must_use]
    pub fn shown(&self) -> LogOutput {
        if self.oneline { LogOutput::Oneline } else { self.output }
    }
}

/// Arguments of `follow`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay follow
  purser-replay follow --pod web -o jsonl
  purser-replay follow --cursor-file seen --where 'exit.code != 0'")]
pub struct FollowArgs {
    /// Which records.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// First show the last N that match
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub lines: usize,
    /// Go on after the record that this file names, if it is there, and note in it up to which record was read
    #[arg(long, value_name = "FILE")]
    pub cursor_file: Option<PathBuf>,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: FollowOutput,
}

/// How `follow` shows records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum FollowOutput {
    /// Two lines a record, and its payload
    Text,
    /// One line a record
    #[default]
    Oneline,
    /// One JSON object a line
    Jsonl,
}

impl From<FollowOutput> for LogOutput {
    fn from(output: FollowOutput) -> LogOutput {
        match output {
            FollowOutput::Text => LogOutput::Text,
            FollowOutput::Oneline => LogOutput::Oneline,
            FollowOutput::Jsonl => LogOutput::Jsonl,
        }
    }
}

const LOG_EXAMPLES: &str = "Examples:
  purser-replay log --since yesterday -t pod.failed
  purser-replay log --boot 0 --pod web -o oneline
  purser-replay log --where 'exit.code > 128 and @time >= \"2026-03-01T12:00:00Z\"'
  purser-replay log --graph --pod web -n 40
  purser-replay log --cursor-file seen --where 'exit.code != 0' -o jsonl
  purser-replay log --after-cursor 11:7fcc9176e59188fb --show-cursor -o jsonl";
