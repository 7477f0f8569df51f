//! What is known of a pool's agents and on no record: when each was heard of last, and who waits for its orders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use purser_events::pool::{TaskId, Token};
use tokio::sync::{Notify, watch};

/// Time in which the refusals of a member become one record.
const REFUSALS_EVERY: Duration = Duration::from_secs(60);
/// Most times in a minute that an agent may connect: one that does so again and again would fill the journal.
const CONNECTS_MAX: u32 = 30;
/// The minute.
const CONNECTS_EVERY: Duration = Duration::from_secs(60);

/// Time between two rounds beyond which the service itself stood still: nobody was silent meanwhile.
const STANDSTILL: Duration = Duration::from_secs(5);

/// One pool's board. Shared by its actor, its upkeep, and whoever serves its agents.
#[derive(Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    upkeep: Notify,
}

#[derive(Default)]
struct Inner {
    /// The version of the pool's stream at the service's start: what waits for changes before that is told at once.
    first: u64,
    members: BTreeMap<u64, Entry>,
    last_round: Option<Duration>,
}

struct Entry {
    /// When its agent was heard of last, or when it was seen first.
    heard: Duration,
    /// Counts changes of its orders, by the pool's versions: the count goes on after a restart.
    orders: watch::Sender<u64>,
    /// What its agent did not have when it said last what it has.
    missed: BTreeSet<(TaskId, Token)>,
    /// Since when its agent was refused words for slots that it does not have, and how often.
    refused: Option<(Duration, u64)>,
    /// Since when its agent's connections are counted, and how many there were.
    connects: (Duration, u32),
}

impl Board {
    /// Says where the pool's stream stands.
    pub(super) fn begin(&self, version: u64) {
        self.lock().first = version;
    }

    /// Takes notice of an agent that spoke.
    pub(crate) fn heard(&self, member: u64, now: Duration) {
        let mut inner = self.lock();
        inner.entry(member, now).heard = now;
    }

    /// Takes notice of what an agent lacks of what it should have, and says what it lacked the time before as well: what
    /// it was given in between it cannot have named.
    pub(crate) fn lacks(
        &self,
        member: u64,
        missing: BTreeSet<(TaskId, Token)>,
        now: Duration,
    ) -> BTreeSet<(TaskId, Token)> {
        let mut inner = self.lock();
        let entry = inner.entry(member, now);
        let before = std::mem::replace(&mut entry.missed, missing);
        entry.missed.intersection(&before).copied().collect()
    }

    /// Takes notice of an agent that was refused a word for a slot that it does not have.
    pub(crate) fn refused(&self, member: u64, now: Duration) {
        let mut inner = self.lock();
        let refused = &mut inner.entry(member, now).refused;
        let (since, count) = refused.unwrap_or((now, 0));
        *refused = Some((since, count.saturating_add(1)));
    }

    /// The members whose refusals are to be put on record, with their count; one alone is on record as it is.
    pub(super) fn refusals_due(&self, now: Duration) -> Vec<(u64, u64)> {
        let mut inner = self.lock();
        let mut due = vec![];
        for (member, entry) in &mut inner.members {
            if let Some((since, count)) = entry.refused
                && REFUSALS_EVERY <= now.saturating_sub(since)
            {
                entry.refused = None;
                due.extend((1 < count).then_some((*member, count)));
            }
        }
        due
    }

    /// Whether an agent may connect once more.
    pub(crate) fn may_connect(&self, member: u64, now: Duration) -> bool {
        self.lock().members.get(&member).is_none_or(|entry| {
            let (since, count) = entry.connects;
            count < CONNECTS_MAX || CONNECTS_EVERY <= now.saturating_sub(since)
        })
    }

    /// Takes notice of a connection that is on record.
    pub(crate) fn connected(&self, member: u64, now: Duration) {
        let mut inner = self.lock();
        let connects = &mut inner.entry(member, now).connects;
        if CONNECTS_EVERY <= now.saturating_sub(connects.0) {
            *connects = (now, 0);
        }
        connects.1 = connects.1.saturating_add(1);
    }

    /// What tells of changes of a member's orders.
    pub(crate) fn orders(&self, member: u64, now: Duration) -> watch::Receiver<u64> {
        self.lock().entry(member, now).orders.subscribe()
    }

    /// Says that the orders of these members are others, from this version of the pool on.
    pub(super) fn wake(&self, members: &BTreeSet<u64>, version: u64) {
        let inner = self.lock();
        for entry in members.iter().filter_map(|member| inner.members.get(member)) {
            entry.orders.send_replace(version);
        }
    }

    /// How long nothing was heard of a member while the service ran; it begins when the member is asked for first.
    pub(super) fn silence(&self, member: u64, now: Duration) -> Duration {
        now.saturating_sub(self.lock().entry(member, now).heard)
    }

    /// Takes notice of a round of upkeep: `live` are the members that there are.
    pub(super) fn note_round(&self, live: &BTreeSet<u64>, now: Duration) {
        let mut inner = self.lock();
        let passed = inner.last_round.replace(now).map_or(Duration::ZERO, |last| now.saturating_sub(last));
        inner.members.retain(|member, _| live.contains(member));
        if STANDSTILL < passed {
            inner.members.values_mut().for_each(|entry| entry.heard += passed);
        }
    }

    /// Has the next round begin at once.
    pub(crate) fn call_upkeep(&self) {
        self.upkeep.notify_one();
    }

    /// Returns once somebody has called for a round.
    pub(super) async fn upkeep_called(&self) {
        self.upkeep.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn entry(&mut self, member: u64, now: Duration) -> &mut Entry {
        let first = self.first;
        self.members.entry(member).or_insert_with(|| Entry {
            heard: now,
            orders: watch::Sender::new(first),
            missed: BTreeSet::new(),
            refused: None,
            connects: (now, 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_counts_while_the_service_runs() {
        let board = Board::default();
        let live = BTreeSet::from([1]);
        board.heard(1, s(10));
        for now in 10..20 {
            board.note_round(&live, s(now));
        }
        assert_eq!(board.silence(1, s(20)), s(10));
        // The service stood still for a minute and a bit.
        board.note_round(&live, s(90));
        assert_eq!(board.silence(1, s(91)), s(10));
        board.note_round(&BTreeSet::new(), s(91));
        assert_eq!(board.silence(1, s(92)), s(0), "who is gone is forgotten");
    }

    #[test]
    fn what_is_missing_once_may_be_on_its_way() {
        let board = Board::default();
        let grip = (TaskId(Uuid::from_u128(1)), Token(4));
        assert_eq!(board.lacks(1, BTreeSet::from([grip]), s(1)), BTreeSet::new());
        assert_eq!(board.lacks(1, BTreeSet::from([grip]), s(2)), BTreeSet::from([grip]));
        assert_eq!(board.lacks(1, BTreeSet::new(), s(3)), BTreeSet::new());
        assert_eq!(board.lacks(1, BTreeSet::from([grip]), s(4)), BTreeSet::new());
    }

    #[test]
    fn refusals_are_counted_a_minute_long_and_one_alone_is_not() {
        let board = Board::default();
        board.refused(1, s(1));
        board.refused(1, s(2));
        board.refused(2, s(2));
        assert_eq!(board.refusals_due(s(60)), []);
        assert_eq!(board.refusals_due(s(70)), [(1, 2)]);
        assert_eq!(board.refusals_due(s(140)), []);
    }

    #[test]
    fn who_connects_all_the_time_is_held_back_for_a_while() {
        let board = Board::default();
        let may = |now| board.may_connect(1, s(now));
        for _ in 0..CONNECTS_MAX {
            assert!(may(1));
            board.connected(1, s(1));
        }
        assert!(!may(1) && !may(60) && may(61));
        board.connected(1, s(61));
        assert!(may(62));
    }

    #[test]
    fn the_count_of_changes_goes_on_where_the_pool_stands() {
        let board = Board::default();
        board.begin(40);
        let orders = board.orders(1, s(0));
        assert_eq!(*orders.borrow(), 40);
        board.wake(&BTreeSet::from([1, 2]), 41);
        assert_eq!(*orders.borrow(), 41);
    }
}
