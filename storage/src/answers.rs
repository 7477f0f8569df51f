//! Answers to commands: kept with the records that they caused, so that a retry gets the first answer.
//!
//! Each answer has a place in order; the oldest make way once there are more than [`ANSWERS_LEN_MAX`], or once they are
//! older than the journal keeps them. An answer has no time of its own: it is as old as the records around it say, by
//! marks that are made of the records' times and of nothing else, so that the same answers are kept however the store
//! was made.

use std::collections::VecDeque;

use purser_events::{CommandId, Seq, Timestamp};

use crate::error::JournalError;
use crate::frame::Hash;
use crate::store::{Batch, Store, keys};

/// Answers kept; an older command is no longer known.
pub const ANSWERS_LEN_MAX: u64 = 100_000;

/// Time for which one mark is enough, in milliseconds: an answer is kept longer by so much at most.
const MARK_EVERY_MS: u64 = 60_000;

/// Most answers that make way for their age with one commit.
const EXPIRED_MAX: u64 = 256;

/// Longest answer, in bytes.
pub const ANSWER_LEN_MAX: usize = 4_096;

/// The first answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Hash of what was asked, to tell a retry from another request under the same id.
    pub fingerprint: Hash,
    /// The answer.
    pub answer: Vec<u8>,
    /// The first record that the command caused; 0 if none.
    pub first: Seq,
    /// The last record that the command caused; 0 if none.
    pub last: Seq,
}

impl StoredAnswer {
    pub(crate) fn to_bytes(&self, order: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(56 + self.answer.len());
        bytes.extend_from_slice(&order.to_le_bytes());
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.last.0.to_le_bytes());
        bytes.extend_from_slice(&self.answer);
        bytes
    }

    /// The answer and its place in order.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<(StoredAnswer, u64)> {
        let (order, rest) = bytes.split_first_chunk()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (last, answer) = rest.split_first_chunk()?;
        let (first, last) = (Seq(u64::from_le_bytes(*first)), Seq(u64::from_le_bytes(*last)));
        let answer = StoredAnswer { fingerprint: *fingerprint, answer: answer.to_vec(), first, last };
        Some((answer, u64::from_le_bytes(*order)))
    }
}

/// Looks an answer up, with its place in order.
pub(crate) fn find(store: &dyn Store, id: CommandId) -> Result<Option<(StoredAnswer, u64)>, JournalError> {
    let Some(bytes) = store.get(&keys::answer(id))? else { return Ok(None) };
    StoredAnswer::from_bytes(&bytes).map(Some).ok_or(JournalError::Answer { id })
}

/// A moment by which every answer before a place in order had been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    order: u64,
    at: Timestamp,
}

/// Which places in order are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerOrder {
    oldest: u64,
    /// The next place to be taken.
    pub(crate) next: u64,
    /// In order.
    marks: VecDeque<Mark>,
    /// Age at which answers make way, in milliseconds; 0 for never.
    kept_ms: u64,
}

impl AnswerOrder {
    /// What a store holds; answers of this age make way from here on.
    pub(crate) fn load(store: &dyn Store, kept_ms: u64) -> Result<AnswerOrder, JournalError> {
        let marks = load_marks(store)?;
        let (from, to) = ([b'o'], [b'o' + 1]);
        let place =
            |key: &[u8]| keys::answer_order_of(key).ok_or(JournalError::Value { name: "answer order" });
        let mut oldest = None;
        store.scan(&from, &to, &mut |key, _| {
            oldest = Some(place(key));
            std::ops::ControlFlow::Break(())
        })?;
        let newest = store.last_key(&from, &to)?;
        let (Some(oldest), Some(newest)) = (oldest, newest) else {
            let next = marks.back().map_or(0, |mark| mark.order);
            return Ok(AnswerOrder { oldest: next, next, marks, kept_ms });
        };
        Ok(AnswerOrder { oldest: oldest?, next: place(&newest)?.saturating_add(1), marks, kept_ms })
    }

    /// Adds the next answer to a batch, and the removal of the oldest if there are too many; gives its place.
    pub(crate) fn push(
        &mut self,
        store: &dyn Store,
        batch: &mut Batch,
        id: CommandId,
        answer: &StoredAnswer,
    ) -> Result<u64, JournalError> {
        let order = self.next;
        self.put(store, batch, id, answer, order)?;
        Ok(order)
    }

    /// Adds an answer whose place is known to a batch; once more does no harm.
    pub(crate) fn put(
        &mut self,
        store: &dyn Store,
        batch: &mut Batch,
        id: CommandId,
        answer: &StoredAnswer,
        order: u64,
    ) -> Result<(), JournalError> {
        if self.oldest == self.next && order >= self.next {
            // The first that is known: those before it are in no segment any more.
            (self.oldest, self.next) = (order, order);
        }
        if order < self.oldest {
            return Ok(());
        }
        batch.put(keys::answer(id), answer.to_bytes(order));
        batch.put(keys::answer_order(order), id.0.as_bytes().to_vec());
        self.next = self.next.max(order.saturating_add(1));
        while self.next - self.oldest > ANSWERS_LEN_MAX {
            // Far older than this batch, so the store has it.
            remove(store, batch, self.oldest)?;
            self.oldest += 1;
        }
        Ok(())
    }

    /// Takes notice of a commit with records of this time, and adds to a batch the removal of answers that have become
    /// too old. Gives how many that are.
    pub(crate) fn settle(
        &mut self,
        store: &dyn Store,
        batch: &mut Batch,
        at: Timestamp,
    ) -> Result<u64, JournalError> {
        if self.marks.back().map_or(0, |last| last.order) < self.next {
            self.mark(batch, at);
        }
        self.expire(store, batch, at)
    }

    /// Adds the removal of answers that have become too old by a moment. Gives how many that are.
    pub(crate) fn expire(
        &mut self,
        store: &dyn Store,
        batch: &mut Batch,
        at: Timestamp,
    ) -> Result<u64, JournalError> {
        let mut expired = 0;
        while let Some(&mark) = self.marks.front() {
            if self.oldest >= mark.order {
                // The last one stays: once no answer is left, it says where their order goes on.
                if self.marks.len() == 1 {
                    break;
                }
                batch.remove(keys::answers_before(mark.order));
                self.marks.pop_front();
            } else if self.kept_ms > 0 && at.ms_since(mark.at) >= self.kept_ms && expired < EXPIRED_MAX {
                // What the store has not got yet waits for a later commit.
                if !remove(store, batch, self.oldest)? {
                    break;
                }
                (self.oldest, expired) = (self.oldest + 1, expired + 1);
            } else {
                break;
            }
        }
        Ok(expired)
    }

    /// Marks that all answers so far had been given by now. Of the marks of one minute, the last counts.
    fn mark(&mut self, batch: &mut Batch, at: Timestamp) {
        if let [.., before, last] = self.marks.make_contiguous()
            && at.ms_since(before.at) < MARK_EVERY_MS
        {
            batch.remove(keys::answers_before(last.order));
            self.marks.pop_back();
        }
        batch.put(keys::answers_before(self.next), at.0.to_le_bytes().to_vec());
        self.marks.push_back(Mark { order: self.next, at });
    }
}

/// Adds to the first batch of a store that every answer before a place in order had been given by a moment: it is told
/// of none of them.
pub(crate) fn begin(batch: &mut Batch, order: u64, at: Timestamp) {
    if order > 0 {
        batch.put(keys::answers_before(order), at.0.to_le_bytes().to_vec());
    }
}

/// Adds the removal of an answer to a batch; false if the store does not have it.
fn remove(store: &dyn Store, batch: &mut Batch, order: u64) -> Result<bool, JournalError> {
    let place = keys::answer_order(order);
    let Some(bytes) = store.get(&place)? else { return Ok(false) };
    let id = uuid::Uuid::from_slice(&bytes).map_err(|_| JournalError::Value { name: "answer order" })?;
    batch.remove(keys::answer(CommandId(id)));
    batch.remove(place);
    Ok(true)
}

fn load_marks(store: &dyn Store) -> Result<VecDeque<Mark>, JournalError> {
    let (mut marks, mut malformed) = (VecDeque::new(), false);
    store.scan(b"t", b"u", &mut |key, value| {
        let at = <[u8; 8]>::try_from(value).ok().map(|at| Timestamp(i64::from_le_bytes(at)));
        match keys::answers_before_of(key).zip(at) {
            Some((order, at)) => marks.push_back(Mark { order, at }),
            None => malformed = true,
        }
        std::ops::ControlFlow::Continue(())
    })?;
    if malformed { Err(JournalError::Value { name: "answer time" }) } else { Ok(marks) }
}
