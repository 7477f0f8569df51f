//! What must hold of a ledger beside its reference: after every event, and after every command.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ledger::event::{LedgerEvent as E, PreemptionRequested};
use purser_events::ledger::policy::Preemption;
use purser_events::ledger::state::Holding;
use purser_events::ledger::{self, Demand, Grant, HolderId, Ledger, ResourceKind, TenantId};
use purser_events::{CpuSet, MilliCpu};

use super::reference::{Reference, Waiter, amount, pod};
use super::shortages::wants_alone;

/// Pods at the head of the queue for whom others are made to leave at once.
const PREEMPTORS_MAX: usize = 8;

/// What must hold of an event before it happens.
pub(crate) fn before(model: &Reference, event: &E) {
    match event {
        E::Allocated(it) => {
            let waits = model.came.iter().any(|waiter| waiter.pod == it.pod);
            let front = model.front_of(|waiter| match waits {
                true => waiter.pod == it.pod,
                false => waiter.priority < it.priority,
            });
            let short = model.shortages(&it.tenant, &it.demand, &front);
            // Where devices differ, how much of a quota one in front asks for changes with what the last one got.
            let short: Vec<_> = match model.came.iter().all(|waiter| any_gpu_will_do(model, waiter)) {
                true => short,
                false => model.shortages(&it.tenant, &it.demand, &super::shortages::Front::default()),
            };
            assert!(short.is_empty(), "{it:?} is given what is not there: {short:?}");
            given(model, &it.demand, &it.grant);
        }
        E::Reserved(it) => given(model, &it.demand, &it.grant),
        E::PreemptionRequested(it) => preempted(model, it),
        _ => {}
    }
}

/// A grant is what was asked for, of what nobody has.
fn given(model: &Reference, demand: &Demand, grant: &Grant) {
    let alone = wants_alone(demand);
    if alone == 0 {
        assert_eq!((grant.cpu, &grant.cpus), (demand.cpu, &None));
    } else {
        let cpus = grant.cpus.as_ref().expect("processors of its own");
        assert_eq!((cpus.len() as u64, grant.cpu), (alone, MilliCpu(alone * 1_000)));
        let taken = model.alone();
        for cpu in cpus.iter() {
            assert!(model.capacity.cpus.cpus.iter().any(|it| it.id == cpu), "there is no processor {cpu}");
            assert!(!taken.contains(&(cpu, true)), "processor {cpu} is somebody's");
        }
    }
    assert_eq!((grant.memory, grant.disk), (demand.memory, demand.disk));
    assert_eq!((&grant.fixed_ports, &grant.custom), (&demand.fixed_ports, &demand.custom));
    assert_eq!((grant.ports.len(), grant.subnet.is_some()), (usize::from(demand.ports), demand.subnet));
    assert!(grant.all_ports().all(|port| model.holder_of(port).is_none()), "a port is somebody's: {grant:?}");
    assert!(grant.ports.iter().all(|number| model.in_range(*number)), "a port out of range: {grant:?}");
    let fixed = |number: &u16| grant.fixed_ports.iter().any(|port| port.number == *number);
    assert!(!grant.ports.iter().any(fixed), "a port was chosen that was named: {grant:?}");
    if let Some(index) = grant.subnet {
        let taken = model.grants().any(|(_, other)| other.subnet == Some(index));
        assert!(!taken && index < model.capacity.subnets.count, "subnet {index}");
    }
    let claim = demand.gpu.as_ref();
    assert_eq!(
        grant.gpus.len(),
        claim.map_or(0, |claim| usize::try_from(claim.count).expect("a small number"))
    );
    let distinct: BTreeSet<_> = grant.gpus.iter().map(|gpu| &gpu.uuid).collect();
    assert_eq!(distinct.len(), grant.gpus.len(), "a GPU twice: {grant:?}");
    for gpu in &grant.gpus {
        let claim = claim.expect("a claim");
        let device = model.capacity.gpus.iter().find(|device| device.uuid == gpu.uuid).expect("a device");
        let (.., whole, holders) = model.given_of(&gpu.uuid);
        assert!(!whole && (!gpu.whole || holders == 0), "GPU {} is somebody's", gpu.uuid);
        assert!(claim.uuids.is_empty() || claim.uuids.contains(&gpu.uuid), "GPU {} will not do", gpu.uuid);
        assert_eq!((gpu.whole, gpu.share), (claim.share.is_none(), claim.share.unwrap_or(100)));
        assert!(
            claim.memory.is_none_or(|memory| memory <= gpu.memory)
                && (!gpu.whole || gpu.memory == device.memory)
        );
    }
}

/// What a pod that runs already was put down with: of what is counted what it asked for, of what is one thing what nobody
/// had. The reference is as it was before.
pub(crate) fn adopted(model: &Reference, demand: &Demand, grant: &Grant) {
    let given = |kind: &ResourceKind| model.grants().map(|(_, grant)| amount(grant, kind)).sum::<u64>();
    let counted = |kind: ResourceKind, asked: u64| asked.min(u64::MAX - given(&kind));
    assert_eq!(grant.memory.0, counted(ResourceKind::Memory, demand.memory.0));
    assert_eq!(grant.disk.0, counted(ResourceKind::Disk, demand.disk.0));
    let alone = grant.cpus.as_ref().map_or(0, |cpus| cpus.len() as u64);
    assert!(alone == 0 || alone == wants_alone(demand), "{grant:?}");
    let asked = if alone == 0 { demand.cpu.0 } else { alone * 1_000 };
    assert_eq!(grant.cpu.0, counted(ResourceKind::Cpu, asked));
    let is_free = |port: &&ledger::Port| model.holder_of(**port).is_none();
    assert_eq!(grant.fixed_ports, demand.fixed_ports.iter().filter(is_free).copied().collect());
    let is_known = |name: &ledger::CustomName| model.has_manager(&ResourceKind::Custom(name.clone()));
    assert!(grant.custom.keys().eq(demand.custom.keys().filter(|name| is_known(name))), "{grant:?}");
    assert!(grant.ports.is_empty() || grant.ports.len() == usize::from(demand.ports), "{grant:?}");
    let count = demand.gpu.as_ref().map_or(0, |claim| usize::try_from(claim.count).expect("a small number"));
    assert!(grant.gpus.is_empty() || grant.gpus.len() == count, "{grant:?}");
}

/// Nothing is given out beyond what may be: holds right after something is given.
pub(crate) fn within_bounds(model: &Reference, grant: &Grant) {
    let sum = |kind: &ResourceKind| model.grants().map(|(_, grant)| amount(grant, kind)).sum::<u64>();
    let custom = grant.custom.keys().map(|name| ResourceKind::Custom(name.clone()));
    for kind in [ResourceKind::Memory, ResourceKind::Disk].into_iter().chain(custom) {
        let most = model.most(&kind, model.there(&kind));
        assert!(amount(grant, &kind) == 0 || sum(&kind) <= most, "{kind}: {} of {most}", sum(&kind));
    }
    if grant.cpu.0 != 0 {
        let alone = model.alone().into_iter().filter(|(_, here)| *here).count();
        let most = model.most_shared(alone as i128).expect("room for the system");
        assert!(model.given_shared() <= most, "shared processors: {} of {most}", model.given_shared());
        assert!(alone == 0 || alone < model.capacity.cpus.cpus.len(), "no processor is shared");
    }
    let ports = model.numbers_held().len() as u64;
    let takes = grant.all_ports().any(|port| model.in_range(port.number));
    assert!(!takes || ports <= model.most(&ResourceKind::Ports, model.there(&ResourceKind::Ports)));
    for gpu in grant.gpus.iter().filter(|gpu| !gpu.whole) {
        let device = model.capacity.gpus.iter().find(|device| device.uuid == gpu.uuid).expect("a device");
        let (share, memory, ..) = model.given_of(&gpu.uuid);
        let most =
            (model.most(&ResourceKind::GpuShare, 100), model.most(&ResourceKind::GpuMemory, device.memory.0));
        assert!(gpu.share == 0 || share <= most.0, "{}: {share} of {} %", gpu.uuid, most.0);
        assert!(gpu.memory.0 == 0 || memory <= most.1, "{}: {memory} of {}", gpu.uuid, most.1);
    }
}

/// The reference without some of its holders.
fn without(model: &Reference, is_gone: impl Fn(HolderId, &Holding) -> bool) -> Reference {
    let mut less = model.clone();
    less.held.retain(|(id, holding)| !is_gone(*id, holding));
    less
}

/// Whether a pod that waits would have room without some holders.
fn fits_without(model: &Reference, waiter: &Waiter, is_gone: impl Fn(HolderId, &Holding) -> bool) -> bool {
    let front = model.front_of(|other| other.pod == waiter.pod);
    without(model, is_gone).shortages(&waiter.tenant, &waiter.demand, &front).is_empty()
}

/// Whether it does not matter to a tenant's bounds which GPU a pod gets.
fn any_gpu_will_do(model: &Reference, waiter: &Waiter) -> bool {
    let claim = waiter.demand.gpu.as_ref();
    let sizes: BTreeSet<_> = model.capacity.gpus.iter().map(|device| device.memory).collect();
    claim.is_none_or(|claim| claim.share.is_some() && claim.memory.is_some()) || sizes.len() < 2
}

/// Victims are lower, not leaving yet, enough, and none of them is needless; and none is one that stays.
fn preempted(model: &Reference, event: &PreemptionRequested) {
    assert_ne!(model.policy.preemption, Preemption::Never);
    assert_eq!(event.grace_s, model.policy.preemption_grace_s);
    let waiter = model.came.iter().find(|waiter| waiter.pod == event.pod).expect("who waits");
    let victims: BTreeSet<_> = event.victims.iter().copied().collect();
    assert_eq!(victims.len(), event.victims.len(), "a victim twice");
    for victim in &victims {
        let holding = model.holding(HolderId::Pod(*victim)).expect("who holds something");
        assert!(holding.priority < waiter.priority && holding.leaves_for.is_none(), "{victim}: {holding:?}");
        assert!(!holding.stays, "{victim} stays, and is to leave: {holding:?}");
    }
    if !any_gpu_will_do(model, waiter) {
        return;
    }
    let leaves = |id: HolderId, holding: &Holding| {
        let chosen = pod(id).is_some_and(|pod| victims.contains(&pod));
        chosen || (holding.leaves_for.is_some() && holding.priority < waiter.priority)
    };
    assert!(fits_without(model, waiter, leaves), "not enough: {event:?}");
    for victim in &victims {
        let but_one = |id: HolderId, holding: &Holding| id != HolderId::Pod(*victim) && leaves(id, holding);
        assert!(!fits_without(model, waiter, but_one), "pod/{victim} leaves needlessly: {event:?}");
    }
}

/// What must hold when a command has been carried out.
pub(crate) fn settled(model: &Reference, ledger: &Ledger) {
    assert_eq!(ledger::check(ledger), Vec::<String>::new());
    let queue = model.queue();
    let mut front = super::shortages::Front::default();
    for (place, waiter) in queue.iter().enumerate() {
        let short = model.shortages(&waiter.tenant, &waiter.demand, &front);
        assert!(!short.is_empty(), "{} waits and need not", waiter.pod);
        model.keep(&mut front, waiter, &short);
        let may = model.policy.preemption != Preemption::Never && place < PREEMPTORS_MAX;
        if may && waiter.victims.is_empty() && any_gpu_will_do(model, waiter) {
            let lower = |id: HolderId, holding: &Holding| {
                pod(id).is_some() && holding.priority < waiter.priority && !holding.stays
            };
            let leaving = |id, holding: &Holding| lower(id, holding) && holding.leaves_for.is_some();
            let could = fits_without(model, waiter, lower) && !fits_without(model, waiter, leaving);
            assert!(!could, "nobody makes way for {}, and some could", waiter.pod);
        }
    }
    assert_eq!(model.alerts, model.alarming(), "alerts");
}

/// The ledger has what the reference has.
pub(crate) fn agree(model: &Reference, ledger: &Ledger) {
    assert_eq!((&*ledger.capacity, &*ledger.policy), (&model.capacity, &model.policy));
    assert_eq!(ledger.config_policy.as_deref(), model.config.as_ref());
    let held: BTreeMap<HolderId, &Holding> = model.held.iter().map(|(id, holding)| (*id, holding)).collect();
    assert!(held.into_iter().eq(ledger.holdings.iter().map(|(id, it)| (*id, it.as_ref()))), "holdings");
    let waits: Vec<_> =
        ledger.waiting.values().map(|it| (it.pod, it.priority, &it.demand, &it.victims)).collect();
    let queue = model.queue();
    let expected: Vec<_> = queue.iter().map(|it| (it.pod, it.priority, &it.demand, &it.victims)).collect();
    assert_eq!(waits, expected, "queue");
    let tokens: Vec<_> = ledger.reservations.iter().map(|(id, it)| (*id, it.token, it.expires_at)).collect();
    let mut promises: Vec<_> = model.promises.iter().map(|it| (it.id, it.token, it.expires_at)).collect();
    promises.sort();
    assert_eq!((tokens, ledger.last_token), (promises, model.last_token));
    assert_eq!(ledger.alerts, model.alerts);
    assert_eq!(ledger.drifts, model.drifts.iter().cloned().collect());
    assert_eq!(*ledger.managers.network.foreign(), model.foreign);
    usage(model, ledger);
    accounts(model, ledger);
    one_holder_each(model, ledger);
}

fn usage(model: &Reference, ledger: &Ledger) {
    for (kind, usage) in ledger.managers.usage(model.policy.strict) {
        let all = model.grants();
        let held = match kind {
            ResourceKind::Ports => model.numbers_held().len() as u64,
            ResourceKind::Subnets => {
                let count = model.capacity.subnets.count;
                all.filter(|(_, grant)| grant.subnet.is_some_and(|index| index < count)).count() as u64
            }
            _ => all.map(|(_, grant)| amount(grant, &kind)).sum(),
        };
        assert_eq!(usage.allocated, held, "{kind}");
        let counted = matches!(kind, ResourceKind::Memory | ResourceKind::Disk | ResourceKind::Custom(_));
        if counted || kind == ResourceKind::Ports || kind == ResourceKind::Subnets {
            let there = model.there(&kind);
            assert_eq!((usage.capacity, usage.allocatable), (there, model.most(&kind, there)), "{kind}");
        }
    }
    let stopped =
        ledger.managers.all().filter_map(|it| Some((it.kinds()[0].clone(), it.stopped()?.to_owned())));
    assert_eq!(stopped.collect::<BTreeSet<_>>(), model.stopped.iter().cloned().collect(), "stopped managers");
}

fn accounts(model: &Reference, ledger: &Ledger) {
    let mut sums: BTreeMap<TenantId, BTreeMap<ResourceKind, u64>> = BTreeMap::new();
    for (_, holding) in &model.held {
        let sum = sums.entry(holding.tenant.clone()).or_default();
        let custom = holding.grant.custom.keys().map(|name| ResourceKind::Custom(name.clone()));
        for kind in ResourceKind::KNOWN.into_iter().chain(custom) {
            let more = amount(&holding.grant, &kind);
            if more != 0 {
                *sum.entry(kind).or_default() += more;
            }
        }
    }
    let used = ledger.used.iter().map(|(tenant, amounts)| (tenant.clone(), amounts.0.clone()));
    assert_eq!(used.collect::<BTreeMap<_, _>>(), sums, "accounts");
}

/// What is one thing has one holder.
fn one_holder_each(model: &Reference, ledger: &Ledger) {
    let mut ports = BTreeSet::new();
    let mut subnets = BTreeSet::new();
    let mut cpus = CpuSet::default();
    for (id, grant) in model.grants() {
        assert!(grant.all_ports().all(|port| ports.insert(port)), "a port of {id} is another's too");
        assert!(
            grant.subnet.is_none_or(|index| subnets.insert(index)),
            "the subnet of {id} is another's too"
        );
        let own = grant.cpus.iter().flat_map(CpuSet::iter);
        own.for_each(|cpu| assert!(cpus.insert(cpu), "processor {cpu} of {id} is another's too"));
        for gpu in &grant.gpus {
            let (.., whole, holders) = model.given_of(&gpu.uuid);
            assert!(!whole || holders == 1, "GPU {} of {id} is another's too", gpu.uuid);
        }
    }
    let shared = ledger.managers.cpu.shared();
    assert!(shared.iter().all(|cpu| !cpus.contains(cpu)), "a processor is shared and had alone");
}
