//! A pool to which everything has happened, with a member and a task in every state.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::pool::event::{
    AgentConnected, AgentLeaving, MemberAdmitted, MemberLost, MemberNoRoom, MemberRemovalRequested,
    MemberRequestFailed, MemberRequested, ReferencesChanged, RemovalRequested, Scaled, SpecSet,
    StaleTokenRefused, TaskApproved, TaskAssigned, TaskCancelRequested, TaskEnded, TaskPlanned, TaskRequeued,
    TaskStarted, TaskSubmitted, Unfrozen,
};
use purser_events::pool::resize::MemberResize;
use purser_events::pool::{
    Member, MemberPhase, Phase, Pool, PoolEvent, PoolName, SlotKey, TaskId, TaskKind, TaskState, Token,
    Workspace,
};
use purser_events::{Decider, PodUid};
use uuid::Uuid;

use super::{AT, all, first};

fn id(number: u64) -> TaskId {
    TaskId(Uuid::from_u128(u128::from(700 + number)))
}

/// A member whose pod was admitted, and whose agent has come if it `is_there`.
fn member(member: u64, is_there: bool) -> Vec<PoolEvent> {
    let requested = MemberRequested { member, revision: 3, slots: 3, at: AT };
    let pod = PodUid(Uuid::from_u128(u128::from(800 + member)));
    let admitted = MemberAdmitted { member, pod, at: AT };
    let connected = AgentConnected { member, ..first("pool.agent-connected.v1") };
    let mut events = vec![requested.into(), admitted.into()];
    events.extend(is_there.then(|| connected.into()));
    events
}

fn submitted(number: u64, kind: TaskKind, workspace: Option<&str>) -> PoolEvent {
    let mut submitted: TaskSubmitted = first("pool.task-submitted.v2");
    submitted.order = number;
    let spec = Arc::make_mut(&mut submitted.spec);
    (spec.id, spec.kind) = (id(number), kind);
    spec.workspace = workspace.map(|name| Workspace::new(name).unwrap());
    if kind == TaskKind::PlanAndApply {
        spec.apply_argv = vec!["apply".to_owned()];
    }
    submitted.into()
}

fn assigned(number: u64, slot: (u64, u8), token: u64, phase: Phase) -> PoolEvent {
    let slot = SlotKey { member: slot.0, slot: slot.1 };
    let token = Token(token);
    TaskAssigned { task: id(number), slot, token, phase, attempt: 1, at: AT }.into()
}

fn tasks() -> Vec<PoolEvent> {
    let ended: TaskEnded = first("pool.task-ended.v1");
    vec![
        submitted(1, TaskKind::PlanAndApply, Some("prod")),
        assigned(1, (1, 0), 1, Phase::Plan),
        TaskPlanned { task: id(1), token: Token(2), ..first("pool.task-planned.v1") }.into(),
        submitted(2, TaskKind::Plan, None),
        assigned(2, (1, 2), 3, Phase::Only),
        TaskStarted { task: id(2), token: Token(3), at: AT }.into(),
        submitted(3, TaskKind::Work, None),
        assigned(3, (2, 0), 4, Phase::Only),
        TaskCancelRequested { task: id(3), ..first("pool.task-cancel-requested.v1") }.into(),
        submitted(4, TaskKind::Apply, Some("prod")),
        submitted(5, TaskKind::Apply, Some("test")),
        submitted(6, TaskKind::Plan, None),
        submitted(7, TaskKind::DriftCheck, None),
        assigned(7, (1, 1), 5, Phase::Only),
        TaskEnded { task: id(7), token: Some(Token(5)), ..ended }.into(),
        submitted(8, TaskKind::Plan, None),
        assigned(8, (1, 1), 6, Phase::Only),
        TaskRequeued { task: id(8), token: Token(6), ..first("pool.task-requeued.v1") }.into(),
        // One whose next try is due when another gets a slot.
        submitted(9, TaskKind::Plan, None),
        assigned(9, (1, 1), 7, Phase::Only),
        TaskRequeued { task: id(9), token: Token(7), not_before: Some(AT), ..first("pool.task-requeued.v1") }
            .into(),
        submitted(10, TaskKind::Plan, None),
        assigned(10, (1, 1), 8, Phase::Only),
        TaskApproved { task: id(1), at: AT }.into(),
    ]
}

/// The pools of the sample: one.
pub(super) fn pools() -> BTreeMap<PoolName, Pool> {
    let set: SpecSet = first("pool.spec-set.v1");
    let name = set.name.clone();
    let mut history: Vec<PoolEvent> =
        vec![set.into(), first::<ReferencesChanged>("pool.references-changed.v1").into()];
    for (number, is_there) in [(1, true), (2, true), (3, true), (4, true), (5, false), (6, false)] {
        history.extend(member(number, is_there));
    }
    history.push(MemberRemovalRequested { member: 5, ..first("pool.member-removal-requested.v1") }.into());
    history.push(MemberLost { member: 6, ..first("pool.member-lost.v1") }.into());
    history.push(MemberRequested { member: 7, revision: 3, slots: 3, at: AT }.into());
    history.push(MemberRequested { member: 8, revision: 3, slots: 3, at: AT }.into());
    history.push(MemberRequestFailed { member: 8, ..first("pool.member-request-failed.v1") }.into());
    history.push(MemberRequested { member: 9, revision: 3, slots: 3, at: AT }.into());
    history.push(MemberNoRoom { member: 9, ..first("pool.member-no-room.v1") }.into());
    history.extend(tasks());
    history.push(StaleTokenRefused { member: 4, ..first("pool.stale-token-refused.v1") }.into());
    let session = first::<AgentConnected>("pool.agent-connected.v1").session;
    history.push(AgentLeaving { member: 4, session, at: AT }.into());
    history.extend(all::<Scaled>("pool.scaled.v1").into_iter().skip(4).map(PoolEvent::from));
    history.push(first::<Unfrozen>("pool.unfrozen.v1").into());
    history.push(first::<RemovalRequested>("pool.removal-requested.v1").into());
    let mut pool = history.iter().try_fold(Pool::default(), |pool, event| pool.evolve(event)).unwrap();
    // Another template leads to these, which the events on file do not have.
    pool.in_place_from = Some(2);
    let mut resized = Member::clone(&pool.members[&4]);
    let failed = Some("insufficient resources".to_owned());
    resized.resize = Some(MemberResize { revision: 3, failed });
    pool.members.insert_mut(4, Arc::new(resized));
    for member in pool.members.values() {
        match &member.phase {
            MemberPhase::Requested
            | MemberPhase::Up
            | MemberPhase::Removing { .. }
            | MemberPhase::Lost { .. } => {}
        }
    }
    for task in pool.tasks.values() {
        match &task.state {
            TaskState::Pending { .. }
            | TaskState::Running { .. }
            | TaskState::ApplyPending { .. }
            | TaskState::Ended { .. } => {}
        }
    }
    BTreeMap::from([(name, pool)])
}
