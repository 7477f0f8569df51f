//! The node agent.

use std::process::ExitCode;

use purser_node::adapter::process;

fn main() -> ExitCode {
    // First of all: a shim has no threads, no config and no log.
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(code) = process::dispatch(&arguments) {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    purser_node::service::main()
}
