//! Why a verb did not do what was asked, in words that say what to do, and the exit code.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use crate::api::problem::Problem;

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The service refused, or failed.
    #[error("{}", told(.0))]
    Refused(Box<Problem>),
    /// Several things were asked for and some failed; each has been printed.
    #[error("some were not done, see above")]
    Some,
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    Unknown(String),
    /// The socket does not answer.
    #[error("purserd cannot be reached at {}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    /// The connection ended before the answer did.
    #[error("purserd went away before its answer was whole: {0}")]
    Broken(String),
    /// What came is not what this release understands.
    #[error("the answer of purserd makes no sense: {0}")]
    Senseless(String),
    /// A wait took too long.
    #[error("{0}")]
    TimedOut(String),
    /// A file cannot be read.
    #[error("failed to read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A file is no manifest.
    #[error("{place}: {message}")]
    Manifest { place: String, message: String },
    /// Output cannot be written.
    #[error("failed to write output")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code, as in the manual.
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Unreachable { .. } | Failure::Broken(_) => 3,
            Failure::Refused(problem) if &*problem.code == "stopping" => 3,
            Failure::TimedOut(_) => 4,
            Failure::Refused(_)
            | Failure::Some
            | Failure::Unknown(_)
            | Failure::Senseless(_)
            | Failure::File { .. }
            | Failure::Manifest { .. }
            | Failure::Output(_) => 1,
        }
    }

    /// Whether whoever read the output has enough, as in `purser events | head`.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether another try may find the service again.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Failure::Unreachable { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            Failure::Broken(_) => true,
            Failure::Refused(problem) => problem.status == 503,
            _ => false,
        }
    }

    /// What to print.
    pub(super) fn sentence(&self) -> String {
        let mut text = format!("purser: {self}");
        match self {
            Failure::Refused(problem) => describe(&mut text, problem),
            Failure::Unreachable { source, .. } => {
                let advice = match source.kind() {
                    io::ErrorKind::NotFound => {
                        "there is no such socket. Start the service (`purserd`, `systemctl start purserd`), or name \
                         its socket with --socket or PURSER_SOCKET"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "this user may not use the socket. Run as its owner, or join the group of `api.socket-group`"
                    }
                    io::ErrorKind::ConnectionRefused => {
                        "the socket is there but nobody answers: purserd has ended. Start it again"
                    }
                    _ => "the system refused",
                };
                let _ = write!(text, ": {advice} ({source})");
            }
            Failure::File { source, .. } | Failure::Output(source) => {
                let _ = write!(text, ": {source}");
            }
            Failure::Some
            | Failure::Unknown(_)
            | Failure::Usage(_)
            | Failure::Broken(_)
            | Failure::Senseless(_)
            | Failure::TimedOut(_)
            | Failure::Manifest { .. } => {}
        }
        text
    }
}

/// What was wrong this time, which says all that the title says; wrong fields and shortages stand below the title instead.
fn told(problem: &Problem) -> &str {
    let has_lines = !problem.errors.is_empty() || !problem.shortages.is_empty();
    if !has_lines && !problem.detail.is_empty() { &problem.detail } else { &problem.title }
}

fn describe(text: &mut String, problem: &Problem) {
    for field in &problem.errors {
        // What is wrong with the document as a whole has no path.
        let place = if field.path.is_empty() { String::new() } else { format!("{}: ", field.path) };
        let _ = write!(text, "\n  {place}{}", field.message);
    }
    for shortage in &problem.shortages {
        let _ = write!(text, "\n  {}", shortage.sentence());
    }
    if let Some(ms) = problem.retry_after_ms {
        let _ = write!(text, "\n  try again in {} s", ms.div_ceil(1_000));
    }
}
