//! The auditor's tool as a program: see the library for what it does.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use purser_events::Timestamp;
use purser_replay::{Surroundings, Terminal};

fn main() -> ExitCode {
    let surroundings = Surroundings {
        socket: std::env::var_os("PURSER_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from),
        standard_sockets: purser_replay::standard_sockets(|name| std::env::var_os(name)),
        input: || Box::new(std::io::stdin()),
        now,
        terminal: std::io::stderr().is_terminal().then(|| Terminal {
            passed,
            show: |text| {
                // Nobody misses a line that could not be shown.
                let _ = std::io::stderr().write_all(text.as_bytes());
            },
            is_output: std::io::stdout().is_terminal(),
        }),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    // Not locked: the line that says how far things are goes there too.
    let mut notes = std::io::stderr();
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

/// Time since the tool was first asked for it.
fn passed() -> Duration {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed()
}
