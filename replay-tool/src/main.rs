//! The auditor's tool as a program: see the library for what it does.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use purser_events::Timestamp;
use purser_replay::Surroundings;

fn main() -> ExitCode {
    let surroundings = Surroundings {
        socket: std::env::var_os("PURSER_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from),
        standard_sockets: purser_replay::standard_sockets(|name| std::env::var_os(name)),
        input: || Box::new(std::io::stdin()),
        now,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut notes = std::io::stderr().lock();
    let exit = purser_replay::run(std::env::args_os(), &surroundings, &mut out, &mut notes);
    // What could not be written has been told, or nobody reads it.
    let _ = out.flush();
    ExitCode::from(exit.code())
}

/// The time at which the tool is run: a clock before 1970 reads as 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the tool's clock: words such as `yesterday` are seen from it"
)]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
