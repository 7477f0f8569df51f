//! How long a pool takes to give a slot to a task and to take it back, with 10,000 slots in 3,334 pods: deciding, and
//! carrying out what was decided on the state in place, as its actor does. Prints figures and never fails on a time:
//! machines differ.
//!
//! `make bench ONLY=pool` runs this alone; `PURSER_BENCH_ROUNDS` sets the rounds.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use purser_events::decider::Decider;
use purser_events::ledger::Claims;
use purser_events::pod::PodSpec;
use purser_events::pod::spec::{ContainerSpec, PullPolicy, Resources, RestartPolicy, RuntimeClass, User};
use purser_events::pool::{
    AgentPolicy, LocalTime, Pool, PoolCommand, PoolName, PoolSpec, ScalingPolicy, SlotPolicy, SlotRule, Task,
    TaskExit, TaskId, TaskKind, TaskPolicy, TaskReport, TaskSpec, Weekday,
};
use purser_events::{ContainerName, Context, PodId, PodUid, Policy, Timestamp};
use uuid::Uuid;

/// Pods, with three slots each.
const PODS: u32 = 3_334;
/// Decisions of one kind in one round.
const ROUND: u64 = 500;

fn main() {
    let only = std::env::var("ONLY").unwrap_or_default();
    if !only.is_empty() && only != "pool" {
        return;
    }
    let rounds =
        std::env::var("PURSER_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_u64);
    let slots = u64::from(PODS) * 3;
    println!(
        "a slot given and taken back, {slots} slots in {PODS} pods, {} decisions each, in us",
        rounds * ROUND
    );
    println!(
        "{:>13} {:>13} {:>11} {:>14} {:>12}",
        "slots in use", "assign median", "assign p99", "release median", "release p99"
    );
    for in_use in [0, slots / 2, slots - ROUND - 1] {
        let mut pool = filled(in_use);
        let (mut assigns, mut releases) = (vec![], vec![]);
        for round in 0..rounds.max(1) {
            let numbers = in_use + 1 + round * ROUND..=in_use + (round + 1) * ROUND;
            assigns.extend(numbers.clone().map(|number| assign(&mut pool, number)));
            releases.extend(numbers.map(|number| release(&mut pool, number)));
        }
        let [(assign, assign_p99), (release, release_p99)] = [assigns, releases].map(figures);
        println!("{in_use:>13} {assign:>13.2} {assign_p99:>11.2} {release:>14.2} {release_p99:>12.2}");
    }
}

/// Median and 99th percentile in microseconds.
fn figures(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}

fn does(pool: &mut Pool, command: &PoolCommand) {
    let context =
        Context { now: Timestamp(1_750_000_000_000_000), policy: Policy::default(), cordoned: None };
    black_box(pool.decide_ahead(command, &context).expect("it can be done"));
}

/// Submits a task, which finds a slot in the same decision.
fn assign(pool: &mut Pool, number: u64) -> Duration {
    let command = PoolCommand::Submit { spec: Box::new(task(number)) };
    let begun = Instant::now();
    does(pool, black_box(&command));
    let took = begun.elapsed();
    assert!(pool.task(id(number)).is_some_and(|task| task.slot().is_some()), "the task found no slot");
    took
}

/// Ends a task, which gives its slot back.
fn release(pool: &mut Pool, number: u64) -> Duration {
    let (slot, token) = pool.task(id(number)).and_then(Task::slot).expect("it has a slot");
    let exit = Some(TaskExit::Code(0));
    let report = TaskReport::Finished { exit, message: String::new(), timed_out: false, cancelled: false };
    let command = PoolCommand::Report { member: slot.member, task: id(number), token, report };
    let begun = Instant::now();
    does(pool, black_box(&command));
    begun.elapsed()
}

/// A pool with all of its pods connected, and so many slots in use.
fn filled(in_use: u64) -> Pool {
    let mut pool = Pool::default();
    let name = PoolName::new("bench").expect("a name");
    does(&mut pool, &PoolCommand::SetSpec { name, spec: Box::new(spec()) });
    let local = LocalTime { weekday: Weekday::Mon, minute: 720, offset_s: 0 };
    while pool.last_member < u64::from(PODS) {
        does(&mut pool, &PoolCommand::Tick { local });
    }
    for member in 1..=u64::from(PODS) {
        let pod = PodUid(Uuid::from_u128(u128::from(member)));
        does(&mut pool, &PoolCommand::ReportAdmitted { member, pod });
        let (session, version) = (Uuid::from_u128(u128::from(member)), "1".to_owned());
        does(&mut pool, &PoolCommand::Connect { member, session, version, fresh: true, has: vec![] });
    }
    for number in 1..=in_use {
        assign(&mut pool, number);
    }
    pool
}

fn id(number: u64) -> TaskId {
    TaskId(Uuid::from_u128(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))
}

fn task(number: u64) -> TaskSpec {
    TaskSpec {
        id: id(number),
        kind: TaskKind::Plan,
        workspace: None,
        priority: 0,
        argv: vec!["terraform".to_owned(), "plan".to_owned()],
        apply_argv: vec![],
        env: vec![],
        secrets: vec![],
        working_dir: None,
        timeout_s: None,
        labels: BTreeMap::new(),
    }
}

fn spec() -> PoolSpec {
    PoolSpec {
        namespace: "default".to_owned(),
        template: Arc::new(template()),
        slots: SlotPolicy { rule: SlotRule::Seed, count: 3 },
        scaling: ScalingPolicy { min_replicas: PODS, max_replicas: PODS, ..ScalingPolicy::default() },
        tasks: TaskPolicy::default(),
        agents: AgentPolicy::default(),
        references: vec![],
    }
}

fn template() -> PodSpec {
    let container = ContainerSpec {
        name: ContainerName::new("agent").expect("a name"),
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
        id: PodId::new("default", "bench").expect("a name"),
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
