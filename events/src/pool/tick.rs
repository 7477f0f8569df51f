//! What is due as time passes: reservations, time limits, how many pods there are, and which.

use super::decide_members as members;
use super::decide_tasks as tasks;
use super::draft::Draft;
use super::event::{
    CancelReason, LossReason, MemberRemovalReason, MemberRemovalRequested, MemberRequested, Removed,
    ReservationExpired, Scaled, SetbacksOver,
};
use super::freeze::LocalTime;
use super::member::{Agent, Member, MemberPhase};
use super::names::TaskId;
use super::resize;
use super::scale::{ScaleRule, Verdict, verdict};
use super::task::{Task, TaskResult, TaskState};

/// Most members that one decision wants or lets go, and most tasks that it ends because the pool goes.
const CHANGES_MAX: usize = 64;
/// How long after its grace a task that was to end may be on an agent's hands, in milliseconds.
const CANCEL_MARGIN_MS: u64 = 60_000;

/// All that is due.
pub(super) fn pass(draft: &mut Draft, local: LocalTime) {
    expire(draft);
    end_overdue(draft);
    if draft.pool.leaving.is_some() {
        leave(draft);
        return;
    }
    forget_setbacks(draft);
    scale(draft, local);
    see_off(draft);
    resize::begin(draft);
    renew(draft);
    shrink(draft);
    grow(draft);
}

/// Ends plans that have waited too long.
fn expire(draft: &mut Draft) {
    let reserved: Vec<TaskId> = draft.pool.reserved.iter().copied().collect();
    for id in reserved {
        let (Some(TaskState::ApplyPending { token, expires_at, confirmed_at: None, .. }), now) =
            (draft.pool.task(id).map(|task| task.state.clone()), draft.now)
        else {
            continue;
        };
        if expires_at <= now {
            draft.push(ReservationExpired { task: id, token, at: now });
            tasks::end_unreported(draft, id, TaskResult::Failed, "its confirmation did not come in time");
        }
    }
}

/// Wants tasks to end that take too long, and gives up members that do not end what is to end.
fn end_overdue(draft: &mut Draft) {
    let agents = draft.pool.spec.as_ref().map(|spec| spec.agents).unwrap_or_default();
    let patience_ms = u64::from(agents.cancel_grace_s) * 1_000 + CANCEL_MARGIN_MS;
    let busy: Vec<Member> = busy(draft).cloned().collect();
    for member in busy {
        let of: Vec<Task> = member.tasks().filter_map(|id| draft.pool.task(id).cloned()).collect();
        for task in &of {
            // Who is away may bring an end that came in time.
            let is_late = matches!(task.state, TaskState::Running { deadline, .. } if deadline <= draft.now);
            if is_late && member.is_connected() {
                tasks::request_end(draft, task.spec.id, CancelReason::TimedOut);
            }
        }
        let is_ignored = |task: &Task| {
            let since = task.cancel.as_ref().map(|cancel| cancel.at);
            since.is_some_and(|since| since.plus_ms(patience_ms) <= draft.now)
        };
        // Others in the pod are let to their end first; it gets no more meanwhile.
        let ignored = of.first().filter(|_| of.iter().all(is_ignored)).map(|task| task.spec.id);
        let settled = |agent: &Agent| agent.connected && agent.since.plus_ms(CANCEL_MARGIN_MS) <= draft.now;
        // One that comes and goes has heard of it by then, or never will.
        let is_long_ago = |task: &Task| {
            let since = task.cancel.as_ref().map(|cancel| cancel.at);
            since.is_some_and(|since| since.plus_ms(patience_ms + agents.offline_after_ms) <= draft.now)
        };
        let is_there = member.agent.as_ref().is_some_and(settled) || of.iter().all(is_long_ago);
        let is_given_up = member.phase == MemberPhase::Up && is_there;
        if let Some(task) = ignored.filter(|_| is_given_up) {
            members::lose(draft, member.member, LossReason::CancelIgnored { task });
        }
    }
}

fn busy(draft: &Draft) -> impl Iterator<Item = &Member> {
    let members = draft.pool.members.values().map(AsRef::as_ref);
    members.filter(|member: &&Member| !member.is_idle())
}

/// What is left to do for a pool that goes.
pub(super) fn leave(draft: &mut Draft) {
    let Some(leaving) = draft.pool.leaving else { return };
    let may_end = |task: &Task| match task.state {
        TaskState::Pending { .. } => true,
        TaskState::ApplyPending { .. } => leaving.force,
        TaskState::Running { .. } => leaving.force && task.cancel.is_none(),
        TaskState::Ended { .. } => false,
    };
    let ending = draft.pool.tasks.values().filter(|task| may_end(task)).take(CHANGES_MAX);
    let left: Vec<(TaskId, TaskState)> = ending.map(|task| (task.spec.id, task.state.clone())).collect();
    for (id, state) in &left {
        match state {
            TaskState::Pending { .. } => {
                tasks::end_unreported(draft, *id, TaskResult::Cancelled, "the pool is being removed");
            }
            TaskState::ApplyPending { .. } => tasks::give_up(draft, *id, "the pool is being removed"),
            TaskState::Running { .. } => tasks::request_end(draft, *id, CancelReason::PoolRemoved),
            TaskState::Ended { .. } => {}
        }
    }
    let idle = candidates(draft, |_| true);
    remove(draft, idle.into_iter().take(CHANGES_MAX), MemberRemovalReason::PoolRemoved);
    let is_empty = draft.pool.members.is_empty() && draft.pool.tasks.values().all(|task| task.is_over());
    if is_empty {
        let at = draft.now;
        draft.push(Removed { at });
    }
}

/// Forgets that pods did not come up, once one has that came after them.
fn forget_setbacks(draft: &mut Draft) {
    let scaling = &draft.pool.scaling;
    if scaling.failures == 0 {
        return;
    }
    let (failed_at, least_ms) = (scaling.failed_at, members::settled_ms(&draft.pool));
    let shows = |member: &&Member| failed_at <= member.came_at && member.has_lived(least_ms, draft.now);
    let shown = draft.pool.members.values().map(AsRef::as_ref).find(shows).map(|member| member.member);
    if let Some(member) = shown {
        let at = draft.now;
        draft.push(SetbacksOver { member, at });
    }
}

/// Says how many pods there are to be, if that or its reason is another than before.
fn scale(draft: &mut Draft, local: LocalTime) {
    let Some(spec) = draft.pool.spec.clone() else { return };
    let verdict = verdict(&spec, draft.pool.scale_inputs(local, draft.now));
    if is_news(draft.pool.scaling.verdict(), &verdict) {
        let at = draft.now;
        draft.push(Scaled { verdict, at });
    }
}

/// Whether a verdict says something new. That there is no reason for another number any more is new only where one was
/// waited for.
fn is_news(before: Option<&Verdict>, verdict: &Verdict) -> bool {
    use ScaleRule as R;
    let Some(before) = before else { return true };
    if before.wanted != verdict.wanted {
        return true;
    }
    let is_done = matches!(
        before.rule,
        R::ColdStart | R::PendingApplies | R::ReservedFloor | R::HighUse | R::LowUse | R::Minimum | R::Steady
    );
    before.rule != verdict.rule && !(verdict.rule == R::Steady && is_done)
}

/// Idle members with a pod of which `fits` is true: those that are of least use first.
fn candidates(draft: &Draft, fits: impl Fn(&Member) -> bool) -> Vec<u64> {
    let revision = draft.pool.revision;
    let members = draft.pool.members.values().map(AsRef::as_ref);
    let idle = members.filter(|member: &&Member| member.phase == MemberPhase::Up && member.is_idle());
    let mut found: Vec<&Member> = idle.filter(|member| fits(member)).collect();
    found.sort_by_key(|member| {
        (member.revision == revision, member.is_connected(), std::cmp::Reverse(member.member))
    });
    found.into_iter().map(|member| member.member).collect()
}

fn remove(draft: &mut Draft, members: impl Iterator<Item = u64>, reason: MemberRemovalReason) {
    for member in members {
        let at = draft.now;
        draft.push(MemberRemovalRequested { member, reason, at });
    }
}

/// Lets members go whose agent takes nothing more and has nothing left, so that others come in their place.
fn see_off(draft: &mut Draft) {
    let leaves = |member: &Member| member.agent.as_ref().is_some_and(|agent| agent.leaving);
    let leaving = candidates(draft, leaves);
    remove(draft, leaving.into_iter().take(CHANGES_MAX), MemberRemovalReason::Surplus);
}

/// Lets idle members of older revisions go, not too many at once.
fn renew(draft: &mut Draft) {
    let Some(spec) = draft.pool.spec.clone() else { return };
    let revision = draft.pool.revision;
    let away = draft.pool.members.values().filter(|member| !member.is_connected()).count();
    let most = usize::try_from(spec.scaling.max_unavailable).unwrap_or(usize::MAX);
    let mut room = most.saturating_sub(away);
    let is_due = |member: &Member| member.revision < revision && !draft.pool.may_resize(member);
    for member in candidates(draft, is_due).into_iter().take(CHANGES_MAX) {
        // Who never came is no loss; who is away may come back, as after a start of the service.
        let is_there = draft.pool.member(member).is_some_and(|member| member.agent.is_some());
        if is_there && room == 0 {
            break;
        }
        room -= usize::from(is_there);
        remove(draft, std::iter::once(member), MemberRemovalReason::OldRevision);
    }
}

fn live(draft: &Draft) -> usize {
    draft.pool.members.values().filter(|member| member.is_live()).count()
}

/// Lets idle members go that are too many.
fn shrink(draft: &mut Draft) {
    let Some(verdict) = draft.pool.scaling.verdict().copied() else { return };
    let wanted = usize::try_from(verdict.wanted).unwrap_or(usize::MAX);
    let surplus = live(draft).saturating_sub(wanted).min(CHANGES_MAX);
    let reason = match verdict.rule {
        ScaleRule::Frozen => MemberRemovalReason::Frozen,
        _ => MemberRemovalReason::Surplus,
    };
    let idle = candidates(draft, |_| true);
    remove(draft, idle.into_iter().take(surplus), reason);
}

/// Wants members that are too few; after a failure one at a time, and not before its wait is over.
fn grow(draft: &mut Draft) {
    let Some(spec) = draft.pool.spec.clone() else { return };
    let scaling = draft.pool.scaling.clone();
    if scaling.gave_up || scaling.retry_at.is_some_and(|retry_at| draft.now < retry_at) {
        return;
    }
    let shortage = scaling.shortage.as_ref();
    if shortage.is_some_and(|shortage| draft.now < shortage.retry_at) {
        return;
    }
    let wanted = usize::try_from(scaling.wanted).unwrap_or(usize::MAX);
    let lacking = wanted.saturating_sub(live(draft)).min(CHANGES_MAX);
    let is_tried = |member: &Member| match shortage {
        Some(_) => member.phase == MemberPhase::Requested,
        None => member.is_live() && member.agent.is_none(),
    };
    let coming = draft.pool.members.values().filter(|member| is_tried(member)).count();
    let most = match (scaling.failures + u32::from(shortage.is_some()), coming) {
        (0, _) => lacking,
        (_, 0) => lacking.min(1),
        (_, _) => 0,
    };
    for _ in 0..most {
        let (revision, at) = (draft.pool.revision, draft.now);
        let member = draft.pool.last_member + 1;
        draft.push(MemberRequested { member, revision, slots: spec.slots.count, at });
    }
}
