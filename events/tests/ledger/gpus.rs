//! Which GPUs a pod gets: whole ones, or shares.

use purser_events::Bytes;
use purser_events::ledger::policy::GpuPlacement;
use purser_events::ledger::{Capacity, Demand, GpuClaim, LedgerCommand, LedgerPolicy, Limits, ResourceKind};

use super::support::{Scene, device, gpu, gpus, machine};

fn placed(placement: GpuPlacement, memory: &[u64]) -> Scene {
    let devices = memory.iter().zip(0..).map(|(memory, number)| device(number, *memory)).collect();
    let policy = LedgerPolicy { gpu_placement: placement, ..LedgerPolicy::default() };
    Scene::of(Capacity { gpus: devices, ..machine() }, policy)
}

fn share(percent: u32, memory: u64) -> Demand {
    let claim = GpuClaim {
        count: 1,
        share: Some(percent),
        memory: Some(Bytes(memory)),
        uuids: [].into(),
        tflops: None,
    };
    Demand { gpu: Some(claim), ..Demand::default() }
}

#[track_caller]
fn lands(scene: &mut Scene, pod: u64, demand: Demand, number: u32) {
    assert_eq!(scene.runs(pod, demand).gpus[0].uuid, gpu(number));
}

#[test]
fn bin_packing_fills_the_fullest_device_that_has_room() {
    let mut scene = placed(GpuPlacement::Binpack, &[80, 80]);
    lands(&mut scene, 1, share(30, 1), 0);
    lands(&mut scene, 2, share(30, 1), 0);
    lands(&mut scene, 3, share(50, 1), 1);
    lands(&mut scene, 4, share(40, 1), 0);
}

#[test]
fn spreading_takes_the_device_of_which_least_is_given_out() {
    let mut scene = placed(GpuPlacement::Spread, &[80, 80]);
    lands(&mut scene, 1, share(30, 1), 0);
    lands(&mut scene, 2, share(10, 1), 1);
    lands(&mut scene, 3, share(10, 1), 1);
    lands(&mut scene, 4, share(10, 1), 1);
    lands(&mut scene, 5, share(10, 1), 0);
}

#[test]
fn most_free_memory_looks_at_memory_alone() {
    let mut scene = placed(GpuPlacement::MostFreeMemory, &[40, 80]);
    lands(&mut scene, 1, share(90, 50), 1);
    lands(&mut scene, 2, share(5, 20), 0);
    lands(&mut scene, 3, share(5, 1), 1);
}

#[test]
fn fewest_neighbours_counts_pods() {
    let mut scene = placed(GpuPlacement::FewestNeighbours, &[80, 80]);
    lands(&mut scene, 1, share(60, 1), 0);
    lands(&mut scene, 2, share(5, 1), 1);
    lands(&mut scene, 3, share(5, 1), 0);
    lands(&mut scene, 4, share(5, 1), 1);
}

#[test]
fn nobody_else_has_a_share_of_a_device_that_is_had_whole() {
    let mut scene = placed(GpuPlacement::Binpack, &[80]);
    let grant = scene.runs(1, gpus(1, None));
    assert_eq!((grant.gpus[0].share, grant.gpus[0].memory, grant.gpus[0].whole), (100, Bytes(80), true));
    let told = scene.refuses(2, share(1, 0));
    assert_eq!(
        told,
        "insufficient resources: gpu-share: 1% asked, no GPU that will do has more than 0% free"
    );
}

#[test]
fn a_device_of_which_somebody_has_a_share_is_not_had_whole() {
    let mut scene = placed(GpuPlacement::Binpack, &[80, 80]);
    scene.runs(1, share(1, 0));
    assert_eq!(scene.refuses(2, gpus(2, None)), "insufficient resources: gpus: 2 asked, 1 free");
    lands(&mut scene, 3, gpus(1, None), 1);
}

#[test]
fn compute_and_memory_that_no_device_has_are_both_named() {
    let mut scene = placed(GpuPlacement::Binpack, &[80]);
    scene.runs(1, share(60, 60));
    let told = scene.refuses(2, share(50, 30));
    let share = "gpu-share: 50% asked, no GPU that will do has more than 40% free";
    let memory = "gpu-memory: 30 asked, no GPU that will do has more than 20 free";
    assert_eq!(told, format!("insufficient resources: {share}; {memory}"));
}

#[test]
fn memory_that_comes_with_a_share_is_named_with_its_amount() {
    let mut scene = placed(GpuPlacement::Binpack, &[80]);
    scene.runs(1, share(10, 60));
    let told = scene.refuses(2, gpus(1, Some(50)));
    assert_eq!(
        told,
        "insufficient resources: gpu-memory: 40 asked, no GPU that will do has more than 20 free"
    );
}

#[test]
fn a_pod_that_names_devices_gets_no_other() {
    let mut scene = placed(GpuPlacement::Binpack, &[80, 80]);
    let mut named = gpus(1, Some(50));
    named.gpu.as_mut().unwrap().uuids.insert(gpu(1));
    lands(&mut scene, 1, named.clone(), 1);
    lands(&mut scene, 2, named.clone(), 1);
    let told = scene.refuses(3, named.clone());
    assert!(told.contains("gpu-share: 50% asked, no GPU that will do has more than 0% free"), "{told}");
    named.gpu.as_mut().unwrap().uuids = [gpu(7)].into();
    assert_eq!(
        scene.refuses(4, named),
        "insufficient resources: gpu-uuids: there is no GPU GPU-7 on this node that can be given out"
    );
}

#[test]
fn shares_are_overcommitted_and_strict_nodes_are_not() {
    let limits = Limits { overcommit_percent: 150, ..Limits::default() };
    let limits = [(ResourceKind::GpuShare, limits), (ResourceKind::GpuMemory, limits)];
    let policy = LedgerPolicy { limits: limits.into(), ..LedgerPolicy::default() };
    let mut scene = placed(GpuPlacement::Binpack, &[80]);
    scene.does(&LedgerCommand::SetPolicy(Box::new(policy.clone())));
    scene.runs(1, share(100, 80));
    scene.runs(2, share(50, 40));
    assert!(scene.refuses(3, share(1, 0)).contains("gpu-share: 1%"));
    scene.ends(2);
    scene.does(&LedgerCommand::SetPolicy(Box::new(LedgerPolicy { strict: true, ..policy })));
    let stated = Demand { cpu: purser_events::MilliCpu(1), memory: Bytes(1), ..share(1, 0) };
    assert!(scene.refuses(4, stated).contains("gpu-share: 1%"));
}

#[test]
fn limits_of_shares_leave_whole_devices_alone() {
    let reserve = Limits { reserve_percent: 10, ..Limits::default() };
    let policy =
        LedgerPolicy { limits: [(ResourceKind::GpuShare, reserve)].into(), ..LedgerPolicy::default() };
    let mut scene = placed(GpuPlacement::Binpack, &[80]);
    scene.does(&LedgerCommand::SetPolicy(Box::new(policy)));
    assert!(scene.refuses(1, share(95, 1)).contains("the node gives out 0 in all"));
    lands(&mut scene, 2, gpus(1, None), 0);
    let usage = scene.ledger.managers.usage(false)[&ResourceKind::GpuShare];
    assert_eq!((usage.allocatable, usage.allocated), (100, 100));
}

#[test]
fn a_device_that_vanishes_stays_with_its_holder_and_comes_back_to_others() {
    let mut scene = placed(GpuPlacement::Binpack, &[80, 80]);
    lands(&mut scene, 1, gpus(1, None), 0);
    let gone = Capacity { gpus: vec![device(1, 80)], ..machine() };
    scene.does(&LedgerCommand::SetCapacity(Box::new(gone)));
    assert!(scene.has(1));
    lands(&mut scene, 2, gpus(1, None), 1);
    scene.does(&LedgerCommand::SetCapacity(Box::new(machine())));
    assert_eq!(scene.refuses(3, gpus(1, None)), "insufficient resources: gpus: 1 asked, 0 free");
    scene.ends(1);
    lands(&mut scene, 3, gpus(1, None), 0);
}

#[test]
fn what_is_free_in_pieces_is_told_in_percent_of_what_is_free() {
    let mut scene = placed(GpuPlacement::Spread, &[80, 80]);
    let in_pieces = |scene: &Scene| {
        let kind = ResourceKind::GpuShare;
        let manager = scene.ledger.managers.all().find(|manager| manager.kinds().contains(&kind));
        manager.expect("there is one for each").fragmentation(&kind)
    };
    assert_eq!(in_pieces(&scene), Some(50), "nobody can have more than one of both at once as a share");
    lands(&mut scene, 1, share(60, 1), 0);
    // 40 and 100 points are free.
    assert_eq!(in_pieces(&scene), Some(28));
    lands(&mut scene, 2, share(100, 1), 1);
    assert_eq!(in_pieces(&scene), Some(0), "all that is free is in one piece");
    lands(&mut scene, 3, share(40, 1), 0);
    assert_eq!(in_pieces(&scene), None, "of nothing there are no pieces");
}
