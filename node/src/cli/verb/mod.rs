//! What `purser` can be asked to do: one file a verb.

pub(super) mod advise;
pub(super) mod apply;
pub(super) mod change;
pub(super) mod delete;
pub(super) mod deployment;
pub(super) mod describe;
pub(super) mod drain;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod get;
pub(super) mod gpu;
pub(super) mod gpus;
pub(super) mod history;
pub(super) mod image;
pub(super) mod import;
pub(super) mod logs;
pub(super) mod pool;
mod process;
pub(super) mod projections;
pub(super) mod reserve;
pub(super) mod resize;
pub(super) mod resources;
pub(super) mod simulate;
pub(super) mod status;
pub(super) mod task;
mod task_wait;
pub(super) mod tenant;
pub(super) mod violations;
pub(super) mod wait;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;

/// Prints a completion script.
pub(super) fn completion(shell: Shell) {
    clap_complete::generate(shell, &mut Arguments::command(), "purser", &mut std::io::stdout());
}
