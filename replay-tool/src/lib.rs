//! Reads a journal and says what was true, and why. Changes nothing, and needs no service.
//!
//! [`run`] is the whole tool. Audits of one's own stand on [`audit`].
//!
//! Data goes to one writer and notes to another, so that a pipe gets data alone.

mod asks;
pub mod audit;
pub mod cli;
mod compared;
pub mod cursor;
mod decisions;
mod entity;
mod export;
pub mod expr;
mod failure;
mod fields;
mod filter;
mod fold;
mod gauges;
mod graph;
mod holders;
mod holdings;
mod http;
mod links;
mod members;
mod nodes;
mod notable;
mod offences;
mod out_file;
pub mod overlay;
mod pairs;
pub mod pattern;
pub mod prices;
mod progress;
mod put_away;
mod reading;
mod redactions;
mod rejudged;
mod render;
mod report;
mod rows;
mod scaling;
mod series;
mod share;
mod skew;
mod slot_use;
mod slots;
mod snapshots;
mod source;
mod spans;
mod spool;
mod tally;
pub mod tui;
mod verb;
mod views;
pub mod when;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::Parser;
use purser_events::Timestamp;

use crate::cli::{Cli, Verb};
pub use crate::failure::{Exit, Failure};
pub use crate::progress::Terminal;
use crate::progress::{Cleared, Line};

/// What the tool finds around it.
#[derive(Debug)]
pub struct Surroundings {
    /// The socket that the user has chosen for all of their commands.
    pub socket: Option<PathBuf>,
    /// Where a node's socket is looked for, in order.
    pub standard_sockets: Vec<PathBuf>,
    /// Standard input.
    pub input: fn() -> Box<dyn Read>,
    /// The time, from which `yesterday` and `-2h` are seen.
    pub now: fn() -> Timestamp,
    /// A terminal that shows how far a long reading is; none if nobody looks.
    pub terminal: Option<Terminal>,
}

/// Where a node's socket is by default, in the order in which to look: a user's own node before the machine's, and that
/// of a checkout last. `variable` gives a variable of the environment.
#[must_use]
pub fn standard_sockets(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    // The XDG rules say that a path which is not absolute is to be ignored.
    let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = || Some(folder("HOME")?.join(".local/state"));
    let runtime = folder("XDG_RUNTIME_DIR").map(|folder| folder.join("purser.sock"));
    let in_data = folder("XDG_STATE_HOME").or_else(state).map(|folder| folder.join("purser/purser.sock"));
    let machine = ["/run/purser/purser.sock", "run/purser.sock"].map(PathBuf::from);
    runtime.into_iter().chain(in_data).chain(machine).collect()
}

/// Runs the tool on a command line, the program's name first.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(told) => return usage(&told, out, notes),
    };
    let line = Line::of(surroundings.terminal);
    let mut out = Cleared { inner: out, line: line.clone(), is_output: true };
    let mut notes = Cleared { inner: notes, line: line.clone(), is_output: false };
    let (mut silence, is_quiet) = (io::sink(), cli.quiet);
    let beside: &mut dyn Write = if is_quiet { &mut silence } else { &mut notes };
    let mut heard = Heard { inner: &mut out, goes_on: is_judged_by_exit(&cli.verb) };
    let mut console = Console { out: &mut heard, notes: beside };
    let outcome = dispatch(cli, surroundings, &line, &mut console).and_then(|exit| {
        match console.out.flush() {
            // What was found is what was found, whoever reads it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit),
            flushed => flushed.map(|()| exit).map_err(Failure::Output),
        }
    });
    match outcome {
        Ok(exit) => exit,
        // The reader has what it wanted, as `head` does.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(failure) => {
            // What was found before the failure is shown before it.
            let _ = out.flush();
            // Why there is no answer, or not all of it, is told in any case; if nobody can be told, that is no reason to stop.
            let _ = writeln!(notes, "purser-replay: {}", failure.told());
            failure.exit()
        }
    }
}

/// Whether the exit code is the answer, so that it is waited for though nobody reads the text.
fn is_judged_by_exit(verb: &Verb) -> bool {
    matches!(verb, Verb::Verify(_) | Verb::ReplayCheck(_) | Verb::Proof(_) | Verb::Salvage(_))
}

/// The output; of what goes on without a reader, the rest is lost.
struct Heard<'a> {
    inner: &'a mut dyn Write,
    goes_on: bool,
}

impl Heard<'_> {
    fn unless_gone<T>(&self, written: io::Result<T>, lost: T) -> io::Result<T> {
        match written {
            Err(error) if self.goes_on && error.kind() == io::ErrorKind::BrokenPipe => Ok(lost),
            written => written,
        }
    }
}

impl Write for Heard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.unless_gone(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.unless_gone(flushed, ())
    }
}

fn usage(told: &clap::Error, out: &mut dyn Write, notes: &mut dyn Write) -> Exit {
    let asked_for =
        matches!(told.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
    let text = told.render();
    let written = if asked_for { write!(out, "{text}") } else { write!(notes, "{text}") };
    match (asked_for, written) {
        (true, Ok(())) => Exit::Ok,
        (true, Err(_)) => Exit::Io,
        (false, _) => Exit::Usage,
    }
}

fn dispatch(
    cli: Cli,
    surroundings: &Surroundings,
    line: &Line,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    // Times are in UTC and nothing is paged, asked or not.
    let Cli { source, verb, quiet: _, utc: _, no_pager: _ } = cli;
    if source.snapshots.is_some() && !matches!(verb, Verb::State(_) | Verb::Verify(_)) {
        return Err(Failure::SnapshotsUnused);
    }
    let place = || source.place(surroundings, line);
    let now = surroundings.now;
    if !source.nodes.is_empty() {
        let nodes = source.nodes(line)?;
        match &verb {
            Verb::Log(args) => return verb::several::log(args, &nodes, now(), console),
            Verb::Timeline(args) => return verb::several::timeline(args, &nodes, console),
            Verb::Stats(args) => return verb::several::stats(args, &nodes, now(), console),
            _ => {}
        }
    }
    match verb {
        Verb::Info(args) => verb::info::run(&args, &place()?, console),
        Verb::Streams(args) => verb::streams::run(&args, &place()?, console),
        Verb::Schema(args) => verb::schema::run(&args, console),
        Verb::Log(args) => verb::log::run(&args, &place()?, now(), console),
        Verb::Follow(args) => verb::follow::run(&args, &place()?, now(), console),
        Verb::Show(args) => verb::show::run(&args, &place()?, console),
        Verb::State(args) => verb::state::run(&args, &place()?, now(), console),
        Verb::Diff(args) => verb::diff::run(&args, &place()?, now(), console),
        Verb::Timeline(args) => verb::timeline::run(&args, &place()?, console),
        Verb::Blame(args) => verb::blame::run(&args, &place()?, now(), console),
        Verb::Bisect(args) => verb::bisect::run(&args, &place()?, now(), console),
        Verb::Why(args) => verb::why::run(&args, &place()?, console),
        Verb::Trace(args) => verb::trace::run(&args, &place()?, console),
        Verb::Intents(args) => verb::intents::run(&args, &place()?, now(), console),
        Verb::Stats(args) => verb::stats::run(&args, &place()?, now(), console),
        Verb::ReplayCheck(args) => verb::replay_check::run(&args, &place()?, console),
        Verb::Whatif(args) => verb::whatif::run(&args, &place()?, console),
        Verb::Verify(args) => verb::verify::run(&args, &place()?, console),
        Verb::Proof(args) => verb::proof::run(&args, &place()?, console),
        Verb::Salvage(args) => verb::salvage::run(&args, &place()?, console),
        Verb::Export(args) => verb::export::run(&args, &place()?, now(), console),
        Verb::Metrics(args) => verb::metrics::run(&args, &place()?, now(), console),
        Verb::Bill(args) => verb::bill::run(&args, &place()?, now(), console),
        Verb::Blackbox(args) => verb::blackbox::run(&args, &place()?, console),
        Verb::Report(args) => verb::report::run(&args, &place()?, console),
        Verb::Tui(args) => tui::run(&args, place()?, surroundings, console),
        Verb::Completion(args) => verb::completion::run(&args, console),
    }
}

/// Where the tool writes.
pub(crate) struct Console<'a> {
    /// For data.
    pub(crate) out: &'a mut dyn Write,
    /// For all else.
    pub(crate) notes: &'a mut dyn Write,
}

impl Console<'_> {
    /// Tells something that is not data. That nobody can be told is no reason to stop.
    pub(crate) fn note(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.notes, "{text}");
    }

    /// Writes a line of data.
    pub(crate) fn line(&mut self, text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(Failure::Output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(variables: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        standard_sockets(variable).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_users_own_node_is_looked_for_first() {
        let machine = ["/run/purser/purser.sock", "run/purser.sock"];
        assert_eq!(sockets(&[]), machine);
        assert_eq!(sockets(&[("XDG_RUNTIME_DIR", "relative")]), machine);
        let home = ("HOME", "/home/ada");
        assert_eq!(sockets(&[home])[0], "/home/ada/.local/state/purser/purser.sock");
        assert_eq!(sockets(&[home, ("XDG_STATE_HOME", "/state")])[0], "/state/purser/purser.sock");
        let runtime = sockets(&[home, ("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert_eq!(runtime[..2], ["/run/user/7/purser.sock", "/home/ada/.local/state/purser/purser.sock"]);
        assert_eq!(runtime[2..], machine);
    }
}
