//! Figures at the edges of what can be counted, and what is on the machine that should not be.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ledger::capacity::SubnetRange;
use purser_events::ledger::event::{Drift, DriftFound, LedgerEvent as E};
use purser_events::ledger::policy::scaled;
use purser_events::ledger::{
    Admit, Amounts, Capacity, Demand, DriftReport, GpuClaim, LedgerCommand, LedgerPolicy, LedgerRejection,
    Limits, Port, ResourceKind, Tenant, check,
};
use purser_events::pod::spec::Protocol;
use purser_events::{Bytes, MilliCpu};

use super::support::{Scene, admit, cpu, device, dongle, gpus, machine, memory};

/// Everything, as much as can be written.
fn everything() -> Demand {
    let claim = GpuClaim {
        count: u32::MAX,
        share: Some(u32::MAX),
        memory: Some(Bytes(u64::MAX)),
        uuids: [].into(),
        tflops: None,
    };
    Demand {
        cpu: MilliCpu(u64::MAX),
        exclusive_cpus: false,
        memory: Bytes(u64::MAX),
        disk: Bytes(u64::MAX),
        gpu: Some(claim),
        fixed_ports: [].into(),
        ports: u16::MAX,
        subnet: true,
        custom: BTreeMap::from([(dongle(), u64::MAX)]),
    }
}

#[test]
fn a_machine_with_nothing_gives_out_nothing() {
    let nothing = Capacity { subnets: SubnetRange { first: [0; 3], count: 0 }, ..Capacity::default() };
    let mut scene = Scene::of(nothing, LedgerPolicy::default());
    for demand in [cpu(1), memory(1), gpus(1, None), gpus(1, Some(1)), super::support::alone(1)] {
        assert!(scene.refuses(1, demand).contains("the node gives out 0 in all"));
    }
    scene.runs(2, Demand::default());
}

#[test]
fn who_asks_for_everything_is_told_everything() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    for exclusive_cpus in [false, true] {
        let told = scene.refuses(1, Demand { exclusive_cpus, ..everything() });
        for kind in ["cpu", "memory", "disk", "gpus", "ports", "example.com/dongle"] {
            assert!(told.contains(&format!("{kind}: ")), "{kind} in {told}");
        }
    }
}

#[test]
fn a_machine_with_all_that_can_be_counted_counts_on() {
    let limits = Limits { overcommit_percent: 1_000, ..Limits::default() };
    let kinds = [ResourceKind::Memory, ResourceKind::Disk, ResourceKind::GpuMemory];
    let policy = LedgerPolicy { limits: kinds.map(|kind| (kind, limits)).into(), ..LedgerPolicy::default() };
    let most = Bytes(u64::MAX);
    let gpus = vec![device(0, u64::MAX), device(1, u64::MAX)];
    let mut scene = Scene::of(Capacity { memory: most, disk: most, gpus, ..machine() }, policy);
    scene.runs(1, memory(u64::MAX - 1));
    scene.runs(2, memory(1));
    assert_eq!(scene.refuses(3, memory(1)), "insufficient resources: memory: 1 asked, 0 free");
    let usage = scene.ledger.managers.usage(false);
    assert_eq!(usage[&ResourceKind::Memory].allocatable, u64::MAX);
    assert_eq!(usage[&ResourceKind::GpuMemory].capacity, u64::MAX);
}

#[test]
fn percentages_neither_wrap_nor_lose_units() {
    assert_eq!([scaled(u64::MAX, 100), scaled(u64::MAX, 1_000), scaled(0, 1_000)], [u64::MAX, u64::MAX, 0]);
    assert_eq!([scaled(5, 90), scaled(1, 99), scaled(3, 150)], [4, 0, 4]);
}

#[test]
fn gpus_whose_memory_is_beyond_counting_are_not_had_by_one_tenant() {
    let gpus_of = vec![device(0, u64::MAX), device(1, u64::MAX)];
    let mut scene = Scene::of(Capacity { gpus: gpus_of, ..machine() }, LedgerPolicy::default());
    scene.runs(1, gpus(1, None));
    let told = scene.refuses(2, gpus(1, None));
    assert_eq!(told, "insufficient resources: gpu-memory: 18446744073709551615 asked, 0 free");
}

#[test]
fn a_quota_of_all_that_can_be_counted_is_one() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let quota = Amounts::bounds(ResourceKind::KNOWN.map(|kind| (kind, u64::MAX)));
    let alert_percent = Some(100);
    scene.sets_tenant("red", Tenant { quota: Some(quota), alert_percent, ..Tenant::default() }).unwrap();
    scene.runs(1, memory(64));
    assert!(scene.ledger.alerts.is_empty());
}

#[test]
fn ports_are_leased_from_first_to_last_and_again_from_the_first() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let ports = |count| Demand { ports: count, ..Demand::default() };
    assert_eq!(scene.runs(1, ports(2)).ports, [30_000, 30_001].into());
    scene.ends(1);
    assert_eq!(scene.runs(2, ports(9)).ports, (30_002..=30_010).collect());
    assert_eq!(scene.runs(3, ports(1)).ports, [30_000].into());
    assert_eq!(scene.refuses(4, ports(2)), "insufficient resources: ports: 2 asked, 1 free");
}

#[test]
fn a_port_of_the_range_that_is_named_counts_like_one_that_is_chosen() {
    use purser_events::ledger::Port;
    use purser_events::pod::spec::Protocol;
    let named =
        |number, protocol| Demand { fixed_ports: [Port { number, protocol }].into(), ..Demand::default() };
    let limits = Limits { hard: Some(2), ..Limits::default() };
    let policy = LedgerPolicy { limits: [(ResourceKind::Ports, limits)].into(), ..LedgerPolicy::default() };
    let mut scene = Scene::of(machine(), policy);
    scene.runs(1, named(30_000, Protocol::Tcp));
    scene.runs(2, named(8_080, Protocol::Tcp));
    assert_eq!(scene.runs(3, Demand { ports: 1, ..Demand::default() }).ports, [30_001].into());
    let told = scene.refuses(4, named(30_005, Protocol::Udp));
    assert_eq!(told, "insufficient resources: ports: 1 asked, 0 free");
    assert_eq!(
        scene.refuses(5, named(8_080, Protocol::Tcp)),
        "insufficient resources: port 8080/TCP is taken"
    );
    scene.runs(6, named(8_080, Protocol::Udp));
}

#[test]
fn a_custom_resource_that_vanishes_is_forgotten_with_its_last_holder() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let some = |count| Demand { custom: BTreeMap::from([(dongle(), count)]), ..Demand::default() };
    scene.runs(1, some(2));
    scene.does(&LedgerCommand::SetCapacity(Box::new(Capacity { custom: BTreeMap::new(), ..machine() })));
    assert!(scene.refuses(2, some(1)).contains("the node gives out 0 in all"));
    assert!(scene.ledger.managers.custom.contains_key(&dongle()));
    scene.ends(1);
    assert!(scene.ledger.managers.custom.is_empty());
}

#[test]
fn a_reason_that_is_no_line_is_refused() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    for reason in ["", "two\nlines", "\u{1b}[2J", &"x".repeat(257)] {
        let command = LedgerCommand::StopManager { kind: ResourceKind::Cpu, reason: reason.to_owned() };
        assert_eq!(scene.asks(&command), Err(LedgerRejection::BadReason));
    }
    let kind = ResourceKind::Pods;
    let command = LedgerCommand::StopManager { kind: kind.clone(), reason: "why".to_owned() };
    assert_eq!(scene.asks(&command), Err(LedgerRejection::NoSuchResource { kind }));
}

#[test]
fn drift_is_recorded_when_it_is_found_and_when_it_is_over() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let found =
        |name: &str| DriftFound { drift: Drift::StrayCgroup(name.to_owned()), detail: "seen".to_owned() };
    let report = |found: &[DriftFound]| {
        LedgerCommand::ReportDrift(DriftReport { found: found.to_vec(), ..DriftReport::default() })
    };
    let events = scene.does(&report(&[found("a"), found("a"), found("b")]));
    assert_eq!(events, [E::DriftFound(found("a")), E::DriftFound(found("b"))]);
    assert_eq!(scene.does(&report(&[found("b"), found("a")])), []);
    // What could not be looked at is neither there nor gone.
    let blind = DriftReport { found: vec![], unseen: ["stray-cgroup"].into() };
    assert_eq!(scene.does(&LedgerCommand::ReportDrift(blind)), []);
    let events = scene.does(&report(&[found("b")]));
    assert!(matches!(&events[..], [E::DriftResolved(it)] if it.drift == found("a").drift));
}

#[test]
fn subnets_stay_where_they_are_while_one_is_leased() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let second = Demand { subnet: true, ..Demand::default() };
    scene.runs(1, second.clone());
    scene.runs(2, second.clone());
    scene.ends(1);
    // The second one's address would be the first of these.
    let subnets = SubnetRange { first: [10, 88, 1], count: 4 };
    let moved = Capacity { subnets, memory: Bytes(32), ..machine() };
    scene.does(&LedgerCommand::SetCapacity(Box::new(moved.clone())));
    assert_eq!(scene.ledger.capacity.memory, Bytes(32), "everything else is as it is now");
    assert_eq!(scene.ledger.capacity.subnets, machine().subnets);
    assert_eq!(scene.does(&LedgerCommand::SetCapacity(Box::new(moved.clone()))), []);
    scene.ends(2);
    scene.does(&LedgerCommand::SetCapacity(Box::new(moved)));
    assert_eq!(scene.ledger.capacity.subnets, subnets);
    assert_eq!(scene.runs(3, second).subnet, Some(2), "what was given back last comes last");
}

#[test]
fn one_tenant_does_not_take_all_places_in_the_queue() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    scene.runs(1, memory(64));
    for pod in 2..=1_001 {
        scene.waits_as(admit(pod, "red", memory(1)));
    }
    assert_eq!(
        scene.admits(admit(1_002, "red", memory(1))),
        Err(LedgerRejection::QueueFull { waiting: 1_000 })
    );
    scene.waits_as(admit(1_003, "green", memory(1)));
}

fn port(number: u16) -> Port {
    Port { number, protocol: Protocol::Tcp }
}

#[test]
fn a_pod_that_runs_already_is_put_down_with_all_that_nobody_else_has() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    scene.runs_as(admit(1, "red", Demand { fixed_ports: [port(30_000)].into(), ..memory(60) }));
    let asked = Demand {
        exclusive_cpus: true,
        ports: 2,
        fixed_ports: [port(30_000), port(30_005)].into(),
        subnet: true,
        memory: Bytes(10),
        ..gpus(1, Some(50))
    };
    let demand = Demand { cpu: MilliCpu(1_500), ..asked };
    let grant = scene.runs_as(Admit { adopt: true, ..admit(2, "red", demand) });
    // More memory than there is left: about what runs the world is right.
    assert_eq!((grant.cpu, grant.memory), (MilliCpu(2_000), Bytes(10)));
    assert_eq!(grant.cpus.map(|cpus| cpus.iter().count()), Some(2));
    assert_eq!((grant.gpus.len(), grant.subnet), (1, Some(0)));
    // A port that is another's hinders nothing else.
    assert_eq!((grant.fixed_ports, grant.ports.len()), ([port(30_005)].into(), 2));
    assert_eq!(check(&scene.ledger), Vec::<String>::new());
}

#[test]
fn a_pod_is_admitted_though_it_asks_for_nothing() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    scene.admits(admit(1, "red", Demand::default())).unwrap();
    assert!(scene.has(1));
}

#[test]
fn a_port_on_which_a_stranger_listens_is_nobodys() {
    let mut scene = Scene::of(machine(), LedgerPolicy::default());
    let ports = |count| Demand { ports: count, ..Demand::default() };
    let udp = Port { number: 30_001, protocol: Protocol::Udp };
    let listened: BTreeSet<Port> = [port(30_000), udp, port(8_080)].into();
    scene.does(&LedgerCommand::SeePorts { listened: listened.clone() });
    assert!(scene.does(&LedgerCommand::SeePorts { listened: listened.clone() }).is_empty(), "it is known");
    assert_eq!(scene.runs(1, ports(1)).ports, [30_002].into());
    // Those of a pod are no stranger's.
    let own = listened.into_iter().chain([port(30_002)]).collect();
    assert!(scene.does(&LedgerCommand::SeePorts { listened: own }).is_empty());
    let fixed = Demand { fixed_ports: [port(8_080)].into(), ..Demand::default() };
    assert_eq!(scene.refuses(2, fixed.clone()), "insufficient resources: port 8080/TCP is taken");
    assert_eq!(scene.refuses(2, ports(9)), "insufficient resources: ports: 9 asked, 8 free");
    // By the other transport it can be had.
    let other = Port { number: 8_080, protocol: Protocol::Udp };
    scene.runs(3, Demand { fixed_ports: [other].into(), ..Demand::default() });
    scene.waits_as(admit(4, "red", fixed));
    scene.does(&LedgerCommand::SeePorts { listened: [udp].into() });
    assert!(scene.has(4), "the stranger is gone");
}
