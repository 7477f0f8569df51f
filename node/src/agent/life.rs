//! One assignment, from its order to its acknowledged end.
//!
//! What the service must know before a program may run is told and acknowledged first; what it must hear afterwards is on
//! file until it is acknowledged.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::files::{End, bounded};
use super::leftovers::{kill_marked, mark_of};
use super::program::{self, NOT_RUNNABLE, Place, Started};
use super::protocol::{Assignment, Grip, Held, Kind, Phase, Progress, code};
use super::reaper::Exit;
use super::{Agent, Wish, output};

/// The exit code by which a plan says that there are changes.
pub(super) const CHANGES: i32 = 2;

/// How long programs have between SIGTERM and SIGKILL when the agent stops.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);

/// A wait without an end.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Why a program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Because {
    Itself,
    Timeout,
    Cancelled,
    /// Nobody wants to hear how.
    Unwanted(Wish),
}

/// Runs an assignment that was taken, to its end.
pub(super) async fn live(agent: Rc<Agent>, assignment: Assignment, wish: watch::Receiver<Wish>) {
    let held = Held { task: assignment.task, token: assignment.token, slot: assignment.slot };
    let grip = Grip { task: held.task, token: held.token };
    let keep = Life { agent: &agent, held, grip, wish }.run(&assignment).await;
    agent.retire(grip, keep);
}

/// Says how an assignment ended that an agent before this one saw the end of.
pub(super) async fn tell(agent: Rc<Agent>, held: Held, end: End, wish: watch::Receiver<Wish>) {
    let grip = Grip { task: held.task, token: held.token };
    let keep = Life { agent: &agent, held, grip, wish }.deliver(end).await;
    agent.retire(grip, keep);
}

struct Life<'a> {
    agent: &'a Rc<Agent>,
    held: Held,
    grip: Grip,
    wish: watch::Receiver<Wish>,
}

impl Life<'_> {
    /// Whether the task's folder is kept for an apply.
    async fn run(mut self, assignment: &Assignment) -> bool {
        match self.announce().await {
            Because::Itself => {}
            Because::Cancelled | Because::Timeout => return self.deliver(cancelled_early()).await,
            // It has not run: if it is an apply, it may be ordered again.
            Because::Unwanted(_) => return assignment.phase == Phase::Apply,
        }
        let started = match self.start(assignment) {
            Ok(started) => started,
            Err((code, message)) => {
                tracing::warn!(task = %self.grip.task, code, "the task could not be started");
                return self.deliver(finished(Exit::Code(code), Because::Itself, &message)).await;
            }
        };
        tracing::info!(task = %self.grip.task, pid = started.pid.as_raw(), "the task runs");
        let exit = self.agent.reaper.await_end(started.pid);
        let (ended, saw_end) = watch::channel(false);
        let (pumping, grip) = (Rc::clone(self.agent), self.grip);
        let pump = tokio::task::spawn_local(async move {
            output::pump(&pumping, grip, started.output, saw_end).await;
        });
        let (exit, because) = self.watch(assignment, started.pid, exit).await;
        // Whoever has left the group as well.
        let marks = [mark_of(self.agent.session, self.grip)];
        let _ = tokio::task::spawn_blocking(move || kill_marked(&marks)).await;
        tracing::info!(task = %self.grip.task, ?exit, ?because, "the task has ended");
        if let Because::Unwanted(why) = because {
            pump.abort();
            return self.give_up(why);
        }
        let end = outcome(assignment, exit, because, &self.agent.files.message(self.grip));
        if let Err(error) = self.agent.files.write_end(self.held, &end) {
            tracing::error!(%error, "how the task ended is not on file: if the agent ends now, it counts as lost");
        }
        ended.send_replace(true);
        let aborted = pump.abort_handle();
        tokio::select! {
            _ = pump => {}
            _ = unwanted(self.wish.clone()) => aborted.abort(),
        }
        self.deliver(end).await
    }

    /// Has it on record that the program is about to be started. Comes back with why it must not be, if so.
    async fn announce(&mut self) -> Because {
        let told = self.agent.until_answered("announce a task", || {
            self.agent.service.report(self.grip, &Progress::Started {})
        });
        let mut wish = self.wish.clone();
        tokio::select! {
            told = told => match told {
                Ok(()) => Because::Itself,
                Err(fault) => {
                    tracing::info!(task = %self.grip.task, %fault, "the task is not begun");
                    Because::Unwanted(Wish::Drop)
                }
            },
            wish = wanted(&mut wish) => because_of(wish),
        }
    }

    /// Starts the program; else says with which code it counts as ended, and why.
    fn start(&self, assignment: &Assignment) -> Result<Started, (i32, String)> {
        let files = &self.agent.files;
        let failed =
            |what: &str, error: io::Error| (NOT_RUNNABLE, format!("the agent failed to {what}: {error}"));
        let place = Place {
            folder: files.task_folder(self.held.task),
            message: files.message_path(self.grip),
            mark: mark_of(self.agent.session, self.grip),
        };
        files.write_begun(self.held).map_err(|error| failed("write what it has begun", error))?;
        match assignment.phase {
            Phase::Plan | Phase::Only => files
                .make_task_folder(self.held.task)
                .map_err(|error| failed("make the task's folder", error))?,
            Phase::Apply if place.folder.is_dir() => {}
            Phase::Apply => return Err((NOT_RUNNABLE, "what was planned is no longer there".to_owned())),
        }
        program::start(assignment, &place, &self.agent.passed_on)
            .map_err(|error| program::not_started(assignment, &error))
    }

    /// Waits for the program's end, and brings it about if need be.
    async fn watch(
        &self,
        assignment: &Assignment,
        pid: Pid,
        mut exit: oneshot::Receiver<Exit>,
    ) -> (Exit, Because) {
        let mut wish = self.wish.clone();
        let limit = assignment.timeout_s.map_or(FOR_EVER, Duration::from_secs);
        let because = tokio::select! {
            biased;
            exit = &mut exit => return (seen(exit), Because::Itself),
            wish = wanted(&mut wish) => because_of(wish),
            () = sleep(limit.min(FOR_EVER)) => Because::Timeout,
        };
        let now_wanted = *self.wish.borrow();
        let grace = match (because, now_wanted) {
            (Because::Timeout, _) => Duration::from_secs(assignment.grace_s),
            (_, Wish::Cancel { grace_s }) => Duration::from_secs(grace_s),
            (_, Wish::Stop) => STOP_GRACE,
            (_, Wish::Run | Wish::Drop) => Duration::ZERO,
        };
        if !grace.is_zero() {
            let _ = killpg(pid, Signal::SIGTERM);
            let mut later = self.wish.clone();
            tokio::select! {
                biased;
                exit = &mut exit => return (seen(exit), because),
                why = unwanted_after(&mut later, because) => {
                    let _ = killpg(pid, Signal::SIGKILL);
                    return (seen(exit.await), Because::Unwanted(why));
                }
                () = sleep(grace.min(FOR_EVER)) => {}
            }
        }
        let _ = killpg(pid, Signal::SIGKILL);
        (seen(exit.await), because)
    }

    /// Leaves the assignment without a word; says whether the task's folder is kept.
    fn give_up(&self, why: Wish) -> bool {
        if why == Wish::Drop {
            self.agent.files.remove(self.grip);
            self.agent.files.remove_task_folder(self.held.task);
        }
        false
    }

    /// Tells how it ended until that is acknowledged, or nobody wants to know. Says whether the task's folder is kept.
    async fn deliver(self, End { progress, keep }: End) -> bool {
        if keep {
            self.agent.book.borrow_mut().keep(self.held.task);
        }
        let told = self
            .agent
            .until_answered("tell how a task ended", || self.agent.service.report(self.grip, &progress));
        tokio::select! {
            told = told => match told {
                Ok(()) => {}
                Err(fault) if fault.is(code::STALE_TOKEN) => {
                    tracing::info!(task = %self.grip.task, "nobody waits for the end of the task any more");
                }
                Err(fault) => tracing::error!(task = %self.grip.task, %fault, "how the task ended was refused"),
            },
            why = unwanted(self.wish.clone()) => {
                if why == Wish::Stop {
                    return keep;
                }
            }
        }
        self.agent.files.remove(self.grip);
        if !keep {
            self.agent.files.remove_task_folder(self.held.task);
        }
        keep
    }
}

/// Waits until something else is wanted than that it runs.
async fn wanted(wish: &mut watch::Receiver<Wish>) -> Wish {
    at_least(wish, Wish::Cancel { grace_s: 0 }).await
}

/// Waits until nobody wants to hear of it any more.
async fn unwanted(mut wish: watch::Receiver<Wish>) -> Wish {
    at_least(&mut wish, Wish::Stop).await
}

/// Waits until nobody wants to hear of it any more where somebody did at first.
async fn unwanted_after(wish: &mut watch::Receiver<Wish>, because: Because) -> Wish {
    match because {
        Because::Unwanted(_) => at_least(wish, Wish::Drop).await,
        Because::Itself | Because::Timeout | Because::Cancelled => at_least(wish, Wish::Stop).await,
    }
}

async fn at_least(wish: &mut watch::Receiver<Wish>, least: Wish) -> Wish {
    match wish.wait_for(|wish| least <= *wish).await.map(|wish| *wish) {
        Ok(wish) => wish,
        // Nobody can wish for anything any more.
        Err(_) => std::future::pending().await,
    }
}

fn because_of(wish: Wish) -> Because {
    match wish {
        Wish::Run | Wish::Cancel { .. } => Because::Cancelled,
        Wish::Stop | Wish::Drop => Because::Unwanted(wish),
    }
}

/// The end of a program that nobody saw is that of one which was killed.
fn seen(exit: Result<Exit, oneshot::error::RecvError>) -> Exit {
    exit.unwrap_or(Exit::Signal(Signal::SIGKILL as i32))
}

/// What the end of a program says of the task.
fn outcome(assignment: &Assignment, exit: Exit, because: Because, message: &str) -> End {
    let plans = assignment.phase == Phase::Plan || matches!(assignment.kind, Kind::Plan | Kind::DriftCheck);
    let changes = match exit {
        Exit::Code(0) if plans && because == Because::Itself => false,
        Exit::Code(CHANGES) if plans && because == Because::Itself => true,
        Exit::Code(_) | Exit::Signal(_) => return finished(exit, because, message),
    };
    let keep = changes && assignment.phase == Phase::Plan;
    End { progress: Progress::Planned { changes, summary: bounded(message) }, keep }
}

fn finished(exit: Exit, because: Because, message: &str) -> End {
    let (exit_code, signal) = match exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    let progress = Progress::Finished {
        exit_code,
        signal,
        message: bounded(message),
        timed_out: because == Because::Timeout,
        cancelled: because == Because::Cancelled,
    };
    End { progress, keep: false }
}

fn cancelled_early() -> End {
    let progress = Progress::Finished {
        exit_code: None,
        signal: None,
        message: "it was cancelled before it began".to_owned(),
        timed_out: false,
        cancelled: true,
    };
    End { progress, keep: false }
}
