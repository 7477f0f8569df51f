//! What of a pool concerns some pods: what is on record of the members that they are, and of the tasks that these had.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::pool::{PoolEvent, TaskId};
use purser_events::{PodUid, StreamId};

/// The part that some pods have in each pool.
#[derive(Default)]
pub(crate) struct Shares(BTreeMap<StreamId, Share>);

#[derive(Default)]
struct Share {
    members: BTreeSet<u64>,
    tasks: BTreeSet<TaskId>,
}

impl Shares {
    /// Takes notice of a record of a pool.
    pub(crate) fn learn(&mut self, pool: StreamId, event: &PoolEvent, pods: &[PodUid]) {
        match event {
            PoolEvent::MemberAdmitted(it) if pods.contains(&it.pod) => {
                self.0.entry(pool).or_default().members.insert(it.member);
            }
            PoolEvent::TaskAssigned(it) => {
                let share = self.0.get_mut(&pool).filter(|share| share.members.contains(&it.slot.member));
                if let Some(share) = share {
                    share.tasks.insert(it.task);
                }
            }
            _ => {}
        }
    }

    /// Whether a record of a pool speaks of these pods, of their tasks, or of the pool as a whole if they are of it.
    pub(crate) fn has(&self, pool: StreamId, event: &PoolEvent) -> bool {
        self.0.get(&pool).is_some_and(|share| match of(event) {
            Of::Member(member) => share.members.contains(&member),
            Of::Task(task) => share.tasks.contains(&task),
            Of::Pool => true,
        })
    }
}

/// What a record of a pool speaks of.
enum Of {
    Member(u64),
    Task(TaskId),
    Pool,
}

fn of(event: &PoolEvent) -> Of {
    use PoolEvent as E;
    match event {
        E::MemberRequested(it) => Of::Member(it.member),
        E::MemberAdmitted(it) => Of::Member(it.member),
        E::MemberRequestFailed(it) => Of::Member(it.member),
        E::MemberNoRoom(it) => Of::Member(it.member),
        E::MemberRemovalRequested(it) => Of::Member(it.member),
        E::MemberRemoved(it) => Of::Member(it.member),
        E::MemberLost(it) => Of::Member(it.member),
        E::MemberResizeRequested(it) => Of::Member(it.member),
        E::MemberResized(it) => Of::Member(it.member),
        E::MemberResizeFailed(it) => Of::Member(it.member),
        E::AgentConnected(it) => Of::Member(it.member),
        E::AgentDisconnected(it) => Of::Member(it.member),
        E::AgentLeaving(it) => Of::Member(it.member),
        E::StaleTokenRefused(it) => Of::Member(it.member),
        E::StaleTokensCounted(it) => Of::Member(it.member),
        E::TaskSubmitted(it) => Of::Task(it.spec.id),
        E::TaskAssigned(it) => Of::Task(it.task),
        E::TaskStarted(it) => Of::Task(it.task),
        E::TaskPlanned(it) => Of::Task(it.task),
        E::TaskConfirmed(it) => Of::Task(it.task),
        E::TaskApproved(it) => Of::Task(it.task),
        E::TaskDiscarded(it) => Of::Task(it.task),
        E::TaskEnded(it) => Of::Task(it.task),
        E::TaskRequeued(it) => Of::Task(it.task),
        E::TaskCancelRequested(it) => Of::Task(it.task),
        E::ReservationExpired(it) => Of::Task(it.task),
        E::SpecSet(_)
        | E::RemovalRequested(_)
        | E::Removed(_)
        | E::AgentsAway(_)
        | E::ReferencesChanged(_)
        | E::SetbacksOver(_)
        | E::Scaled(_)
        | E::Unfrozen(_) => Of::Pool,
    }
}
