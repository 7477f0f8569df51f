//! How many pods there are: the rules in their order, and that they do not flap.

use purser_events::pool::{
    Load, LocalTime, PoolCommand, PoolEvent, ScaleInputs, ScaleRule, SlotRule, TaskKind, Verdict, Weekday,
    verdict,
};

use super::support::{Lived, NOON, id, session, spec, task};

fn inputs(wanted: u32, load: Load) -> ScaleInputs {
    ScaleInputs {
        load,
        wanted,
        rule: None,
        settling_since: None,
        leaving: false,
        local: LocalTime { weekday: Weekday::Mon, minute: 0, offset_s: 0 },
        unfrozen_until: None,
        now: NOON,
    }
}

fn pods(members: u32, used: u32) -> Load {
    let idle_members = members.saturating_sub(used.div_ceil(3));
    Load { members, idle_members, slots: members * 3, used, running: used, ..Load::default() }
}

/// What is said of so many pods at once, without any waiting.
#[track_caller]
fn said(wanted: u32, load: Load) -> (u32, ScaleRule) {
    let mut spec = spec(SlotRule::Seed, 3);
    (spec.scaling.up_stable_ms, spec.scaling.down_stable_ms) = (0, 0);
    spec.scaling.max_replicas = 5;
    let Verdict { wanted, rule, .. } = verdict(&spec, inputs(wanted, load));
    (wanted, rule)
}

#[test]
fn each_rule_has_its_say_in_its_turn() {
    assert_eq!(said(0, Load { ready: 1, ..pods(0, 0) }), (1, ScaleRule::ColdStart));
    assert_eq!(said(0, Load { held: 1, ..pods(0, 0) }), (1, ScaleRule::ColdStart));
    let applies = Load { ready: 2, ready_heavy: 2, heavy: 1, ..pods(1, 1) };
    assert_eq!(said(1, applies), (3, ScaleRule::PendingApplies));
    assert_eq!(said(1, Load { ready_heavy: 9, ready: 9, ..pods(1, 0) }), (5, ScaleRule::PendingApplies));
    assert_eq!(said(0, Load { reserved: 4, ..pods(4, 4) }), (2, ScaleRule::ReservedFloor));
    assert_eq!(said(2, pods(2, 5)), (3, ScaleRule::HighUse));
    assert_eq!(said(2, pods(2, 4)), (2, ScaleRule::Steady), "two thirds are not too much");
    assert_eq!(said(3, pods(3, 1)), (2, ScaleRule::LowUse));
    assert_eq!(said(3, Load { reserved: 1, ..pods(3, 1) }), (3, ScaleRule::HeldByReservation));
    assert_eq!(said(3, Load { ready: 1, ..pods(3, 1) }), (3, ScaleRule::Steady), "somebody waits");
    assert_eq!(said(5, pods(5, 15)), (5, ScaleRule::Maximum));
    assert_eq!(said(9, pods(9, 15)), (5, ScaleRule::Maximum));
    assert_eq!(said(2, pods(1, 3)), (2, ScaleRule::Steady), "one more is coming already");
}

#[test]
fn a_reserved_floor_counts_the_slots_that_a_pod_has() {
    let mut spec = spec(SlotRule::Flexible, 4);
    spec.scaling.max_replicas = 5;
    let load = Load { reserved: 5, ..pods(5, 5) };
    assert_eq!(verdict(&spec, inputs(0, load)).wanted, 2);
}

#[test]
fn the_least_number_is_kept() {
    let mut spec = spec(SlotRule::Seed, 3);
    spec.scaling.min_replicas = 2;
    let Verdict { wanted, rule, .. } = verdict(&spec, inputs(0, Load::default()));
    assert_eq!((wanted, rule), (2, ScaleRule::Minimum));
}

/// The numbers of pods that were wanted, with the rules, in their order.
fn scaled(events: &[PoolEvent]) -> Vec<(u32, ScaleRule)> {
    let told = |event: &PoolEvent| match event {
        PoolEvent::Scaled(scaled) => Some((scaled.verdict.wanted, scaled.verdict.rule)),
        _ => None,
    };
    events.iter().filter_map(told).collect()
}

#[test]
fn use_must_be_high_for_long_enough() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    lived.events.clear();
    for number in 1..=3 {
        lived.submit(task(number, TaskKind::Plan));
    }
    lived.tick();
    lived.pass_ms(9_999);
    lived.tick();
    assert_eq!(scaled(&lived.events), [(1, ScaleRule::HighUseSettling)], "told once");
    lived.pass_ms(1);
    lived.tick();
    lived.tick();
    assert_eq!(scaled(&lived.events)[1..], [(2, ScaleRule::HighUse)]);
    assert_eq!(lived.pool.live_members().count(), 2, "no more before that one is there");
}

/// A pod with idle slots that nobody can be given.
type Closed = fn(&mut Lived);

#[test]
fn tasks_that_idle_slots_are_of_no_use_to_bring_another_pod() {
    let closed: [(&str, Closed); 3] = [
        ("it went away", |lived| {
            lived.connect(1, session(1), true, &[]).unwrap();
            lived.ask(PoolCommand::Disconnect { member: 1, session: session(1), left: false }).unwrap();
        }),
        ("it is leaving", |lived| {
            lived.connect(1, session(1), true, &[]).unwrap();
            lived.submit(task(8, TaskKind::Plan));
            let has = vec![(id(8), lived.task(8).slot().unwrap().1)];
            lived.ask(PoolCommand::AgentLeaving { member: 1, session: session(1), has }).unwrap();
        }),
        ("it is to end something", |lived| {
            lived.connect(1, session(1), true, &[]).unwrap();
            lived.submit(task(8, TaskKind::Plan));
            lived.start(8);
            lived.ask(PoolCommand::Cancel { task: id(8) }).unwrap();
            lived.pass_ms(30_000);
        }),
    ];
    for (why, close) in closed {
        let mut of = spec(SlotRule::Seed, 3);
        of.scaling.min_replicas = 1;
        let mut lived = Lived::new(of);
        lived.tick();
        lived.admit(1);
        close(&mut lived);
        lived.tick();
        assert_eq!(lived.pool.last_member, 1, "{why}: nobody waits");
        lived.submit(task(1, TaskKind::Plan));
        assert_eq!(lived.place(1), None, "{why}");
        lived.tick();
        assert_eq!(lived.pool.scaling.verdict().unwrap().rule, ScaleRule::HighUseSettling, "{why}");
        lived.pass_ms(10_000);
        lived.tick();
        assert_eq!(lived.pool.last_member, 2, "{why}");
        lived.bring_up(2);
        assert_eq!(lived.place(1), Some((2, 2)), "{why}");
        lived.pass_ms(10_000);
        lived.tick();
        assert_eq!(lived.pool.last_member, 2, "{why}: it was enough");
    }
}

#[test]
fn a_pod_that_is_coming_has_room_and_brings_no_other_beside_it() {
    let mut lived = Lived::new(spec(SlotRule::Seed, 3));
    lived.submit(task(1, TaskKind::Plan));
    lived.tick();
    lived.admit(1);
    for _ in 0..30 {
        lived.pass_ms(10_000);
        lived.tick();
        assert_eq!(lived.pool.last_member, 1, "its own start is no use of slots");
    }
    lived.connect(1, session(1), true, &[]).unwrap();
    assert_eq!(lived.place(1).map(|(member, _)| member), Some(1));
}

#[test]
fn a_pool_whose_slots_are_all_used_grows_under_any_bound() {
    let mut of = spec(SlotRule::Seed, 3);
    of.scaling.up_above_permille = 1_000;
    let mut lived = Lived::with_members(of, 1);
    for number in 1..=3 {
        lived.submit(task(number, TaskKind::Plan));
    }
    lived.tick();
    lived.pass_ms(60_000);
    lived.tick();
    assert_eq!(lived.pool.last_member, 1, "use is not above the bound, and nobody waits");
    lived.submit(task(4, TaskKind::Plan));
    lived.tick();
    lived.pass_ms(10_000);
    lived.tick();
    assert_eq!(lived.pool.last_member, 2);
}

#[test]
fn use_that_comes_and_goes_changes_nothing() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    for round in 0..20_u64 {
        for slot in 1..=3 {
            lived.submit(task(round * 3 + slot, TaskKind::Plan));
        }
        lived.tick();
        lived.pass_ms(5_000);
        lived.tick();
        for slot in 1..=3 {
            lived.finish(round * 3 + slot, 0);
        }
        lived.pass_ms(5_000);
        lived.tick();
    }
    assert_eq!(lived.pool.last_member, 1);
}

#[test]
fn pods_go_one_by_one_while_use_is_low_and_only_idle_ones() {
    let mut spec = spec(SlotRule::Seed, 3);
    spec.scaling.down_below_permille = 300;
    let mut lived = Lived::with_members(spec.clone(), 3);
    lived.submit(task(1, TaskKind::Plan));
    spec.scaling.min_replicas = 1;
    lived.ask(super::support::set(spec)).unwrap();
    let mut counts = vec![];
    for _ in 0..5 {
        lived.pass_ms(300_000);
        lived.tick();
        counts.push(lived.pool.live_members().count());
    }
    assert_eq!(counts, [3, 2, 2, 1, 1]);
    assert_eq!((lived.word(1), lived.place(1)), ("running", Some((1, 2))));
}

#[test]
fn the_last_ten_verdicts_are_kept_with_what_they_were_made_from() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 1), 1);
    for number in 1..=15 {
        lived.submit(task(number, TaskKind::Plan));
        lived.tick();
        lived.finish(number, 0);
        lived.tick();
    }
    let verdicts = &lived.pool.scaling.verdicts;
    assert_eq!(verdicts.len(), 10);
    let settling = verdicts.iter().find(|scaled| scaled.verdict.rule == ScaleRule::HighUseSettling).unwrap();
    assert_eq!(settling.verdict.inputs.load.use_permille(), 1_000);
}

#[test]
fn an_apply_that_a_plan_is_in_the_way_of_gets_a_pod() {
    for kind in [TaskKind::Plan, TaskKind::PlanAndApply] {
        let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
        for number in 1..=3 {
            lived.submit(task(number, if number == 3 { kind } else { TaskKind::Plan }));
        }
        if kind == TaskKind::PlanAndApply {
            lived.plan(3, true);
        }
        lived.finish(1, 0);
        lived.finish(2, 0);
        assert_eq!(lived.place(3), Some((1, 0)), "the first slot is taken, and use is low");
        lived.submit(task(4, TaskKind::Apply));
        lived.events.clear();
        lived.tick();
        assert_eq!(scaled(&lived.events), [(2, ScaleRule::PendingApplies)], "{kind}");
        lived.bring_up(2);
        assert_eq!(lived.place(4), Some((2, 0)));
    }
}
