//! What went wrong in the project that pools are modelled on, one test for each of its incidents.

use purser_events::decider::Decider;
use purser_events::pool::{Pool, PoolCommand, PoolEvent, ScaleRule, SlotRule, TaskKind, Wait};

use super::support::{Lived, id, session, set, spec, task};

/// A restart wiped the slots, so pods looked idle: they were removed together with approved applies, whose reserved slot
/// was then not found.
#[test]
fn task_598_a_restart_makes_no_busy_slot_look_idle() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 3);
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.plan(1, true);
    lived.submit(task(2, TaskKind::Plan));
    lived.start(2);
    let running = lived.task(2).slot().unwrap().1;
    // The service is killed: what it knows afterwards is what is on record.
    lived.pool = lived.events.iter().try_fold(Pool::default(), |pool, event| pool.evolve(event)).unwrap();
    lived.ask(PoolCommand::AgentsAway).unwrap();
    let mut fewer = lived.pool.spec.as_deref().unwrap().clone();
    (fewer.scaling.min_replicas, fewer.scaling.down_stable_ms) = (0, 0);
    lived.ask(set(fewer)).unwrap();
    for _ in 0..10 {
        lived.pass_ms(60_000);
        lived.tick();
    }
    let (place, held) = (lived.place(1), lived.pool.member(1).unwrap().is_live());
    assert_eq!((place, held, lived.word(1)), (Some((1, 0)), true, "apply_pending"));
    lived.connect(1, session(1), false, &[(id(2), running)]).unwrap();
    lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
    assert_eq!(lived.place(1), Some((1, 0)), "the reserved slot is found");
    lived.start(1);
    lived.finish(1, 0);
    assert_eq!(lived.word(1), "applied");
}

/// A pool of no pods stayed at none though tasks waited.
#[test]
fn task_599_a_cold_start_does_not_stay_at_none() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    let mut none = lived.pool.spec.as_deref().unwrap().clone();
    (none.scaling.min_replicas, none.scaling.down_stable_ms) = (0, 0);
    lived.ask(set(none)).unwrap();
    lived.tick();
    lived.tick();
    assert_eq!(lived.pool.live_members().count(), 0);
    // The last pod is still on its way out when the work comes, and the first new one does not come up.
    lived.submit(task(1, TaskKind::Plan));
    lived.tick();
    assert_eq!(lived.pool.scaling.verdict().unwrap().rule, ScaleRule::ColdStart);
    lived.ask(PoolCommand::ReportRequestFailed { member: 2, reason: "no room".to_owned() }).unwrap();
    lived.ask(PoolCommand::ReportRemoved { member: 1 }).unwrap();
    lived.tick();
    assert_eq!(lived.pool.live_members().count(), 1);
    lived.bring_up(3);
    assert_eq!(lived.word(1), "running");
}

/// Slots of a pod whose agent was not there yet were given away.
#[test]
fn task_604_no_slot_is_given_before_its_agent_is_connected() {
    let mut spec = spec(SlotRule::Seed, 3);
    spec.scaling.min_replicas = 2;
    let mut lived = Lived::new(spec);
    lived.tick();
    lived.admit(1);
    lived.admit(2);
    for number in 1..=4 {
        lived.submit(task(number, TaskKind::Plan));
        lived.tick();
        assert_eq!(lived.pool.why_waits(id(number), lived.now), Some(Wait::NoAgent { pods: 2 }));
    }
    let events = lived.connect(2, session(2), true, &[]).unwrap();
    let given = events.iter().filter(|event| matches!(event, PoolEvent::TaskAssigned(_))).count();
    assert_eq!(given, 3, "all of its slots in the decision that it came with, and no other's");
    let members: Vec<Option<u64>> = (1..=4).map(|number| lived.place(number).map(|it| it.0)).collect();
    assert_eq!(members, [Some(2), Some(2), Some(2), None]);
}
