//! What the ledger answers to a command, before what then follows by itself.

use std::collections::BTreeSet;

use super::capacity::Capacity;
use super::claims::{Demand, Port, ReservationRef, WhenFull};
use super::command::{Admit, DriftReport, LedgerCommand, LedgerRejection, Reserve};
use super::event::{
    Allocated, CapacitySet, Drift, DriftResolved, ForeignPortsSeen, LedgerEvent, ManagerStarted,
    ManagerStopped, PolicySet, Queued, Released, ReservationActivated, ReservationCancelled,
    ReservationExpired, ReservationVerb, Reserved, StaleReason, StaleTokenRefused, TenantRemoved, TenantSet,
    Withdrawn,
};
use super::grant::{Bound, Grant, HolderId, Shortage};
use super::kept::Kept;
use super::manager::{Managers, Terms};
use super::policy::{LedgerPolicy, Limits, LimitsError, Preset, is_priority_bound};
use super::resize;
use super::resource::ResourceKind;
use super::state::{Ledger, Rank, Reservation};
use super::tenant::{Tenant, TenantId};
use crate::context::Context;
use crate::units::{Bytes, MilliCpu, Timestamp};

/// Most pods that may wait.
const WAITING_MAX: usize = 10_000;
/// Most pods of one tenant that may wait: it does not take all places.
const WAITING_OF_TENANT_MAX: usize = 1_000;
/// Most reservations at once.
const RESERVATIONS_MAX: usize = 1_000;
/// Longest time for which something is kept, in milliseconds: 30 days.
const TTL_MAX_MS: u64 = 30 * 24 * 3_600_000;
/// Longest grace of preemption, in seconds.
const GRACE_MAX_S: u32 = 3_600;
/// Most ports of strangers that are kept in mind.
const FOREIGN_PORTS_MAX: usize = 4_096;
/// Longest reason that is kept, in bytes.
const REASON_LEN_MAX: usize = 256;

type Answer = Result<Vec<LedgerEvent>, LedgerRejection>;

/// The events that a command makes happen, or why it is refused.
pub(super) fn answer(ledger: &Ledger, command: &LedgerCommand, context: &Context) -> Answer {
    use LedgerCommand as C;
    match command {
        C::SetCapacity(capacity) => Ok(set_capacity(ledger, capacity)),
        C::Configure(policy) => configure(ledger, policy),
        C::SetPolicy(policy) if *ledger.policy == **policy => Ok(vec![]),
        C::SetPolicy(policy) => {
            check_policy(ledger, policy)?;
            Ok(vec![PolicySet { policy: (**policy).clone(), from_config: false }.into()])
        }
        C::SetLimits { kind, limits } => set_limits(ledger, kind, *limits),
        C::SetPreset(preset) => set_preset(ledger, *preset),
        C::SetTenant { id, tenant } => set_tenant(ledger, id, tenant),
        C::RemoveTenant { id } if ledger.tenants.contains_key(id) => {
            Ok(vec![TenantRemoved { id: id.clone() }.into()])
        }
        C::RemoveTenant { id } => Err(LedgerRejection::NoSuchTenant { id: id.clone() }),
        C::Admit(admit) => answer_admit(ledger, admit, context),
        C::Release { pod, reason } if ledger.grant(*pod).is_some() => {
            Ok(vec![Released { pod: *pod, reason: *reason }.into()])
        }
        C::Release { pod, .. } if ledger.waits(*pod).is_some() => Ok(vec![Withdrawn { pod: *pod }.into()]),
        C::Release { .. } => Ok(vec![]),
        C::Resize(asked) => resize::grant(ledger, asked, context),
        C::SettleResize { pod, generation, done } => {
            resize::settle(ledger, *pod, *generation, *done, context)
        }
        C::Reserve(reserve) => answer_reserve(ledger, reserve, context),
        C::Cancel { reservation, owner } => cancel(ledger, *reservation, owner, context),
        C::Revoke { reservation } => {
            let cancelled = ReservationCancelled { reservation: *reservation }.into();
            Ok(if ledger.reservations.contains_key(reservation) { vec![cancelled] } else { vec![] })
        }
        C::CheckTime => Ok(expired(ledger, context.now)),
        C::StopManager { kind, reason } => stop_manager(ledger, kind, reason),
        C::StartManager { kind } => {
            let is_stopped = manager(ledger, kind)?.stopped().is_some();
            Ok(if is_stopped { vec![ManagerStarted { kind: kind.clone() }.into()] } else { vec![] })
        }
        C::ReportDrift(report) => Ok(report_drift(ledger, report)),
        C::SeePorts { listened } => Ok(see_ports(ledger, listened)),
        C::RecordUse(used) => Ok(vec![used.as_ref().clone().into()]),
    }
}

/// What the machine has now. A subnet is leased by its position: while one is, they stay where they are, or it would be
/// another's address.
fn set_capacity(ledger: &Ledger, capacity: &Capacity) -> Vec<LedgerEvent> {
    let mut capacity = capacity.clone();
    let is_leased = ledger.managers.network.subnets().next().is_some();
    if is_leased && capacity.subnets.first != ledger.capacity.subnets.first {
        capacity.subnets = ledger.capacity.subnets;
    }
    if *ledger.capacity == capacity { vec![] } else { vec![CapacitySet { capacity }.into()] }
}

/// The config's policy holds from when it is first seen; what an operator sets later stays until the config changes.
fn configure(ledger: &Ledger, policy: &LedgerPolicy) -> Answer {
    // What was fine when it came into force stays so on a machine that has less since.
    if ledger.config_policy.as_ref().is_some_and(|known| **known == *policy) {
        return Ok(vec![]);
    }
    check_policy(ledger, policy)?;
    let mut sets = vec![PolicySet { policy: policy.clone(), from_config: true }];
    if ledger.config_policy.as_ref().is_some_and(|known| only_bounds_priorities(known, policy)) {
        // No operator has changed the config: another release says more of it.
        let default_priority_max = ledger.policy.default_priority_max.or(policy.default_priority_max);
        let in_force = LedgerPolicy { default_priority_max, ..LedgerPolicy::clone(&ledger.policy) };
        if in_force != *policy {
            sets.push(PolicySet { policy: in_force, from_config: false });
        }
    }
    Ok(sets.into_iter().map(Into::into).collect())
}

/// Whether a policy is one of before there was a default bound of priorities, with such a bound.
fn only_bounds_priorities(before: &LedgerPolicy, policy: &LedgerPolicy) -> bool {
    let default_priority_max = policy.default_priority_max;
    before.default_priority_max.is_none()
        && LedgerPolicy { default_priority_max, ..before.clone() } == *policy
}

fn check_policy(ledger: &Ledger, policy: &LedgerPolicy) -> Result<(), LedgerRejection> {
    for (kind, limits) in &policy.limits {
        ledger.managers.check_limits(kind, *limits)?;
    }
    check_gives(ledger, policy, |_| true)?;
    policy.default_requests.check("defaultRequests")?;
    if let Some(most) = policy.default_priority_max.filter(|most| !is_priority_bound(*most)) {
        return Err(LedgerRejection::BadPriority { most });
    }
    match policy.preemption_grace_s {
        grace_s if GRACE_MAX_S < grace_s => Err(LedgerRejection::BadGrace { grace_s }),
        _ => Ok(()),
    }
}

/// Whether something can be given out under the limits of each of these resources, of those that the machine has. Who
/// wants nothing given out stops the manager, and says why.
fn check_gives(
    ledger: &Ledger,
    policy: &LedgerPolicy,
    counts: impl Fn(&ResourceKind) -> bool,
) -> Result<(), LimitsError> {
    // Looked at on a machine of which nothing is given out yet.
    let mut bare = Managers::default();
    bare.set_capacity(&ledger.capacity, policy);
    let usage = bare.usage(policy.strict);
    let is_nothing = |kind: &ResourceKind| {
        usage.get(kind).is_some_and(|usage| usage.capacity != 0 && usage.allocatable == 0)
    };
    let wrong = policy.limits.iter().find(|(kind, _)| counts(kind) && is_nothing(kind));
    wrong.map_or(Ok(()), |(kind, limits)| {
        // Without a hard limit there is always something: at most nine tenths are kept.
        let hard = limits.hard.unwrap_or(0);
        Err(LimitsError::NothingLeft { kind: kind.clone(), hard, percent: limits.reserve_percent })
    })
}

fn set_limits(ledger: &Ledger, kind: &ResourceKind, limits: Limits) -> Answer {
    // Of what nobody counts it is said that it is not there, before anything of its limits.
    if matches!(kind, ResourceKind::Custom(_)) {
        manager(ledger, kind)?;
    }
    ledger.managers.check_limits(kind, limits)?;
    manager(ledger, kind)?;
    if ledger.policy.limits.get(kind).copied().unwrap_or_default() == limits {
        return Ok(vec![]);
    }
    let mut policy = LedgerPolicy::clone(&ledger.policy);
    policy.limits.insert(kind.clone(), limits);
    check_gives(ledger, &policy, |it| it == kind)?;
    Ok(vec![PolicySet { policy, from_config: false }.into()])
}

fn set_preset(ledger: &Ledger, preset: Preset) -> Answer {
    let mut policy = LedgerPolicy::clone(&ledger.policy);
    for (kind, limits) in preset.limits() {
        let hard = policy.limits.get(&kind).and_then(|held| held.hard);
        policy.limits.insert(kind, Limits { hard, ..limits });
    }
    if policy == *ledger.policy {
        return Ok(vec![]);
    }
    check_policy(ledger, &policy)?;
    Ok(vec![PolicySet { policy, from_config: false }.into()])
}

fn manager<'a>(
    ledger: &'a Ledger,
    kind: &ResourceKind,
) -> Result<&'a dyn super::ResourceManager, LedgerRejection> {
    let found = ledger.managers.of(kind);
    found.ok_or_else(|| LedgerRejection::NoSuchResource { kind: kind.clone() })
}

fn set_tenant(ledger: &Ledger, id: &TenantId, tenant: &Tenant) -> Answer {
    tenant.check()?;
    let own = [id.as_str().to_owned()];
    let namespaces: Vec<&String> =
        if tenant.namespaces.is_empty() { own.iter().collect() } else { tenant.namespaces.iter().collect() };
    for namespace in namespaces {
        let taken = ledger.tenants.iter().find(|(other, held)| *other != id && held.has(other, namespace));
        if let Some((owner, _)) = taken {
            let (namespace, owner) = (namespace.clone(), owner.clone());
            return Err(LedgerRejection::NamespaceTaken { namespace, owner });
        }
    }
    if ledger.tenants.get(id).is_some_and(|held| **held == *tenant) {
        return Ok(vec![]);
    }
    Ok(vec![TenantSet { id: id.clone(), tenant: tenant.clone() }.into()])
}

fn answer_admit(ledger: &Ledger, admit: &Admit, context: &Context) -> Answer {
    if ledger.grant(admit.pod).is_some() || ledger.waits(admit.pod).is_some() {
        return Ok(vec![]);
    }
    let tenant = tenant_of(ledger, &admit.namespace)?;
    let demand = with_defaults(ledger, &tenant, &admit.demand);
    if admit.adopt {
        let grant = adopted(ledger, &demand);
        let (pod, priority, at, stays) = (admit.pod, admit.priority, context.now, admit.stays);
        return Ok(vec![Allocated { pod, tenant, priority, demand, grant, at, stays }.into()]);
    }
    let most = ledger.priority_max(&tenant).0.filter(|most| *most < admit.priority);
    if let Some(most) = most.filter(|_| !admit.waited) {
        return Err(LedgerRejection::PriorityTooHigh { tenant, priority: admit.priority, most });
    }
    if let Some((reservation, owner)) = &admit.reservation {
        return activate(ledger, admit, &tenant, &demand, (*reservation, owner), context);
    }
    let rank = Rank { behind: -i64::from(admit.priority), order: ledger.queued + 1 };
    let may_wait = match admit.when_full {
        WhenFull::AsPolicy => !ledger.policy.refuse_when_full,
        WhenFull::Wait => true,
        WhenFull::Refuse => false,
    };
    let shortages = match ledger.available_at(rank, &tenant, &demand) {
        Ok(grant) => {
            let (pod, priority, at, stays) = (admit.pod, admit.priority, context.now, admit.stays);
            return Ok(vec![Allocated { pod, tenant, priority, demand, grant, at, stays }.into()]);
        }
        Err(shortages) => shortages,
    };
    if !may_wait || !shortages.iter().all(Shortage::may_pass) {
        // Who is refused is told everything.
        let all = ledger.available(&tenant, &demand, &ledger.kept_before(rank)).err();
        return Err(ledger.refused(rank, &tenant, &demand, all.unwrap_or(shortages)));
    }
    let waiting = ledger.waiting.size();
    if WAITING_MAX <= waiting {
        return Err(LedgerRejection::QueueFull { waiting });
    }
    let own = ledger.waiting_of(&tenant);
    if WAITING_OF_TENANT_MAX <= own {
        return Err(LedgerRejection::QueueFull { waiting: own });
    }
    let (pod, priority, at, stays) = (admit.pod, admit.priority, context.now, admit.stays);
    Ok(vec![Queued { pod, tenant, priority, demand, shortages, at, stays }.into()])
}

/// What a pod is put down with that runs already: of what is counted, what it asks for; of what is one thing, what
/// nobody else has.
fn adopted(ledger: &Ledger, demand: &Demand) -> Grant {
    let is_free = |port: &&Port| ledger.managers.network.holder_of(**port).is_none();
    let fixed_ports = demand.fixed_ports.iter().filter(is_free).copied().collect();
    let demand = &Demand { fixed_ports, ..demand.clone() };
    let kept = Kept::default();
    let mut managers = ledger.managers.clone();
    // What it listens on already looked like a stranger's.
    managers.network.forget_foreign(&demand.fixed_ports);
    let free = managers.as_far_as_there_is(demand, &Terms { policy: &ledger.policy, kept: &kept });
    let given = ledger.managers.usage(ledger.policy.strict);
    // Of what nobody counts there is nothing to put down, and no sum is ever more than can be counted.
    let counted = |kind: &ResourceKind, asked: u64| {
        given.get(kind).map_or(0, |usage| asked.min(u64::MAX - usage.allocated))
    };
    let custom = demand.custom.iter().filter_map(|(name, amount)| {
        let amount = counted(&ResourceKind::Custom(name.clone()), *amount);
        ledger.managers.custom.contains_key(name).then(|| (name.clone(), amount))
    });
    Grant {
        // Whole processors, if it has them alone.
        cpu: MilliCpu(counted(&ResourceKind::Cpu, demand.cpu.max(free.cpu).0)),
        memory: Bytes(counted(&ResourceKind::Memory, demand.memory.0)),
        disk: Bytes(counted(&ResourceKind::Disk, demand.disk.0)),
        fixed_ports: demand.fixed_ports.clone(),
        custom: custom.collect(),
        cpus: free.cpus,
        gpus: free.gpus,
        ports: free.ports,
        subnet: free.subnet,
    }
}

fn tenant_of(ledger: &Ledger, namespace: &str) -> Result<TenantId, LedgerRejection> {
    let bad = || LedgerRejection::BadNamespace { namespace: namespace.to_owned() };
    ledger.tenant_of(namespace).ok_or_else(bad)
}

/// A demand with what the tenant gives a pod that does not say.
pub(super) fn with_defaults(ledger: &Ledger, tenant: &TenantId, demand: &Demand) -> Demand {
    let mut demand = demand.clone();
    let Some(tenant) = ledger.tenants.get(tenant) else { return demand };
    let default = |kind, asked: u64| if asked == 0 { tenant.pod_default.get(&kind) } else { asked };
    demand.cpu = MilliCpu(default(ResourceKind::Cpu, demand.cpu.0));
    demand.memory = Bytes(default(ResourceKind::Memory, demand.memory.0));
    demand.disk = Bytes(default(ResourceKind::Disk, demand.disk.0));
    demand
}

/// Whether whoever speaks for a reservation has it now. Gone is one of which nothing is known.
fn held<'a>(
    ledger: &'a Ledger,
    reservation: ReservationRef,
    owner: &str,
    now: Timestamp,
) -> Result<&'a Reservation, StaleReason> {
    let found = ledger.reservations.get(&reservation.id).ok_or(StaleReason::Gone)?;
    if found.token != reservation.token {
        Err(StaleReason::Token)
    } else if found.owner != owner {
        Err(StaleReason::Owner)
    } else if found.expires_at <= now {
        Err(StaleReason::Expired)
    } else {
        Ok(found)
    }
}

/// What is recorded of somebody who speaks for a reservation that is not his any more; whoever asked is refused.
///
/// # Errors
/// The reservation is none that this node knows of, or knew of lately: nothing is recorded then, or whoever makes ids up
/// could fill the journal.
fn stale(ledger: &Ledger, reservation: ReservationRef, verb: ReservationVerb, reason: StaleReason) -> Answer {
    let ReservationRef { id, token } = reservation;
    if reason == StaleReason::Gone && !ledger.ended.values().any(|ended| *ended == id) {
        return Err(LedgerRejection::StaleToken { reservation: id, token, reason });
    }
    let refused = StaleTokenRefused { reservation: id, token, verb, reason };
    let expiry = (reason == StaleReason::Expired).then(|| ReservationExpired { reservation: id }.into());
    Ok(expiry.into_iter().chain([refused.into()]).collect())
}

/// Gives a pod what is kept for it: all of it, even if it asks for less.
fn activate(
    ledger: &Ledger,
    admit: &Admit,
    tenant: &TenantId,
    demand: &Demand,
    (reservation, owner): (ReservationRef, &str),
    context: &Context,
) -> Answer {
    let kept = held(ledger, reservation, owner, context.now).and_then(|_| {
        let holding = ledger.holdings.get(&HolderId::Reservation(reservation.id)).ok_or(StaleReason::Gone)?;
        // It is on one tenant's account, and the pod would be on another's.
        if holding.tenant == *tenant { Ok(&holding.grant) } else { Err(StaleReason::Owner) }
    });
    let kept = match kept {
        Ok(kept) => kept,
        Err(reason) => return stale(ledger, reservation, ReservationVerb::Activate, reason),
    };
    // A GPU that takes no pods now takes none that was promised it either: the promise stands, for when it does again.
    let idle = kept.gpus.iter().filter(|gpu| !ledger.managers.gpu.is_given_out(&gpu.uuid));
    let idle = idle.map(|gpu| Shortage {
        kind: ResourceKind::Gpus,
        asked: 1,
        free: 0,
        bound: Bound::UnknownGpu { uuid: gpu.uuid.clone() },
        holder: None,
    });
    let lacks = kept.lacks(demand, |uuid| ledger.managers.gpu.device(uuid));
    let shortages: Vec<Shortage> = idle.chain(lacks).collect();
    if !shortages.is_empty() {
        return Err(LedgerRejection::Insufficient { shortages, in_front: None });
    }
    let (pod, priority, at) = (admit.pod, admit.priority, context.now);
    Ok(vec![ReservationActivated { reservation: reservation.id, pod, priority, at }.into()])
}

fn answer_reserve(ledger: &Ledger, reserve: &Reserve, context: &Context) -> Answer {
    let Reserve { reservation, owner, namespace, demand, ttl_ms } = reserve;
    let tenant = tenant_of(ledger, namespace)?;
    // As for the pod that is to have it: it will ask for no less.
    let demand = with_defaults(ledger, &tenant, demand);
    if let Some(held) = ledger.reservations.get(reservation) {
        let is_same = held.owner == *owner && held.demand == demand;
        let other = LedgerRejection::ReservationExists { reservation: *reservation };
        return if is_same { Ok(vec![]) } else { Err(other) };
    }
    if let Some(reason) = &context.cordoned {
        return Err(LedgerRejection::Cordoned { reason: reason.clone() });
    }
    if !(1..=TTL_MAX_MS).contains(ttl_ms) {
        return Err(LedgerRejection::BadTtl { ttl_ms: *ttl_ms });
    }
    let there = ledger.reservations.size();
    if RESERVATIONS_MAX <= there {
        return Err(LedgerRejection::TooManyReservations { there });
    }
    let behind_all = Rank { behind: i64::MAX, order: u64::MAX };
    let found = ledger.available(&tenant, &demand, &ledger.kept_before(behind_all));
    let grant = found.map_err(|shortages| ledger.refused(behind_all, &tenant, &demand, shortages))?;
    let reserved = Reserved {
        reservation: *reservation,
        owner: owner.clone(),
        tenant,
        demand,
        grant,
        token: ledger.last_token + 1,
        expires_at: context.now.plus_ms(*ttl_ms),
        at: context.now,
    };
    Ok(vec![reserved.into()])
}

fn cancel(ledger: &Ledger, reservation: ReservationRef, owner: &str, context: &Context) -> Answer {
    match held(ledger, reservation, owner, context.now) {
        Ok(_) => Ok(vec![ReservationCancelled { reservation: reservation.id }.into()]),
        Err(reason) => stale(ledger, reservation, ReservationVerb::Cancel, reason),
    }
}

/// The end of every reservation whose time is up.
fn expired(ledger: &Ledger, now: Timestamp) -> Vec<LedgerEvent> {
    let over = ledger.reservations.iter().filter(|(_, reservation)| reservation.expires_at <= now);
    over.map(|(id, _)| ReservationExpired { reservation: *id }.into()).collect()
}

fn stop_manager(ledger: &Ledger, kind: &ResourceKind, reason: &str) -> Answer {
    if REASON_LEN_MAX < reason.len() || reason.is_empty() || reason.chars().any(char::is_control) {
        return Err(LedgerRejection::BadReason);
    }
    let is_so = manager(ledger, kind)?.stopped() == Some(reason);
    let stopped = ManagerStopped { kind: kind.clone(), reason: reason.to_owned() };
    Ok(if is_so { vec![] } else { vec![stopped.into()] })
}

/// What differs now and did not, and what did and does not any more, as far as it was looked at.
fn report_drift(ledger: &Ledger, report: &DriftReport) -> Vec<LedgerEvent> {
    let DriftReport { found, unseen } = report;
    let may_be_there =
        |drift: &Drift| unseen.contains(drift.word()) || found.iter().any(|found| found.drift == *drift);
    let resolved = ledger.drifts.iter().filter(|drift| !may_be_there(drift));
    let resolved = resolved.map(|drift| DriftResolved { drift: drift.clone() }.into());
    let mut seen = BTreeSet::new();
    let fresh =
        found.iter().filter(|found| !ledger.drifts.contains(&found.drift) && seen.insert(&found.drift));
    let fresh: Vec<LedgerEvent> = fresh.map(|found| found.clone().into()).collect();
    resolved.chain(fresh).collect()
}

/// The ports that strangers have now, if that is otherwise than known. Who listens on a leased port is the leak detector's
/// to say.
fn see_ports(ledger: &Ledger, listened: &BTreeSet<Port>) -> Vec<LedgerEvent> {
    let network = &ledger.managers.network;
    let is_foreign = |port: &&Port| network.holder_of(**port).is_none();
    let ports: BTreeSet<Port> = listened.iter().filter(is_foreign).take(FOREIGN_PORTS_MAX).copied().collect();
    if ports == *network.foreign() { vec![] } else { vec![ForeignPortsSeen { ports }.into()] }
}

/// Whether a holder is a pod, and which.
pub(super) fn pod_of(holder: HolderId) -> Option<crate::ids::PodUid> {
    match holder {
        HolderId::Pod(pod) => Some(pod),
        HolderId::Reservation(_) => None,
    }
}
