//! Making a store anew that holds far less than its file takes: neither sled nor redb gives room back by itself once
//! most of what they held was removed.
//!
//! Done while a journal is opened, when nobody else uses the store, and only if little is left in it: what is copied
//! bounds the time that it takes. The copy is made beside the store, read again, and only then takes its place.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::home::{made_folder, make_folder, put_in_place, remove_if_there};
use super::{Backend, Batch, Store, StoreError};
use crate::error::JournalError;
use crate::frame::Hash;

/// Bytes that are copied at once.
const COPY_LEN: usize = 1 << 20;

/// How many times as long as what is left in it a store's file must be. sled's is up to four times as long while
/// records are appended one by one, and would be so again soon.
const TIMES_MIN: u64 = 8;

/// When it is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// A store whose file is shorter stays as it is, in bytes.
    pub file_min: u64,
    /// A store with more in it stays as it is, in bytes.
    pub live_max: u64,
}

impl Limits {
    /// About as long as one segment both.
    pub(super) const DEFAULT: Limits = Limits { file_min: 64 << 20, live_max: 64 << 20 };
}

/// The store of the journal in `dir`, made anew if that gives back most of its room; otherwise as it is. A stop at any
/// moment leaves one of the two, or none, which the opening then makes from the segments.
pub(super) fn renewed(
    dir: &Path,
    backend: Backend,
    cache_bytes: u64,
    store: Arc<dyn Store>,
    limits: Limits,
) -> Result<Arc<dyn Store>, JournalError> {
    let file_bytes = store.bytes_on_disk()?;
    if file_bytes < limits.file_min || !is_sparse(&*store, limits.live_max.min(file_bytes / TIMES_MIN))? {
        return Ok(store);
    }
    let made = made_folder(dir);
    if let Err(error) = copy_into(&made, backend, cache_bytes, &*store) {
        // Room is all that is lost: the store itself was only read.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a store that is mostly empty keeps its room"
        );
        remove_if_there(&made)?;
        return Ok(store);
    }
    drop(store);
    put_in_place(dir, &made, backend.name())?;
    let store = backend.open(dir, cache_bytes)?;
    tracing::info!(from = file_bytes, to = store.bytes_on_disk()?, "the store gave back room of old records");
    Ok(store)
}

/// Whether what is in a store comes to no more than so many bytes. Reads no more than these.
fn is_sparse(store: &dyn Store, bytes_max: u64) -> Result<bool, StoreError> {
    let mut bytes = 0;
    store.scan(&[], END, &mut |key, value| {
        bytes += (key.len() + value.len()) as u64;
        if bytes <= bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(bytes <= bytes_max)
}

/// No key of a store comes after it.
const END: &[u8] = &[0xff];

/// Copies every pair into a new store in the folder `made`, durable, and compares what the next opening finds there.
fn copy_into(made: &Path, backend: Backend, cache_bytes: u64, from: &dyn Store) -> Result<(), JournalError> {
    make_folder(made)?;
    let to = backend.open(made, cache_bytes)?;
    let copied = copy(from, &*to)?;
    to.sync()?;
    drop(to);
    let found = digest(&*backend.open(made, cache_bytes)?)?;
    if found == copied { Ok(()) } else { Err(JournalError::Value { name: "copy of the store" }) }
}

fn copy(from: &dyn Store, to: &dyn Store) -> Result<Hash, StoreError> {
    let (mut hash, mut batch, mut bytes, mut applied) = (Sha256::new(), Batch::default(), 0, Ok(()));
    from.scan(&[], END, &mut |key, value| {
        note_pair(&mut hash, key, value);
        bytes += key.len() + value.len();
        batch.put(key, value.to_vec());
        if bytes < COPY_LEN {
            return ControlFlow::Continue(());
        }
        bytes = 0;
        applied = to.apply(std::mem::take(&mut batch));
        if applied.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    applied?;
    to.apply(batch)?;
    Ok(hash.finalize().into())
}

fn digest(store: &dyn Store) -> Result<Hash, StoreError> {
    let mut hash = Sha256::new();
    store.scan(&[], END, &mut |key, value| {
        note_pair(&mut hash, key, value);
        ControlFlow::Continue(())
    })?;
    Ok(hash.finalize().into())
}

fn note_pair(hash: &mut Sha256, key: &[u8], value: &[u8]) {
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update((value.len() as u64).to_le_bytes());
    hash.update(value);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const VALUE_LEN: usize = 8 << 10;
    const CACHE: u64 = 1 << 20;
    const LIMITS: Limits = Limits { file_min: 1 << 20, live_max: 1 << 20 };

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn pairs(store: &dyn Store) -> Pairs {
        let mut pairs = Pairs::new();
        let note = &mut |key: &[u8], value: &[u8]| {
            pairs.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        store.scan(&[], END, note).unwrap();
        pairs
    }

    /// A store to which 16 MiB were written, and from which all was removed but so many values.
    fn relieved(dir: &Path, backend: Backend, left: usize) -> Arc<dyn Store> {
        let store = backend.open(dir, CACHE).unwrap();
        let keys: Vec<Vec<u8>> =
            (0..2_048_u32).map(|number| [b"p", &number.to_be_bytes()[..]].concat()).collect();
        for some in keys.chunks(128) {
            let mut batch = Batch::default();
            some.iter().for_each(|key| batch.put(key.as_slice(), vec![key[4]; VALUE_LEN]));
            store.apply(batch).unwrap();
        }
        store.sync().unwrap();
        let mut batch = Batch::default();
        keys.iter().skip(left).for_each(|key| batch.remove(key.as_slice()));
        store.apply(batch).unwrap();
        store.sync().unwrap();
        store
    }

    /// What tells one file from another.
    fn file(dir: &Path, backend: Backend) -> u64 {
        let name = match backend {
            Backend::Sled => "sled/db",
            Backend::Redb => "redb/index.redb",
        };
        fs::metadata(dir.join(name)).unwrap().ino()
    }

    #[test]
    fn a_store_that_is_mostly_empty_gets_a_shorter_file() {
        for backend in Backend::ALL {
            let dir = tempfile::tempdir().unwrap();
            let store = relieved(dir.path(), backend, 20);
            let (before, long) = (pairs(&*store), store.bytes_on_disk().unwrap());
            let store = renewed(dir.path(), backend, CACHE, store, LIMITS).unwrap();
            assert_eq!(pairs(&*store), before);
            let short = store.bytes_on_disk().unwrap();
            assert!(short < long / 3, "{backend:?}: {long} bytes became {short}");
            assert!(!made_folder(dir.path()).exists());
            drop(store);
            assert_eq!(pairs(&*backend.open(dir.path(), CACHE).unwrap()), before);
        }
    }

    #[test]
    fn a_store_that_is_short_or_full_enough_stays_as_it_is() {
        for backend in Backend::ALL {
            let cases = [
                ("short", 20, Limits { file_min: 1 << 30, ..LIMITS }),
                ("with much in it", 200, LIMITS),
                ("with most in it", 1_500, Limits { live_max: u64::MAX, ..LIMITS }),
            ];
            for (what, left, limits) in cases {
                let dir = tempfile::tempdir().unwrap();
                let store = relieved(dir.path(), backend, left);
                let (before, kept) = (pairs(&*store), file(dir.path(), backend));
                let store = renewed(dir.path(), backend, CACHE, store, limits).unwrap();
                assert_eq!(pairs(&*store), before, "{what}");
                assert_eq!(file(dir.path(), backend), kept, "{what}");
            }
        }
    }
}
