//! A ledger beside its reference, and what either says to each operation.

mod resizes;

use std::collections::BTreeSet;

use purser_events::decider::Decider;
use purser_events::ledger::event::{
    Allocated, Drift, DriftFound, LedgerEvent as E, ReleaseReason, StaleReason,
};
use purser_events::ledger::{
    Admit, Demand, DriftReport, GpuGrant, HolderId, InFront, Ledger, LedgerCommand as C, LedgerPolicy,
    LedgerRejection as R, Port, ReservationRef, Reserve, ResourceKind, Shortage, WhenFull,
};
use purser_events::{Bytes, Context, MilliCpu, PodUid, Timestamp};
use uuid::Uuid;

use super::laws;
use super::operations::{NAMESPACES, Operation, TENANTS, Wish, kinds};
use super::reference::{self, Reference};
use super::shortages::Front;
use super::support::{NOON, at, machine, tenant, uid};

/// A ledger that lives beside its reference.
pub(crate) struct Life {
    ledger: Ledger,
    model: Reference,
    context: Context,
    pods: u64,
    reservations: u64,
    pub(crate) events: Vec<E>,
}

impl Life {
    pub(crate) fn begin() -> Life {
        let (ledger, model) = (Ledger::default(), Reference::default());
        let mut life = Life { ledger, model, context: at(NOON), pods: 0, reservations: 0, events: vec![] };
        life.ask(&C::SetCapacity(Box::new(machine()))).expect("a machine");
        life
    }

    /// Carries a command out and says what came of it.
    fn ask(&mut self, command: &C) -> Result<Vec<E>, R> {
        let events = self.ledger.decide(command, &self.context)?;
        let is_adopted = |index: usize| matches!(command, C::Admit(admit) if admit.adopt && index == 0);
        for (index, event) in events.iter().enumerate() {
            match event {
                E::Allocated(it) if is_adopted(index) => laws::adopted(&self.model, &it.demand, &it.grant),
                event => laws::before(&self.model, event),
            }
            self.ledger = self.ledger.evolve(event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
            self.model.apply(event);
            let given = match event {
                E::Allocated(it) => Some(it.grant.clone()),
                E::Reserved(it) => Some(it.grant.clone()),
                E::ResizeGranted(it) => Some(resizes::given(it.to, it.from)),
                _ => None,
            };
            // Who runs already may have more than there is.
            if let Some(grant) = given.filter(|_| !is_adopted(index)) {
                laws::within_bounds(&self.model, &grant);
            }
            laws::agree(&self.model, &self.ledger);
        }
        // A node that takes no pods begins none that wait, and makes nobody leave for them.
        if !events.is_empty() && self.context.cordoned.is_none() {
            laws::settled(&self.model, &self.ledger);
        }
        self.events.extend(events.iter().cloned());
        Ok(events)
    }

    /// Tells of groups of nobody, by number.
    fn see(&mut self, found: &[u8]) {
        let drift = |number: &u8| Drift::StrayCgroup(format!("pod-{number}"));
        let found: Vec<_> =
            found.iter().map(|it| DriftFound { drift: drift(it), detail: "seen".to_owned() }).collect();
        let report = DriftReport { found: found.clone(), ..DriftReport::default() };
        self.ask(&C::ReportDrift(report)).expect("what is seen is seen");
        assert!(found.iter().all(|it| self.model.drifts.contains(&it.drift)));
        assert!(self.model.drifts.iter().all(|it| found.iter().any(|found| found.drift == *it)));
    }

    pub(crate) fn carry_out(&mut self, operation: &Operation) {
        use Operation as O;
        match operation {
            O::Capacity(capacity) => {
                self.ask(&C::SetCapacity(capacity.clone())).expect("the machine is as it is");
            }
            O::Policy(policy, from_config) => self.set_policy(policy.clone(), *from_config),
            O::Limits(index, limits) => self.set_limits(kinds()[*index].clone(), *limits),
            O::Tenant(index, it) => {
                // What is refused, and why, the scenarios say; that it leaves nothing behind the laws do.
                drop(self.ask(&C::SetTenant { id: tenant(TENANTS[*index]), tenant: it.clone() }));
            }
            O::RemoveTenant(index) => {
                let id = tenant(TENANTS[*index]);
                let there = self.model.tenant(&id).is_some();
                assert_eq!(self.ask(&C::RemoveTenant { id }).is_ok(), there);
            }
            O::Admit(wish) => self.admit(wish),
            O::Adopt(wish) => self.adopt(wish),
            O::Ports(listened) => self.see_ports(listened),
            O::Release(index) => {
                let live = self.model.held.iter().filter_map(|(id, _)| reference::pod(*id));
                let live: Vec<_> = live.chain(self.model.came.iter().map(|waiter| waiter.pod)).collect();
                let pod = live.get(index / 4 % live.len().max(1)).copied();
                let pod = pod.filter(|_| index % 4 != 0).unwrap_or_else(|| self.seen(*index));
                self.release(pod);
            }
            O::ReleaseStranger(number) => self.release(PodUid(Uuid::from_u128(u128::from(*number) << 64))),
            O::Reserve { new, which, wish, ttl_ms } => self.reserve(*new, *which, wish, *ttl_ms),
            O::Cancel(index, off, own) => self.cancel(*index, *off, *own),
            O::CheckTime => self.check_time(),
            O::Clock(us) => {
                let years = 0..=4_000_000_000_000_000;
                let now = self.context.now.0.saturating_add(*us);
                self.context.now = Timestamp(now.clamp(*years.start(), *years.end()));
            }
            O::Stop(index) => {
                let kind = kinds()[*index].clone();
                let there = self.model.has_manager(&kind);
                let answer = self.ask(&C::StopManager { kind, reason: "maintenance".to_owned() });
                assert_eq!(answer.is_ok(), there);
            }
            O::Start(index) => {
                let stopped = self.model.stopped.get(index / 8 % self.model.stopped.len().max(1));
                let any = kinds()[index % kinds().len()].clone();
                let kind = stopped.filter(|_| index % 8 != 0).map_or(any, |(kind, _)| kind.clone());
                let there = self.model.has_manager(&kind);
                assert_eq!(self.ask(&C::StartManager { kind }).is_ok(), there);
            }
            O::Drift(found) => self.see(found),
            O::Resize(asked) => self.resize(asked),
            O::SettleResize(which, off, done) => self.settle_resize(*which, *off, *done),
            O::Use(used) => self.record_use(*used),
            O::Cordon(true) => self.context.cordoned = Some("repair".to_owned()),
            O::Cordon(false) => {
                self.context.cordoned = None;
                // As the node does it: who has waited for this is served now.
                self.ask(&C::CheckTime).expect("a look is never refused");
            }
        }
    }

    fn set_policy(&mut self, policy: Box<LedgerPolicy>, from_config: bool) {
        // What is so already was fine when it came into force.
        let held = if from_config { self.model.config.as_ref() } else { Some(&self.model.policy) };
        let is_new = held.is_none_or(|held| *held != *policy);
        // Nobody counts it: there is nothing that its limits could be beyond.
        let is_nobodys = |kind| matches!(kind, ResourceKind::Custom(_)) && !self.model.has_manager(&kind);
        let bad = policy.limits.iter().any(|(kind, limits)| match is_nobodys(kind.clone()) {
            true => limits.check(kind).is_err(),
            false => !self.model.are_fine(kind, *limits),
        });
        let gives = |(kind, limits): (&ResourceKind, &_)| self.model.gives(kind, *limits, policy.strict);
        let nothing = !policy.limits.iter().all(gives);
        let jumps = policy.default_priority_max.is_some_and(|most| most < 0);
        let is_bad = is_new && (bad || nothing || jumps || 3_600 < policy.preemption_grace_s);
        let command = if from_config { C::Configure(policy) } else { C::SetPolicy(policy) };
        assert_eq!(self.ask(&command).is_err(), is_bad, "{command:?}");
    }

    /// Tells of ports on which somebody listens.
    fn see_ports(&mut self, listened: &BTreeSet<Port>) {
        let is_nobodys = |port: &&Port| self.model.holder_of(**port).is_none();
        let foreign: BTreeSet<Port> = listened.iter().filter(is_nobodys).copied().collect();
        let command = C::SeePorts { listened: listened.clone() };
        let events = self.ask(&command).expect("what is seen is seen");
        let seen = |event: &E| matches!(event, E::ForeignPortsSeen(it) if it.ports == foreign);
        assert!(events.first().map_or(self.model.foreign == foreign, seen), "{events:?}");
    }

    /// A pod that was seen, or one that was not if none was.
    fn seen(&self, index: usize) -> PodUid {
        uid(index as u64 % self.pods.max(1) + 1)
    }

    fn release(&mut self, pod: PodUid) {
        let (held, waits) = (self.model.holding(HolderId::Pod(pod)).is_some(), self.waits(pod));
        let events = self.ask(&C::Release { pod, reason: ReleaseReason::Ended }).expect("anybody may leave");
        let is_first = |is: fn(&E) -> bool| events.first().is_some_and(is);
        assert_eq!(held, is_first(|event| matches!(event, E::Released(_))));
        assert_eq!(waits, is_first(|event| matches!(event, E::Withdrawn(_))));
        assert!(held || waits || events.is_empty());
    }

    fn waits(&self, pod: PodUid) -> bool {
        self.model.came.iter().any(|waiter| waiter.pod == pod)
    }

    fn set_limits(&mut self, kind: ResourceKind, limits: purser_events::ledger::Limits) {
        let is_fine = self.model.are_fine(&kind, limits)
            && (self.model.limits(&kind) == limits
                || self.model.gives(&kind, limits, self.model.policy.strict));
        let answer = self.ask(&C::SetLimits { kind: kind.clone(), limits });
        assert_eq!(answer.is_ok(), is_fine, "{kind} {limits:?}: {answer:?}");
        assert!(!is_fine || self.model.limits(&kind) == limits);
    }

    /// The demand with what the tenant gives who does not say.
    fn with_defaults(&self, namespace: &str, demand: &Demand) -> Demand {
        let id = self.model.account(namespace);
        let Some(bounds) = id.and_then(|id| self.model.tenant(&id)) else { return demand.clone() };
        let or = |asked: u64, kind| if asked == 0 { bounds.pod_default.get(&kind) } else { asked };
        Demand {
            cpu: MilliCpu(or(demand.cpu.0, ResourceKind::Cpu)),
            memory: Bytes(or(demand.memory.0, ResourceKind::Memory)),
            disk: Bytes(or(demand.disk.0, ResourceKind::Disk)),
            ..demand.clone()
        }
    }

    /// A reservation that is or was, with a token that may be off, and somebody who may be its owner.
    fn reference(&self, index: usize, off: u64, own: bool) -> (ReservationRef, String) {
        let Reference { promises, ended, .. } = &self.model;
        if let (1, Some((id, token))) = (index % 4, ended.last()) {
            return (ReservationRef { id: *id, token: *token }, "nobody".to_owned());
        }
        let found = promises.get(index % promises.len().max(1));
        let id = found.map_or(Uuid::from_u128(u128::MAX), |promise| promise.id);
        let token = found.map_or(1, |promise| promise.token).wrapping_sub(off);
        let owner = found.filter(|_| own).map_or("nobody".to_owned(), |promise| promise.owner.clone());
        (ReservationRef { id, token }, owner)
    }

    /// Why somebody who speaks for a reservation does not have it.
    fn staleness(
        &self,
        reference: ReservationRef,
        owner: &str,
        namespace: Option<&str>,
    ) -> Option<StaleReason> {
        let Some(it) = self.model.promises.iter().find(|it| it.id == reference.id) else {
            return Some(StaleReason::Gone);
        };
        let on_account =
            self.model.holding(HolderId::Reservation(it.id)).map(|holding| holding.tenant.clone());
        if it.token != reference.token {
            Some(StaleReason::Token)
        } else if it.owner != owner {
            Some(StaleReason::Owner)
        } else if it.expires_at <= self.context.now {
            Some(StaleReason::Expired)
        } else {
            namespace.filter(|name| self.model.account(name) != on_account).map(|_| StaleReason::Owner)
        }
    }

    fn admit(&mut self, wish: &Wish) {
        let pod = wish.again.map(|index| self.seen(index)).unwrap_or_else(|| {
            self.pods += 1;
            uid(self.pods)
        });
        let reservation = wish.reservation.map(|(index, off, own)| self.reference(index, off, own));
        let (namespace, demand) = self.as_kept(wish, reservation.as_ref().map(|(it, _)| it.id));
        let admit = Admit {
            pod,
            namespace: namespace.to_owned(),
            demand: demand.clone(),
            priority: wish.priority,
            when_full: wish.when_full,
            reservation: reservation.clone(),
            adopt: false,
            waited: false,
            stays: wish.stays,
        };
        let known = self.model.holding(HolderId::Pod(pod)).is_some() || self.waits(pod);
        let account = self.model.account(namespace);
        let demand = self.with_defaults(namespace, &demand);
        let short = account.as_ref().map(|tenant| {
            let front = self.model.front_of(|waiter| waiter.priority < wish.priority);
            self.model.shortages(tenant, &demand, &front)
        });
        let may_wait = match wish.when_full {
            WhenFull::AsPolicy => !self.model.policy.refuse_when_full,
            WhenFull::Wait => true,
            WhenFull::Refuse => false,
        };
        let bounds = account.as_ref().and_then(|id| self.model.tenant(id));
        let most = bounds.and_then(|bounds| bounds.priority_max).or(self.model.policy.default_priority_max);
        let is_too_high = most.is_some_and(|most| most < wish.priority);
        let stale = reservation.as_ref().and_then(|(it, owner)| self.staleness(*it, owner, Some(namespace)));
        let answer = self.ask(&C::Admit(Box::new(admit)));
        match (known, short, reservation) {
            (true, ..) => assert_eq!(answer, Ok(vec![])),
            (_, None, _) => assert!(matches!(answer, Err(R::BadNamespace { .. })), "{answer:?}"),
            _ if is_too_high => {
                assert!(matches!(answer, Err(R::PriorityTooHigh { .. })), "{answer:?}");
            }
            (_, Some(_), Some(_)) => self.taken_up(pod, &demand, stale, answer),
            (_, Some(short), None) if short.is_empty() => {
                let first = answer.expect("what fits is given").into_iter().next();
                let is_it = |it: &Allocated| it.pod == pod && it.demand == demand && it.stays == wish.stays;
                assert!(matches!(&first, Some(E::Allocated(it)) if is_it(it)), "{first:?}");
            }
            (_, Some(short), None) if may_wait && short.iter().all(Shortage::may_pass) => {
                let first = answer.expect("what may pass is waited for").into_iter().next();
                let Some(E::Queued(queued)) = first else { panic!("{first:?}") };
                assert_eq!(queued.stays, wish.stays);
                // Where the queue in front leaves nothing, the rest of it is not asked.
                let of_kind = |it: &Shortage| {
                    short.iter().any(|other| (&other.kind, other.asked) == (&it.kind, it.asked))
                };
                assert!(queued.shortages.iter().any(of_kind), "{:?}: {short:?}", queued.shortages);
            }
            (_, Some(short), None) => {
                let Err(R::Insufficient { shortages, in_front }) = answer else {
                    panic!("{answer:?}: {short:?}")
                };
                same(&shortages, &short);
                let tenant = account.expect("it has an account");
                let alone = self.model.shortages(&tenant, &demand, &Front::default());
                self.is_told_of_front(&shortages, &alone, wish.priority, in_front);
            }
        }
    }

    /// Whoever is refused is told whose waiting made it worse, and of what.
    fn is_told_of_front(&self, short: &[Shortage], alone: &[Shortage], priority: i32, told: Option<InFront>) {
        let kinds = short.iter().filter(|it| !alone.contains(it)).map(|it| it.kind.clone());
        let kinds: BTreeSet<ResourceKind> = kinds.collect();
        let pods = self.model.came.iter().filter(|waiter| priority <= waiter.priority).count();
        assert_eq!(told, (!kinds.is_empty()).then_some(InFront { pods, kinds }));
    }

    /// Puts a pod down that runs already: it is never refused, and never waits.
    fn adopt(&mut self, wish: &Wish) {
        let pod = wish.again.map(|index| self.seen(index)).unwrap_or_else(|| {
            self.pods += 1;
            uid(self.pods)
        });
        let namespace = NAMESPACES[wish.namespace];
        let admit = Admit {
            pod,
            namespace: namespace.to_owned(),
            demand: wish.demand.clone(),
            priority: wish.priority,
            when_full: wish.when_full,
            reservation: None,
            adopt: true,
            waited: false,
            stays: wish.stays,
        };
        let known = self.model.holding(HolderId::Pod(pod)).is_some() || self.waits(pod);
        let account = self.model.account(namespace);
        let answer = self.ask(&C::Admit(Box::new(admit)));
        match (known, account) {
            (true, _) => assert_eq!(answer, Ok(vec![])),
            (false, None) => assert!(matches!(answer, Err(R::BadNamespace { .. })), "{answer:?}"),
            (false, Some(tenant)) => {
                let first = answer.expect("what runs is right").into_iter().next();
                let is_it = |it: &Allocated| it.pod == pod && it.tenant == tenant;
                assert!(matches!(&first, Some(E::Allocated(it)) if is_it(it)), "{first:?}");
            }
        }
    }

    /// The namespace and the demand of a wish, or those for which something is kept.
    fn as_kept(&self, wish: &Wish, reservation: Option<Uuid>) -> (&'static str, Demand) {
        let id = reservation.filter(|_| wish.as_kept);
        let promise = id.and_then(|id| self.model.promises.iter().find(|promise| promise.id == id));
        let Some(promise) = promise else { return (NAMESPACES[wish.namespace], wish.demand.clone()) };
        let account = self.model.holding(HolderId::Reservation(promise.id)).map(|it| it.tenant.clone());
        let namespace = NAMESPACES.into_iter().find(|name| self.model.account(name) == account);
        (namespace.unwrap_or(NAMESPACES[wish.namespace]), promise.demand.clone())
    }

    /// What came of a pod's wish to take up a reservation.
    fn taken_up(&self, pod: PodUid, demand: &Demand, stale: Option<StaleReason>, answer: Result<Vec<E>, R>) {
        match (stale, answer) {
            (Some(StaleReason::Gone), Err(R::StaleToken { reservation, .. })) => self.is_unknown(reservation),
            (Some(reason), Ok(events)) => {
                let refused = |event: &E| matches!(event, E::StaleTokenRefused(it) if it.reason == reason);
                assert!(events.iter().any(refused), "{reason:?}: {events:?}");
                assert!(self.model.holding(HolderId::Pod(pod)).is_none());
            }
            (None, Ok(events)) => {
                assert!(matches!(&events[0], E::ReservationActivated(it) if it.pod == pod), "{events:?}");
                let holding = self.model.holding(HolderId::Pod(pod)).expect("what was kept");
                assert_eq!(holding.grant.lacks(demand, |_| None), []);
                let is_there = |gpu: &GpuGrant| self.model.capacity.gpus.iter().any(|it| it.uuid == gpu.uuid);
                assert!(holding.grant.gpus.iter().all(is_there), "a GPU that takes no pods took one");
            }
            // Which demands what is kept is enough for, the scenarios say.
            (None, Err(R::Insufficient { shortages, .. })) => assert!(!shortages.is_empty()),
            (stale, Err(error)) => panic!("{stale:?}: {error}"),
        }
    }

    /// Nothing is recorded of whom nobody knows.
    fn is_unknown(&self, reservation: Uuid) {
        assert!(!self.model.ended.iter().any(|(id, _)| *id == reservation), "{reservation} was there once");
    }

    fn reserve(&mut self, new: bool, which: usize, wish: &Wish, ttl_ms: u64) {
        let old = self.model.promises.get(which % self.model.promises.len().max(1)).cloned();
        let old = old.filter(|_| !new);
        let reservation = old.as_ref().map_or_else(
            || {
                self.reservations += 1;
                Uuid::from_u128(u128::from(self.reservations) << 32)
            },
            |promise| promise.id,
        );
        let namespace = NAMESPACES[wish.namespace];
        let owner = format!("user-{}", wish.priority);
        let demand = self.with_defaults(namespace, &wish.demand);
        let reserve = Reserve {
            reservation,
            owner: owner.clone(),
            namespace: namespace.to_owned(),
            demand: wish.demand.clone(),
            ttl_ms,
        };
        let account = self.model.account(namespace);
        let front = self.model.front_of(|_| false);
        let short = account.map(|tenant| self.model.shortages(&tenant, &demand, &front));
        let is_fine = self.context.cordoned.is_none() && (1..=2_592_000_000).contains(&ttl_ms);
        let answer = self.ask(&C::Reserve(Box::new(reserve)));
        match (short, old) {
            (None, _) => assert!(matches!(answer, Err(R::BadNamespace { .. })), "{answer:?}"),
            (_, Some(promise)) => {
                let is_same = promise.owner == owner && promise.demand == demand;
                assert_eq!(
                    answer,
                    if is_same { Ok(vec![]) } else { Err(R::ReservationExists { reservation }) }
                );
            }
            (Some(short), None) if is_fine && short.is_empty() => {
                let first = answer.expect("what fits is kept").into_iter().next();
                assert!(matches!(first, Some(E::Reserved(it)) if it.reservation == reservation));
            }
            (Some(short), None) if is_fine => {
                let Err(R::Insufficient { shortages, .. }) = answer else { panic!("{answer:?}: {short:?}") };
                same(&shortages, &short);
            }
            (Some(_), None) => {
                assert!(matches!(answer, Err(R::Cordoned { .. } | R::BadTtl { .. })), "{answer:?}");
            }
        }
    }

    fn cancel(&mut self, index: usize, off: u64, own: bool) {
        let (reservation, owner) = self.reference(index, off, own);
        let stale = self.staleness(reservation, &owner, None);
        let events = match self.ask(&C::Cancel { reservation, owner }) {
            Ok(events) => events,
            Err(error) => {
                assert!(matches!(error, R::StaleToken { .. }) && stale == Some(StaleReason::Gone), "{error}");
                return self.is_unknown(reservation.id);
            }
        };
        let refused = events.iter().find_map(|event| match event {
            E::StaleTokenRefused(it) => Some(it.reason),
            _ => None,
        });
        assert_eq!(refused, stale);
        let cancelled = events.iter().any(|event| matches!(event, E::ReservationCancelled(_)));
        assert_eq!(cancelled, stale.is_none());
    }

    fn check_time(&mut self) {
        let now = self.context.now;
        self.ask(&C::CheckTime).expect("time passes");
        assert!(self.model.promises.iter().all(|promise| now < promise.expires_at));
        assert!(self.ledger.next_deadline().is_none_or(|deadline| now < deadline));
    }

    /// Written down and read again, and made again of its events, it is the same.
    pub(crate) fn is_the_same_again(&self) {
        let text = serde_json::to_string(&self.ledger).expect("a ledger can be written");
        let read: Ledger = serde_json::from_str(&text).expect("a ledger can be read");
        assert!(read == self.ledger, "read back: {text}");
        let lived = self.events.iter().try_fold(Ledger::default(), |ledger, event| ledger.evolve(event));
        let lived = lived.expect("what happened can happen again");
        assert_eq!(serde_json::to_string(&lived).expect("a ledger can be written"), text);
    }
}

/// The same shortages, in whatever order.
#[track_caller]
fn same(found: &[Shortage], expected: &[Shortage]) {
    let sorted = |list: &[Shortage]| {
        let mut lines: Vec<String> = list.iter().map(|it| format!("{it:?}")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(found), sorted(expected));
}
