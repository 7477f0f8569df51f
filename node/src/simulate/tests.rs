//! A morning of a pool, lived through by the real decider, and what other policies would have made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::pool::task::TaskExit;
use purser_events::pool::{
    AgentPolicy, LocalTime, PoolCommand, PoolName, PoolSpec, ScalingPolicy, SlotPolicy, TaskId, TaskKind,
    TaskPolicy, TaskReport, TaskSpec, Weekday,
};
use purser_events::{Context, PodUid, Policy};
use serde_json::json;
use uuid::Uuid;

use purser_events::Decider;
use purser_events::pool::{Pool, PoolEvent};

use super::*;
use crate::manifest::{Defaults, pod_spec};

const START: Timestamp = Timestamp(1_790_000_000_000_000);

/// A clock on the wall that shows UTC, by the second Monday of the record.
pub(crate) fn wall_clock(zone: &str, at: Timestamp) -> Option<LocalTime> {
    let minute = at.ms_since(START) / 60_000 % 1_440;
    let minute = u16::try_from(minute).expect("a day has 1,440 minutes");
    (zone == "UTC").then_some(LocalTime { weekday: Weekday::Mon, minute, offset_s: 0 })
}

/// A policy under which there are at most so many pods.
pub(crate) fn with_at_most(pods: u32) -> ScalingPolicy {
    ScalingPolicy {
        min_replicas: 1,
        max_replicas: pods,
        up_stable_ms: 10_000,
        down_stable_ms: 60_000,
        ..ScalingPolicy::default()
    }
}

/// When the morning was over.
pub(crate) fn end_of_morning() -> Timestamp {
    START.plus_ms(3_600_000)
}

fn spec() -> PoolSpec {
    let template = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "runners" },
        "spec": { "containers": [{ "name": "agent", "command": ["purser-agent"] }] },
    });
    PoolSpec {
        namespace: "default".to_owned(),
        template: Arc::new(pod_spec(template, &Defaults::default()).expect("a template")),
        slots: SlotPolicy::default(),
        scaling: with_at_most(2),
        tasks: TaskPolicy::default(),
        agents: AgentPolicy::default(),
        references: vec![],
    }
}

fn plan(number: u64) -> TaskSpec {
    TaskSpec {
        id: TaskId(Uuid::from_u128(u128::from(number))),
        kind: TaskKind::Plan,
        workspace: None,
        priority: 0,
        argv: vec!["true".to_owned()],
        apply_argv: vec![],
        env: vec![],
        secrets: vec![],
        working_dir: None,
        timeout_s: None,
        labels: BTreeMap::new(),
    }
}

/// A pool, what is to come, and what was.
#[derive(Default)]
struct Morning {
    pool: Pool,
    agenda: BTreeMap<(Timestamp, usize), PoolCommand>,
    planned: usize,
    past: Vec<Happened>,
}

impl Morning {
    fn plan(&mut self, at: Timestamp, command: PoolCommand) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), command);
    }

    fn live(&mut self) {
        while let Some(((at, _), command)) = self.agenda.pop_first() {
            let context = Context { now: at, policy: Policy::default(), cordoned: None };
            let events = self
                .pool
                .decide(&command, &context)
                .unwrap_or_else(|refused| panic!("{command:?}: {refused}"));
            for event in events {
                Decider::follow(&mut self.pool, &event).expect("a decider's events can be followed");
                self.past.push(Happened { at, event: event.clone() });
                self.follow(&event, at);
            }
        }
    }

    fn follow(&mut self, event: &PoolEvent, at: Timestamp) {
        match event {
            PoolEvent::MemberRequested(event) => {
                let (member, uid) = (event.member, Uuid::from_u128(u128::from(event.member)));
                self.plan(at.plus_ms(1_000), PoolCommand::ReportAdmitted { member, pod: PodUid(uid) });
                let version = "1".to_owned();
                let connect =
                    PoolCommand::Connect { member, session: uid, version, fresh: true, has: vec![] };
                self.plan(at.plus_ms(4_000), connect);
            }
            PoolEvent::MemberRemovalRequested(event) => {
                self.plan(at.plus_ms(500), PoolCommand::ReportRemoved { member: event.member });
            }
            PoolEvent::TaskAssigned(event) => {
                let of = |report| PoolCommand::Report {
                    member: event.slot.member,
                    task: event.task,
                    token: event.token,
                    report,
                };
                self.plan(at.plus_ms(100), of(TaskReport::Started));
                let exit = Some(TaskExit::Code(0));
                let report =
                    TaskReport::Finished { exit, message: String::new(), timed_out: false, cancelled: false };
                self.plan(at.plus_ms(120_100), of(report));
            }
            _ => {}
        }
    }
}

/// An hour in which 40 plans of two minutes each are handed in, one every 10 s, and then none.
pub(crate) fn busy_morning() -> Vec<Happened> {
    let mut morning = Morning::default();
    let name = PoolName::new("runners").expect("a name");
    morning.plan(START, PoolCommand::SetSpec { name, spec: Box::new(spec()) });
    for number in 1..=40 {
        morning.plan(
            START.plus_ms(60_000 + number * 10_000),
            PoolCommand::Submit { spec: Box::new(plan(number)) },
        );
    }
    for tick in 1..=720 {
        let at = START.plus_ms(tick * 5_000);
        let local = wall_clock("UTC", at).expect("it shows UTC");
        morning.plan(at, PoolCommand::Tick { local });
    }
    morning.live();
    morning.past
}

fn simulated(policy: &ScalingPolicy) -> Simulated {
    simulate(&busy_morning(), policy, START, end_of_morning(), &wall_clock).expect("it can be followed")
}

#[test]
fn the_policy_in_force_comes_near_to_the_record_and_differs_from_itself_nowhere() {
    let Simulated { tasks, start_up_ms, first_difference, recorded, held, other, .. } =
        simulated(&with_at_most(2));
    assert_eq!((tasks, start_up_ms, first_difference), (40, 4_000, None));
    assert_eq!(held, other);
    assert_eq!((recorded.ended, held.ended, recorded.pods_max, held.pods_max), (40, 40, 2, 2));
    let off_by = recorded.pod_milli_hours.abs_diff(held.pod_milli_hours);
    assert!(off_by * 50 < recorded.pod_milli_hours, "{recorded:?} {held:?}");
}

#[test]
fn more_pods_would_have_meant_shorter_waits() {
    let Simulated { first_difference, held, other, .. } = simulated(&with_at_most(6));
    let Difference { held: kept, other: went, .. } = first_difference.expect("they differ");
    let shown = |decision: Option<ScaledView>| decision.map(|it| (it.to, it.rule));
    assert_eq!(shown(kept), Some((2, "maximum".to_owned())));
    assert_eq!(shown(went), Some((3, "high-use".to_owned())));
    assert!(2 < other.pods_max && other.wait_95_ms < held.wait_95_ms, "{held:?} {other:?}");
    assert_eq!((held.left, other.left), (0, 0));
}

#[test]
fn what_is_under_way_at_the_beginning_goes_on() {
    let past = busy_morning();
    let since = START.plus_ms(400_000);
    let middle =
        simulate(&past, &with_at_most(2), since, end_of_morning(), &wall_clock).expect("it can be followed");
    assert_eq!((middle.since, middle.held.left), (since, 0));
    assert_eq!(middle.held.ended, middle.recorded.ended);
}

#[test]
fn what_cannot_be_told_is_said() {
    let past = busy_morning();
    let run = |past: &[Happened], since, until| simulate(past, &with_at_most(2), since, until, &wall_clock);
    assert!(matches!(run(&[], START, end_of_morning()), Err(SimulateError::Nothing)));
    assert!(matches!(run(&past, end_of_morning(), START), Err(SimulateError::Nothing)));
    assert!(matches!(run(&past[1..], START, end_of_morning()), Err(SimulateError::Trimmed)));
    let zone = ScalingPolicy { time_zone: "Mars/Olympus".to_owned(), ..with_at_most(2) };
    let nowhere = simulate(&past, &zone, START, end_of_morning(), &wall_clock);
    assert!(matches!(nowhere, Err(SimulateError::Zone { zone }) if zone == "Mars/Olympus"));
}
