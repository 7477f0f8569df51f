//! `completion`: a script that lets a shell complete this tool's arguments.

use clap::CommandFactory;

use crate::Console;
use crate::cli::{Cli, CompletionArgs};
use crate::failure::{Exit, Failure};

pub(crate) fn run(args: &CompletionArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "purser-replay", &mut script);
    console.out.write_all(&script).map_err(Failure::Output)?;
    Ok(Exit::Ok)
}
