//! Answers to commands: kept with the records that they caused, so that a retry gets the first answer.
//!
//! Each answer has a place in order; the oldest make way once there are more than [`ANSWERS_LEN_MAX`].

use purser_events::{CommandId, Seq};

use crate::error::JournalError;
use crate::frame::Hash;
use crate::store::{Batch, Store, keys};

/// Answers kept; an older command is no longer known.
pub const ANSWERS_LEN_MAX: u64 = 100_000;

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

/// Which places in order are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerOrder {
    oldest: u64,
    /// The next place to be taken.
    pub(crate) next: u64,
}

impl AnswerOrder {
    pub(crate) fn load(store: &dyn Store) -> Result<AnswerOrder, JournalError> {
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
            return Ok(AnswerOrder { oldest: 0, next: 0 });
        };
        Ok(AnswerOrder { oldest: oldest?, next: place(&newest)?.saturating_add(1) })
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
        if self.oldest == self.next {
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
            let place = keys::answer_order(self.oldest);
            // Far older than this batch, so the store has it.
            if let Some(bytes) = store.get(&place)? {
                let id = uuid::Uuid::from_slice(&bytes)
                    .map_err(|_| JournalError::Value { name: "answer order" })?;
                batch.remove(keys::answer(CommandId(id)));
                batch.remove(place);
            }
            self.oldest += 1;
        }
        Ok(())
    }
}
