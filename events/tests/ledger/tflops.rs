//! GPUs by their TFLOPS: shares that differ from device to device, what is never met, and that no more is given out than
//! there is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use purser_events::ledger::policy::GpuPlacement;
use purser_events::ledger::{
    Bound, Capacity, Demand, GpuClaim, GpuDevice, GpuUuid, Grant, LedgerCommand, LedgerPolicy,
    LedgerRejection, Limits, ResourceKind, Tenant,
};
use purser_events::{Bytes, MilliTflops};

use super::reservations::{reserves, takes_up};
use super::support::{Scene, admit, device, gpu, machine, uid};

/// A device with 80 of memory and so many thousandths of a TFLOPS.
fn fast(number: u32, tflops: u64) -> GpuDevice {
    GpuDevice { tflops: Some(MilliTflops(tflops)), model: format!("M{tflops}"), ..device(number, 80) }
}

fn tflops(count: u32, milli: u64) -> Demand {
    let tflops = Some(MilliTflops(milli));
    let claim = GpuClaim { count, share: None, memory: None, uuids: [].into(), tflops };
    Demand { gpu: Some(claim), ..Demand::default() }
}

fn scene(gpus: Vec<GpuDevice>, placement: GpuPlacement) -> Scene {
    let policy = LedgerPolicy { gpu_placement: placement, ..LedgerPolicy::default() };
    Scene::of(Capacity { gpus, ..machine() }, policy)
}

fn given(grant: &Grant) -> Vec<(GpuUuid, u32, u64)> {
    grant.gpus.iter().map(|gpu| (gpu.uuid.clone(), gpu.share, gpu.memory.0)).collect()
}

#[test]
fn each_device_gives_the_share_that_the_tflops_are_of_it() {
    let mut scene = scene(vec![fast(0, 100_000), fast(1, 50_000)], GpuPlacement::Spread);
    assert_eq!(given(&scene.runs(1, tflops(1, 20_000))), [(gpu(0), 20, 16)]);
    assert_eq!(given(&scene.runs(2, tflops(1, 20_000))), [(gpu(1), 40, 32)]);
    let both = scene.runs(3, tflops(2, 25_000));
    assert_eq!(given(&both), [(gpu(0), 25, 20), (gpu(1), 50, 40)]);
    assert_eq!(both.amounts().get(&ResourceKind::GpuShare), 75);
    let told = scene.refuses(4, tflops(1, 60_000));
    assert!(told.contains("gpu-share: 60% asked, no GPU that will do has more than 55% free"), "{told}");
}

#[test]
fn what_is_no_share_of_any_device_is_refused_with_what_to_do() {
    let mut scene = scene(vec![device(0, 80), fast(1, 50_000)], GpuPlacement::Binpack);
    let told = scene.refuses(1, tflops(2, 10_000));
    assert!(told.contains("the TFLOPS of the GPU model `T1000` are not known; name them"), "{told}");
    assert!(told.contains("the node gives out 1 in all"), "{told}");
    let told = scene.refuses(2, tflops(1, 50_001));
    assert!(told.contains("50001m asked, the GPU model `M50000` has 50"), "{told}");
    let told = scene.refuses(3, tflops(1, 249));
    assert!(
        told.contains("249m is less than half a percent of the GPU model `M50000`; ask for at least 250m")
    );
    assert_eq!(given(&scene.runs(4, tflops(1, 250))), [(gpu(1), 1, 0)]);
    // Whoever may wait is not made to: no waiting helps.
    let waits = scene.admits(admit(5, "red", tflops(1, 50_001)));
    let Err(LedgerRejection::Insufficient { shortages, .. }) = waits else { panic!("{waits:?}") };
    assert!(shortages.iter().any(|it| matches!(it.bound, Bound::BeyondModel { .. })));
}

#[test]
fn memory_that_no_device_has_is_refused_by_its_name() {
    let mut scene = scene(vec![fast(0, 100_000), device(1, 40)], GpuPlacement::Binpack);
    let with = |share, tflops: Option<u64>| {
        let (memory, tflops) = (Some(Bytes(81)), tflops.map(MilliTflops));
        let claim = GpuClaim { count: 1, share, memory, uuids: [].into(), tflops };
        Demand { gpu: Some(claim), ..Demand::default() }
    };
    for demand in [with(Some(1), None), with(None, None), with(None, Some(1_000))] {
        let told = scene.refuses(1, demand);
        assert!(
            told.contains("gpu-memory: 81 asked of one GPU, no GPU that will do gives out more than 80"),
            "{told}"
        );
    }
}

#[test]
fn a_quota_counts_the_share_that_was_given() {
    let mut scene = scene(vec![fast(0, 100_000), fast(1, 50_000)], GpuPlacement::Binpack);
    let quota = [(ResourceKind::GpuShare, 50)].into_iter().collect();
    scene.sets_tenant("red", Tenant { quota: Some(quota), ..Tenant::default() }).expect("it is taken");
    assert_eq!(given(&scene.runs(1, tflops(1, 30_000)))[0].1, 30);
    let told = scene.refuses(2, tflops(1, 30_000));
    assert!(told.contains("gpu-share: 30% asked, 20% left of the quota of tenant red"), "{told}");
}

#[test]
fn a_reservation_is_taken_up_for_as_many_tflops_as_it_has() {
    let mut scene = scene(vec![fast(0, 100_000)], GpuPlacement::Binpack);
    let kept = reserves(&mut scene, 7, tflops(1, 40_000));
    let refused = scene.admits(takes_up(1, tflops(1, 41_000), kept, "ada"));
    assert!(matches!(refused, Err(LedgerRejection::Insufficient { .. })), "it has 40 percent: {refused:?}");
    scene.runs_as(takes_up(2, tflops(1, 40_000), kept, "ada"));
    assert_eq!(given(scene.ledger.grant(uid(2)).expect("it runs")), [(gpu(0), 40, 32)]);
}

/// One thing that happens to the ledger.
#[derive(Debug, Clone)]
enum Step {
    Comes { pod: u64, claim: GpuClaim },
    Ends { pod: u64 },
    Places(GpuPlacement),
    Overcommits { share: u32, memory: u32 },
}

fn placement() -> impl Strategy<Value = GpuPlacement> {
    prop::sample::select(vec![
        GpuPlacement::Binpack,
        GpuPlacement::Spread,
        GpuPlacement::MostFreeMemory,
        GpuPlacement::FewestNeighbours,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let compute = prop_oneof![
        4 => (0..130_000_u64).prop_map(|milli| (None, Some(MilliTflops(milli)))),
        2 => (1..=100_u32).prop_map(|share| (Some(share), None)),
        1 => Just((None, None)),
    ];
    let memory = prop::option::weighted(0.4, (0..90_u64).prop_map(Bytes));
    let claim = (1..4_u32, compute, memory).prop_map(|(count, (share, tflops), memory)| GpuClaim {
        count,
        share,
        memory,
        uuids: [].into(),
        tflops,
    });
    prop_oneof![
        6 => (0..20_u64, claim).prop_map(|(pod, claim)| Step::Comes { pod, claim }),
        3 => (0..20_u64).prop_map(|pod| Step::Ends { pod }),
        1 => placement().prop_map(Step::Places),
        1 => (100..200_u32, 100..200_u32).prop_map(|(share, memory)| Step::Overcommits { share, memory }),
    ]
}

/// Carries steps out; after each, no device gives more than it has and than the policy says at that moment.
fn carry_out(devices: &[GpuDevice], steps: &[Step]) -> Scene {
    let mut scene = scene(devices.to_vec(), GpuPlacement::Binpack);
    let mut most: (u64, u64) = (100, 100);
    for step in steps {
        let mut policy = LedgerPolicy::clone(&scene.ledger.policy);
        match step {
            Step::Comes { pod, claim } => {
                let demand = Demand { gpu: Some(claim.clone()), ..Demand::default() };
                // Refusals are told elsewhere.
                if !scene.has(*pod)
                    && scene.admits(admit(*pod, "red", demand)).is_ok()
                    && let Some(grant) = scene.ledger.grant(uid(*pod))
                {
                    as_asked(devices, claim, grant);
                }
            }
            Step::Ends { pod } => {
                if scene.has(*pod) {
                    scene.ends(*pod);
                }
            }
            Step::Places(placement) => policy.gpu_placement = *placement,
            Step::Overcommits { share, memory } => {
                let of = |percent: u32| Limits { overcommit_percent: percent, ..Limits::default() };
                policy.limits.insert(ResourceKind::GpuShare, of(*share));
                policy.limits.insert(ResourceKind::GpuMemory, of(*memory));
                // What was given out under an earlier policy stays.
                most = (most.0.max(u64::from(*share)), most.1.max(u64::from(*memory)));
            }
        }
        if matches!(step, Step::Places(_) | Step::Overcommits { .. }) {
            scene.does(&LedgerCommand::SetPolicy(Box::new(policy)));
        }
        within(devices, &scene, most);
    }
    scene
}

/// As many different devices as were asked for, each with the share that was asked for of it.
fn as_asked(devices: &[GpuDevice], claim: &GpuClaim, grant: &Grant) {
    let by_uuid: BTreeMap<&GpuUuid, &GpuDevice> = devices.iter().map(|it| (&it.uuid, it)).collect();
    let different: std::collections::BTreeSet<_> = grant.gpus.iter().map(|gpu| &gpu.uuid).collect();
    assert_eq!((grant.gpus.len(), different.len()), (claim.count as usize, claim.count as usize));
    for gpu in &grant.gpus {
        let device = by_uuid[&gpu.uuid];
        let asked = match (claim.share, claim.tflops, device.tflops) {
            (Some(share), None, _) => f64::from(share),
            (None, Some(asked), Some(most)) => asked.0 as f64 / most.0 as f64 * 100.0,
            (None, None, _) => 100.0,
            (share, tflops, most) => panic!("{share:?} {tflops:?} of {most:?}"),
        };
        assert!((f64::from(gpu.share) - asked).abs() <= 0.5, "{asked} asked, {} given", gpu.share);
        assert!((1..=100).contains(&gpu.share) && gpu.whole == claim.is_whole());
        assert!(claim.memory.is_none_or(|memory| memory <= gpu.memory));
    }
}

fn within(devices: &[GpuDevice], scene: &Scene, (share_percent, memory_percent): (u64, u64)) {
    let grants = (0..20).filter_map(|pod| scene.ledger.grant(uid(pod)));
    let held: Vec<_> = grants.flat_map(|grant| &grant.gpus).collect();
    for device in devices {
        let of: Vec<_> = held.iter().filter(|gpu| gpu.uuid == device.uuid).collect();
        let share: u64 = of.iter().map(|gpu| u64::from(gpu.share)).sum();
        let memory: u64 = of.iter().map(|gpu| gpu.memory.0).sum();
        assert!(share <= share_percent, "{}: {share}% of {share_percent}% is given out", device.uuid);
        assert!(memory * 100 <= device.memory.0 * memory_percent, "{}: {memory} is given out", device.uuid);
        assert!(of.len() <= 1 || of.iter().all(|gpu| !gpu.whole), "{} is had whole, and shared", device.uuid);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_more_is_given_out_than_there_is_and_the_same_again(
        sizes in prop::collection::vec((10..100_u64, prop::option::weighted(0.8, 1..120_000_u64)), 1..5),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let devices: Vec<GpuDevice> = (0..).zip(sizes).map(|(number, (memory, tflops))| {
            GpuDevice { tflops: tflops.map(MilliTflops), ..device(number, memory) }
        }).collect();
        let once = carry_out(&devices, &steps);
        prop_assert_eq!(&once.ledger, &carry_out(&devices, &steps).ledger);
    }
}
