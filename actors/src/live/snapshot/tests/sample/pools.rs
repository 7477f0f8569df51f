//! A pool to which everything has happened, with a member and a task in every state.

use std::collections::BTreeMap;

use purser_events::pool::event::{
    AgentConnected, MemberAdmitted, MemberLost, MemberRemovalRequested, MemberRequestFailed, MemberRequested,
    ReferencesChanged, RemovalRequested, Scaled, SpecSet, TaskAssigned, TaskCancelRequested, TaskEnded,
    TaskPlanned, TaskRequeued, TaskStarted, TaskSubmitted, Unfrozen,
};
use purser_events::pool::{
    MemberPhase, Phase, Pool, PoolEvent, PoolName, SlotKey, TaskId, TaskKind, TaskState, Token, Workspace,
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
    let mut submitted: TaskSubmitted = first("pool.task-submitted.v1");
    (submitted.order, submitted.spec.id, submitted.spec.kind) = (number, id(number), kind);
    submitted.spec.workspace = workspace.map(|name| Workspace::new(name).unwrap());
    if kind == TaskKind::PlanAndApply {
        submitted.spec.apply_argv = vec!["apply".to_owned()];
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
    ]
}

/// The pools of the sample: one.
pub(super) fn pools() -> BTreeMap<PoolName, Pool> {
    let set: SpecSet = first("pool.spec-set.v1");
    let name = set.name.clone();
    let mut history: Vec<PoolEvent> =
        vec![set.into(), first::<ReferencesChanged>("pool.references-changed.v1").into()];
    for (number, is_there) in [(1, true), (2, true), (4, true), (5, false), (6, false)] {
        history.extend(member(number, is_there));
    }
    history.push(MemberRemovalRequested { member: 5, ..first("pool.member-removal-requested.v1") }.into());
    history.push(MemberLost { member: 6, ..first("pool.member-lost.v1") }.into());
    history.push(MemberRequested { member: 7, revision: 3, slots: 3, at: AT }.into());
    history.push(MemberRequested { member: 8, revision: 3, slots: 3, at: AT }.into());
    history.push(MemberRequestFailed { member: 8, ..first("pool.member-request-failed.v1") }.into());
    history.extend(tasks());
    history.extend(all::<Scaled>("pool.scaled.v1").into_iter().skip(4).map(PoolEvent::from));
    history.push(first::<Unfrozen>("pool.unfrozen.v1").into());
    history.push(first::<RemovalRequested>("pool.removal-requested.v1").into());
    let pool = history.iter().try_fold(Pool::default(), |pool, event| pool.evolve(event)).unwrap();
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
