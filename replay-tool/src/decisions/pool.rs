//! The commands behind the records of pools.
//!
//! What an agent said, what became of a pod and what the clock on the wall showed is read off what followed from it. A
//! guess that is wrong does no harm: it leads to something else than what is on record.

use std::collections::BTreeSet;

use purser_events::Event;
use purser_events::Timestamp;
use purser_events::pool::event::{
    CancelReason, LossReason, MemberRemovalReason, RequeueReason, TaskEnded, TaskRequeued,
};
use purser_events::pool::task::{TaskExit, TaskState};
use purser_events::pool::{
    LocalTime, Member, Pool, PoolCommand, PoolEvent, SlotKey, Task, TaskId, TaskReport, Token, Weekday,
};
use uuid::Uuid;

use super::{About, Redecided};

const MINUTE_US: i64 = 60_000_000;
const DAY_MINUTES: i64 = 1_440;
/// 1970 began on a Thursday.
const FIRST_WEEKDAY: i64 = 3;

impl Redecided for Pool {
    fn commands(&self, events: &[PoolEvent], about: About) -> Vec<PoolCommand> {
        let Some(first) = events.first() else { return Vec::new() };
        let heard = Heard { pool: self, events };
        if let Some(command) = told(first) {
            return vec![command];
        }
        let mut commands = heard.asked(first);
        if commands.is_empty() {
            commands = heard.seen(first);
        }
        // Whatever is due is also done as time passes, and who waits gets what is free with whatever comes.
        commands.extend(heard.locals(about.time).map(|local| PoolCommand::Tick { local }));
        commands.push(PoolCommand::ReportReferences { digests: Vec::new() });
        commands
    }

    fn of(event: &Event) -> Option<&PoolEvent> {
        match event {
            Event::Pool(event) => Some(event),
            _ => None,
        }
    }
}

/// A command that its first record tells whole.
fn told(first: &PoolEvent) -> Option<PoolCommand> {
    use PoolCommand as C;
    use PoolEvent as E;
    Some(match first {
        E::SpecSet(it) => C::SetSpec { name: it.name.clone(), spec: Box::new(it.spec.clone()) },
        E::RemovalRequested(it) => C::Delete { force: it.force },
        E::Unfrozen(it) => C::Unfreeze { until: it.until },
        E::ReferencesChanged(it) => C::ReportReferences { digests: it.digests.clone() },
        E::MemberAdmitted(it) => C::ReportAdmitted { member: it.member, pod: it.pod },
        E::MemberRequestFailed(it) => C::ReportRequestFailed { member: it.member, reason: it.reason.clone() },
        E::MemberNoRoom(it) => C::ReportNoRoom { member: it.member, reason: it.reason.clone() },
        E::MemberResized(it) => C::ReportResized { member: it.member, revision: it.revision },
        E::MemberResizeFailed(it) => {
            C::ReportResizeFailed { member: it.member, revision: it.revision, reason: it.reason.clone() }
        }
        E::MemberRemoved(it) => C::ReportRemoved { member: it.member },
        E::AgentsAway(_) => C::AgentsAway,
        E::StaleTokensCounted(it) => C::ReportRefusals { member: it.member, count: it.count },
        E::StaleTokenRefused(it) => {
            C::Report { member: it.member, task: it.task, token: it.token, report: TaskReport::Started }
        }
        E::TaskSubmitted(it) => C::Submit { spec: Box::new(it.spec.as_ref().clone()) },
        E::TaskApproved(it) => C::Confirm { task: it.task },
        _ => return None,
    })
}

/// A pool, and what followed from what it heard.
struct Heard<'a> {
    pool: &'a Pool,
    events: &'a [PoolEvent],
}

impl Heard<'_> {
    /// What somebody asked for.
    fn asked(&self, first: &PoolEvent) -> Vec<PoolCommand> {
        use PoolCommand as C;
        use PoolEvent as E;
        match first {
            E::TaskConfirmed(it) => vec![C::Confirm { task: it.task }],
            E::TaskDiscarded(it) => {
                let (discard, cancel) = (C::Discard { task: it.task }, C::Cancel { task: it.task });
                [discard, cancel].into_iter().chain(self.removal()).collect()
            }
            E::TaskCancelRequested(it) => match it.reason {
                CancelReason::Requested => vec![C::Cancel { task: it.task }],
                CancelReason::TimedOut => Vec::new(),
                CancelReason::PoolRemoved => self.removal().collect(),
            },
            E::TaskEnded(it) if !it.reported && it.token.is_none() => {
                [C::Cancel { task: it.task }].into_iter().chain(self.removal()).collect()
            }
            E::Removed(_) => self.removal().collect(),
            E::MemberRemovalRequested(it) if it.reason == MemberRemovalReason::PoolRemoved => {
                self.removal().collect()
            }
            _ => Vec::new(),
        }
    }

    /// What was seen of a member, or told by its agent.
    fn seen(&self, first: &PoolEvent) -> Vec<PoolCommand> {
        use PoolCommand as C;
        use PoolEvent as E;
        match first {
            E::MemberLost(it) => match &it.reason {
                LossReason::PodEnded { detail } => {
                    vec![C::ReportPodEnded { member: it.member, detail: detail.clone() }]
                }
                LossReason::Silent { silent_ms } => {
                    vec![C::ReportSilent { member: it.member, silent_ms: *silent_ms }]
                }
                LossReason::NeverConnected => {
                    vec![C::ReportSilent { member: it.member, silent_ms: u64::MAX }]
                }
                LossReason::CancelIgnored { .. } => Vec::new(),
            },
            E::AgentConnected(it) => vec![self.connect(it.member)],
            E::AgentDisconnected(it) => {
                vec![C::Disconnect { member: it.member, session: it.session, left: it.left }]
            }
            E::AgentLeaving(it) => {
                vec![C::AgentLeaving {
                    member: it.member,
                    session: it.session,
                    has: self.still_has(it.member),
                }]
            }
            E::TaskStarted(it) => self.report(it.task, it.token, TaskReport::Started).into_iter().collect(),
            E::TaskPlanned(it) => {
                // Told by the token that the plan was made under.
                let held = self.pool.task(it.task).and_then(Task::slot).map_or(it.token, |(_, token)| token);
                let report = TaskReport::Planned { changes: true, summary: it.summary.clone() };
                self.report(it.task, held, report).into_iter().collect()
            }
            E::TaskEnded(it) => self.ended(it),
            E::TaskRequeued(it) => self.requeued(it),
            _ => Vec::new(),
        }
    }

    /// That the pool is to go, or goes.
    fn removal(&self) -> impl Iterator<Item = PoolCommand> {
        self.pool.leaving.map(|leaving| PoolCommand::Delete { force: leaving.force }).into_iter()
    }

    fn slot(&self, task: TaskId) -> Option<SlotKey> {
        Some(self.pool.task(task)?.slot()?.0)
    }

    fn report(&self, task: TaskId, token: Token, report: TaskReport) -> Option<PoolCommand> {
        Some(PoolCommand::Report { member: self.slot(task)?.member, task, token, report })
    }

    /// How an agent told of an end, or why it was taken for one.
    fn ended(&self, it: &TaskEnded) -> Vec<PoolCommand> {
        let Some(token) = it.token else { return Vec::new() };
        if !it.reported {
            let cancelled = PoolCommand::Cancel { task: it.task };
            let left = self.finished(it.task, token, it.exit, &it.message, true);
            return [cancelled]
                .into_iter()
                .chain(self.lost(it.task))
                .chain(left)
                .chain(self.removal())
                .collect();
        }
        let planned = [false, true].into_iter().filter_map(|changes| {
            self.report(it.task, token, TaskReport::Planned { changes, summary: it.message.clone() })
        });
        self.finished(it.task, token, it.exit, &it.message, false).into_iter().chain(planned).collect()
    }

    /// That a process has ended, by itself or because it took too long or was to.
    fn finished(
        &self,
        task: TaskId,
        token: Token,
        exit: Option<TaskExit>,
        message: &str,
        cancelled: bool,
    ) -> Vec<PoolCommand> {
        let ends = [false, true].into_iter().filter_map(|timed_out| {
            let message = message.to_owned();
            self.report(task, token, TaskReport::Finished { exit, message, timed_out, cancelled })
        });
        ends.collect()
    }

    fn requeued(&self, it: &TaskRequeued) -> Vec<PoolCommand> {
        let left = || self.finished(it.task, it.token, None, "", true);
        match &it.reason {
            RequeueReason::Failed { exit } => self.finished(it.task, it.token, *exit, "", false),
            RequeueReason::AgentLeft => left().into_iter().chain(self.lost(it.task)).collect(),
            RequeueReason::MemberLost
            | RequeueReason::AgentRestarted
            | RequeueReason::AgentLostIt
            | RequeueReason::PlanLost => self.lost(it.task),
        }
    }

    /// How the member that has a task came to lose it.
    fn lost(&self, task: TaskId) -> Vec<PoolCommand> {
        use PoolCommand as C;
        let Some(member) = self.slot(task).map(|slot| slot.member) else { return Vec::new() };
        let detail = self.events.iter().find_map(|event| match event {
            PoolEvent::MemberLost(it) if it.member == member => match &it.reason {
                LossReason::PodEnded { detail } => Some(detail.clone()),
                LossReason::Silent { .. } | LossReason::NeverConnected | LossReason::CancelIgnored { .. } => {
                    None
                }
            },
            _ => None,
        });
        let pod_ended = C::ReportPodEnded { member, detail: detail.unwrap_or_default() };
        let agent = self.pool.member(member).and_then(|member| member.agent.as_ref());
        let gone = agent.map(|agent| C::Disconnect { member, session: agent.session, left: true });
        // That nothing is left of a pod says more than that it has ended, and begins alike.
        let mut ways = vec![self.connect(member), C::ReportRemoved { member }, pod_ended];
        ways.extend(gone);
        ways
    }

    /// An agent that comes, with all that was not taken from it when it came.
    fn connect(&self, member: u64) -> PoolCommand {
        let came = self.events.iter().find_map(|event| match event {
            PoolEvent::AgentConnected(it) if it.member == member => {
                Some((it.session, it.version.clone(), it.fresh))
            }
            _ => None,
        });
        // One that was there, and goes on.
        let before = self.pool.member(member).and_then(|member| member.agent.as_ref());
        let same = || before.map(|agent| (agent.session, agent.version.clone(), false));
        let (session, version, fresh) = came.or_else(same).unwrap_or((Uuid::nil(), String::new(), false));
        PoolCommand::Connect { member, session, version, fresh, has: self.still_has(member) }
    }

    /// What runs in a member's slots and was not taken from it by what is on record.
    fn still_has(&self, member: u64) -> Vec<(TaskId, Token)> {
        let taken: BTreeSet<TaskId> = self
            .events
            .iter()
            .filter_map(|event| match event {
                PoolEvent::TaskRequeued(it) => Some(it.task),
                PoolEvent::TaskEnded(it) if !it.reported => Some(it.task),
                _ => None,
            })
            .collect();
        let tasks = self.pool.member(member).into_iter().flat_map(Member::tasks);
        let running = tasks.filter_map(|id| {
            let task = self.pool.task(id)?;
            match task.state {
                TaskState::Running { token, .. } => Some((id, token)),
                TaskState::Pending { .. } | TaskState::ApplyPending { .. } | TaskState::Ended { .. } => None,
            }
        });
        running.filter(|(id, _)| !taken.contains(id)).collect()
    }

    /// What the clock on the wall may have said: as a verdict among the records has it; else as it follows from the last
    /// one, or as that has it, for what a verdict would have said anew is on record.
    fn locals(&self, time: Timestamp) -> impl Iterator<Item = LocalTime> {
        let now = self.events.iter().find_map(|event| match event {
            PoolEvent::Scaled(it) => Some(it.verdict.inputs.local),
            _ => None,
        });
        let last = self.pool.scaling.verdict().map(|verdict| verdict.inputs.local);
        let since = local_at(time, last.map_or(0, |last| last.offset_s));
        let followed = [Some(since), last].into_iter().flatten().filter(move |_| now.is_none());
        now.into_iter().chain(followed)
    }
}

/// Civil time at a moment, so many seconds ahead of UTC.
fn local_at(time: Timestamp, offset_s: i32) -> LocalTime {
    let minutes = time.0.saturating_add(i64::from(offset_s) * 1_000_000).div_euclid(MINUTE_US);
    let day = minutes.div_euclid(DAY_MINUTES).saturating_add(FIRST_WEEKDAY).rem_euclid(7);
    let weekday = usize::try_from(day).ok().and_then(|day| Weekday::ALL.get(day).copied());
    let minute = u16::try_from(minutes.rem_euclid(DAY_MINUTES)).unwrap_or_default();
    LocalTime { weekday: weekday.unwrap_or(Weekday::Mon), minute, offset_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_time_follows_from_the_zones_distance() {
        let at = |text: &str, offset_s| local_at(text.parse().unwrap(), offset_s);
        // The first of March 2026 was a Sunday.
        let local = at("2026-03-01T22:30:00Z", 0);
        assert_eq!((local.weekday, local.minute), (Weekday::Sun, 22 * 60 + 30));
        let ahead = at("2026-03-01T22:30:00Z", 2 * 3_600);
        assert_eq!((ahead.weekday, ahead.minute), (Weekday::Mon, 30));
        let behind = at("2026-03-01T00:30:00Z", -3_600);
        assert_eq!((behind.weekday, behind.minute), (Weekday::Sat, 23 * 60 + 30));
    }
}
