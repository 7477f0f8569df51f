//! The command line of the verbs about what the node gives out.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Output, duration};

/// What to set.
#[derive(Debug, Subcommand)]
pub enum SetVerb {
    /// Puts limits of a resource in force; what is not named stays as it is
    Limits(SetLimits),
    /// Puts a named set of limits of cpu, memory and disk in force; hard limits stay
    Preset(SetPreset),
    /// Says what a tenant may have, all of it at once
    Tenant(SetTenant),
    /// Says how violations are seen and answered; what is not named stays as it is
    Monitor(SetMonitor),
}

/// `purser set monitor`.
#[derive(Debug, Args)]
pub struct SetMonitor {
    /// Numbers by the names of `policy.monitor` in the config, as in interval-ms=2000 or strict=true
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = named)]
    pub values: Vec<(String, String)>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

fn named(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be as interval-ms=2000")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `purser set limits`.
#[derive(Debug, Args)]
pub struct SetLimits {
    /// The resource: cpu, memory, disk, gpu-share, gpu-memory, ports, subnets or one such as example.com/dongle
    pub kind: String,
    /// Most that is used at all, as in 64Gi; none for all that is there
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    pub hard: Option<String>,
    /// From here on the resource counts as degraded; none for never
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    pub soft: Option<String>,
    /// The same in percent of the hard limit, 1 to 100
    #[arg(long, value_name = "PERCENT", conflicts_with = "soft")]
    pub soft_percent: Option<u32>,
    /// How much is given out of what is there, 100 to 1000
    #[arg(long, value_name = "PERCENT")]
    pub overcommit: Option<u32>,
    /// What is kept for the system, 0 to 90
    #[arg(long, value_name = "PERCENT")]
    pub reserve: Option<u32>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `purser set preset`.
#[derive(Debug, Args)]
pub struct SetPreset {
    /// Its name
    #[arg(value_parser = ["conservative", "moderate", "aggressive"])]
    pub name: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `purser set tenant`.
#[derive(Debug, Args)]
pub struct SetTenant {
    /// The tenant
    pub name: String,
    /// What it may have, as YAML or JSON, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    pub file: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// What to do with a resource.
#[derive(Debug, Subcommand)]
pub enum ResourcesVerb {
    /// Gives out nothing of a resource from now on; what is given out stays given
    Stop {
        /// The resource
        kind: String,
        /// Why, at most 256 bytes
        #[arg(long)]
        reason: String,
    },
    /// Gives it out again
    Start {
        /// The resource
        kind: String,
    },
}

/// `purser resources`.
#[derive(Debug, Args)]
pub struct Resources {
    /// What to do
    #[command(subcommand)]
    pub verb: ResourcesVerb,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    pub output: Output,
}

/// `purser reserve`.
#[derive(Debug, Args)]
pub struct Reserve {
    /// For how long, as in 30s, 5m, 1h
    #[arg(long, value_parser = duration)]
    pub ttl: Duration,
    /// Processor time, as in 1500m
    #[arg(long, value_name = "AMOUNT")]
    pub cpu: Option<String>,
    /// Whether the processors are the pod's own alone
    #[arg(long)]
    pub exclusive_cpus: bool,
    /// Memory, as in 64Gi
    #[arg(long, value_name = "AMOUNT")]
    pub memory: Option<String>,
    /// Room on disk
    #[arg(long, value_name = "AMOUNT")]
    pub disk: Option<String>,
    /// How many GPUs
    #[arg(long, value_name = "COUNT")]
    pub gpu_count: Option<u32>,
    /// Percent of the compute of each GPU; the whole device if absent
    #[arg(long, value_name = "PERCENT")]
    pub gpu_share: Option<String>,
    /// Memory of each GPU
    #[arg(long, value_name = "AMOUNT")]
    pub gpu_memory: Option<String>,
    /// A GPU that will do; any if none is named
    #[arg(long = "gpu", value_name = "UUID")]
    pub gpu_uuids: Vec<String>,
    /// How many ports the node is to choose
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub ports: u16,
    /// A port of the host, as in 8080/TCP
    #[arg(long = "port", value_name = "PORT")]
    pub fixed_ports: Vec<String>,
    /// A subnet as well
    #[arg(long)]
    pub subnet: bool,
    /// What the operator counts, as in example.com/dongle=2
    #[arg(long, value_name = "NAME=COUNT", value_parser = custom)]
    pub custom: Vec<(String, String)>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

fn custom(text: &str) -> Result<(String, String), String> {
    let (name, count) = text.split_once('=').ok_or("must be as example.com/dongle=2")?;
    Ok((name.to_owned(), count.to_owned()))
}

/// `purser cancel-reservation`.
#[derive(Debug, Args)]
pub struct CancelReservation {
    /// The reservation
    pub id: String,
    /// The token that came with it
    #[arg(long, required_unless_present = "force", conflicts_with = "force")]
    pub token: Option<u64>,
    /// Give it up in its owner's place, without the token: for root and the user of the service
    #[arg(long)]
    pub force: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
