//! The command line of the verbs about pools and their tasks.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use purser_events::pool::TaskKind;
use uuid::Uuid;

use super::history::Moment;
use super::{Output, duration};

/// `purser submit`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser submit runners -- ./backup.sh
  purser submit runners --kind plan --workspace network --wait -- terraform plan
  purser submit runners --kind plan_and_apply --workspace network -- terraform plan -out p -- terraform apply p")]
pub struct Submit {
    /// The pool
    pub pool: String,
    /// What kind of work it is
    #[arg(long, value_enum, default_value_t = Kind::Work)]
    pub kind: Kind,
    /// What it is about: applies of one workspace come one after the other
    #[arg(short = 'w', long, value_name = "NAME")]
    pub workspace: Option<String>,
    /// Who comes first where not all find a slot: more before less
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub priority: i32,
    /// A variable beside the agent's own; may be repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// A variable whose value is a secret of the pool's secretRefs, read on the node; may be repeated
    #[arg(long = "secret-env", value_name = "NAME=SECRET[/KEY]", value_parser = pair)]
    pub secret_env: Vec<(String, String)>,
    /// Where it runs; the agent's working folder if absent
    #[arg(long, value_name = "FOLDER")]
    pub working_dir: Option<String>,
    /// How long each phase may take, as in 30s, 5m, 1h; as the pool says if absent
    #[arg(long, value_parser = duration)]
    pub timeout: Option<Duration>,
    /// A label; may be repeated
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Its id: submitted again with the same id it is the same task; drawn if absent
    #[arg(long, value_name = "UUID")]
    pub id: Option<Uuid>,
    /// Wait until it has ended, or waits for its confirmation, and print its output
    #[arg(long)]
    pub wait: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Program and arguments, after --; of a plan with an apply those of the plan, another --, and those of the apply
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A kind of work on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// Looks what would change
    Plan,
    /// Changes something
    Apply,
    /// Looks what would change, waits for somebody's word, and changes it
    PlanAndApply,
    /// Looks whether something has changed by itself
    DriftCheck,
    /// Anything else
    Work,
}

impl From<Kind> for TaskKind {
    fn from(kind: Kind) -> TaskKind {
        match kind {
            Kind::Plan => TaskKind::Plan,
            Kind::Apply => TaskKind::Apply,
            Kind::PlanAndApply => TaskKind::PlanAndApply,
            Kind::DriftCheck => TaskKind::DriftCheck,
            Kind::Work => TaskKind::Work,
        }
    }
}

/// `purser confirm`, `discard` and `cancel-task`.
#[derive(Debug, Args)]
pub struct TaskChange {
    /// The task
    pub task: Uuid,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `purser task-log`.
#[derive(Debug, Args)]
pub struct TaskLog {
    /// The task
    pub task: Uuid,
    /// Go on until the task has ended
    #[arg(short, long)]
    pub follow: bool,
}

/// `purser unfreeze`.
#[derive(Debug, Args)]
#[command(after_help = "Example: purser unfreeze runners --for 2h")]
pub struct Unfreeze {
    /// The pool
    pub pool: String,
    /// For how long, as in 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub time: Duration,
}

/// What to do with a pool.
#[derive(Debug, Subcommand)]
pub enum PoolVerb {
    /// Runs another scaling policy over what is on record, and says where it first differs and what would have changed
    Simulate(Simulate),
}

/// `purser pool simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Example: purser pool simulate --policy wider.yaml --since 7d")]
pub struct Simulate {
    /// A pool's manifest, or - for standard input: its name says which pool, its scaling and freeze windows how
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// From when on: a time as in 2026-01-31T12:00:00Z, or so long ago, as in 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub since: Moment,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `purser import deployment`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser import deployment agents.yaml > pool.yaml
  kubectl get deployment agents -o yaml | purser import deployment - --max 10 --apply")]
pub struct Deployments {
    /// A file with Deployments as YAML or JSON, or - for standard input
    pub file: PathBuf,
    /// What the pool is to be called; as the Deployment if absent
    #[arg(long)]
    pub name: Option<String>,
    /// Pods that there are to be at least; as many as the Deployment or its autoscaler has if absent
    #[arg(long, value_name = "COUNT")]
    pub min: Option<u32>,
    /// Pods that there are to be at most; as many as the Deployment or its autoscaler has if absent
    #[arg(long, value_name = "COUNT")]
    pub max: Option<u32>,
    /// Apply the pools, if nothing has to be seen to before; they are printed if absent
    #[arg(long)]
    pub apply: bool,
    /// Print the report with the manifests as JSON
    #[arg(long)]
    pub json: bool,
}
