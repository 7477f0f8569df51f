//! Ending processes that belong to no pod and use a GPU of a node that is for pods alone.
//!
//! A driver names processes by their ids, and an id may come to be another's between its look and ours. So a process is
//! ended only if it was there before a sample that lists its id: whoever had the id then is who used the GPU.

use std::collections::BTreeMap;
use std::time::Duration;

use purser_events::violation::event::Outcome;
use purser_events::violation::{Episode, Level, Measure, MonitorPolicy, ViolationKind};
use purser_events::worker::ProcessIdentity;
use purser_events::{Timestamp, World};
use uuid::Uuid;

use super::enforce::{Progress, SETTLE_MS, Task, done, failed, processes_of, skip};
use super::{Monitor, millis, policy};
use crate::port::containers::Signal;
use crate::port::{ProcessOwner, SeenGpus};

/// Samples that must have listed a process since it was known who it is: the first of them may have been read before.
const LISTED_MIN: u32 = 2;

/// A process that is to be ended.
#[derive(Debug)]
struct Stranger {
    process: ProcessIdentity,
    /// Of when the newest sample is that has listed its id.
    listed_at: Timestamp,
    /// How many samples have listed its id since it was known who it is.
    listed: u32,
    /// What it was sent last, and when.
    sent: Option<(Signal, Duration)>,
}

/// Processes that are to be ended, by the violation and their ids.
#[derive(Debug, Default)]
pub(super) struct Strangers(BTreeMap<Uuid, BTreeMap<u32, Stranger>>);

impl Strangers {
    /// Forgets those of violations about which nothing is to be done any more.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(Uuid) -> bool) {
        self.0.retain(|id, _| is_wanted(*id));
    }

    /// What is left of these processes of a violation, in words.
    fn left(&self, id: Uuid, pids: &[u32]) -> String {
        let sent = |pid: &u32| Some(self.0.get(&id)?.get(pid)?.sent.map(|(signal, _)| signal));
        let count = |of: Option<Option<Signal>>| pids.iter().filter(|pid| sent(pid) == of).count();
        let each = [
            (count(Some(Some(Signal::Kill))), "go on although they were killed"),
            (count(Some(Some(Signal::Terminate))), "were asked to end and have time left"),
            (count(Some(None)), "have only just come"),
            (count(None), "are not on this machine, or cannot be looked at"),
        ];
        let told = each.iter().filter(|(count, _)| 0 < *count).map(|(count, what)| format!("{count} {what}"));
        format!("of the processes {}", told.collect::<Vec<_>>().join(", "))
    }
}

/// Violations by strangers of which what was to be done is over, and which last.
fn late(world: &World) -> Vec<Task> {
    let is_late = |episode: &Episode| {
        episode.kind == ViolationKind::UnknownProcess
            && matches!(
                episode.measures.get(&Level::Evict),
                Some(Measure::Ended(Outcome::Completed | Outcome::Failed))
            )
    };
    let grace_s = policy(world).eviction_grace_s;
    let known = world.gpus.iter().filter_map(|(gpu, state)| Some((gpu, state.known()?)));
    let open = known.flat_map(|(gpu, known)| known.violations.open.iter().map(move |open| (gpu, open)));
    let late = open.filter(|(_, (_, episode))| is_late(episode));
    late.map(|(gpu, (id, episode))| Task::of(gpu, *id, episode, Level::Evict, grace_s)).collect()
}

impl Monitor {
    /// Ends the processes on a GPU that belong to no pod and are not allowed: asks them first, and kills those that go on.
    pub(super) async fn end_strangers(&mut self, task: &Task, seen: &SeenGpus) -> Progress {
        let policy = self.shell.live.read(policy);
        if !policy.exclusive_node {
            return skip("this node is not for pods alone any more");
        }
        if self.shell.runtimes.values().any(|runtime| !runtime.enforces_limits()) {
            return skip("pods of this node have no control groups, so whose a process is cannot be told");
        }
        let Some((at, pids)) = strangers(task, seen, &policy) else { return Progress::Goes };
        if pids.is_empty() {
            return done("the processes have ended");
        }
        let patience_ms = u64::from(task.grace_s) * 1_000 + SETTLE_MS;
        self.end_each(task, at, &pids).await;
        if patience_ms <= task.waited_ms {
            return failed(&self.strangers.left(task.id, &pids));
        }
        Progress::Goes
    }

    /// Ends processes that have come to a GPU after what was to be done about an earlier one was over, for as long as the
    /// violation lasts.
    pub(super) async fn end_late_strangers(&mut self, seen: &SeenGpus) {
        let (policy, late) = self.shell.live.read(|world| (policy(world), late(world)));
        if !policy.exclusive_node || self.shell.runtimes.values().any(|runtime| !runtime.enforces_limits()) {
            return;
        }
        for task in late {
            if let Some((at, pids)) = strangers(&task, seen, &policy) {
                self.end_each(&task, at, &pids).await;
            }
        }
    }

    /// Goes on with the end of each of these processes.
    async fn end_each(&mut self, task: &Task, at: Timestamp, pids: &[u32]) {
        let mut known = self.strangers.0.remove(&task.id).unwrap_or_default();
        known.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            let stranger = match known.remove(pid) {
                Some(stranger) => Some(stranger),
                None => self.identify(*pid, at).await,
            };
            let Some(mut stranger) = stranger else { continue };
            self.end(&mut stranger, at, task).await;
            known.insert(*pid, stranger);
        }
        self.strangers.0.insert(task.id, known);
    }

    /// Who has an id now, if he belongs to no pod.
    async fn identify(&self, pid: u32, listed_at: Timestamp) -> Option<Stranger> {
        let identified = self.shell.machine.identify_stranger(pid).await;
        let process = identified.unwrap_or_else(|error| {
            tracing::debug!(%error, pid, "failed to look who a process is");
            None
        });
        Some(Stranger { process: process?, listed_at, listed: 0, sent: None })
    }

    /// Sends a process what it is to be sent next, if anything.
    async fn end(&self, stranger: &mut Stranger, at: Timestamp, task: &Task) {
        if at != stranger.listed_at {
            (stranger.listed_at, stranger.listed) = (at, stranger.listed.saturating_add(1));
        }
        if stranger.listed < LISTED_MIN {
            return;
        }
        let now = self.shell.clock.passed();
        let signal = match stranger.sent {
            None => Signal::Terminate,
            Some((Signal::Terminate, since))
                if u64::from(task.grace_s) * 1_000 <= millis(now.saturating_sub(since)) =>
            {
                Signal::Kill
            }
            Some((Signal::Terminate | Signal::Kill, _)) => return,
        };
        let pid = stranger.process.host_pid;
        match self.shell.machine.end_stranger(&stranger.process, signal).await {
            Ok(()) => {
                tracing::warn!(violation = %task.id, gpu = %task.gpu, pid, ?signal, "a process of no pod is ended");
                stranger.sent = Some((signal, now));
            }
            Err(error) => tracing::warn!(%error, pid, ?signal, "failed to end a process of no pod"),
        }
    }
}

/// The ids of processes on a GPU that belong to no pod and are not allowed, and when they were read; none if that cannot
/// be told.
fn strangers(task: &Task, seen: &SeenGpus, policy: &MonitorPolicy) -> Option<(Timestamp, Vec<u32>)> {
    let (at, processes) = processes_of(task, seen)?;
    let is_stranger = |owner: &ProcessOwner| match owner {
        ProcessOwner::Unknown { name } => !name.as_ref().is_some_and(|name| policy.allows(name)),
        ProcessOwner::Pod { .. } | ProcessOwner::Unreadable | ProcessOwner::Gone => false,
    };
    let strangers = processes.iter().filter(|process| is_stranger(&process.owner));
    Some((at, strangers.map(|process| process.pid).collect()))
}
