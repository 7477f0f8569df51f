//! The agent's start and its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use purser_actors::port::Ids;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::Level;
use uuid::Uuid;

use super::arguments::{Arguments, LogForm, LogLevel};
use super::book::Book;
use super::files::{Files, FilesError, Found, Session};
use super::leftovers::{kill_marked, mark_of};
use super::life::{STOP_GRACE, tell};
use super::program::passed_on;
use super::protocol::Grip;
use super::reaper::Reaper;
use super::service::Service;
use super::{Agent, TURNS, Wish, session};
use crate::adapter::clock::UuidV7;

/// How long killed programs may take to be gone when the agent stops.
const GONE_MAX: Duration = Duration::from_secs(10);

/// How long the agent tries to say that it leaves.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Exit codes.
const USAGE: u8 = 2;
const REPLACED: u8 = 3;
const UNUSABLE: u8 = 74;

/// Runs `purser-agent` with the command line and environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    begin_log(arguments.log, arguments.log_level);
    if let Some(wrong) = arguments.wrong() {
        eprintln!("purser-agent: {wrong}");
        return ExitCode::from(USAGE);
    }
    let (files, found) = match Files::open(&arguments.work_dir()) {
        Ok(opened) => opened,
        Err(error) => {
            let code = if matches!(error, FilesError::InUse { .. }) { REPLACED } else { UNUSABLE };
            return fail(code, &error);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    match LocalSet::new().block_on(&runtime, run(&arguments, files, found)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(UNUSABLE, &error),
    }
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    eprintln!("purser-agent: {error}{cause}");
    ExitCode::from(code)
}

fn begin_log(form: LogForm, level: LogLevel) {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    // Begun once in a process.
    let _ = match form {
        LogForm::Text => lines.with_target(false).with_ansi(io::stderr().is_terminal()).try_init(),
        LogForm::Json => lines.with_target(false).json().flatten_event(true).try_init(),
    };
}

/// Runs until it is asked to stop, or somebody else is in its place. Gives the exit code.
async fn run(arguments: &Arguments, files: Files, found: Found) -> io::Result<u8> {
    let notices = Reaper::listen()?;
    let mut stops = Stops::listen()?;
    let id = found.session.map_or_else(|| UuidV7.uuid(), |session| session.id);
    let fresh = !found.session.is_some_and(|session| session.known);
    if found.session.is_none() {
        files.write_session(Session { id, known: false })?;
    }
    let agent = Rc::new(Agent {
        service: Service::new(arguments.socket(), arguments.token(), id),
        session: id,
        fresh: Cell::new(fresh),
        passed_on: passed_on(std::env::vars_os(), &arguments.pass_env),
        book: RefCell::new(clean_up(id, &files, &found).await),
        files,
        lives: RefCell::new(BTreeMap::new()),
        busy: watch::Sender::new(0),
        connected: watch::Sender::new(false),
        turns: Semaphore::new(TURNS),
        doubt: Notify::new(),
        news: Notify::new(),
        reaper: Reaper::default(),
        random: || UuidV7.uuid().as_u64_pair().1,
    });
    tracing::info!(session = %id, version = env!("CARGO_PKG_VERSION"), "the agent runs");
    let reaping = Rc::clone(&agent);
    spawn_local(async move { reaping.reaper.run(notices).await });
    for (held, end) in found.ended {
        let wish = agent.admit(Grip { task: held.task, token: held.token });
        spawn_local(tell(Rc::clone(&agent), held, end, wish));
    }
    let mut keeping = spawn_local(session::keep(Rc::clone(&agent)));
    tokio::select! {
        _ = &mut keeping => Ok(make_way(&agent).await),
        () = stops.asked() => {
            stop(&agent, &mut keeping, &mut stops, arguments.stop_grace()).await;
            Ok(0)
        }
    }
}

/// Ends what an agent before this one has begun: the service counts it as lost once this one connects without it. Gives the
/// book with the rest.
async fn clean_up(session: Uuid, files: &Files, found: &Found) -> Book {
    let grips: Vec<Grip> =
        found.begun.iter().map(|held| Grip { task: held.task, token: held.token }).collect();
    let marks: Vec<String> = grips.iter().map(|grip| mark_of(session, *grip)).collect();
    let _ = tokio::task::spawn_blocking(move || kill_marked(&marks)).await;
    for grip in grips {
        tracing::warn!(task = %grip.task, "the task was lost with the agent before this one");
        files.remove(grip);
        files.remove_task_folder(grip.task);
    }
    let has: Vec<_> = found.ended.iter().map(|(held, _)| *held).collect();
    let planned = found.ended.iter().filter(|(_, end)| end.keep);
    let keeps: Vec<_> = found.keeps.iter().copied().chain(planned.map(|(held, _)| held.task)).collect();
    Book::new(&has, &keeps)
}

/// Ends everything because another agent runs for the same member.
async fn make_way(agent: &Rc<Agent>) -> u8 {
    tracing::error!("another agent has connected for this member: this one ends, with what it runs");
    agent.wish_all(Wish::Drop);
    let _ = timeout(GONE_MAX, idle(agent)).await;
    REPLACED
}

/// Takes nothing new, waits for what runs, ends the rest, and says that it leaves.
async fn stop(agent: &Rc<Agent>, keeping: &mut JoinHandle<()>, stops: &mut Stops, grace: Duration) {
    tracing::info!(grace_s = grace.as_secs(), "asked to stop: nothing new is taken");
    agent.book.borrow_mut().leave();
    agent.news.notify_one();
    tokio::select! {
        () = idle(agent) => {}
        () = sleep(grace) => {}
        () = stops.asked() => {}
        _ = &mut *keeping => {}
    }
    let left = agent.lives.borrow().len();
    if left > 0 {
        tracing::warn!(left, "tasks are ended because the agent stops");
        agent.wish_all(Wish::Stop);
        let _ = timeout(STOP_GRACE + GONE_MAX, idle(agent)).await;
    }
    keeping.abort();
    match timeout(FAREWELL_MAX, agent.service.leave()).await {
        Ok(Ok(())) => tracing::info!("the agent has left"),
        Ok(Err(fault)) => tracing::info!(%fault, "the agent ends without a farewell"),
        Err(_) => tracing::info!("the agent ends without a farewell"),
    }
}

/// Waits until no task is left.
async fn idle(agent: &Rc<Agent>) {
    // The sender lives as long as the agent does.
    let _ = agent.busy.subscribe().wait_for(|busy| *busy == 0).await;
}

/// The signals that ask for a stop.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn listen() -> io::Result<Stops> {
        Ok(Stops { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
