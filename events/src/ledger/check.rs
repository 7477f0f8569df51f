//! What must hold in every ledger: its sums are those of its holders, nothing is given twice, queue and alerts are in
//! step with the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::capacity::GpuUuid;
use super::evolve::on_account;
use super::grant::HolderId;
use super::queue::Asking;
use super::resource::{Amounts, ResourceKind};
use super::settle::near_bounds;
use super::state::{Holding, Ledger};
use super::tenant::TenantId;

/// Everything in which a ledger contradicts itself, each in a sentence; nothing if it is sound. Between the events of one
/// decision alerts may be out of step: they are raised and cleared by its last ones.
#[must_use]
pub fn check(ledger: &Ledger) -> Vec<String> {
    [
        totals(ledger),
        tenants(ledger),
        twice_given(ledger),
        queue(ledger),
        reservations(ledger),
        alerts(ledger),
    ]
    .concat()
}

fn holdings(ledger: &Ledger) -> impl Iterator<Item = (HolderId, &Holding)> {
    ledger.holdings.iter().map(|(holder, holding)| (*holder, holding.as_ref()))
}

/// What the managers say is given out is what the holders have together.
fn totals(ledger: &Ledger) -> Vec<String> {
    let mut sums: BTreeMap<ResourceKind, u64> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    let mut subnets = 0;
    let (range, subnet_count) = (ledger.capacity.ports, ledger.capacity.subnets.count);
    for (_, holding) in holdings(ledger) {
        for (kind, amount) in holding.grant.amounts().iter() {
            let sum = sums.entry(kind.clone()).or_default();
            *sum = sum.saturating_add(amount);
        }
        let ports = holding.grant.all_ports().map(|port| port.number);
        numbers.extend(ports.filter(|number| (range.first..=range.last).contains(number)));
        subnets += u64::from(holding.grant.subnet.is_some_and(|index| index < subnet_count));
    }
    // Of ports and subnets what is in the node's range counts, and a port once for both transports.
    sums.insert(ResourceKind::Ports, numbers.len() as u64);
    sums.insert(ResourceKind::Subnets, subnets);
    let usage = ledger.managers.usage(ledger.policy.strict);
    let said = usage.iter().map(|(kind, usage)| {
        let held = sums.get(kind).copied().unwrap_or(0);
        (held != usage.allocated).then(|| {
            let (given, held) = (kind.show(usage.allocated), kind.show(held));
            format!("{given} of {kind} is said to be given out, and the holders have {held}")
        })
    });
    let unknown = sums.iter().filter(|(kind, held)| **held != 0 && !usage.contains_key(kind));
    let unknown =
        unknown.map(|(kind, held)| format!("{} of {kind} is held and not on the books", kind.show(*held)));
    said.flatten().chain(unknown).collect()
}

/// What each tenant is said to have is what its holders have together.
fn tenants(ledger: &Ledger) -> Vec<String> {
    let mut sums: BTreeMap<&TenantId, Amounts> = BTreeMap::new();
    let mut found = vec![];
    for (holder, holding) in holdings(ledger) {
        let sum = sums.entry(&holding.tenant).or_default();
        if let Err(kind) = sum.add(&on_account(&holding.grant)) {
            found
                .push(format!("{kind} of tenant {}: more than can be counted with {holder}", holding.tenant));
        }
    }
    let ids: BTreeSet<&TenantId> = sums.keys().copied().chain(ledger.used.keys()).collect();
    let (none, differs) = (Amounts::default(), |id: &&TenantId| {
        let said = ledger.used.get(*id).map(AsRef::as_ref);
        said != sums.get(*id)
    });
    let wrong = ids.into_iter().filter(differs).map(|id| {
        let said = ledger.used.get(id).map_or(&none, AsRef::as_ref);
        let held = sums.get(id).unwrap_or(&none);
        format!("tenant {id} is said to have {}, and its holders have {}", list(said), list(held))
    });
    found.extend(wrong);
    found
}

fn list(amounts: &Amounts) -> String {
    let each: Vec<String> =
        amounts.iter().map(|(kind, amount)| format!("{} {kind}", kind.show(amount))).collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
}

/// Processors that are had alone, whole GPUs, ports and subnets have one holder, and it is the one in the books.
fn twice_given(ledger: &Ledger) -> Vec<String> {
    let (mut cpus, mut ports, mut subnets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut gpus: BTreeMap<&GpuUuid, (u32, bool)> = BTreeMap::new();
    let mut found = vec![];
    for (holder, holding) in holdings(ledger) {
        let grant = &holding.grant;
        for cpu in grant.cpus.iter().flat_map(crate::cpu::CpuSet::iter) {
            let other = cpus.insert(cpu, holder);
            found.extend(other.map(|other| format!("processor {cpu} is {other}'s alone and {holder}'s")));
        }
        for port in grant.all_ports() {
            let named = format!("port {}/{}", port.number, port.protocol);
            let other = ports.insert(port, holder);
            found.extend(other.map(|other| format!("{named} is {other}'s and {holder}'s")));
        }
        if let Some(index) = grant.subnet {
            let other = subnets.insert(index, holder);
            found.extend(other.map(|other| format!("subnet {index} is {other}'s and {holder}'s")));
        }
        for gpu in &grant.gpus {
            let (holders, whole) = gpus.entry(&gpu.uuid).or_default();
            (*holders, *whole) = (*holders + 1, *whole || gpu.whole);
        }
    }
    let whole = gpus.iter().filter(|(_, (holders, whole))| *whole && 1 < *holders);
    found.extend(
        whole.map(|(uuid, (holders, _))| format!("GPU {uuid} is somebody's whole and has {holders} holders")),
    );
    let managers = &ledger.managers;
    if !cpus.into_iter().eq(managers.cpu.alone()) {
        found.push("the processors that are had alone are not those of the holders".to_owned());
    }
    if !ports.into_iter().eq(managers.network.ports()) {
        found.push("the ports that are leased are not those of the holders".to_owned());
    }
    if !subnets.into_iter().eq(managers.network.subnets()) {
        found.push("the subnets that are leased are not those of the holders".to_owned());
    }
    for standing in managers.gpu.devices() {
        let uuid = &standing.device.uuid;
        let held = holdings(ledger).flat_map(|(holder, holding)| {
            let of = holding.grant.gpus.iter().filter(|gpu| gpu.uuid == *uuid);
            of.map(move |gpu| (holder, gpu))
        });
        if !held.eq(standing.holders.iter().map(|(holder, gpu)| (*holder, gpu))) {
            found.push(format!("the holders of GPU {uuid} are not those in the books"));
        }
    }
    let foreign =
        managers.network.foreign().iter().filter(|port| managers.network.holder_of(**port).is_some());
    found.extend(
        foreign.map(|port| format!("port {}/{} is leased and a stranger's", port.number, port.protocol)),
    );
    found
}

/// Who waits has one place, holds nothing, and knows who makes way for it.
fn queue(ledger: &Ledger) -> Vec<String> {
    let mut found = vec![];
    let places =
        ledger.waiting.iter().map(|(rank, waiting)| (waiting.pod, *rank)).collect::<BTreeMap<_, _>>();
    if places.len() != ledger.waiting.size() {
        found.push("a pod waits at two places of the queue".to_owned());
    }
    let (mut asking, mut asking_of) = (Asking::default(), BTreeMap::<&TenantId, Asking>::new());
    for waiting in ledger.waiting.values() {
        asking = asking.with(&waiting.demand);
        let of_tenant = asking_of.entry(&waiting.tenant).or_default();
        *of_tenant = of_tenant.with(&waiting.demand);
    }
    let is_counted = asking_of.iter().map(|(id, asking)| (*id, asking)).eq(ledger.asking_of.iter());
    if asking != ledger.asking || !is_counted {
        found.push("what those ask for who wait is not counted as it is".to_owned());
    }
    if !places.iter().eq(ledger.ranks.iter()) {
        found.push("the places in the queue are not those of the pods that wait".to_owned());
    }
    for (rank, waiting) in &ledger.waiting {
        let pod = waiting.pod;
        if ledger.grant(pod).is_some() {
            found.push(format!("pod/{pod} waits, and holds something"));
        }
        if rank.behind != -i64::from(waiting.priority) || ledger.queued < rank.order {
            found.push(format!("the place of pod/{pod} in the queue is not that of its priority"));
        }
        for victim in &waiting.victims {
            let holding = ledger.holdings.get(&HolderId::Pod(*victim));
            if holding.and_then(|holding| holding.leaves_for) != Some(pod) {
                found.push(format!("pod/{victim} is to make way for pod/{pod}, and does not"));
            }
        }
    }
    for (holder, holding) in holdings(ledger) {
        let waits = holding.leaves_for.and_then(|pod| ledger.waits(pod));
        let HolderId::Pod(pod) = holder else { continue };
        if waits.is_some_and(|(_, waiting)| !waiting.victims.contains(&pod)) {
            found.push(format!("{holder} makes way for a pod that does not know of it"));
        }
    }
    found
}

/// Each reservation holds what it keeps, under a token of its own.
fn reservations(ledger: &Ledger) -> Vec<String> {
    let mut found = vec![];
    let mut tokens = BTreeSet::new();
    for (id, reservation) in &ledger.reservations {
        if !ledger.holdings.contains_key(&HolderId::Reservation(*id)) {
            found.push(format!("reservation/{id} keeps nothing"));
        }
        if ledger.last_token < reservation.token || !tokens.insert(reservation.token) {
            found.push(format!("the token of reservation/{id} is another's too, or was never given"));
        }
    }
    let held = ledger.holdings.keys().filter_map(|holder| match holder {
        HolderId::Reservation(id) => Some(id),
        HolderId::Pod(_) => None,
    });
    let stray = held.filter(|id| !ledger.reservations.contains_key(id));
    found.extend(stray.map(|id| format!("something is kept for reservation/{id}, and there is none")));
    found
}

/// The alerts that are raised are those that should be.
fn alerts(ledger: &Ledger) -> Vec<String> {
    let near = ledger
        .tenants
        .keys()
        .flat_map(|id| near_bounds(ledger, id).into_iter().map(move |(kind, ..)| (id.clone(), kind)));
    let near: BTreeSet<_> = near.collect();
    let show =
        |(id, kind): &(TenantId, ResourceKind), what| format!("the alert of tenant {id} for {kind} {what}");
    let missing = near.difference(&ledger.alerts).map(|alert| show(alert, "is not raised"));
    let stale = ledger.alerts.difference(&near).map(|alert| show(alert, "is raised for nothing"));
    missing.chain(stale).collect()
}
