//! What is on record of one task. A pool's stream has the records of all its tasks: the place where one begins is found by
//! halves.

use purser_events::pool::{PoolEvent, PoolName, TaskId};
use purser_events::{Event, StreamId, StreamVersion, Timestamp};
use purser_storage::{JournalError, StoredRecord};

use super::Service;

/// Records of a task that are told at most, the oldest.
const TOLD_MAX: usize = 500;
/// Records of the pool that are looked at.
const LOOKED_AT_MAX: usize = 200_000;
/// Records that are read at a time.
const PAGE_LEN: usize = 1_024;
/// How far the times of records may be from being in order, in milliseconds: clocks are set.
const SLACK_MS: u64 = 60_000;

impl Service {
    /// The records of a task that was submitted at this moment, the oldest first, as far as they are kept. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn task_records(
        &self,
        pool: &PoolName,
        task: TaskId,
        submitted_at: Timestamp,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        let stream = pool.stream();
        let head = self.inner.shell.live.head(stream).map_or(0, |head| head.version.0);
        let mut next = self.first_after(stream, submitted_at.minus_ms(SLACK_MS), head)?;
        let (mut told, mut looked_at) = (vec![], 0);
        while next <= head && looked_at < LOOKED_AT_MAX {
            let page = self.journal().read_stream(stream, StreamVersion(next), PAGE_LEN)?;
            let Some(last) = page.last() else { break };
            next = last.header.version.0 + 1;
            looked_at += page.len();
            for record in page {
                // What cannot be read may be of any task; it is for `verify` to tell.
                let Ok(Event::Pool(event)) = record.event() else { continue };
                if task_of(&event) != Some(task) {
                    continue;
                }
                told.push(record);
                if matches!(event, PoolEvent::TaskEnded(_)) || TOLD_MAX <= told.len() {
                    return Ok(told);
                }
            }
        }
        Ok(told)
    }

    /// The first version of a stream whose record is of this moment or later.
    fn first_after(&self, stream: StreamId, at: Timestamp, head: u64) -> Result<u64, JournalError> {
        let (mut low, mut high) = (1, head + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.journal().read_stream(stream, StreamVersion(middle), 1)?;
            // What was trimmed came before all that is kept.
            match found.first() {
                Some(record) if record.header.time < at => low = record.header.version.0 + 1,
                Some(_) => high = middle,
                None => return Ok(low),
            }
        }
        Ok(low)
    }
}

/// The task that an event is about.
fn task_of(event: &PoolEvent) -> Option<TaskId> {
    use PoolEvent as E;
    match event {
        E::TaskSubmitted(event) => Some(event.spec.id),
        E::TaskAssigned(event) => Some(event.task),
        E::TaskStarted(event) => Some(event.task),
        E::TaskPlanned(event) => Some(event.task),
        E::TaskConfirmed(event) => Some(event.task),
        E::TaskApproved(event) => Some(event.task),
        E::TaskDiscarded(event) => Some(event.task),
        E::TaskEnded(event) => Some(event.task),
        E::TaskRequeued(event) => Some(event.task),
        E::TaskCancelRequested(event) => Some(event.task),
        E::ReservationExpired(event) => Some(event.task),
        E::StaleTokenRefused(event) => Some(event.task),
        E::SpecSet(_)
        | E::RemovalRequested(_)
        | E::Removed(_)
        | E::MemberRequested(_)
        | E::MemberAdmitted(_)
        | E::MemberRequestFailed(_)
        | E::MemberRemovalRequested(_)
        | E::MemberRemoved(_)
        | E::MemberLost(_)
        | E::AgentConnected(_)
        | E::AgentDisconnected(_)
        | E::AgentsAway(_)
        | E::ReferencesChanged(_)
        | E::AgentLeaving(_)
        | E::MemberNoRoom(_)
        | E::SetbacksOver(_)
        | E::StaleTokensCounted(_)
        | E::Scaled(_)
        | E::MemberResizeRequested(_)
        | E::MemberResized(_)
        | E::MemberResizeFailed(_)
        | E::Unfrozen(_) => None,
    }
}
