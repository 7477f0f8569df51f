//! The service, and the shims of its processes.

use std::process::ExitCode;

use purser_node::adapter::process;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // First of all: a shim is small and has no threads.
    if let Some(code) = process::dispatch(&args) {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    ExitCode::SUCCESS
}
