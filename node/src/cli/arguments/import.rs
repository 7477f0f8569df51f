//! The command line of the verbs that take over what another system had in force.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::pool::Deployments;

/// `purser import`.
#[derive(Debug, Subcommand)]
pub enum ImportVerb {
    /// Takes over a table of quotas, and says what became of each field
    Quotas(Quotas),
    /// Turns Deployments into pools, and says what cannot be taken over
    Deployment(Deployments),
}

/// `purser import quotas`.
#[derive(Debug, Args)]
pub struct Quotas {
    /// The table as JSON, YAML or CSV, or - for standard input
    pub file: PathBuf,
    /// How it is written; by its name if absent: *.csv is CSV, everything else YAML or JSON
    #[arg(long, value_enum)]
    pub format: Option<TableFormat>,
    /// Only report: nothing is sent
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Comma-separated values
    Csv,
}
