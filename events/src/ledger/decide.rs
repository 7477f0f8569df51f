//! What the ledger answers to a command, before what then follows by itself.

use super::claims::{Demand, Port, ReservationRef, WhenFull};
use super::command::{Admit, LedgerCommand, LedgerRejection, Reserve};
use super::event::{
    Allocated, CapacitySet, Drift, DriftFound, DriftResolved, LedgerEvent, ManagerStarted, ManagerStopped,
    PolicySet, Queued, Released, ReservationActivated, ReservationCancelled, ReservationExpired,
    ReservationVerb, Reserved, StaleReason, StaleTokenRefused, TenantRemoved, TenantSet, Withdrawn,
};
use super::grant::{Grant, HolderId, Shortage};
use super::policy::{LedgerPolicy, Limits};
use super::resource::{CustomName, ResourceKind};
use super::state::{Ledger, Rank, Reservation};
use super::tenant::{Tenant, TenantId};
use crate::context::Context;
use crate::units::{Bytes, MilliCpu, Timestamp};

/// Most pods that may wait.
const WAITING_MAX: usize = 10_000;
/// Most reservations at once.
const RESERVATIONS_MAX: usize = 1_000;
/// Longest time for which something is kept, in milliseconds: 30 days.
const TTL_MAX_MS: u64 = 30 * 24 * 3_600_000;
/// Longest grace of preemption, in seconds.
const GRACE_MAX_S: u32 = 3_600;
/// Longest reason that is kept, in bytes.
const REASON_LEN_MAX: usize = 256;

type Answer = Result<Vec<LedgerEvent>, LedgerRejection>;

/// The events that a command makes happen, or why it is refused.
pub(super) fn answer(ledger: &Ledger, command: &LedgerCommand, context: &Context) -> Answer {
    use LedgerCommand as C;
    match command {
        C::SetCapacity(capacity) if *ledger.capacity == **capacity => Ok(vec![]),
        C::SetCapacity(capacity) => Ok(vec![CapacitySet { capacity: (**capacity).clone() }.into()]),
        C::Configure(policy) => configure(ledger, policy),
        C::SetPolicy(policy) if *ledger.policy == **policy => Ok(vec![]),
        C::SetPolicy(policy) => {
            check_policy(policy)?;
            Ok(vec![PolicySet { policy: (**policy).clone(), from_config: false }.into()])
        }
        C::SetLimits { kind, limits } => set_limits(ledger, kind, *limits),
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
        C::Reserve(reserve) => answer_reserve(ledger, reserve, context),
        C::Cancel { reservation, owner } => Ok(cancel(ledger, *reservation, owner, context)),
        C::CheckTime => Ok(expired(ledger, context.now)),
        C::StopManager { kind, reason } => stop_manager(ledger, kind, reason),
        C::StartManager { kind } => {
            let is_stopped = manager(ledger, kind)?.stopped().is_some();
            Ok(if is_stopped { vec![ManagerStarted { kind: kind.clone() }.into()] } else { vec![] })
        }
        C::ReportDrift(found) => Ok(report_drift(ledger, found)),
        C::RecordUse(used) => Ok(vec![used.as_ref().clone().into()]),
    }
}

/// The config's policy holds from when it is first seen; what an operator sets later stays until the config changes.
fn configure(ledger: &Ledger, policy: &LedgerPolicy) -> Answer {
    check_policy(policy)?;
    let is_known = ledger.config_policy.as_ref().is_some_and(|known| **known == *policy);
    let set = PolicySet { policy: policy.clone(), from_config: true };
    Ok(if is_known { vec![] } else { vec![set.into()] })
}

fn check_policy(policy: &LedgerPolicy) -> Result<(), LedgerRejection> {
    for (kind, limits) in &policy.limits {
        limits.check(kind)?;
    }
    match policy.preemption_grace_s {
        grace_s if GRACE_MAX_S < grace_s => Err(LedgerRejection::BadGrace { grace_s }),
        _ => Ok(()),
    }
}

fn set_limits(ledger: &Ledger, kind: &ResourceKind, limits: Limits) -> Answer {
    ledger.managers.check_limits(kind, limits)?;
    manager(ledger, kind)?;
    if ledger.policy.limits.get(kind).copied().unwrap_or_default() == limits {
        return Ok(vec![]);
    }
    let mut policy = LedgerPolicy::clone(&ledger.policy);
    policy.limits.insert(kind.clone(), limits);
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
        let (pod, priority, at) = (admit.pod, admit.priority, context.now);
        return Ok(vec![Allocated { pod, tenant, priority, demand, grant, at }.into()]);
    }
    if let Some((reservation, owner)) = &admit.reservation {
        return activate(ledger, admit, &tenant, &demand, (*reservation, owner), context);
    }
    let rank = Rank { behind: -i64::from(admit.priority), order: ledger.queued + 1 };
    let shortages = match ledger.available(&tenant, &demand, &ledger.kept_before(rank)) {
        Ok(grant) => {
            let (pod, priority, at) = (admit.pod, admit.priority, context.now);
            return Ok(vec![Allocated { pod, tenant, priority, demand, grant, at }.into()]);
        }
        Err(shortages) => shortages,
    };
    let may_wait = match admit.when_full {
        WhenFull::AsPolicy => !ledger.policy.refuse_when_full,
        WhenFull::Wait => true,
        WhenFull::Refuse => false,
    };
    if !may_wait || !shortages.iter().all(Shortage::may_pass) {
        return Err(LedgerRejection::Insufficient { shortages });
    }
    let waiting = ledger.waiting.size();
    if WAITING_MAX <= waiting {
        return Err(LedgerRejection::QueueFull { waiting });
    }
    let (pod, priority, at) = (admit.pod, admit.priority, context.now);
    Ok(vec![Queued { pod, tenant, priority, demand, shortages, at }.into()])
}

/// What a pod is put down with that runs already: what it asks for, apart from what is one thing and somebody else's.
fn adopted(ledger: &Ledger, demand: &Demand) -> Grant {
    let is_free = |port: &&Port| ledger.managers.network.holder_of(**port).is_none();
    let is_counted = |name: &&CustomName| ledger.managers.custom.contains_key(*name);
    let custom = demand.custom.iter().filter(|(name, _)| is_counted(name));
    Grant {
        cpu: demand.cpu,
        memory: demand.memory,
        disk: demand.disk,
        fixed_ports: demand.fixed_ports.iter().filter(is_free).copied().collect(),
        custom: custom.map(|(name, amount)| (name.clone(), *amount)).collect(),
        ..Grant::default()
    }
}

fn tenant_of(ledger: &Ledger, namespace: &str) -> Result<TenantId, LedgerRejection> {
    let bad = || LedgerRejection::BadNamespace { namespace: namespace.to_owned() };
    ledger.tenant_of(namespace).ok_or_else(bad)
}

/// A demand with what the tenant gives a pod that does not say.
fn with_defaults(ledger: &Ledger, tenant: &TenantId, demand: &Demand) -> Demand {
    let mut demand = demand.clone();
    let Some(tenant) = ledger.tenants.get(tenant) else { return demand };
    let default = |kind, asked: u64| if asked == 0 { tenant.pod_default.get(&kind) } else { asked };
    demand.cpu = MilliCpu(default(ResourceKind::Cpu, demand.cpu.0));
    demand.memory = Bytes(default(ResourceKind::Memory, demand.memory.0));
    demand.disk = Bytes(default(ResourceKind::Disk, demand.disk.0));
    demand
}

/// Whether whoever speaks for a reservation has it now.
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

/// What is recorded of somebody who speaks for a reservation that is not his any more. Whoever asked is refused.
fn stale(reservation: ReservationRef, verb: ReservationVerb, reason: StaleReason) -> Vec<LedgerEvent> {
    let refused = StaleTokenRefused { reservation: reservation.id, token: reservation.token, verb, reason };
    let expired = ReservationExpired { reservation: reservation.id };
    let expiry = (reason == StaleReason::Expired).then(|| expired.into());
    expiry.into_iter().chain([refused.into()]).collect()
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
        Err(reason) => return Ok(stale(reservation, ReservationVerb::Activate, reason)),
    };
    let shortages = kept.lacks(demand);
    if !shortages.is_empty() {
        return Err(LedgerRejection::Insufficient { shortages });
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
    let grant = found.map_err(|shortages| LedgerRejection::Insufficient { shortages })?;
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

fn cancel(ledger: &Ledger, reservation: ReservationRef, owner: &str, context: &Context) -> Vec<LedgerEvent> {
    match held(ledger, reservation, owner, context.now) {
        Ok(_) => vec![ReservationCancelled { reservation: reservation.id }.into()],
        Err(reason) => stale(reservation, ReservationVerb::Cancel, reason),
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

/// What differs now and did not, and what did and does not any more.
fn report_drift(ledger: &Ledger, found: &[DriftFound]) -> Vec<LedgerEvent> {
    let is_found = |drift: &Drift| found.iter().any(|found| found.drift == *drift);
    let resolved = ledger.drifts.iter().filter(|drift| !is_found(drift));
    let resolved = resolved.map(|drift| DriftResolved { drift: drift.clone() }.into());
    let mut seen = std::collections::BTreeSet::new();
    let fresh =
        found.iter().filter(|found| !ledger.drifts.contains(&found.drift) && seen.insert(&found.drift));
    let fresh: Vec<LedgerEvent> = fresh.map(|found| found.clone().into()).collect();
    resolved.chain(fresh).collect()
}

/// Whether a holder is a pod, and which.
pub(super) fn pod_of(holder: HolderId) -> Option<crate::ids::PodUid> {
    match holder {
        HolderId::Pod(pod) => Some(pod),
        HolderId::Reservation(_) => None,
    }
}
