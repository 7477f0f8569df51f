//! `purser-agent`: the program in a pool's pod that runs the tasks which its member is given.
//!
//! It runs in one thread and uses nothing of the service but [`protocol`], which is what both speak. What it has, and what
//! follows from what it is told, is [`book`]; [`session`] keeps in touch with the service; [`life`] is one assignment from
//! its order to the acknowledged end.

mod arguments;
mod back_off;
mod book;
mod files;
mod leftovers;
mod life;
mod output;
mod program;
pub mod protocol;
mod reaper;
mod run;
mod service;
mod session;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::rc::Rc;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::sleep;
use uuid::Uuid;

use self::back_off::BackOff;
use self::book::{Book, Step};
use self::files::Files;
use self::protocol::Grip;
use self::reaper::Reaper;
pub use self::run::main;
use self::service::{Fault, Service};

/// Most requests of tasks that are open at once: the service counts those of an agent, and refuses beyond its bound.
const TURNS: usize = 8;

/// What is wanted of an assignment. Later ones go before earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    /// That it is run.
    Run,
    /// That it ends, and says how. It has this long, in seconds, between SIGTERM and SIGKILL.
    Cancel { grace_s: u64 },
    /// That it ends because the agent does; what is on file of it stays.
    Stop,
    /// That it ends and nothing is left of it: it is no longer this agent's.
    Drop,
}

/// The agent: what all its parts share. It is used by one thread, and nothing is borrowed over an `await`.
struct Agent {
    service: Service,
    files: Files,
    session: Uuid,
    /// Whether the service has yet to hear that nothing of an agent before was found.
    fresh: Cell<bool>,
    /// What tasks get of the agent's own environment.
    passed_on: BTreeMap<OsString, OsString>,
    book: RefCell<Book>,
    lives: RefCell<BTreeMap<Grip, watch::Sender<Wish>>>,
    /// How many lives there are.
    busy: watch::Sender<usize>,
    /// Whether the service knows the session, as far as is known.
    connected: watch::Sender<bool>,
    /// How many of the tasks' requests may be open.
    turns: Semaphore,
    /// Somebody has heard that it does not.
    doubt: Notify,
    /// The next heartbeat is due at once.
    news: Notify,
    reaper: Reaper,
    random: fn() -> u64,
}

impl Agent {
    /// Asks until there is an answer that counts: a success, or a refusal that another try would not change.
    async fn until_answered<T, F>(&self, what: &'static str, ask: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut back_off = BackOff::default();
        loop {
            let mut connected = self.connected.subscribe();
            // The sender lives as long as the agent does.
            let _ = connected.wait_for(|connected| *connected).await;
            let answer = {
                let _turn = self.turns.acquire().await.expect("nobody closes it");
                ask().await
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.is_final() => return Err(fault),
                Err(fault) => {
                    if fault.ends_session() {
                        self.connected.send_replace(false);
                        self.doubt.notify_one();
                    }
                    tracing::debug!(%fault, "failed to {what}, trying again");
                }
            }
            sleep(back_off.next((self.random)())).await;
        }
    }

    /// Does what follows from what was told.
    fn follow(self: &Rc<Agent>, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Begin(assignment) => {
                    let grip = Grip { task: assignment.task, token: assignment.token };
                    let wish = self.admit(grip);
                    tokio::task::spawn_local(life::live(Rc::clone(self), assignment, wish));
                }
                Step::Cancel(cancel) => {
                    let grip = Grip { task: cancel.task, token: cancel.token };
                    tracing::info!(task = %grip.task, reason = cancel.reason, "the task is to end");
                    self.wish(grip, Wish::Cancel { grace_s: cancel.grace_s });
                }
                Step::Drop(grip) => {
                    tracing::info!(task = %grip.task, token = grip.token, "the task is no longer this agent's");
                    self.wish(grip, Wish::Drop);
                }
                Step::Forget(task) => self.files.remove_task_folder(task),
            }
        }
    }

    /// Notes that a life begins; gives where it hears what is wanted of it.
    fn admit(&self, grip: Grip) -> watch::Receiver<Wish> {
        let (sender, receiver) = watch::channel(Wish::Run);
        self.lives.borrow_mut().insert(grip, sender);
        self.busy.send_replace(self.lives.borrow().len());
        receiver
    }

    /// Notes that a life is over, and begins what has waited for it.
    fn retire(self: &Rc<Agent>, grip: Grip, keep: bool) {
        self.lives.borrow_mut().remove(&grip);
        let steps = self.book.borrow_mut().end(grip, keep);
        self.follow(steps);
        if keep {
            // Says which others need no longer be kept: plans may be made and discarded faster than hearts beat.
            self.news.notify_one();
        }
        self.busy.send_replace(self.lives.borrow().len());
    }

    fn wish(&self, grip: Grip, wish: Wish) {
        if let Some(sender) = self.lives.borrow().get(&grip) {
            raise(sender, wish);
        }
    }

    fn wish_all(&self, wish: Wish) {
        self.lives.borrow().values().for_each(|sender| raise(sender, wish));
    }
}

fn raise(sender: &watch::Sender<Wish>, wish: Wish) {
    sender.send_if_modified(|held| {
        let raised = *held < wish;
        if raised {
            *held = wish;
        }
        raised
    });
}
