//! What the service says on standard error: its log, and one line if it comes to the worst.

use std::io::IsTerminal;

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
    purser_storage::install_open_guard();
}
