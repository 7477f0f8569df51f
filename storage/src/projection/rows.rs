//! Rows as a projection sees them: small values under keys of its own choice, in the order of their keys.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::keys;
use crate::error::JournalError;
use crate::store::{Batch, Store};

/// Longest key of a row, in bytes.
pub const ROW_KEY_LEN_MAX: usize = 256;

/// Longest row, in bytes: sled does not sync what is longer by much.
pub const ROW_LEN_MAX: usize = 64 << 10;

/// Written rows after which a batch is written.
const BATCH_ROWS: usize = 1_024;

/// Bytes of written rows after which a batch is written.
const BATCH_BYTES: usize = 1 << 20;

/// Why a row could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The store failed, or a row in it is damaged.
    #[error("failed to read the rows")]
    Store(#[from] JournalError),
    /// A row or its key is longer than allowed: a defect of the projection.
    #[error("a row of {len} bytes with a key of {key_len} is too long")]
    TooLong {
        /// Bytes of the row.
        len: usize,
        /// Bytes of its key.
        key_len: usize,
    },
    /// A row is not what the projection wrote: a defect of the projection.
    #[error("a row cannot be understood: {0}")]
    Malformed(String),
}

/// A key with its row.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The rows of one generation. Keys are in the order of their bytes.
pub trait Rows {
    /// The row under a key.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError>;

    /// The first rows whose keys begin with `prefix` and are at least `from`, at most `limit`.
    ///
    /// # Errors
    /// They cannot be read.
    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, RowsError>;

    /// Puts a row under a key, in place of the one that was there.
    ///
    /// # Errors
    /// The key is longer than [`ROW_KEY_LEN_MAX`] or the row than [`ROW_LEN_MAX`].
    fn put(&mut self, key: &[u8], row: Vec<u8>) -> Result<(), RowsError>;

    /// Removes the row under a key, if there is one.
    fn delete(&mut self, key: &[u8]);
}

/// The rows in the store, with writes that wait beside them.
pub(super) struct StoredRows<'a> {
    store: Arc<dyn Store>,
    name: &'a str,
    generation: u32,
    /// Rows that were written and are not in the store yet; none for one that was removed.
    written: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl<'a> StoredRows<'a> {
    pub(super) fn new(store: Arc<dyn Store>, name: &'a str, generation: u32) -> StoredRows<'a> {
        StoredRows { store, name, generation, written: BTreeMap::new(), bytes: 0 }
    }

    /// Whether enough was written for a batch.
    pub(super) fn is_full(&self) -> bool {
        self.written.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Whether nothing was written.
    pub(super) fn is_unchanged(&self) -> bool {
        self.written.is_empty()
    }

    /// What was written, as a batch.
    pub(super) fn take_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.bytes = 0;
        for (key, row) in std::mem::take(&mut self.written) {
            let key = keys::row_key(self.name, self.generation, &key);
            match row {
                Some(row) => {
                    let value = keys::sealed(&key, &row);
                    batch.put(key, value);
                }
                None => batch.remove(key),
            }
        }
        batch
    }

    fn note(&mut self, key: &[u8], row: Option<Vec<u8>>) {
        self.bytes += key.len() + row.as_ref().map_or(0, Vec::len);
        self.written.insert(key.to_vec(), row);
    }
}

impl Rows for StoredRows<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        if let Some(row) = self.written.get(key) {
            return Ok(row.clone());
        }
        let key = keys::row_key(self.name, self.generation, key);
        let Some(bytes) = self.store.get(&key).map_err(JournalError::from)? else { return Ok(None) };
        Ok(Some(keys::unsealed(&key, &bytes)?.to_vec()))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, RowsError> {
        let least = from.max(prefix);
        let base = keys::row_key(self.name, self.generation, &[]);
        let (first, end) = (
            keys::row_key(self.name, self.generation, least),
            after_all(keys::row_key(self.name, self.generation, prefix)),
        );
        let mut found = BTreeMap::new();
        let mut damaged = None;
        let visit = &mut |stored: &[u8], value: &[u8]| {
            let key = stored.get(base.len()..).unwrap_or_default();
            if found.len() >= limit {
                return ControlFlow::Break(());
            }
            if !self.written.contains_key(key) {
                match keys::unsealed(stored, value) {
                    Ok(row) => drop(found.insert(key.to_vec(), row.to_vec())),
                    Err(error) => {
                        damaged = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        };
        self.store.scan(&first, &end, visit).map_err(JournalError::from)?;
        if let Some(error) = damaged {
            return Err(error.into());
        }
        let waiting = self.written.range(least.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        found.extend(waiting.filter_map(|(key, row)| Some((key.clone(), row.clone()?))));
        Ok(found.into_iter().take(limit).collect())
    }

    fn put(&mut self, key: &[u8], row: Vec<u8>) -> Result<(), RowsError> {
        if key.len() > ROW_KEY_LEN_MAX || row.len() > ROW_LEN_MAX {
            return Err(RowsError::TooLong { len: row.len(), key_len: key.len() });
        }
        self.note(key, Some(row));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) {
        self.note(key, None);
    }
}

/// The least key that is after every key with this beginning.
fn after_all(mut beginning: Vec<u8>) -> Vec<u8> {
    while let Some(last) = beginning.pop() {
        if last < u8::MAX {
            beginning.push(last + 1);
            break;
        }
    }
    beginning
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Backend;

    #[test]
    fn what_waits_is_seen_with_what_is_stored() {
        for backend in [Backend::Sled, Backend::Redb] {
            let dir = tempfile::tempdir().unwrap();
            let store = backend.open(dir.path(), 1 << 20).unwrap();
            let fresh = |generation| StoredRows::new(Arc::clone(&store), "a", generation);
            let mut rows = fresh(1);
            for key in [b"x1", b"x3", b"x5", b"y1"] {
                rows.put(key, key.to_vec()).unwrap();
            }
            rows.put(b"\xff", b"high".to_vec()).unwrap();
            store.apply(rows.take_batch()).unwrap();
            let mut other = fresh(2);
            other.put(b"x2", b"of another".to_vec()).unwrap();
            store.apply(other.take_batch()).unwrap();

            rows.put(b"x4", b"new".to_vec()).unwrap();
            rows.put(b"x5", b"changed".to_vec()).unwrap();
            rows.delete(b"x1");
            let keys = |found: Vec<Pair>| -> Vec<String> {
                found.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
            };
            assert_eq!(keys(rows.scan(b"x", b"", 10).unwrap()), ["x3", "x4", "x5"]);
            assert_eq!(keys(rows.scan(b"x", b"x4", 10).unwrap()), ["x4", "x5"]);
            assert_eq!(keys(rows.scan(b"x", b"", 2).unwrap()), ["x3", "x4"]);
            assert_eq!(keys(rows.scan(b"", b"", 10).unwrap()).len(), 5);
            assert_eq!(rows.scan(b"\xff", b"", 10).unwrap().len(), 1);
            assert_eq!(rows.get(b"x5").unwrap().unwrap(), b"changed");
            assert_eq!((rows.get(b"x1").unwrap(), rows.get(b"x2").unwrap()), (None, None));
            assert_eq!(fresh(1).get(b"x1").unwrap().unwrap(), b"x1");
        }
    }

    #[test]
    fn a_row_that_is_too_long_or_damaged_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Backend::Redb.open(dir.path(), 1 << 20).unwrap();
        let mut rows = StoredRows::new(Arc::clone(&store), "a", 1);
        let too_long = rows.put(b"k", vec![0; ROW_LEN_MAX + 1]);
        assert!(matches!(too_long, Err(RowsError::TooLong { .. })));
        assert!(rows.put(&[0; ROW_KEY_LEN_MAX + 1], Vec::new()).is_err() && rows.is_unchanged());
        rows.put(b"k", vec![1, 2, 3]).unwrap();
        let mut batch = rows.take_batch();
        batch.writes[0].1.as_mut().unwrap()[5] ^= 1;
        store.apply(batch).unwrap();
        assert!(matches!(rows.get(b"k"), Err(RowsError::Store(JournalError::Value { .. }))));
        assert!(rows.scan(b"", b"", 1).is_err());
    }
}
