//! Limits: what is given out of what there is, what is refused as limits, and how managers stand.

use purser_events::Bytes;
use purser_events::ledger::policy::{LimitsError, Preset};
use purser_events::ledger::{
    Capacity, Health, LedgerCommand, LedgerPolicy, LedgerRejection, Limits, ResourceKind,
};

use super::support::{Scene, admit, cpu, gpus, machine, memory};

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
    scene.ledger.managers.of(&ResourceKind::Memory).expect("it has one").health(None, false)
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
    scene.ledger.managers.of(kind).expect("what the test is made of").health(used, false)
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
    scene.runs(3, purser_events::ledger::Demand { subnet: true, ..cpu(1) });
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
