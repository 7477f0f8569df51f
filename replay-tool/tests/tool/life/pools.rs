//! A pool's part of a life: tasks come, agents come and go, pods are lost, and everything is reported as it would be.

use std::sync::Arc;

use purser_events::pool::task::{TaskExit, TaskState};
use purser_events::pool::{
    Digest, FreezeWindow, LocalTime, Member, MemberPhase, OnEnd, Phase, PoolCommand, PoolName, PoolSpec,
    Reference, ReferenceKind, ScalingPolicy, SlotPolicy, SlotRule, Task, TaskId, TaskKind, TaskPolicy,
    TaskReport, TaskSpec, Token, Weekday, Workspace,
};
use purser_events::{Origin, PodUid, StreamId, Timestamp};

use super::Life;

const MINUTE_US: i64 = 60_000_000;

/// As many kinds of things happen by themselves.
const EVENTS: u64 = 16;

fn name() -> PoolName {
    PoolName::new("ci").unwrap()
}

fn reference() -> Reference {
    Reference { kind: ReferenceKind::Secret, name: "token".to_owned() }
}

impl Life {
    fn pool_stream() -> StreamId {
        name().stream()
    }

    /// Something that happens to the pool, or that is asked of it.
    pub(super) fn pool_turn(&mut self) {
        self.now += i64::try_from(self.below(20_000_000)).unwrap();
        if !self.pool.exists() && self.pool.leaving.is_none() {
            let spec = self.pool_spec(0);
            let origin = self.asked();
            self.pool_does(&PoolCommand::SetSpec { name: name(), spec: Box::new(spec) }, &origin);
            return;
        }
        let is_asked = self.below(3) == 0;
        let command = if is_asked { self.pool_wish() } else { self.pool_event() };
        let Some(command) = command else { return };
        let origin = match is_asked {
            true => self.asked(),
            false => self.follows(Life::pool_stream()),
        };
        self.pool_does(&command, &origin);
    }

    fn pool_does(&mut self, command: &PoolCommand, origin: &Origin) {
        let mut pool = std::mem::take(&mut self.pool);
        let events = self.asks(&mut pool, command);
        self.pool = pool;
        self.record(Life::pool_stream(), origin, events);
    }

    fn pool_spec(&mut self, most: u32) -> PoolSpec {
        let template = serde_json::from_value(crate::support::spec("default", "ci")).unwrap();
        // Noon of the first day is 720.
        let freeze = FreezeWindow { days: vec![Weekday::Sun], from_minute: 735, to_minute: 737 };
        PoolSpec {
            namespace: "default".to_owned(),
            template: Arc::new(template),
            slots: SlotPolicy {
                rule: if most == 0 { SlotRule::Seed } else { SlotRule::Exclusive },
                count: 3,
            },
            scaling: ScalingPolicy {
                max_replicas: 3 + most,
                down_stable_ms: 60_000,
                freezes: vec![freeze],
                ..ScalingPolicy::default()
            },
            tasks: TaskPolicy { on_failed: OnEnd::Retry, timeout_s: 90, ..TaskPolicy::default() },
            agents: Default::default(),
            references: vec![reference()],
        }
    }

    fn any_task(&mut self, fits: impl Fn(&Task) -> bool) -> Option<Task> {
        let fitting: Vec<Task> =
            self.pool.tasks.values().filter(|task| fits(task)).map(|task| task.as_ref().clone()).collect();
        let at = usize::try_from(self.below(fitting.len().max(1) as u64)).unwrap();
        fitting.get(at).cloned()
    }

    /// What somebody wants of it.
    fn pool_wish(&mut self) -> Option<PoolCommand> {
        use PoolCommand as C;
        let pending = |task: &Task| matches!(task.state, TaskState::ApplyPending { .. });
        let plan = self.any_task(pending).map(|task| task.spec.id);
        Some(match (self.below(14), plan) {
            (0..=3, Some(task)) => C::Confirm { task },
            (4, Some(task)) => C::Discard { task },
            (5, _) => C::Cancel { task: self.any_task(|task| !task.is_over())?.spec.id },
            (6, _) => C::Unfreeze { until: Timestamp(self.now + 2 * MINUTE_US) },
            (7, _) => {
                let most = u32::try_from(self.below(2)).unwrap();
                C::SetSpec { name: name(), spec: Box::new(self.pool_spec(most)) }
            }
            (8, _) if self.below(6) == 0 => C::Delete { force: self.below(2) == 0 },
            _ => C::Submit { spec: Box::new(self.task()) },
        })
    }

    fn task(&mut self) -> TaskSpec {
        let kind = TaskKind::ALL[usize::try_from(self.below(5)).unwrap()];
        let apply_argv = if kind == TaskKind::PlanAndApply { vec!["apply".to_owned()] } else { vec![] };
        let workspace = kind.applies().then(|| Workspace::new(&format!("w-{}", self.below(3))).unwrap());
        TaskSpec {
            id: TaskId(self.uuid()),
            kind,
            workspace,
            priority: i32::try_from(self.below(3)).unwrap(),
            argv: vec!["do".to_owned()],
            apply_argv,
            env: vec![],
            secrets: vec![],
            working_dir: None,
            timeout_s: None,
            labels: [("team".to_owned(), "red".to_owned())].into(),
        }
    }

    fn local(&self) -> LocalTime {
        let minutes = self.now / MINUTE_US;
        let day = usize::try_from((minutes / 1_440 + 3) % 7).unwrap();
        LocalTime { weekday: Weekday::ALL[day], minute: u16::try_from(minutes % 1_440).unwrap(), offset_s: 0 }
    }

    /// What is seen of it, or follows as time passes.
    fn pool_event(&mut self) -> Option<PoolCommand> {
        use PoolCommand as C;
        let members: Vec<u64> = self.pool.members.keys().copied().collect();
        let at = usize::try_from(self.below(members.len().max(1) as u64)).unwrap();
        let what = self.below(EVENTS);
        let Some(member) = members.get(at).and_then(|number| self.pool.member(*number)).cloned() else {
            return Some(C::Tick { local: self.local() });
        };
        let number = member.member;
        let session = self.sessions.get(&number).copied();
        Some(match (&member.phase, session, what) {
            (_, _, 0) => C::Tick { local: self.local() },
            (_, _, 1) if self.below(4) == 0 => {
                let digest = format!("{}", self.below(3));
                C::ReportReferences { digests: vec![Digest { reference: reference(), digest }] }
            }
            (MemberPhase::Requested, _, 2) => {
                C::ReportRequestFailed { member: number, reason: "it cannot be".to_owned() }
            }
            (MemberPhase::Requested, _, 3) => C::ReportNoRoom { member: number, reason: "memory".to_owned() },
            (MemberPhase::Requested, ..) => C::ReportAdmitted { member: number, pod: PodUid(self.uuid()) },
            (MemberPhase::Lost { .. } | MemberPhase::Removing { .. }, ..) => {
                C::ReportRemoved { member: number }
            }
            (MemberPhase::Up, None, _) => {
                let session = self.uuid();
                self.sessions.insert(number, session);
                C::Connect { member: number, session, version: "1.0".to_owned(), fresh: true, has: vec![] }
            }
            (MemberPhase::Up, Some(session), 1) => C::Disconnect { member: number, session, left: false },
            (MemberPhase::Up, Some(session), 2 | 3) => {
                let has = self.has(number);
                C::Connect { member: number, session, version: "1.0".to_owned(), fresh: false, has }
            }
            (MemberPhase::Up, Some(session), 4) if self.below(4) == 0 => {
                let has = self.has(number);
                C::AgentLeaving { member: number, session, has }
            }
            (MemberPhase::Up, Some(session), 5) if self.below(4) == 0 => {
                self.sessions.remove(&number);
                C::Disconnect { member: number, session, left: true }
            }
            (MemberPhase::Up, Some(_), 6) if self.below(6) == 0 => {
                C::ReportPodEnded { member: number, detail: "the pod was deleted".to_owned() }
            }
            (MemberPhase::Up, Some(_), 7) if self.below(6) == 0 => {
                C::ReportSilent { member: number, silent_ms: 130_000 }
            }
            (MemberPhase::Up, Some(_), 8) if self.below(4) == 0 => {
                C::ReportRefusals { member: number, count: 3 }
            }
            (MemberPhase::Up, Some(_), 9) if self.below(4) == 0 => {
                let (task, token) = (TaskId(self.uuid()), Token(7));
                C::Report { member: number, task, token, report: TaskReport::Started }
            }
            (_, _, 10) if self.below(8) == 0 => C::AgentsAway,
            _ => return self.told(),
        })
    }

    /// Some of what runs in a member's slots.
    fn has(&mut self, number: u64) -> Vec<(TaskId, Token)> {
        let member = self.pool.member(number).cloned();
        let held =
            member.iter().flat_map(Member::tasks).filter_map(|id| Some((id, self.pool.task(id)?.slot()?.1)));
        let held: Vec<(TaskId, Token)> = held.collect();
        held.into_iter().filter(|_| self.below(5) != 0).collect()
    }

    /// How far an agent says that a task is.
    fn told(&mut self) -> Option<PoolCommand> {
        let task = self.any_task(|task| matches!(task.state, TaskState::Running { .. }))?;
        let (slot, token) = task.slot()?;
        let TaskState::Running { phase, started, .. } = task.state else { return None };
        let plans = phase == Phase::Plan || matches!(task.spec.kind, TaskKind::Plan | TaskKind::DriftCheck);
        let exit = match self.below(4) {
            0 => Some(TaskExit::Code(1)),
            1 => None,
            _ => Some(TaskExit::Code(0)),
        };
        let report = match self.below(8) {
            _ if !started => TaskReport::Started,
            0..=4 if plans => {
                TaskReport::Planned { changes: self.below(4) > 0, summary: "2 to add".to_owned() }
            }
            5 => TaskReport::Finished { exit, message: String::new(), timed_out: true, cancelled: false },
            6 => TaskReport::Finished { exit, message: String::new(), timed_out: false, cancelled: true },
            _ => {
                let message = if self.below(2) == 0 { "it did" } else { "" }.to_owned();
                TaskReport::Finished { exit, message, timed_out: false, cancelled: false }
            }
        };
        Some(PoolCommand::Report { member: slot.member, task: task.spec.id, token, report })
    }
}
