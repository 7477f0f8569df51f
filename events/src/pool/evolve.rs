//! What each event makes of a pool: its specification, its members and their agents. What becomes of tasks is in
//! `evolve_tasks`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::{
    AgentConnected, AgentDisconnected, AgentLeaving, MemberAdmitted, MemberLost, MemberNoRoom,
    MemberRequested, PoolEvent, ReferencesChanged, Scaled, Setback, SpecSet, StaleTokenRefused,
};
use super::evolve_tasks as tasks;
use super::member::{Agent, Member, MemberPhase, Slot};
use super::queue::Queue;
use super::resize;
use super::slots::Takers;
use super::spec::{Digest, Reference, ReferenceKind};
use super::state::{Leaving, Pool, Scaling, Shortage, VERDICTS_KEPT};
use super::task::TaskState;
use crate::decider::IllegalTransition;
use crate::units::Timestamp;

/// Carries an event out. After an error the pool is what it was.
pub(super) fn apply(pool: &mut Pool, event: &PoolEvent) -> Result<(), IllegalTransition> {
    use PoolEvent as E;
    match event {
        E::SpecSet(set) => set_spec(pool, set)?,
        E::RemovalRequested(requested) if pool.exists() => {
            pool.leaving = Some(Leaving { force: requested.force, at: requested.at });
        }
        E::Removed(_) if pool.leaving.is_some() && pool.members.is_empty() => remove(pool),
        E::RemovalRequested(_) => return Err(illegal(pool, "pool.removal-requested")),
        E::Removed(_) => return Err(illegal(pool, "pool.removed")),
        E::MemberRequested(requested) => request_member(pool, requested)?,
        E::MemberAdmitted(admitted) => admit_member(pool, admitted)?,
        E::MemberRequestFailed(failed) => {
            forget_member(pool, failed.member, "pool.member-request-failed", |phase| {
                matches!(phase, MemberPhase::Requested)
            })?;
            set_back(pool, failed.setback, &failed.reason, failed.at);
        }
        E::MemberRemovalRequested(requested) => {
            change_member(pool, requested.member, "pool.member-removal-requested", |member| {
                let may_go = member.is_live() && member.pod.is_some() && member.is_idle();
                member.phase = MemberPhase::Removing { reason: requested.reason };
                member.since = requested.at;
                may_go
            })?;
        }
        E::MemberRemoved(removed) => {
            forget_member(pool, removed.member, "pool.member-removed", |phase| {
                matches!(phase, MemberPhase::Removing { .. } | MemberPhase::Lost { .. })
            })?;
        }
        E::MemberLost(lost) => lose_member(pool, lost)?,
        E::MemberResizeRequested(requested) => resize::follow_request(pool, requested)?,
        E::MemberResized(resized) => resize::follow_done(pool, resized)?,
        E::MemberResizeFailed(failed) => resize::follow_failed(pool, failed)?,
        E::AgentConnected(connected) => connect(pool, connected)?,
        E::AgentDisconnected(disconnected) => disconnect(pool, disconnected)?,
        E::AgentsAway(away) => all_away(pool, away.at),
        E::ReferencesChanged(changed) => change_references(pool, changed)?,
        E::TaskSubmitted(submitted) => tasks::submit(pool, submitted)?,
        E::TaskAssigned(assigned) => tasks::assign(pool, assigned)?,
        E::TaskStarted(started) => tasks::start(pool, started)?,
        E::TaskPlanned(planned) => tasks::plan(pool, planned)?,
        E::TaskConfirmed(confirmed) => tasks::confirm(pool, confirmed)?,
        E::TaskDiscarded(discarded) => tasks::expect_reserved(pool, discarded.task, "pool.task-discarded")?,
        E::TaskEnded(ended) => tasks::end(pool, ended)?,
        E::TaskRequeued(requeued) => tasks::requeue(pool, requeued)?,
        E::TaskCancelRequested(requested) => tasks::cancel(pool, requested)?,
        E::ReservationExpired(expired) => {
            tasks::expect_reserved(pool, expired.task, "pool.reservation-expired")?;
        }
        E::StaleTokenRefused(refused) => note_refused(pool, refused),
        // What was refused changes nothing.
        E::StaleTokensCounted(_) => {}
        E::TaskApproved(approved) => tasks::approve(pool, approved)?,
        E::AgentLeaving(leaving) => let_leave(pool, leaving)?,
        E::MemberNoRoom(refused) => find_no_room(pool, refused)?,
        E::SetbacksOver(_) => {
            let scaling = Arc::make_mut(&mut pool.scaling);
            (scaling.failures, scaling.retry_at, scaling.gave_up) = (0, None, false);
        }
        E::Scaled(scaled) => scale(pool, scaled),
        E::Unfrozen(unfrozen) => {
            let scaling = Arc::make_mut(&mut pool.scaling);
            scaling.unfrozen_until = Some(unfrozen.until);
            scaling.unfrozen_at = Some(unfrozen.at);
        }
    }
    Ok(())
}

pub(super) fn illegal(pool: &Pool, event: &str) -> IllegalTransition {
    let name = pool.name.as_ref().map_or("a pool without a name", super::PoolName::as_str);
    IllegalTransition::new(format!("{name} ({})", pool.word()), event)
}

fn set_spec(pool: &mut Pool, set: &SpecSet) -> Result<(), IllegalTransition> {
    let is_same = pool.name.as_ref().is_none_or(|name| *name == set.name);
    if !is_same || set.revision < pool.revision || pool.leaving.is_some() {
        return Err(illegal(pool, "pool.spec-set"));
    }
    let rule = pool.spec.as_ref().map(|spec| spec.slots.rule);
    let is_reordered = rule != Some(set.spec.slots.rule) || pool.revision != set.revision;
    let is_by_size = pool.spec.as_ref().is_some_and(|before| set.spec.needs_other_sizes(before));
    if pool.revision != set.revision {
        let oldest = pool.in_place_from.unwrap_or(pool.revision);
        pool.in_place_from = is_by_size.then_some(oldest);
    }
    pool.name = Some(set.name.clone());
    pool.spec = Some(Arc::new(set.spec.clone()));
    pool.revision = set.revision;
    let known = |digest: &&Digest| set.spec.references.contains(&digest.reference);
    let digests: Vec<Digest> = pool.digests.values().filter(known).cloned().collect();
    pool.digests = Arc::new(by_name(&digests));
    let scaling = Arc::make_mut(&mut pool.scaling);
    (scaling.failures, scaling.retry_at, scaling.gave_up) = (0, None, false);
    scaling.shortage = None;
    if is_reordered {
        reorder(pool);
    }
    Ok(())
}

/// The key of a reference among the digests.
pub(super) fn reference_key(reference: &Reference) -> String {
    let kind = match reference.kind {
        ReferenceKind::Secret => "secret",
        ReferenceKind::Config => "config",
    };
    format!("{kind}/{}", reference.name)
}

fn by_name(digests: &[Digest]) -> BTreeMap<String, Digest> {
    digests.iter().map(|digest| (reference_key(&digest.reference), digest.clone())).collect()
}

/// Puts everybody in his place again by the rule and revision of now.
fn reorder(pool: &mut Pool) {
    let Some(spec) = pool.spec.clone() else { return };
    pool.takers = Takers::default();
    for member in pool.members.values() {
        pool.takers.changed(spec.slots.rule, pool.revision, None, Some(member));
    }
    let holders = pool.queue.holders.clone();
    pool.queue = Queue { holders, due_until: pool.queue.due_until, ..Queue::default() };
    for task in pool.tasks.values() {
        if let TaskState::Pending { not_before } = task.state {
            let weight = spec.slots.rule.weight(task.spec.kind);
            pool.queue.push(task, Pool::rank(task), weight, not_before);
        }
    }
}

/// What is left is what a pool of the same name goes on with: its name and where it has counted to.
fn remove(pool: &mut Pool) {
    let Pool { name, revision, ended_count, submitted, last_member, last_token, .. } = std::mem::take(pool);
    *pool = Pool { name, revision, ended_count, submitted, last_member, last_token, ..Pool::default() };
}

fn request_member(pool: &mut Pool, requested: &MemberRequested) -> Result<(), IllegalTransition> {
    // After the last number of all none could follow.
    if requested.member <= pool.last_member || requested.member == u64::MAX || !pool.exists() {
        return Err(illegal(pool, "pool.member-requested"));
    }
    pool.last_member = requested.member;
    let member = Member {
        member: requested.member,
        revision: requested.revision,
        phase: MemberPhase::Requested,
        pod: None,
        agent: None,
        slots: vec![Slot::Idle; usize::from(requested.slots)],
        requested_at: requested.at,
        since: requested.at,
        ending: 0,
        came_at: None,
        has_worked: false,
        refused_at: None,
        resize: None,
    };
    pool.members.insert_mut(requested.member, Arc::new(member));
    Ok(())
}

fn admit_member(pool: &mut Pool, admitted: &MemberAdmitted) -> Result<(), IllegalTransition> {
    change_member(pool, admitted.member, "pool.member-admitted", |member| {
        let was_requested = member.phase == MemberPhase::Requested;
        member.phase = MemberPhase::Up;
        (member.pod, member.since) = (Some(admitted.pod), admitted.at);
        was_requested
    })?;
    if pool.scaling.shortage.is_some() {
        Arc::make_mut(&mut pool.scaling).shortage = None;
    }
    Ok(())
}

fn find_no_room(pool: &mut Pool, refused: &MemberNoRoom) -> Result<(), IllegalTransition> {
    forget_member(pool, refused.member, "pool.member-no-room", |phase| {
        matches!(phase, MemberPhase::Requested)
    })?;
    let MemberNoRoom { reason, times, retry_at, at, .. } = refused.clone();
    Arc::make_mut(&mut pool.scaling).shortage = Some(Shortage { reason, times, at, retry_at });
    Ok(())
}

fn note_refused(pool: &mut Pool, refused: &StaleTokenRefused) {
    if let Some(member) = pool.members.get(&refused.member) {
        let member = Member { refused_at: Some(refused.at), ..Member::clone(member) };
        pool.members.insert_mut(refused.member, Arc::new(member));
    }
}

fn forget_member(
    pool: &mut Pool,
    number: u64,
    event: &str,
    may_go: impl Fn(&MemberPhase) -> bool,
) -> Result<(), IllegalTransition> {
    let fits = pool.member(number).is_some_and(|member| may_go(&member.phase) && member.is_idle());
    if !fits {
        return Err(illegal(pool, event));
    }
    // Who leaves or is lost, or never came, is not among those that take tasks.
    pool.members.remove_mut(&number);
    Ok(())
}

fn set_back(pool: &mut Pool, setback: Setback, reason: &str, at: Timestamp) {
    let scaling = Arc::make_mut(&mut pool.scaling);
    (scaling.failures, scaling.failed_at) = (setback.failures, Some(at));
    scaling.last_failure = Some(reason.to_owned());
    scaling.retry_at = setback.retry_at;
    scaling.gave_up = setback.retry_at.is_none();
}

fn lose_member(pool: &mut Pool, lost: &MemberLost) -> Result<(), IllegalTransition> {
    change_member(pool, lost.member, "pool.member-lost", |member| {
        let was_there = member.phase == MemberPhase::Up;
        member.phase = MemberPhase::Lost { reason: lost.reason.clone() };
        member.since = lost.at;
        was_there
    })?;
    if let Some(setback) = lost.setback {
        set_back(pool, setback, &lost.reason.to_string(), lost.at);
    }
    Ok(())
}

fn connect(pool: &mut Pool, connected: &AgentConnected) -> Result<(), IllegalTransition> {
    change_member(pool, connected.member, "pool.agent-connected", |member| {
        let before = member.agent.as_ref();
        // An agent that leaves has done so for as long as its session lasts.
        let leaving = before.is_some_and(|agent| agent.leaving && agent.session == connected.session);
        member.agent = Some(Agent {
            session: connected.session,
            version: connected.version.clone(),
            connected: true,
            since: connected.at,
            leaving,
        });
        member.came_at = member.came_at.or(Some(connected.at));
        matches!(member.phase, MemberPhase::Up | MemberPhase::Removing { .. })
    })
}

fn let_leave(pool: &mut Pool, leaving: &AgentLeaving) -> Result<(), IllegalTransition> {
    change_member(pool, leaving.member, "pool.agent-leaving", |member| {
        let Some(agent) = &mut member.agent else { return false };
        agent.leaving = true;
        agent.session == leaving.session
    })
}

fn disconnect(pool: &mut Pool, disconnected: &AgentDisconnected) -> Result<(), IllegalTransition> {
    change_member(pool, disconnected.member, "pool.agent-disconnected", |member| {
        let Some(agent) = &mut member.agent else { return false };
        let was_connected = agent.connected && agent.session == disconnected.session;
        (agent.connected, agent.since) = (false, disconnected.at);
        // It has left: whoever comes in the same session begins anew.
        agent.leaving &= !disconnected.left;
        was_connected
    })
}

fn all_away(pool: &mut Pool, at: Timestamp) {
    pool.takers = Takers::default();
    let connected = |member: &&Arc<Member>| member.agent.as_ref().is_some_and(|agent| agent.connected);
    let numbers: Vec<u64> = pool.members.values().filter(connected).map(|it| it.member).collect();
    for number in numbers {
        let Some(member) = pool.members.get(&number) else { continue };
        let mut next = Member::clone(member);
        if let Some(agent) = &mut next.agent {
            (agent.connected, agent.since) = (false, at);
        }
        pool.members.insert_mut(number, Arc::new(next));
    }
}

fn change_references(pool: &mut Pool, changed: &ReferencesChanged) -> Result<(), IllegalTransition> {
    if changed.revision < pool.revision {
        return Err(illegal(pool, "pool.references-changed"));
    }
    pool.digests = Arc::new(by_name(&changed.digests));
    if pool.revision < changed.revision {
        pool.revision = changed.revision;
        pool.in_place_from = None;
        reorder(pool);
    }
    Ok(())
}

fn scale(pool: &mut Pool, scaled: &Scaled) {
    let scaling: &mut Scaling = Arc::make_mut(&mut pool.scaling);
    scaling.wanted = scaled.verdict.wanted;
    scaling.verdicts.push(scaled.clone());
    let surplus = scaling.verdicts.len().saturating_sub(VERDICTS_KEPT);
    scaling.verdicts.drain(..surplus);
}

/// Changes a member, and its place among those that take tasks; `change` says whether it may be.
pub(super) fn change_member(
    pool: &mut Pool,
    number: u64,
    event: &str,
    change: impl FnOnce(&mut Member) -> bool,
) -> Result<(), IllegalTransition> {
    let (Some(before), Some(spec)) = (pool.members.get(&number).cloned(), &pool.spec) else {
        return Err(illegal(pool, event));
    };
    let mut after = Member::clone(&before);
    if !change(&mut after) {
        return Err(illegal(pool, event));
    }
    pool.takers.changed(spec.slots.rule, pool.revision, Some(&before), Some(&after));
    pool.members.insert_mut(number, Arc::new(after));
    Ok(())
}
