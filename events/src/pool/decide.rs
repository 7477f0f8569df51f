//! What a pool answers to a command, before what then follows by itself.

use super::command::{PoolCommand, PoolRejection};
use super::decide_members as members;
use super::decide_tasks as tasks;
use super::draft::Draft;
use super::event::{ReferencesChanged, RemovalRequested, SpecSet, Unfrozen};
use super::evolve::reference_key;
use super::names::PoolName;
use super::resize;
use super::spec::{Digest, PoolSpec};
use super::state::Leaving;
use super::tick;
use crate::units::Timestamp;

/// Longest that a pool may be unfrozen, in milliseconds: 31 days.
const THAW_MS_MAX: u64 = 31 * 86_400_000;
/// Most bytes of a digest.
const DIGEST_LEN_MAX: usize = 128;

type Answer = Result<(), PoolRejection>;

/// Decides what a command would make happen, before what then follows by itself.
pub(super) fn answer(draft: &mut Draft, command: &PoolCommand) -> Answer {
    use PoolCommand as C;
    match command {
        C::SetSpec { name, spec } => set_spec(draft, name, spec),
        _ if !draft.pool.exists() => Err(PoolRejection::NoSuchPool),
        C::Delete { force } => {
            delete(draft, *force);
            Ok(())
        }
        C::Unfreeze { until } => unfreeze(draft, *until),
        C::ReportReferences { digests } => report_references(draft, digests),
        C::ReportAdmitted { member, pod } => members::admitted(draft, *member, *pod),
        C::ReportRequestFailed { member, reason } => members::request_failed(draft, *member, reason),
        C::ReportNoRoom { member, reason } => members::no_room(draft, *member, reason),
        C::ReportResized { member, revision } => resize::report(draft, *member, *revision, None),
        C::ReportResizeFailed { member, revision, reason } => {
            resize::report(draft, *member, *revision, Some(reason))
        }
        C::ReportPodEnded { member, detail } => members::pod_ended(draft, *member, detail),
        C::ReportRemoved { member } => members::removed(draft, *member),
        C::Connect { member, session, version, fresh, has } => {
            let arrival = members::Arrival { session: *session, version, fresh: *fresh, has };
            members::connect(draft, *member, &arrival)
        }
        C::Disconnect { member, session, left } => members::disconnect(draft, *member, *session, *left),
        C::AgentLeaving { member, session, has } => members::leaving(draft, *member, *session, has),
        C::ReportRefusals { member, count } => members::count_refusals(draft, *member, *count),
        C::ReportSilent { member, silent_ms } => members::silent(draft, *member, *silent_ms),
        C::AgentsAway => {
            members::all_away(draft);
            Ok(())
        }
        C::Submit { spec } => tasks::submit(draft, spec),
        C::Confirm { task } => tasks::confirm(draft, *task),
        C::Discard { task } => tasks::discard(draft, *task),
        C::Cancel { task } => tasks::cancel(draft, *task),
        C::Report { member, task, token, report } => tasks::report(draft, *member, *task, *token, report),
        C::Tick { local } => {
            tick::pass(draft, *local);
            Ok(())
        }
    }
}

fn set_spec(draft: &mut Draft, name: &PoolName, spec: &PoolSpec) -> Answer {
    let pool = &draft.pool;
    if let Some(held) = pool.name.as_ref().filter(|held| *held != name) {
        return Err(PoolRejection::WrongName { held: held.clone(), asked: name.clone() });
    }
    if pool.leaving.is_some() {
        return Err(PoolRejection::Leaving);
    }
    spec.check().map_err(|error| PoolRejection::BadSpec { error })?;
    let needs_other_pods = pool.spec.as_ref().is_none_or(|before| spec.needs_other_pods(before));
    let is_same = pool.spec.as_deref() == Some(spec);
    if is_same && !pool.scaling.gave_up {
        return Ok(());
    }
    let revision = pool.revision + u64::from(needs_other_pods);
    let at = draft.now;
    draft.push(SpecSet { name: name.clone(), spec: spec.clone(), revision, at });
    Ok(())
}

fn delete(draft: &mut Draft, force: bool) {
    let before = draft.pool.leaving;
    let is_so = before.is_some_and(|Leaving { force: forced, .. }| forced || !force);
    if !is_so {
        let at = draft.now;
        draft.push(RemovalRequested { force, at });
    }
    tick::leave(draft);
}

fn unfreeze(draft: &mut Draft, until: Timestamp) -> Answer {
    let at = draft.now;
    if until <= at || at.plus_ms(THAW_MS_MAX) < until {
        return Err(PoolRejection::BadUntil);
    }
    if draft.pool.scaling.unfrozen_until != Some(until) {
        draft.push(Unfrozen { until, at });
    }
    Ok(())
}

fn report_references(draft: &mut Draft, digests: &[Digest]) -> Answer {
    let pool = &draft.pool;
    let own = pool.spec.as_ref().map(|spec| spec.references.as_slice()).unwrap_or_default();
    let fits = |digest: &Digest| {
        let is_plain = !digest.digest.chars().any(char::is_control);
        own.contains(&digest.reference) && digest.digest.len() <= DIGEST_LEN_MAX && is_plain
    };
    if !digests.iter().all(fits) {
        return Err(PoolRejection::BadDigest);
    }
    let mut known = pool.digests.as_ref().clone();
    let mut is_other = false;
    for digest in digests {
        let before = known.insert(reference_key(&digest.reference), digest.clone());
        // What was never looked at is what the pods of now have.
        is_other |= before.is_some_and(|before| before != *digest);
    }
    if known != *pool.digests {
        let revision = pool.revision + u64::from(is_other);
        let at = draft.now;
        draft.push(ReferencesChanged { digests: known.into_values().collect(), revision, at });
    }
    Ok(())
}
