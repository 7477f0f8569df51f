//! The operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    purser_node::cli::main()
}
