//! Who gets which slot: the table of rules and counts.

use purser_events::pool::{PoolCommand, PoolEvent, SlotRule, TaskKind};

use super::support::{Lived, id, spec, task};

/// Where tasks of these kinds, submitted one after the other, come to be in one pod.
#[track_caller]
fn places(rule: SlotRule, count: u8, kinds: &[TaskKind]) -> Vec<Option<u8>> {
    let mut lived = Lived::with_members(spec(rule, count), 1);
    for (number, kind) in (1..).zip(kinds) {
        lived.submit(task(number, *kind));
    }
    (1..).zip(kinds).map(|(number, _)| lived.place(number).map(|(_, slot)| slot)).collect()
}

const PLAN: TaskKind = TaskKind::Plan;
const BOTH: TaskKind = TaskKind::PlanAndApply;
const APPLY: TaskKind = TaskKind::Apply;
const DRIFT: TaskKind = TaskKind::DriftCheck;
const WORK: TaskKind = TaskKind::Work;

#[test]
fn seed_keeps_its_first_slot_for_what_is_no_plan() {
    use SlotRule::Seed;
    for count in [1, 2, 3, 4, 64] {
        let last = count - 1;
        assert_eq!(places(Seed, count, &[PLAN]), [Some(last)], "{count} slots");
        assert_eq!(places(Seed, count, &[BOTH, APPLY]), [Some(0), None], "{count} slots");
        assert_eq!(places(Seed, count, &[WORK, WORK]), [Some(0), None], "{count} slots");
    }
    assert_eq!(places(Seed, 3, &[PLAN, DRIFT, PLAN, PLAN]), [Some(2), Some(1), Some(0), None]);
    assert_eq!(places(Seed, 3, &[PLAN, BOTH, PLAN, PLAN]), [Some(2), Some(0), Some(1), None]);
    assert_eq!(places(Seed, 1, &[PLAN, BOTH]), [Some(0), None]);
}

#[test]
fn exclusive_gives_an_apply_the_whole_pod() {
    use SlotRule::Exclusive;
    for count in [1, 2, 3, 4, 64] {
        assert_eq!(places(Exclusive, count, &[BOTH, PLAN, WORK]), [Some(0), None, None], "{count} slots");
        assert_eq!(places(Exclusive, count, &[PLAN, BOTH])[1], None, "{count} slots");
    }
    assert_eq!(places(Exclusive, 3, &[PLAN, WORK, DRIFT, PLAN]), [Some(2), Some(1), Some(0), None]);
}

#[test]
fn exclusive_lets_others_in_while_a_plan_waits_for_its_confirmation() {
    let mut lived = Lived::with_members(spec(SlotRule::Exclusive, 3), 1);
    lived.submit(task(1, BOTH));
    lived.submit(task(2, PLAN));
    assert_eq!(lived.place(2), None);
    lived.plan(1, true);
    assert_eq!((lived.place(1), lived.place(2)), (Some((1, 0)), Some((1, 2))));
    lived.submit(task(3, APPLY));
    assert_eq!(lived.place(3), None, "slot 0 is kept");
}

#[test]
fn flexible_has_one_apply_in_a_pod_at_most() {
    use SlotRule::Flexible;
    for count in [2, 3, 4, 64] {
        let last = count - 1;
        assert_eq!(places(Flexible, count, &[BOTH, APPLY]), [Some(last), None], "{count} slots");
        assert_eq!(places(Flexible, count, &[BOTH, WORK]), [Some(last), Some(last - 1)], "{count} slots");
    }
    let mut lived = Lived::with_members(spec(Flexible, 4), 1);
    lived.submit(task(1, BOTH));
    lived.plan(1, true);
    lived.submit(task(2, BOTH));
    lived.submit(task(3, PLAN));
    assert_eq!((lived.place(2), lived.place(3)), (None, Some((1, 2))), "what is reserved counts");
}

#[test]
fn fuller_pods_come_first_so_that_others_can_empty() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 3);
    for number in 1..=4 {
        lived.submit(task(number, PLAN));
    }
    let members: Vec<u64> = (1..=4).map(|number| lived.place(number).unwrap().0).collect();
    assert_eq!(members, [1, 1, 1, 2]);
    lived.finish(2, 0);
    lived.submit(task(5, PLAN));
    assert_eq!(lived.place(5), Some((1, 1)));
}

#[test]
fn what_comes_free_goes_to_who_waits_in_the_same_decision() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 1), 1);
    lived.submit(task(1, WORK));
    lived.submit(task(2, WORK));
    assert_eq!(lived.place(2), None);
    let events = lived.finish(1, 0);
    assert!(matches!(events.as_slice(), [PoolEvent::TaskEnded(_), PoolEvent::TaskAssigned(_)]), "{events:?}");
    assert_eq!(lived.place(2), Some((1, 0)));
}

#[test]
fn another_rule_finds_everybody_his_place_anew() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    for number in 1..=3 {
        lived.submit(task(number, WORK));
    }
    assert_eq!(lived.place(2), None);
    let mut other = lived.pool.spec.as_deref().unwrap().clone();
    other.slots.rule = SlotRule::Flexible;
    lived.ask(super::support::set(other)).unwrap();
    assert_eq!((lived.place(2), lived.place(3)), (Some((1, 2)), Some((1, 1))));
}

#[test]
fn a_confirmed_apply_waits_until_it_has_its_pod_for_itself() {
    let mut lived = Lived::with_members(spec(SlotRule::Exclusive, 3), 1);
    lived.submit(task(1, BOTH));
    lived.plan(1, true);
    for number in 2..=3 {
        lived.submit(task(number, PLAN));
        lived.start(number);
    }
    let confirmed = lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
    assert!(matches!(confirmed.as_slice(), [PoolEvent::TaskApproved(_)]), "{confirmed:?}");
    assert_eq!(lived.ask(PoolCommand::Confirm { task: id(1) }), Ok(vec![]), "it is so already");
    assert_eq!((lived.word(1), lived.pool.orders(1).len()), ("apply_pending", 2));
    lived.submit(task(4, PLAN));
    assert_eq!(lived.place(4), None, "nothing new comes into the pod");
    lived.pass_ms(86_400_000);
    lived.tick();
    assert_eq!(lived.word(1), "apply_pending", "it was confirmed in time");
    let why = lived.pool.why_waits(id(1), lived.now).unwrap().to_string();
    assert!(why.contains("2 other tasks"), "{why}");
    lived.finish(2, 0);
    assert_eq!(lived.word(1), "apply_pending");
    lived.finish(3, 0);
    assert_eq!((lived.word(1), lived.place(1), lived.place(4)), ("running", Some((1, 0)), None));
    lived.start(1);
    lived.finish(1, 0);
    assert_eq!((lived.word(1), lived.word(4)), ("applied", "running"));
}

#[test]
fn a_confirmed_apply_that_waits_may_be_cancelled_and_lets_others_in_again() {
    for end in [PoolCommand::Cancel { task: id(1) }, PoolCommand::Discard { task: id(1) }] {
        let mut lived = Lived::with_members(spec(SlotRule::Exclusive, 3), 1);
        lived.submit(task(1, BOTH));
        lived.plan(1, true);
        lived.submit(task(2, PLAN));
        lived.start(2);
        lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
        lived.submit(task(3, PLAN));
        lived.ask(end).unwrap();
        assert_eq!((lived.word(1), lived.word(3)), ("cancelled", "running"));
    }
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    lived.submit(task(1, BOTH));
    lived.plan(1, true);
    lived.submit(task(2, PLAN));
    lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
    assert_eq!(lived.word(1), "running", "by other rules it has its slot alone for itself");
}
