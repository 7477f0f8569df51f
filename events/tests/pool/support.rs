//! A pool under test, and what it is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::decider::Decider;
use purser_events::ledger::Claims;
use purser_events::pod::spec::{
    ContainerSpec, PodSpec, PullPolicy, Resources, RestartPolicy, RuntimeClass, User,
};
use purser_events::pool::{
    self, AgentPolicy, LocalTime, Pool, PoolCommand, PoolEvent, PoolName, PoolRejection, PoolSpec,
    ScalingPolicy, SlotPolicy, SlotRule, Task, TaskExit, TaskId, TaskKind, TaskPolicy, TaskReport, TaskSpec,
    Token, Weekday, Workspace,
};
use purser_events::{ContainerName, Context, PodId, PodUid, Policy, Timestamp};
use uuid::Uuid;

/// Noon of a Monday.
pub(crate) const NOON: Timestamp = Timestamp(1_750_075_200_000_000);

pub(crate) fn id(number: u64) -> TaskId {
    TaskId(Uuid::from_u128(u128::from(number)))
}

pub(crate) fn session(number: u64) -> Uuid {
    Uuid::from_u128(0xa000_0000 + u128::from(number))
}

pub(crate) fn template() -> PodSpec {
    let container = ContainerSpec {
        name: ContainerName::new("agent").unwrap(),
        image: None,
        image_pull_policy: PullPolicy::IfNotPresent,
        command: vec!["purser-agent".to_owned()],
        args: vec![],
        env: vec![],
        working_dir: None,
        resources: Resources::default(),
        ports: vec![],
        mounts: vec![],
        liveness: None,
        readiness: None,
        startup: None,
        user: User::default(),
    };
    PodSpec {
        id: PodId::new("default", "pool").unwrap(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        runtime: RuntimeClass::Process,
        restart_policy: RestartPolicy::Never,
        termination_grace_s: 30,
        fs_group: None,
        volumes: vec![],
        init_containers: vec![],
        containers: vec![container],
        claims: Claims::default(),
    }
}

pub(crate) fn spec(rule: SlotRule, count: u8) -> PoolSpec {
    PoolSpec {
        namespace: "default".to_owned(),
        template: Arc::new(template()),
        slots: SlotPolicy { rule, count },
        scaling: ScalingPolicy { min_replicas: 0, ..ScalingPolicy::default() },
        tasks: TaskPolicy::default(),
        agents: AgentPolicy::default(),
        references: vec![],
    }
}

pub(crate) fn task(number: u64, kind: TaskKind) -> TaskSpec {
    let apply_argv = if kind == TaskKind::PlanAndApply { vec!["apply".to_owned()] } else { vec![] };
    TaskSpec {
        id: id(number),
        kind,
        workspace: None,
        priority: 0,
        argv: vec!["run".to_owned()],
        apply_argv,
        env: vec![],
        secrets: vec![],
        working_dir: None,
        timeout_s: None,
        labels: BTreeMap::new(),
    }
}

pub(crate) fn in_workspace(spec: TaskSpec, name: &str) -> TaskSpec {
    TaskSpec { workspace: Some(Workspace::new(name).unwrap()), ..spec }
}

/// What the wall's clock says at a moment, in UTC; the first Monday of it all is [`NOON`]'s.
pub(crate) fn utc(now: Timestamp) -> LocalTime {
    let minutes = now.ms_since(Timestamp(NOON.0 - 12 * 3_600 * 1_000_000)) / 60_000;
    let day = usize::try_from(minutes / 1_440 % 7).unwrap();
    LocalTime { weekday: Weekday::ALL[day], minute: u16::try_from(minutes % 1_440).unwrap(), offset_s: 0 }
}

pub(crate) struct Lived {
    pub(crate) pool: Pool,
    pub(crate) now: Timestamp,
    pub(crate) events: Vec<PoolEvent>,
}

impl Lived {
    pub(crate) fn new(spec: PoolSpec) -> Lived {
        let mut lived = Lived { pool: Pool::default(), now: NOON, events: vec![] };
        lived.ask(set(spec)).unwrap();
        lived
    }

    /// A pool with so many pods whose agents are connected, under the sessions of their numbers.
    pub(crate) fn with_members(mut spec: PoolSpec, members: u32) -> Lived {
        spec.scaling.min_replicas = members;
        spec.scaling.max_replicas = spec.scaling.max_replicas.max(members);
        let mut lived = Lived::new(spec);
        lived.tick();
        for member in 1..=u64::from(members) {
            lived.bring_up(member);
        }
        lived
    }

    /// Asks, and follows what comes of it; gives that.
    pub(crate) fn ask(&mut self, command: PoolCommand) -> Result<Vec<PoolEvent>, PoolRejection> {
        let context = Context { now: self.now, policy: Policy::default(), cordoned: None };
        let events = self.pool.decide(&command, &context)?;
        for event in &events {
            self.pool = self.pool.evolve(event).unwrap();
            assert_eq!(pool::check(&self.pool), Vec::<String>::new(), "after {event:?}");
        }
        self.events.extend(events.clone());
        match Pool::refusal(&events) {
            Some(rejection) => Err(rejection),
            None => Ok(events),
        }
    }

    pub(crate) fn tick(&mut self) -> Vec<PoolEvent> {
        let local = utc(self.now);
        self.ask(PoolCommand::Tick { local }).unwrap()
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    pub(crate) fn admit(&mut self, member: u64) {
        let pod = PodUid(Uuid::from_u128(0xb000_0000 + u128::from(member)));
        self.ask(PoolCommand::ReportAdmitted { member, pod }).unwrap();
    }

    pub(crate) fn bring_up(&mut self, member: u64) {
        self.admit(member);
        self.connect(member, session(member), true, &[]).unwrap();
    }

    pub(crate) fn connect(
        &mut self,
        member: u64,
        session: Uuid,
        fresh: bool,
        has: &[(TaskId, Token)],
    ) -> Result<Vec<PoolEvent>, PoolRejection> {
        let version = "1".to_owned();
        self.ask(PoolCommand::Connect { member, session, version, fresh, has: has.to_vec() })
    }

    pub(crate) fn submit(&mut self, spec: TaskSpec) -> Vec<PoolEvent> {
        self.ask(PoolCommand::Submit { spec: Box::new(spec) }).unwrap()
    }

    pub(crate) fn task(&self, number: u64) -> &Task {
        self.pool.task(id(number)).unwrap()
    }

    pub(crate) fn word(&self, number: u64) -> &'static str {
        self.task(number).word()
    }

    /// Member and slot that a task has.
    pub(crate) fn place(&self, number: u64) -> Option<(u64, u8)> {
        self.task(number).slot().map(|(slot, _)| (slot.member, slot.slot))
    }

    /// The task's own agent reports.
    pub(crate) fn report(
        &mut self,
        number: u64,
        report: TaskReport,
    ) -> Result<Vec<PoolEvent>, PoolRejection> {
        let (slot, token) = self.task(number).slot().unwrap();
        self.ask(PoolCommand::Report { member: slot.member, task: id(number), token, report })
    }

    pub(crate) fn start(&mut self, number: u64) {
        self.report(number, TaskReport::Started).unwrap();
    }

    pub(crate) fn finish(&mut self, number: u64, code: i32) -> Vec<PoolEvent> {
        self.report(number, finished(code)).unwrap()
    }

    pub(crate) fn plan(&mut self, number: u64, changes: bool) {
        self.start(number);
        self.report(number, TaskReport::Planned { changes, summary: "2 to add".to_owned() }).unwrap();
    }
}

pub(crate) fn set(spec: PoolSpec) -> PoolCommand {
    PoolCommand::SetSpec { name: PoolName::new("ci").unwrap(), spec: Box::new(spec) }
}

pub(crate) fn finished(code: i32) -> TaskReport {
    TaskReport::Finished {
        exit: Some(TaskExit::Code(code)),
        message: String::new(),
        timed_out: false,
        cancelled: false,
    }
}
