//! What is done to the ledger in the model's test: data that can be shrunk and printed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use purser_events::ledger::capacity::{PortRange, SubnetRange};
use purser_events::ledger::policy::{CpuPlacement, GpuPlacement, Preemption};
use purser_events::ledger::{
    Amounts, Capacity, Demand, GpuClaim, LedgerPolicy, Limits, Port, ResourceKind, Tenant, WhenFull,
};
use purser_events::pod::spec::Protocol;
use purser_events::{Bytes, MilliCpu};

use super::support::{cores, device, dongle, gpu, sockets};

/// One thing that is done. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Capacity(Box<Capacity>),
    Policy(Box<LedgerPolicy>, bool),
    Limits(usize, Limits),
    Tenant(usize, Box<Tenant>),
    RemoveTenant(usize),
    Admit(Box<Wish>),
    /// Of a pod that runs already.
    Adopt(Box<Wish>),
    /// Somebody is seen to listen on these.
    Ports(BTreeSet<Port>),
    /// Of a pod that holds something or waits, or of any that was once seen.
    Release(usize),
    ReleaseStranger(u64),
    Reserve {
        new: bool,
        which: usize,
        wish: Box<Wish>,
        ttl_ms: u64,
    },
    /// Which, how far the token is off, and whether the owner asks.
    Cancel(usize, u64, bool),
    CheckTime,
    /// The clock goes on, or back.
    Clock(i64),
    Stop(usize),
    /// Of those that are stopped, or of any.
    Start(usize),
    Drift(Vec<u8>),
    Cordon(bool),
    Resize(Resize),
    /// Which, how far the generation is off, and whether it was done.
    SettleResize(usize, u32, bool),
    /// So much of everything was used by each pod.
    Use(u64),
}

/// Other amounts that a pod is to have.
#[derive(Debug, Clone)]
pub(crate) struct Resize {
    pub(crate) which: usize,
    pub(crate) generation: u32,
    pub(crate) cpu: Option<u64>,
    pub(crate) memory: Option<u64>,
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// A pod that was seen before; a new one without.
    pub(crate) again: Option<usize>,
    pub(crate) namespace: usize,
    pub(crate) demand: Demand,
    pub(crate) priority: i32,
    pub(crate) when_full: WhenFull,
    /// Which, how far the token is off, and whether the owner asks.
    pub(crate) reservation: Option<(usize, u64, bool)>,
    /// Whether it asks for what the reservation keeps.
    pub(crate) as_kept: bool,
    /// Whether it leaves for nobody's sake.
    pub(crate) stays: bool,
}

/// Namespaces that are used; the last is nobody's name.
pub(crate) const NAMESPACES: [&str; 6] = ["red", "green", "blue", "shared", "orphan", "No Name"];
/// Tenants that may be set.
pub(crate) const TENANTS: [&str; 3] = ["red", "green", "blue"];

/// Kinds whose limits are set and whose managers are stopped, with one that there is not.
pub(crate) fn kinds() -> Vec<ResourceKind> {
    let strange = "example.com/strange".parse().expect("what the test is made of");
    ResourceKind::KNOWN.into_iter().chain([ResourceKind::Custom(dongle()), strange]).collect()
}

fn kind() -> impl Strategy<Value = usize> {
    0..kinds().len()
}

fn amounts(most: u64) -> impl Strategy<Value = Amounts> {
    let scale = |kind: &ResourceKind| match kind {
        ResourceKind::Cpu => 500,
        ResourceKind::GpuShare => 20,
        ResourceKind::Memory | ResourceKind::Disk | ResourceKind::GpuMemory => 8,
        _ => 1,
    };
    prop::collection::btree_map(kind(), 0..=most, 0..4).prop_map(move |chosen| {
        let all = kinds();
        Amounts::bounds(chosen.into_iter().map(|(index, amount)| {
            let kind = all[index].clone();
            (kind.clone(), amount * scale(&kind))
        }))
    })
}

fn capacity() -> impl Strategy<Value = Capacity> {
    let cpus = prop_oneof![
        1 => (0..4_u16).prop_map(cores),
        4 => (4..10_u16).prop_map(cores),
        4 => (2..4_u16, 1..3_u16).prop_map(|(cores, threads)| sockets(cores, threads)),
    ];
    let memory = prop_oneof![8 => Just(80_u64), 1 => 0..100_u64];
    let gpus = prop::collection::btree_map(0..4_u32, memory, 0..5);
    let size = || prop_oneof![1 => 0..40_u64, 6 => 40..150_u64];
    let ports = (0..4_u16, prop_oneof![1 => 0..4_u16, 4 => 4..14_u16]);
    (cpus, size(), size(), 0..9_u64, gpus, ports, 0..9_u32).prop_map(
        |(cpus, memory, disk, dongles, gpus, (first, more), count)| Capacity {
            cpus,
            memory: Bytes(memory),
            disk: Bytes(disk),
            gpus: gpus.into_iter().map(|(number, memory)| device(number, memory)).collect(),
            ports: PortRange { first: 30_000 + first, last: 30_000 + first + more },
            subnets: SubnetRange { first: [10, 88, 0], count },
            custom: if dongles == 0 { BTreeMap::new() } else { BTreeMap::from([(dongle(), dongles)]) },
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let percent = prop_oneof![4 => Just(100_u32), 6 => 100..400_u32, 1 => 0..1_200_u32];
    let hard = prop::option::weighted(0.15, prop_oneof![0..100_u64, 0..9_000_u64, Just(u64::MAX)]);
    let soft = prop::option::weighted(0.2, 0..9_000_u64);
    (hard, soft, percent, prop_oneof![6 => Just(0_u32), 3 => 0..30_u32, 1 => 0..100_u32]).prop_map(
        |(hard, soft, overcommit_percent, reserve_percent)| Limits {
            hard,
            soft,
            overcommit_percent,
            reserve_percent,
            soft_percent: None,
        },
    )
}

fn policy() -> impl Strategy<Value = LedgerPolicy> {
    let cpu = prop::sample::select(vec![
        CpuPlacement::AffinityAware,
        CpuPlacement::FirstFit,
        CpuPlacement::BestFit,
        CpuPlacement::RoundRobin,
    ]);
    let gpu = prop::sample::select(vec![
        GpuPlacement::Binpack,
        GpuPlacement::Spread,
        GpuPlacement::MostFreeMemory,
        GpuPlacement::FewestNeighbours,
    ]);
    let preemption = prop::sample::select(vec![
        Preemption::Never,
        Preemption::LowerPriorityOnly,
        Preemption::LowerPriorityOnly,
        Preemption::CostAware,
    ]);
    let limits = prop::collection::btree_map(kind(), limits(), 0..3);
    let quota = prop_oneof![6 => Just(Amounts::default()), 1 => amounts(20)];
    let flags =
        (prop::bool::weighted(0.1), prop::bool::weighted(0.2), prop::option::weighted(0.2, -1..3_i32));
    (limits, cpu, gpu, flags, preemption, 0..4_000_u32, quota).prop_map(
        |(
            limits,
            cpu_placement,
            gpu_placement,
            (strict, refuse_when_full, default_priority_max),
            preemption,
            grace,
            default_quota,
        )| {
            let all = kinds();
            LedgerPolicy {
                limits: limits.into_iter().map(|(index, limits)| (all[index].clone(), limits)).collect(),
                cpu_placement,
                gpu_placement,
                strict,
                refuse_when_full,
                preemption,
                preemption_grace_s: grace,
                default_quota,
                default_priority_max,
                ..LedgerPolicy::default()
            }
        },
    )
}

fn tenant() -> impl Strategy<Value = Tenant> {
    let names = prop::collection::btree_set(prop::sample::select(NAMESPACES.to_vec()), 0..3);
    let default = prop_oneof![
        3 => Just(Amounts::default()),
        1 => (1..1_500_u64, 0..6_u64).prop_map(|(cpu, memory)| {
            [(ResourceKind::Cpu, cpu), (ResourceKind::Memory, memory)].into_iter().collect()
        }),
        1 => amounts(3),
    ];
    let percent = prop::option::weighted(0.7, 0..110_u32);
    let max = prop_oneof![3 => Just(Amounts::default()), 1 => amounts(15)];
    let priority_max = prop::option::weighted(0.2, -1..3_i32);
    (names, prop::option::of(amounts(20)), percent, max, default, priority_max).prop_map(
        |(names, quota, alert_percent, pod_max, pod_default, priority_max)| Tenant {
            namespaces: names.into_iter().map(str::to_owned).collect(),
            quota,
            alert_percent,
            pod_max,
            pod_default,
            priority_max,
            ..Tenant::default()
        },
    )
}

fn claim() -> impl Strategy<Value = GpuClaim> {
    let share =
        prop::option::weighted(0.7, prop_oneof![40 => 1..=60_u32, 4 => 60..=100_u32, 1 => 0..300_u32]);
    let memory = prop::option::weighted(0.3, prop_oneof![9 => 0..50_u64, 1 => 0..100_u64]);
    let uuids = prop_oneof![6 => Just(BTreeSet::new()), 1 => prop::collection::btree_set((0..4_u32).prop_map(gpu), 1..3)];
    (prop_oneof![1 => Just(0_u32), 12 => Just(1), 5 => 2..4_u32], share, memory, uuids).prop_map(
        |(count, share, memory, uuids)| {
            let memory = memory.map(Bytes);
            GpuClaim { count, share, memory, uuids, tflops: None }
        },
    )
}

fn port() -> impl Strategy<Value = Port> {
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    (29_998..30_014_u16, protocol).prop_map(|(number, protocol)| Port { number, protocol })
}

fn demand() -> impl Strategy<Value = Demand> {
    let size = |most: u64| prop_oneof![30 => Just(0), 60 => 1..most, 1 => Just(u64::MAX)];
    let rarely = |most: u64| prop_oneof![5 => Just(0), 3 => 0..most];
    (
        (size(3_500), prop::bool::weighted(0.35), size(25), size(25)),
        prop::option::weighted(0.35, claim()),
        prop_oneof![5 => Just(BTreeSet::new()), 1 => prop::collection::btree_set(port(), 1..3)],
        (prop_oneof![12 => Just(0), 6 => 1..4_u16, 1 => 0..20_u16], prop::bool::weighted(0.2), rarely(3)),
    )
        .prop_map(|((cpu, exclusive_cpus, memory, disk), gpu, fixed_ports, (ports, subnet, dongles))| {
            Demand {
                cpu: MilliCpu(cpu),
                exclusive_cpus,
                memory: Bytes(memory),
                disk: Bytes(disk),
                gpu,
                fixed_ports,
                ports,
                subnet,
                custom: if dongles == 0 { BTreeMap::new() } else { BTreeMap::from([(dongle(), dongles)]) },
            }
        })
}

fn wish() -> impl Strategy<Value = Wish> {
    let namespace = prop_oneof![20 => 0..5_usize, 1 => Just(5)];
    let when_full = prop::sample::select(vec![WhenFull::AsPolicy, WhenFull::Wait, WhenFull::Refuse]);
    let token = prop_oneof![4 => Just(0_u64), 1 => 0..3_u64];
    let reservation = prop::option::weighted(0.15, (any::<usize>(), token, prop::bool::weighted(0.9)));
    let flags = (reservation, any::<bool>(), prop::bool::weighted(0.2));
    (prop::option::weighted(0.15, any::<usize>()), namespace, demand(), -2..4_i32, when_full, flags).prop_map(
        |(again, namespace, demand, priority, when_full, (reservation, as_kept, stays))| Wish {
            again,
            namespace,
            demand,
            priority,
            when_full,
            reservation,
            as_kept,
            stays,
        },
    )
}

fn resize() -> impl Strategy<Value = Resize> {
    let size = |most: u64| prop_oneof![1 => Just(0), 40 => 1..most, 1 => Just(u64::MAX)];
    let (cpu, memory) = (prop::option::of(size(3_500)), prop::option::of(size(25)));
    (any::<usize>(), 1..9_u32, cpu, memory).prop_map(|(which, generation, cpu, memory)| Resize {
        which,
        generation,
        cpu,
        memory,
    })
}

/// One operation.
pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let token = || prop_oneof![3 => Just(0_u64), 1 => 0..3_u64];
    let ttl = prop_oneof![8 => 1..100_000_u64, 1 => Just(0), 1 => any::<u64>()];
    let clock = prop_oneof![20 => 0..20_000_000_i64, 1 => -60_000_000..0_i64, 1 => any::<i64>()];
    prop_oneof![
        2 => capacity().prop_map(|it| O::Capacity(Box::new(it))),
        2 => (policy(), prop::bool::weighted(0.3)).prop_map(|(it, config)| O::Policy(Box::new(it), config)),
        2 => (kind(), limits()).prop_map(|(kind, limits)| O::Limits(kind, limits)),
        3 => (0..TENANTS.len(), tenant()).prop_map(|(id, it)| O::Tenant(id, Box::new(it))),
        1 => (0..TENANTS.len()).prop_map(O::RemoveTenant),
        60 => wish().prop_map(|it| O::Admit(Box::new(it))),
        2 => wish().prop_map(|it| O::Adopt(Box::new(it))),
        4 => prop::collection::btree_set(port(), 0..4).prop_map(O::Ports),
        35 => any::<usize>().prop_map(O::Release),
        1 => any::<u64>().prop_map(O::ReleaseStranger),
        9 => (prop::bool::weighted(0.85), any::<usize>(), wish(), ttl)
            .prop_map(|(new, which, wish, ttl_ms)| O::Reserve { new, which, wish: Box::new(wish), ttl_ms }),
        2 => (any::<usize>(), token(), prop::bool::weighted(0.8)).prop_map(|(n, off, own)| O::Cancel(n, off, own)),
        3 => Just(O::CheckTime),
        4 => clock.prop_map(O::Clock),
        1 => kind().prop_map(O::Stop),
        4 => any::<usize>().prop_map(O::Start),
        1 => prop::collection::vec(0..6_u8, 0..4).prop_map(O::Drift),
        1 => any::<bool>().prop_map(O::Cordon),
        12 => resize().prop_map(O::Resize),
        14 => (any::<usize>(), prop_oneof![9 => Just(0_u32), 1 => 1..3_u32], any::<bool>())
            .prop_map(|(which, off, done)| O::SettleResize(which, off, done)),
        1 => any::<u64>().prop_map(O::Use),
    ]
}
