//! Opening: reads every record once, checks it and hands it on.

use std::ops::ControlFlow;
use std::path::Path;

use purser_events::{Header, Record, Seq};

use crate::error::JournalError;
use crate::record::{PayloadError, StoredRecord};
use crate::store::{Batch, Store, keys};
use crate::verify::{Fault, Head, Verifier};

/// What opening found at one position.
#[derive(Debug)]
pub enum Replayed {
    /// A record.
    Record(Record),
    /// A record whose payload this release cannot read; its bytes are sound and the chain goes on.
    Unreadable {
        /// Its position.
        seq: Seq,
        /// Where it stands and why it is there.
        header: Header,
        /// Why its payload cannot be read.
        reason: PayloadError,
    },
}

/// Reads and checks every record, and hands each to `replay`. `known` is the last record that was acknowledged
/// as the file beside the store has it.
pub(crate) fn replay_all(
    store: &dyn Store,
    dir: &Path,
    known: Option<Head>,
    replay: &mut dyn FnMut(Replayed),
) -> Result<Verifier, JournalError> {
    let mut verifier = Verifier::default();
    let checked = read_all(store, &mut |record| {
        verifier.check(&record)?;
        let head = verifier.head();
        match known {
            Some(known) if known.seq == head.seq && known.hash != head.hash => {
                return Err(Fault::Replaced { seq: head.seq });
            }
            Some(_) | None => {}
        }
        replay(match record.event() {
            Ok(event) => Replayed::Record(Record { header: record.header, event }),
            Err(reason) => Replayed::Unreadable { seq: head.seq, header: record.header, reason },
        });
        Ok(())
    })?;
    let sound = verifier.head().seq;
    let shortened = known.filter(|known| known.seq > sound);
    let shortened = shortened.map(|known| Fault::Shortened { found: sound, expected: known.seq });
    match (checked, shortened) {
        (Ok(()), None) => Ok(verifier),
        (Err(Fault::Damaged { seq, source }), _) if source.is_unknown() => {
            Err(JournalError::Newer { dir: dir.to_owned(), seq, source })
        }
        (Err(source), _) | (Ok(()), Some(source)) => {
            Err(JournalError::Damaged { dir: dir.to_owned(), sound, source })
        }
    }
}

/// Reads every record in order up to the first fault, which may be one that `check` finds.
pub(crate) fn read_all(
    store: &dyn Store,
    check: &mut dyn FnMut(StoredRecord) -> Result<(), Fault>,
) -> Result<Result<(), Fault>, JournalError> {
    let mut checked = Ok(());
    let mut expected = Seq(1);
    store.scan(b"e", b"f", &mut |key, value| {
        checked = read_one(expected, key, value).and_then(&mut *check);
        expected = Seq(expected.0.saturating_add(1));
        if checked.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(checked)
}

/// Reads the frame that stands where `expected` should.
pub(crate) fn read_one(expected: Seq, key: &[u8], value: &[u8]) -> Result<StoredRecord, Fault> {
    let found = keys::record_seq(key).unwrap_or(Seq::ZERO);
    if found != expected {
        return Err(Fault::Gap { expected, found });
    }
    let damaged = |source| Fault::Damaged { seq: expected, source };
    let record = StoredRecord::parse(value.to_vec()).map_err(damaged)?;
    if record.header.seq != expected {
        return Err(Fault::Gap { expected, found: record.header.seq });
    }
    Ok(record)
}

/// Counts this opening, durably, and gives its number.
pub(crate) fn next_epoch(store: &dyn Store, newest_seen: u64) -> Result<u64, JournalError> {
    let malformed = JournalError::Value { name: "epoch" };
    let stored = match store.get(keys::EPOCH)? {
        Some(bytes) => u64::from_be_bytes(bytes.try_into().map_err(|_| malformed)?),
        None => 0,
    };
    let epoch = stored.max(newest_seen).saturating_add(1);
    let mut batch = Batch::default();
    batch.put(keys::EPOCH, epoch.to_be_bytes().to_vec());
    store.apply(batch)?;
    store.sync()?;
    Ok(epoch)
}
