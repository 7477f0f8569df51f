//! The command line of the verbs about GPUs of the node.

use clap::Args;

use super::duration;

/// `purser drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// `gpu UUID`: by its uuid, the beginning of it, or its index
    #[arg(num_args = 1..=2, required = true, value_name = "WHAT")]
    pub what: Vec<String>,
    /// Why, at most 256 bytes; the reason in force stays if absent
    #[arg(long)]
    pub reason: Option<String>,
    /// Seconds until the kill of each pod; the pod's own if absent
    #[arg(long, value_name = "SECONDS")]
    pub grace_period: Option<u32>,
    /// Whether to wait until no pod has anything of it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait, as in 30s, 5m, 1h
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: std::time::Duration,
}
