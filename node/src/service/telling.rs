//! What the service says on standard error: its log, and one line if it comes to the worst.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Where a defect is to be reported.
const REPORT: &str = "please report this as a defect of Purser, with the lines before it";

/// Begins the log.
pub(super) fn begin_log(log: &Log) {
    let level = log.level.word();
    // What the libraries say in passing is not for operators.
    let quiet = ["sled", "hyper", "hyper_util", "h2", "tower", "tonic", "reqwest", "rustls"];
    let quiet: String = quiet.iter().map(|library| format!(",{library}=warn")).collect();
    let filter = EnvFilter::new(format!("{level}{quiet}"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second log in one process is a defect of a test at most: the first one stays.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// From now on a panic says one clear line; a damaged store says what to do about it.
pub(super) fn guard_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        eprintln!("purserd {}: internal error{place}: {text}; {REPORT}", env!("CARGO_PKG_VERSION"));
    }));
    purser_storage::install_open_guard(begin_again);
}

/// How often this program has begun again because of its store.
const BEGUN_AGAIN: &str = "PURSER_BEGUN_AGAIN";

/// Times in a row that it does so before it gives up.
const BEGIN_AGAIN_MAX: u32 = 3;

/// Time for which the journal must have been open for the count to start over: then the damage is another one.
const STAYED_OPEN: Duration = Duration::from_secs(600);

/// When the journal was opened, once it is.
static OPENED: OnceLock<Instant> = OnceLock::new();

/// From now on the journal is open.
pub(super) fn note_open() {
    // It is opened once in a process.
    let _ = OPENED.set(Instant::now());
}

/// How often the program has begun again in a row, by what it was told and by how long its journal has been open.
fn begun_in_a_row(told: Option<&str>, open_for: Option<Duration>) -> u32 {
    match open_for {
        Some(open_for) if open_for >= STAYED_OPEN => 0,
        Some(_) | None => told.and_then(|count| count.parse().ok()).unwrap_or(0),
    }
}

/// Runs this program anew in this process: a damaged store is no reason to be away.
fn begin_again() {
    use std::os::unix::process::CommandExt;

    let told = std::env::var(BEGUN_AGAIN).ok();
    let before = begun_in_a_row(told.as_deref(), OPENED.get().map(Instant::elapsed));
    if before < BEGIN_AGAIN_MAX
        && let Ok(program) = std::env::current_exe()
    {
        let mut arguments = std::env::args_os();
        let mut again = std::process::Command::new(program);
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        let error = again.args(arguments).env(BEGUN_AGAIN, (before + 1).to_string()).exec();
        eprintln!("purserd: failed to begin again: {error}");
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the panic would abort the process without a code to go by"
    )]
    std::process::exit(purser_storage::panic_guard::EXIT_CODE.into());
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{STAYED_OPEN, begun_in_a_row};

    #[test]
    fn only_what_comes_in_a_row_is_counted() {
        let (briefly, long) = (Some(Duration::from_secs(5)), Some(STAYED_OPEN));
        assert_eq!(begun_in_a_row(None, None), 0);
        assert_eq!(begun_in_a_row(Some("2"), None), 2);
        // Damage that comes back with every start is no reason to go on for ever.
        assert_eq!(begun_in_a_row(Some("2"), briefly), 2);
        assert_eq!(begun_in_a_row(Some("3"), long), 0);
        assert_eq!(begun_in_a_row(Some("x"), None), 0);
    }

    /// A panic hook belongs to the whole process: so the case is run as a process of its own.
    #[test]
    fn a_panic_says_one_line() {
        const CASE: &str = "PURSER_TEST_PANIC";
        if std::env::var_os(CASE).is_some() {
            super::guard_panics();
            panic!("a promise of our own does not hold");
        }
        let name = "service::telling::tests::a_panic_says_one_line";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CASE, "1")
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = told.lines().filter(|line| line.contains("internal error")).collect();
        let [line] = lines[..] else { panic!("{told}") };
        assert!(line.contains("a promise of our own does not hold; please report this"), "{line}");
        assert!(!told.contains("panicked at") && !told.contains("stack backtrace"), "{told}");
    }
}
