//! Limits: what is given out of what there is, what is refused as limits, and how managers stand.

use purser_events::Bytes;
use purser_events::ledger::policy::{LimitsError, Preset};
use purser_events::ledger::{
    Capacity, Demand, Figure, Health, LedgerCommand, LedgerPolicy, LedgerRejection, Limits, ResourceKind,
    Seen,
};

use super::support::{Scene, admit, cpu, gpu, gpus, machine, memory};

fn preset(preset: Preset) -> LedgerPolicy {
    LedgerPolicy { limits: preset.limits(), ..LedgerPolicy::default() }
}

fn allocatable(policy: LedgerPolicy) -> [u64; 3] {
    let scene = Scene::of(Capacity { memory: Bytes(100), ..machine() }, policy);
    let usage = scene.ledger.managers.usage(scene.ledger.policy.strict);
    [ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Disk].map(|kind| usage[&kind].allocatable)
}

#[test]
fn presets_say_how_much_of_8_cores_and_100_units_is_given_out() {
    assert_eq!(allocatable(preset(Preset::Conservative)), [7_200, 90, 90]);
    assert_eq!(allocatable(preset(Preset::Moderate)), [14_800, 105, 95]);
    assert_eq!(allocatable(preset(Preset::Aggressive)), [31_600, 145, 125]);
}

#[test]
fn a_strict_node_overcommits_nothing() {
    let strict = LedgerPolicy { strict: true, ..preset(Preset::Aggressive) };
    assert_eq!(allocatable(strict), [7_600, 95, 95]);
}

#[test]
fn a_strict_node_takes_no_pod_that_does_not_say_what_it_needs() {
    let mut scene = Scene::of(machine(), LedgerPolicy { strict: true, ..LedgerPolicy::default() });
    let told = scene.admits(admit(1, "red", cpu(100))).unwrap_err().to_string();
    assert_eq!(
        told,
        "insufficient resources: memory: the node is strict, and the pod does not say how much it needs"
    );
}

fn sets(scene: &mut Scene, kind: ResourceKind, limits: Limits) -> Result<(), LedgerRejection> {
    scene.asks(&LedgerCommand::SetLimits { kind, limits }).map(drop)
}

#[track_caller]
fn refused(kind: ResourceKind, limits: Limits, expected: LimitsError) {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let before = scene.ledger.clone();
    assert_eq!(sets(&mut scene, kind, limits), Err(LedgerRejection::Limits { error: expected }));
    assert_eq!(scene.ledger, before);
}

#[test]
fn a_hard_limit_beyond_what_there_is_is_refused() {
    let (kind, hard) = (ResourceKind::Memory, 65);
    let limits = Limits { hard: Some(hard), ..Limits::default() };
    refused(kind.clone(), limits, LimitsError::BeyondCapacity { kind, hard, capacity: 64 });
}

#[test]
fn a_policy_is_held_to_the_same_rule() {
    let (kind, hard) = (ResourceKind::Memory, 65);
    let limits = Limits { hard: Some(hard), ..Limits::default() };
    let policy = LedgerPolicy { limits: [(kind.clone(), limits)].into(), ..LedgerPolicy::default() };
    let error = LimitsError::BeyondCapacity { kind: kind.clone(), hard, capacity: 64 };
    assert_eq!(error.place(), (&kind, Some("hard")));
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    for command in [LedgerCommand::SetPolicy, LedgerCommand::Configure] {
        let answer = scene.asks(&command(Box::new(policy.clone())));
        assert_eq!(answer, Err(LedgerRejection::Limits { error: error.clone() }));
    }
}

#[test]
fn a_config_that_was_fine_stays_so_on_a_machine_that_has_less() {
    let limits = Limits { hard: Some(60), ..Limits::default() };
    let policy = LedgerPolicy { limits: [(ResourceKind::Memory, limits)].into(), ..LedgerPolicy::default() };
    let mut scene = Scene::of(machine(), policy.clone());
    let less = Capacity { memory: Bytes(50), ..machine() };
    scene.does(&LedgerCommand::SetCapacity(Box::new(less)));
    assert_eq!(scene.asks(&LedgerCommand::Configure(Box::new(policy))), Ok(vec![]));
    assert_eq!(scene.ledger.managers.usage(false)[&ResourceKind::Memory].allocatable, 50);
}

/// How the manager of memory stands when so much of 100 is given out.
fn health_of_memory(limits: Limits, given: u64) -> Health {
    let capacity = Capacity { memory: Bytes(100), ..machine() };
    let policy = LedgerPolicy { limits: [(ResourceKind::Memory, limits)].into(), ..LedgerPolicy::default() };
    let mut scene = Scene::of(capacity, policy);
    scene.runs(1, memory(given));
    scene.ledger.managers.of(&ResourceKind::Memory).expect("it has one").health(&Seen::default(), false)
}

#[test]
fn presets_warn_from_their_part_of_the_hard_limit_on() {
    let presets = [(Preset::Conservative, 80), (Preset::Moderate, 90), (Preset::Aggressive, 100)];
    for (preset, most) in presets {
        let limits = preset.limits()[&ResourceKind::Memory];
        assert_eq!(health_of_memory(limits, most), Health::Healthy, "{preset:?}");
        let told = health_of_memory(limits, most + 1);
        let more = format!("{} of memory is given out, beyond the soft limit of {most}", most + 1);
        assert_eq!(told, Health::Degraded(more), "{preset:?}");
    }
    let limits = Limits { hard: Some(50), ..Preset::Conservative.limits()[&ResourceKind::Memory] };
    assert_eq!(health_of_memory(limits, 40), Health::Healthy);
    assert!(matches!(health_of_memory(Limits { reserve_percent: 0, ..limits }, 41), Health::Degraded(_)));
}

#[test]
fn a_soft_limit_in_percent_is_1_to_100_and_the_only_one() {
    let kind = || ResourceKind::Cpu;
    for percent in [0, 101] {
        let limits = Limits { soft_percent: Some(percent), ..Limits::default() };
        refused(kind(), limits, LimitsError::SoftPercent { kind: kind(), percent });
    }
    let limits = Limits { soft: Some(1), soft_percent: Some(1), ..Limits::default() };
    refused(kind(), limits, LimitsError::TwoSofts { kind: kind() });
}

#[test]
fn limits_that_leave_nothing_to_give_out_are_refused() {
    let nothing = |kind: ResourceKind, hard, percent, limits: Limits| {
        assert_eq!((limits.hard, limits.reserve_percent), (Some(hard), percent));
        let error = LimitsError::NothingLeft { kind: kind.clone(), hard, percent };
        assert_eq!(error.place(), (&kind, Some("hard")));
        refused(kind, limits, error);
    };
    let limits = |hard, reserve_percent| Limits { hard: Some(hard), reserve_percent, ..Limits::default() };
    for kind in [ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Ports, ResourceKind::GpuShare] {
        nothing(kind, 0, 0, limits(0, 0));
    }
    // Of 100 on the disk, 50 are kept.
    nothing(ResourceKind::Disk, 50, 50, limits(50, 50));
    // Of each GPU's 80, 40 are.
    nothing(ResourceKind::GpuMemory, 40, 50, limits(40, 50));
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    sets(&mut scene, ResourceKind::Disk, limits(51, 50)).unwrap();
    // Given out twice it is more than what is kept, and a strict node gives nothing out twice.
    let twice = Limits { overcommit_percent: 200, ..limits(50, 50) };
    sets(&mut scene, ResourceKind::Disk, twice).unwrap();
    let strict = LedgerPolicy { strict: true, ..LedgerPolicy::clone(&scene.ledger.policy) };
    let error = LimitsError::NothingLeft { kind: ResourceKind::Disk, hard: 50, percent: 50 };
    let answer = scene.asks(&LedgerCommand::SetPolicy(Box::new(strict)));
    assert_eq!(answer, Err(LedgerRejection::Limits { error }));
}

#[test]
fn the_nodes_bound_of_priorities_is_one_that_a_pod_can_have() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    for (most, is_fine) in [(-1, false), (0, true), (1_000_000_000, true), (1_000_000_001, false)] {
        let policy = LedgerPolicy { default_priority_max: Some(most), ..LedgerPolicy::default() };
        let answer = scene.asks(&LedgerCommand::SetPolicy(Box::new(policy))).map(drop);
        let expected = if is_fine { Ok(()) } else { Err(LedgerRejection::BadPriority { most }) };
        assert_eq!(answer, expected);
    }
}

#[test]
fn a_soft_limit_beyond_the_hard_one_or_beyond_what_there_is_is_refused() {
    let kind = || ResourceKind::Disk;
    let limits = Limits { hard: Some(10), soft: Some(11), ..Limits::default() };
    refused(kind(), limits, LimitsError::SoftBeyondHard { kind: kind(), soft: 11, hard: 10 });
    let limits = Limits { soft: Some(101), ..Limits::default() };
    refused(kind(), limits, LimitsError::SoftBeyondHard { kind: kind(), soft: 101, hard: 100 });
}

#[test]
fn an_overcommit_out_of_range_is_refused() {
    for percent in [0, 99, 1_001, u32::MAX] {
        let limits = Limits { overcommit_percent: percent, ..Limits::default() };
        refused(ResourceKind::Cpu, limits, LimitsError::Overcommit { kind: ResourceKind::Cpu, percent });
    }
}

#[test]
fn single_things_are_not_overcommitted() {
    for kind in [ResourceKind::Ports, ResourceKind::Subnets] {
        let limits = Limits { overcommit_percent: 101, ..Limits::default() };
        refused(kind.clone(), limits, LimitsError::NotDivisible { kind });
    }
}

#[test]
fn a_reserve_beyond_nine_tenths_is_refused() {
    let limits = Limits { reserve_percent: 91, ..Limits::default() };
    refused(ResourceKind::Cpu, limits, LimitsError::Reserve { kind: ResourceKind::Cpu, percent: 91 });
}

#[test]
fn pods_and_whole_gpus_have_no_limits() {
    for kind in [ResourceKind::Pods, ResourceKind::Gpus] {
        refused(kind.clone(), Limits::default(), LimitsError::NoLimits { kind });
    }
}

#[test]
fn limits_hold_from_the_moment_they_are_set_and_take_nothing_back() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    scene.runs(1, memory(50));
    sets(&mut scene, ResourceKind::Memory, Limits { hard: Some(40), ..Limits::default() }).unwrap();
    assert_eq!(scene.refuses(2, memory(1)), "insufficient resources: memory: 1 asked, 0 free");
    let refused = scene.refuses(3, memory(41));
    assert_eq!(refused, "insufficient resources: memory: 41 asked, the node gives out 40 in all");
    assert!(scene.has(1));
}

#[test]
fn a_hard_limit_of_gpu_memory_may_be_that_of_the_largest_device() {
    let devices = vec![super::support::device(0, 40), super::support::device(1, 80)];
    let mut scene = Scene::of(Capacity { gpus: devices, ..machine() }, LedgerPolicy::default());
    sets(&mut scene, ResourceKind::GpuMemory, Limits { hard: Some(60), ..Limits::default() }).unwrap();
    assert_eq!(scene.ledger.managers.usage(false)[&ResourceKind::GpuMemory].allocatable, 100);
}

fn health(scene: &Scene, kind: &ResourceKind, used: Option<u64>) -> Health {
    let used_by_machine = used.map(|used| (kind.clone(), used)).into_iter().collect();
    health_seeing(scene, kind, &Seen { used_by_machine, ..Seen::default() })
}

fn health_seeing(scene: &Scene, kind: &ResourceKind, seen: &Seen) -> Health {
    scene.ledger.managers.of(kind).expect("what the test is made of").health(seen, false)
}

#[test]
fn gpus_of_no_use_are_told_and_are_worse_if_somebody_has_them_or_none_is_left() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let kind = ResourceKind::GpuShare;
    let broken = |numbers: &[u32]| Seen {
        gpus: 2,
        broken_gpus: numbers.iter().map(|number| (gpu(*number), "is Lost".to_owned())).collect(),
        ..Seen::default()
    };
    assert_eq!(health_seeing(&scene, &kind, &broken(&[])), Health::Healthy);
    let told = "1 of 2 GPUs is of no use: GPU-1 is Lost".to_owned();
    assert_eq!(health_seeing(&scene, &kind, &broken(&[1])), Health::Degraded(told.clone()));
    let both = "2 of 2 GPUs are of no use: GPU-0 is Lost".to_owned();
    assert_eq!(health_seeing(&scene, &kind, &broken(&[0, 1])), Health::Unhealthy(both));
    scene.runs(1, gpus(2, Some(10)));
    assert_eq!(health_seeing(&scene, &kind, &broken(&[1])), Health::Unhealthy(told));
    // One that is busy does what it is there for.
    assert_eq!(health(&scene, &kind, Some(200)), Health::Healthy);
}

#[test]
fn ports_and_subnets_that_are_all_leased_are_unhealthy_if_the_policy_watches_them() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    scene.runs(1, Demand { ports: 11, ..cpu(1) });
    let kind = ResourceKind::Ports;
    assert_eq!(health(&scene, &kind, None), Health::Healthy);
    let watched = Limits { soft_percent: Some(100), ..Limits::default() };
    sets(&mut scene, kind.clone(), watched).unwrap();
    let told = "all 11 ports that may be leased are".to_owned();
    assert_eq!(health(&scene, &kind, None), Health::Unhealthy(told));
    scene.ends(1);
    scene.runs(2, Demand { ports: 10, ..cpu(1) });
    assert_eq!(health(&scene, &kind, None), Health::Healthy);
}

#[test]
fn a_manager_tells_of_what_is_there_given_kept_and_really_used() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    scene.runs(1, memory(32));
    let (kind, used) = (ResourceKind::Memory, 8);
    let seen = Seen {
        used_by_pods: [(kind.clone(), used)].into(),
        reserved: [(kind.clone(), 16)].into_iter().collect(),
        ..Seen::default()
    };
    let mut figures = vec![];
    let manager = scene.ledger.managers.of(&kind).expect("there is one");
    manager.export_telemetry(&seen, false, &mut |of, figure| {
        assert_eq!(*of, kind);
        figures.push(format!("{figure:?}"));
    });
    let expected = [
        Figure::Health(&Health::Healthy),
        Figure::Capacity(64),
        Figure::Allocatable(64),
        Figure::Allocated(16),
        Figure::Reserved(16),
        Figure::AllocatedOfCapacity { part: 16, whole: 64 },
        Figure::Used(8),
        Figure::UsedOfAllocated { part: 8, whole: 16 },
    ];
    assert_eq!(figures, expected.map(|figure| format!("{figure:?}")));
    let metrics = manager.metrics(&seen, false);
    let memory = &metrics.resources[0];
    assert_eq!((memory.allocated_percent(), memory.used_percent()), (Some(25), Some(50)));
    // Of nothing there is no part, and what nobody measured is no figure.
    scene.ends(1);
    let idle = scene.ledger.managers.of(&kind).expect("there is one").metrics(&Seen::default(), false);
    let memory = &idle.resources[0];
    assert_eq!((memory.allocated_percent(), memory.used_percent()), (Some(0), None));
}

#[test]
fn a_resource_is_as_healthy_as_its_real_use() {
    let scene = Scene::of(Capacity { memory: Bytes(1_000), ..machine() }, LedgerPolicy::default());
    let word = |used| health(&scene, &ResourceKind::Memory, Some(used)).word();
    assert_eq!(
        [0, 850, 851, 950, 951, u64::MAX].map(word),
        ["Healthy", "Healthy", "Degraded", "Degraded", "Unhealthy", "Unhealthy"]
    );
    assert_eq!(
        health(&scene, &ResourceKind::Memory, Some(970)).reason(),
        Some("97 % of memory is really used")
    );
}

#[test]
fn a_resource_beyond_its_soft_limit_or_its_capacity_is_degraded() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    sets(&mut scene, ResourceKind::Memory, Limits { soft: Some(40), ..Limits::default() }).unwrap();
    scene.runs(1, memory(40));
    assert_eq!(health(&scene, &ResourceKind::Memory, None), Health::Healthy);
    scene.runs(2, memory(1));
    let soft = "41 of memory is given out, beyond the soft limit of 40";
    assert_eq!(health(&scene, &ResourceKind::Memory, None), Health::Degraded(soft.to_owned()));
    scene.does(&LedgerCommand::SetCapacity(Box::new(Capacity { memory: Bytes(30), ..machine() })));
    let beyond = "41 of memory is given out, where 30 may be";
    assert_eq!(health(&scene, &ResourceKind::Memory, None), Health::Degraded(beyond.to_owned()));
}

#[test]
fn soft_limits_of_gpus_and_subnets_are_looked_at_too() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    sets(&mut scene, ResourceKind::GpuShare, Limits { soft: Some(80), ..Limits::default() }).unwrap();
    sets(&mut scene, ResourceKind::Subnets, Limits { soft: Some(0), ..Limits::default() }).unwrap();
    scene.runs(1, gpus(2, Some(60)));
    assert_eq!(health(&scene, &ResourceKind::GpuShare, None), Health::Healthy);
    scene.runs(2, gpus(1, Some(30)));
    let soft = "90% of gpu-share is given out, beyond the soft limit of 80%";
    assert_eq!(health(&scene, &ResourceKind::GpuShare, None), Health::Degraded(soft.to_owned()));
    scene.runs(3, Demand { subnet: true, ..cpu(1) });
    assert_eq!(health(&scene, &ResourceKind::Ports, None).word(), "Degraded");
}

#[test]
fn a_manager_that_is_stopped_gives_out_nothing_and_says_why() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let (kind, reason) = (ResourceKind::Gpus, "new driver".to_owned());
    scene.does(&LedgerCommand::StopManager { kind: kind.clone(), reason });
    assert_eq!(health(&scene, &kind, None), Health::Stopped("new driver".to_owned()));
    let told = scene.refuses(1, gpus(1, Some(5)));
    assert_eq!(told, "insufficient resources: gpu-share: not given out now (new driver)");
    scene.runs(2, cpu(1_000));
    scene.waits_as(admit(1, "red", gpus(1, Some(5))));
    scene.does(&LedgerCommand::StartManager { kind });
    assert!(scene.has(1));
}

#[test]
fn what_an_operator_set_holds_until_the_config_changes() {
    let config = preset(Preset::Conservative);
    let mut scene = Scene::of(machine(), config.clone());
    scene.does(&LedgerCommand::SetPolicy(Box::new(preset(Preset::Moderate))));
    assert_eq!(scene.does(&LedgerCommand::Configure(Box::new(config))), []);
    assert_eq!(*scene.ledger.policy, preset(Preset::Moderate));
    scene.does(&LedgerCommand::Configure(Box::new(preset(Preset::Aggressive))));
    assert_eq!(*scene.ledger.policy, preset(Preset::Aggressive));
}

#[test]
fn a_bound_of_priorities_that_a_release_brings_leaves_what_an_operator_set() {
    let config = preset(Preset::Conservative);
    let mut scene = Scene::of(machine(), config.clone());
    scene.does(&LedgerCommand::SetPolicy(Box::new(preset(Preset::Moderate))));
    let bounded = |policy| LedgerPolicy { default_priority_max: Some(1_000), ..policy };
    scene.does(&LedgerCommand::Configure(Box::new(bounded(config.clone()))));
    assert_eq!(*scene.ledger.policy, bounded(preset(Preset::Moderate)));
    assert_eq!(scene.does(&LedgerCommand::Configure(Box::new(bounded(config.clone())))), []);
    scene.does(&LedgerCommand::Configure(Box::new(config.clone())));
    assert_eq!(*scene.ledger.policy, config);
}
