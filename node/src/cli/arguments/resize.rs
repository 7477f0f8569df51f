//! The command line of `purser resize`.

use clap::Args;

use super::duration;

/// `purser resize`.
#[derive(Debug, Args)]
pub struct Resize {
    /// The pod
    pub name: String,
    /// The container; the pod's only one if absent
    #[arg(short, long)]
    pub container: Option<String>,
    /// Processor time, as in 500m: limit and request; `none` for no limit
    #[arg(long, value_name = "AMOUNT", required_unless_present_any = ["memory", "cpu_request", "memory_request", "tier"])]
    pub cpu: Option<String>,
    /// Memory, as in 512Mi: limit and request; `none` for no limit
    #[arg(long, value_name = "AMOUNT")]
    pub memory: Option<String>,
    /// Processor time that is asked for, if it is not the limit; `none` for nothing
    #[arg(long, value_name = "AMOUNT")]
    pub cpu_request: Option<String>,
    /// Memory that is asked for, if it is not the limit; `none` for nothing
    #[arg(long, value_name = "AMOUNT")]
    pub memory_request: Option<String>,
    /// A size by its name, as in dev.medium
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cpu", "memory", "cpu_request", "memory_request"])]
    pub tier: Option<String>,
    /// Whether to wait until the kernel holds the container to it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait, as in 30s, 5m, 1h
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub timeout: std::time::Duration,
}
