//! The agent of a pool's pod.

use std::process::ExitCode;

fn main() -> ExitCode {
    purser_node::agent::main()
}
