//! Which processors a pod gets that has them alone, and what is left to those who share.

use purser_events::ledger::policy::CpuPlacement;
use purser_events::ledger::{Capacity, LedgerCommand, LedgerPolicy, Limits, ResourceKind};

use super::support::{Scene, alone, cores, cpu, machine, sockets};

fn placed(placement: CpuPlacement, cpus: purser_events::CpuTopology) -> Scene {
    let policy = LedgerPolicy { cpu_placement: placement, ..LedgerPolicy::default() };
    Scene::of(Capacity { cpus, ..machine() }, policy)
}

fn limited(limits: Limits) -> Scene {
    let policy = LedgerPolicy { limits: [(ResourceKind::Cpu, limits)].into(), ..LedgerPolicy::default() };
    Scene::of(machine(), policy)
}

fn gets(scene: &mut Scene, pod: u64, count: u64) -> String {
    scene.runs(pod, alone(count)).cpus.map(|cpus| cpus.to_string()).unwrap_or_default()
}

// Two sockets of 4 cores with 2 threads each: socket 0 has 0-3 and their siblings 8-11, socket 1 has 4-7 and 12-15.

#[test]
fn an_affine_pod_gets_whole_cores_of_one_socket() {
    let mut scene = placed(CpuPlacement::AffinityAware, sockets(4, 2));
    assert_eq!(gets(&mut scene, 1, 4), "0-1,8-9");
    assert_eq!(gets(&mut scene, 2, 4), "2-3,10-11");
}

#[test]
fn an_affine_pod_takes_the_socket_that_it_fills_best() {
    let mut scene = placed(CpuPlacement::AffinityAware, sockets(4, 2));
    gets(&mut scene, 1, 4);
    assert_eq!(gets(&mut scene, 2, 6), "4-6,12-14");
    assert_eq!(gets(&mut scene, 3, 2), "7,15");
}

#[test]
fn a_single_thread_is_taken_from_a_core_that_is_in_pieces_already() {
    let mut scene = placed(CpuPlacement::AffinityAware, sockets(4, 2));
    assert_eq!(gets(&mut scene, 1, 1), "0");
    assert_eq!(gets(&mut scene, 2, 1), "8");
    assert_eq!(gets(&mut scene, 3, 3), "1-2,9");
}

#[test]
fn an_affine_pod_that_no_socket_can_hold_is_spread_over_both() {
    let mut scene = placed(CpuPlacement::AffinityAware, sockets(4, 2));
    assert_eq!(gets(&mut scene, 1, 10), "0-4,8-12");
}

#[test]
fn first_fit_takes_the_lowest_numbers() {
    let mut scene = placed(CpuPlacement::FirstFit, sockets(4, 2));
    assert_eq!(gets(&mut scene, 1, 3), "0-2");
    assert_eq!(gets(&mut scene, 2, 3), "3-5");
    scene.ends(1);
    assert_eq!(gets(&mut scene, 3, 2), "0-1");
}

#[test]
fn best_fit_takes_the_socket_with_the_fewest_that_are_enough() {
    let mut scene = placed(CpuPlacement::BestFit, sockets(4, 2));
    assert_eq!(gets(&mut scene, 1, 5), "0-3,8");
    assert_eq!(gets(&mut scene, 2, 3), "9-11");
    assert_eq!(gets(&mut scene, 3, 3), "4-6");
}

#[test]
fn round_robin_goes_on_where_it_was_and_begins_again() {
    let mut scene = placed(CpuPlacement::RoundRobin, cores(6));
    assert_eq!(gets(&mut scene, 1, 2), "0-1");
    scene.ends(1);
    assert_eq!(gets(&mut scene, 2, 3), "2-4");
    assert_eq!(gets(&mut scene, 3, 2), "0,5");
}

#[test]
fn the_last_processor_is_always_shared() {
    let mut scene = placed(CpuPlacement::FirstFit, cores(4));
    assert_eq!(
        scene.refuses(1, alone(4)),
        "insufficient resources: cpu: 4 asked, the node gives out 3 in all"
    );
    gets(&mut scene, 2, 3);
    assert_eq!(scene.ledger.managers.cpu.shared().to_string(), "3");
}

#[test]
fn who_shares_never_has_more_than_is_not_had_alone() {
    let mut scene = limited(Limits { overcommit_percent: 200, ..Limits::default() });
    gets(&mut scene, 1, 6);
    scene.runs(2, cpu(4_000));
    assert_eq!(scene.refuses(3, cpu(1)), "insufficient resources: cpu: 1m asked, 0 free");
}

#[test]
fn processors_are_not_had_alone_from_under_those_who_share() {
    let mut scene = limited(Limits { overcommit_percent: 200, ..Limits::default() });
    scene.runs(1, cpu(9_000));
    assert_eq!(scene.refuses(2, alone(4)), "insufficient resources: cpu: 4 asked, 3 free");
    gets(&mut scene, 3, 3);
}

#[test]
fn a_hard_limit_bounds_processors_that_are_had_alone() {
    let mut scene = limited(Limits { hard: Some(2_000), ..Limits::default() });
    assert_eq!(
        scene.refuses(1, alone(3)),
        "insufficient resources: cpu: 3 asked, the node gives out 2 in all"
    );
    gets(&mut scene, 2, 2);
}

#[test]
fn what_is_kept_for_the_system_is_not_had_alone() {
    let mut scene = limited(Limits { reserve_percent: 50, ..Limits::default() });
    assert_eq!(
        scene.refuses(1, alone(5)),
        "insufficient resources: cpu: 5 asked, the node gives out 4 in all"
    );
    gets(&mut scene, 2, 4);
    assert_eq!(scene.refuses(3, cpu(1)), "insufficient resources: cpu: 1m asked, 0 free");
}

#[test]
fn processors_that_vanish_take_nothing_from_those_that_stay() {
    let mut scene = placed(CpuPlacement::FirstFit, cores(8));
    gets(&mut scene, 1, 2);
    let rest =
        Capacity { cpus: purser_events::CpuTopology { cpus: cores(8).cpus[2..].to_vec() }, ..machine() };
    scene.does(&LedgerCommand::SetCapacity(Box::new(rest)));
    scene.runs(2, cpu(6_000));
    let usage = scene.ledger.managers.usage(false)[&ResourceKind::Cpu];
    assert_eq!((usage.capacity, usage.allocatable, usage.allocated), (6_000, 6_000, 8_000));
    scene.ends(1);
    assert_eq!(scene.refuses(3, cpu(1)), "insufficient resources: cpu: 1m asked, 0 free");
}

#[test]
fn a_part_of_a_processor_that_is_had_alone_is_a_whole_one() {
    let mut scene = placed(CpuPlacement::FirstFit, cores(4));
    let grant = scene.runs(1, purser_events::ledger::Demand { exclusive_cpus: true, ..cpu(1_200) });
    assert_eq!((grant.cpu.0, grant.cpus.map(|cpus| cpus.len())), (2_000, Some(2)));
}
