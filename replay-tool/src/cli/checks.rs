//! Arguments of the verbs that decide again.

use std::path::PathBuf;

use clap::Args;

use super::Output;
use crate::when::Span;

/// Arguments of `replay-check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  purser-replay replay-check --dir /backup/journal
  purser-replay replay-check --first -o json --export node.journal")]
pub struct ReplayCheckArgs {
    /// How long before its record a decision can have been made: moments that differ by more are differences
    #[arg(long, value_name = "SPAN", default_value = "5s")]
    pub slack: Span,
    /// Stop at the first difference
    #[arg(long)]
    pub first: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `whatif`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  purser-replay whatif --policy strict.toml --dir /backup/journal

A policy file has what differs from the recorded rules, in TOML, or in JSON if it is called *.json:
  [policy]
  refuse-when-full = true
  [policy.limits.memory]
  overcommit-percent = 150
  [tenants.red.quota]
  memory = 68719476736")]
pub struct WhatifArgs {
    /// The other rules: what is not in it is as recorded
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// As for replay-check: how long before its record a decision can have been made
    #[arg(long, value_name = "SPAN", default_value = "5s")]
    pub slack: Span,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `salvage`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  purser-replay salvage --dir /backup/journal --to /srv/salvaged
  purser-replay verify --dir /srv/salvaged/journal")]
pub struct SalvageArgs {
    /// A folder that is not there yet: gets the new journal, what stands behind the damage, and the report
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// How to show the report
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}
