//! Members that are brought to a new revision while they run: where nothing but limits and requests of processor time and
//! memory of the template differs, their pods get these in place. Those for which that fails are replaced one by one.

use serde::{Deserialize, Serialize};

use super::command::PoolRejection;
use super::draft::{Draft, MESSAGE_LEN_MAX, told};
use super::evolve::change_member;
use super::member::{Member, MemberPhase};
use super::spec::PoolSpec;
use super::state::Pool;
use crate::decider::IllegalTransition;
use crate::units::Timestamp;

/// Most members that one decision begins to resize.
const CHANGES_MAX: usize = 64;

/// `pool.member-resize-requested` version 1: its pod is to have the sizes of the template. An intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberResizeRequested {
    /// Which.
    pub member: u64,
    /// The revision that it was of.
    pub from: u64,
    /// The revision that it is brought to.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
}

/// `pool.member-resized` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberResized {
    /// Which.
    pub member: u64,
    /// The revision that it is of now.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
}

/// `pool.member-resize-failed` version 1. Its pod is as it was, and is replaced once it is idle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberResizeFailed {
    /// Which.
    pub member: u64,
    /// The revision that it was to be brought to.
    pub revision: u64,
    /// Why, at most 1,024 bytes.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A change of a member's sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberResize {
    /// The revision that it is brought to.
    pub revision: u64,
    /// Why it is not, if it could not be.
    pub failed: Option<String>,
}

impl PoolSpec {
    /// Whether pods that were made for `other` are what this one asks for but for their sizes.
    #[must_use]
    pub fn needs_other_sizes(&self, other: &PoolSpec) -> bool {
        let alike = PoolSpec { template: self.template.clone(), ..other.clone() };
        !self.needs_other_pods(&alike) && other.template.resizes_to(&self.template).is_some()
    }
}

impl Pool {
    /// The members that are being brought to the present revision, each with that.
    pub fn resizing(&self) -> impl Iterator<Item = &Member> {
        let members = self.members.values().map(AsRef::as_ref);
        members.filter(|member: &&Member| member.is_resizing(self.revision))
    }

    /// Whether a member of an older revision may become one of the present without being replaced.
    pub(super) fn may_resize(&self, member: &Member) -> bool {
        let is_older =
            self.in_place_from.is_some_and(|oldest| (oldest..self.revision).contains(&member.revision));
        let has_failed =
            member.resize.as_ref().is_some_and(|it| it.revision == self.revision && it.failed.is_some());
        is_older && member.phase == MemberPhase::Up && !has_failed
    }
}

impl Member {
    /// Whether its pod is to have the sizes of this revision, which is under way.
    #[must_use]
    pub fn is_resizing(&self, revision: u64) -> bool {
        let is_open = self.resize.as_ref().is_some_and(|it| it.revision == revision && it.failed.is_none());
        is_open && self.phase == MemberPhase::Up
    }
}

/// Begins with members of older revisions, busy ones as well: nothing of them is started again.
pub(super) fn begin(draft: &mut Draft) {
    let (revision, at) = (draft.pool.revision, draft.now);
    if draft.pool.in_place_from.is_none() {
        return;
    }
    let members = draft.pool.members.values();
    let due = members.filter(|member| draft.pool.may_resize(member) && !member.is_resizing(revision));
    let due: Vec<(u64, u64)> = due.take(CHANGES_MAX).map(|member| (member.member, member.revision)).collect();
    for (member, from) in due {
        draft.push(MemberResizeRequested { member, from, revision, at });
    }
}

/// What follows when a member's pod has its sizes, or cannot have them. What is told of another revision is past.
pub(super) fn report(
    draft: &mut Draft,
    number: u64,
    revision: u64,
    failed: Option<&str>,
) -> Result<(), PoolRejection> {
    let member = draft.pool.member(number).ok_or(PoolRejection::NoSuchMember { member: number })?;
    if revision != draft.pool.revision || !member.is_resizing(revision) {
        return Ok(());
    }
    let at = draft.now;
    match failed {
        None => draft.push(MemberResized { member: number, revision, at }),
        Some(reason) => {
            let reason = told(reason, MESSAGE_LEN_MAX);
            draft.push(MemberResizeFailed { member: number, revision, reason, at });
        }
    }
    Ok(())
}

pub(super) fn follow_request(pool: &mut Pool, it: &MemberResizeRequested) -> Result<(), IllegalTransition> {
    let fits =
        pool.member(it.member).is_some_and(|member| pool.may_resize(member)) && it.revision == pool.revision;
    change_member(pool, it.member, "pool.member-resize-requested", |member| {
        member.resize = Some(MemberResize { revision: it.revision, failed: None });
        fits
    })
}

pub(super) fn follow_done(pool: &mut Pool, it: &MemberResized) -> Result<(), IllegalTransition> {
    change_member(pool, it.member, "pool.member-resized", |member| {
        let was_open = member.is_resizing(it.revision);
        (member.resize, member.revision) = (None, it.revision);
        was_open
    })
}

pub(super) fn follow_failed(pool: &mut Pool, it: &MemberResizeFailed) -> Result<(), IllegalTransition> {
    change_member(pool, it.member, "pool.member-resize-failed", |member| {
        let was_open = member.is_resizing(it.revision);
        member.resize = Some(MemberResize { revision: it.revision, failed: Some(it.reason.clone()) });
        was_open
    })
}
