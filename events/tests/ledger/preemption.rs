//! Preemption: who makes way for whom.

use purser_events::ledger::event::{LedgerEvent as E, PreemptionRequested};
use purser_events::ledger::policy::Preemption;
use purser_events::ledger::{Admit, Demand, LedgerCommand, LedgerPolicy, LedgerRejection};

use super::support::{Scene, admit, cpu, gpus, machine, memory, uid};

fn scene(preemption: Preemption) -> Scene {
    Scene::of(machine(), LedgerPolicy { preemption, preemption_grace_s: 30, ..LedgerPolicy::default() })
}

fn with_priority(pod: u64, priority: i32, demand: Demand) -> Admit {
    Admit { priority, ..admit(pod, "red", demand) }
}

/// Who is asked to leave among these events, for whom, and in how many seconds.
fn leaving(events: &[E]) -> Vec<(u64, Vec<u64>, u32)> {
    let number =
        |pod: purser_events::PodUid| u64::try_from(pod.0.as_u128()).expect("what the test is made of");
    let of = |event: &E| match event {
        E::PreemptionRequested(PreemptionRequested { pod, victims, grace_s }) => {
            Some((number(*pod), victims.iter().map(|victim| number(*victim)).collect(), *grace_s))
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn nobody_makes_way_where_the_policy_says_never() {
    let mut scene = scene(Preemption::Never);
    scene.runs(1, memory(64));
    assert_eq!(leaving(&scene.waits_as(with_priority(2, 9, memory(1)))), []);
}

#[test]
fn the_lowest_priority_makes_way_and_has_its_grace() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs_as(with_priority(1, 2, memory(32)));
    scene.runs_as(with_priority(2, 1, memory(32)));
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 3, memory(30)))), [(3, vec![2], 30)]);
    assert!(scene.has(2), "it has what it has until it has ended");
    scene.ends(2);
    assert!(scene.has(3));
}

#[test]
fn among_equals_the_youngest_makes_way() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs(1, memory(32));
    scene.passes_ms(1);
    scene.runs(2, memory(32));
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 1, memory(20)))), [(3, vec![2], 30)]);
}

#[test]
fn an_equal_priority_makes_no_way() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs_as(with_priority(1, 3, memory(64)));
    assert_eq!(leaving(&scene.waits_as(with_priority(2, 3, memory(1)))), []);
}

#[test]
fn nobody_leaves_where_it_would_not_help() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs_as(with_priority(1, 5, memory(60)));
    scene.runs_as(with_priority(2, 0, memory(4)));
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 3, memory(5)))), []);
}

#[test]
fn who_holds_nothing_that_helps_stays() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs_as(with_priority(1, 0, cpu(4_000)));
    scene.runs_as(with_priority(2, 1, memory(40)));
    scene.runs_as(with_priority(3, 2, memory(24)));
    let events = scene.waits_as(with_priority(4, 9, memory(64)));
    assert_eq!(leaving(&events), [(4, vec![2, 3], 30)]);
}

#[test]
fn who_leaves_already_is_counted_on_before_others_are_asked() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs_as(with_priority(1, 0, memory(64)));
    assert_eq!(leaving(&scene.waits_as(with_priority(2, 1, memory(10)))), [(2, vec![1], 30)]);
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 1, memory(10)))), []);
    scene.ends(1);
    assert!(scene.has(2) && scene.has(3));
}

#[test]
fn a_victim_is_asked_once() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs_as(with_priority(1, 0, memory(32)));
    scene.runs_as(with_priority(2, 0, memory(32)));
    scene.waits_as(with_priority(3, 1, memory(64)));
    assert_eq!(leaving(&scene.does(&LedgerCommand::CheckTime)), []);
    assert_eq!(leaving(&scene.ends(1)), []);
    assert!(!scene.has(3));
    scene.ends(2);
    assert!(scene.has(3));
}

#[test]
fn cost_aware_preemption_spares_who_ran_long() {
    let mut scene = scene(Preemption::CostAware);
    scene.runs_as(with_priority(1, 0, memory(32)));
    scene.passes_ms(3_600_000);
    scene.runs_as(with_priority(2, 1, memory(32)));
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 2, memory(20)))), [(3, vec![2], 30)]);
}

#[test]
fn cost_aware_preemption_spares_who_holds_much_that_nobody_waits_for() {
    let mut scene = scene(Preemption::CostAware);
    scene.runs(
        1,
        Demand { memory: purser_events::Bytes(32), disk: purser_events::Bytes(9), ..gpus(2, Some(50)) },
    );
    scene.runs(2, memory(32));
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 2, memory(20)))), [(3, vec![2], 30)]);
}

#[test]
fn cost_aware_preemption_counts_the_time_until_now() {
    let mut scene = scene(Preemption::CostAware);
    scene.runs(1, memory(8));
    scene.passes_ms(10_000);
    scene.runs(2, memory(48));
    scene.passes_ms(1_000_000);
    // 1,011 seconds of an eighth are less than 1,001 of three quarters.
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 1, memory(16)))), [(3, vec![1], 30)]);
}

#[test]
fn cost_aware_preemption_counts_how_much_is_given_back() {
    let mut scene = scene(Preemption::CostAware);
    scene.runs(1, Demand { memory: purser_events::Bytes(32), ..cpu(6_000) });
    scene.runs(2, Demand { disk: purser_events::Bytes(1), ..memory(32) });
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 1, memory(20)))), [(3, vec![2], 30)]);
}

#[test]
fn cost_aware_preemption_spares_a_higher_priority() {
    let mut scene = scene(Preemption::CostAware);
    scene.runs_as(with_priority(1, 7, memory(30)));
    scene.runs_as(with_priority(2, 3, memory(34)));
    // 30 of the second rank are more than 34 of the first.
    assert_eq!(leaving(&scene.waits_as(with_priority(3, 9, memory(20)))), [(3, vec![2], 30)]);
}

#[test]
fn who_stays_makes_way_for_nobody_however_it_came_to_what_it_has() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    let stays = |pod, demand| Admit { stays: true, ..with_priority(pod, 0, demand) };
    scene.runs_as(with_priority(1, 0, memory(44)));
    scene.runs_as(stays(2, memory(20)));
    // One that waited first, and one that ran before the ledger knew of it.
    scene.waits_as(stays(3, memory(20)));
    scene.ends(1);
    assert!(scene.has(3));
    scene.runs_as(Admit { adopt: true, ..stays(4, memory(20)) });
    assert_eq!(leaving(&scene.waits_as(with_priority(5, 9, memory(30)))), []);
    scene.ends(5);
    scene.ends(4);
    scene.runs_as(with_priority(6, 8, memory(24)));
    assert_eq!(
        leaving(&scene.waits_as(with_priority(7, 9, memory(24)))),
        [(7, vec![6], 30)],
        "the other leaves"
    );
}

#[test]
fn a_reservation_makes_no_way() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    let reserve = super::reservations::reserve(1, memory(64));
    scene.does(&LedgerCommand::Reserve(Box::new(reserve)));
    assert_eq!(leaving(&scene.waits_as(with_priority(1, 9, memory(1)))), []);
}

#[test]
fn who_waits_again_knows_who_still_makes_way_for_it() {
    let mut scene = scene(Preemption::LowerPriorityOnly);
    scene.runs_as(with_priority(1, 0, memory(64)));
    scene.waits_as(with_priority(2, 1, memory(10)));
    scene.ends(2);
    assert_eq!(leaving(&scene.waits_as(with_priority(2, 1, memory(10)))), []);
    assert_eq!(scene.ledger.waits(uid(2)).unwrap().1.victims, [uid(1)].into());
}

#[test]
fn a_grace_of_more_than_an_hour_is_refused() {
    let mut scene = scene(Preemption::Never);
    let policy = LedgerPolicy { preemption_grace_s: 3_601, ..LedgerPolicy::default() };
    let answer = scene.asks(&LedgerCommand::SetPolicy(Box::new(policy)));
    assert_eq!(answer, Err(LedgerRejection::BadGrace { grace_s: 3_601 }));
}
