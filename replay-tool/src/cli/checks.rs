//! Arguments of the verbs that decide again.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use purser_events::ledger::policy::Preset;

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
#[command(after_help = "Examples:
  purser-replay whatif --policy strict.toml --dir /backup/journal
  purser-replay whatif --preset conservative --export node.journal

A policy file has what differs from the recorded rules, in TOML, in YAML if it is called *.yaml or *.yml, in JSON if it is
called *.json:
  [policy]
  refuse-when-full = true
  [policy.limits.memory]
  overcommit-percent = 150
  [tenants.red.quota]
  memory = 68719476736
  [pools.ci.scaling]
  max-replicas = 8
  up-stable-ms = 5000
  [pools.ci.slots]
  rule = \"flexible\"
  [pools.ci.tasks]
  attempts-max = 1
  [monitor]
  memory-percent = 95")]
pub struct WhatifArgs {
    /// The other rules: what is not in it is as recorded
    #[arg(long, value_name = "FILE", required_unless_present = "preset")]
    pub policy: Option<PathBuf>,
    /// The limits of processors, memory and disk that this name stands for in a node's config; a policy file has more to say
    #[arg(long, value_enum, value_name = "NAME")]
    pub preset: Option<PresetName>,
    /// As for replay-check: how long before its record a decision can have been made
    #[arg(long, value_name = "SPAN", default_value = "5s")]
    pub slack: Span,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Limits that a node's config has a name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PresetName {
    /// Nothing is given out twice, 10 % are kept for the system
    Conservative,
    /// Processors twice, memory 1.2 times, disk 1.1 times, 15 % are kept
    Moderate,
    /// Processors 4 times, memory 1.5 times, disk 1.3 times, 5 % are kept
    Aggressive,
}

impl From<PresetName> for Preset {
    fn from(name: PresetName) -> Preset {
        match name {
            PresetName::Conservative => Preset::Conservative,
            PresetName::Moderate => Preset::Moderate,
            PresetName::Aggressive => Preset::Aggressive,
        }
    }
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
