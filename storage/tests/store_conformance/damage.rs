//! Damage to redb's file: it is told, or an older whole state is shown; it never panics. sled does panic over damage:
//! what becomes of that is tested with the journal.

use std::fs;
use std::path::Path;

use purser_storage::store::Backend;

use crate::kill::{fill, last_of_whole_batches};
use crate::support::*;

const LAST: u64 = 200;
const PAGE_LEN: usize = 4_096;

/// The bytes of a store's file: closed in order, or as a crash leaves it.
fn file(closed: bool) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Backend::Redb, dir.path());
    fill(&*store, LAST);
    let path = dir.path().join("redb/index.redb");
    let crashed = fs::read(&path).unwrap();
    drop(store);
    if closed { fs::read(&path).unwrap() } else { crashed }
}

/// The last batch that a store with these bytes shows, or none if it tells of damage.
fn shown(bytes: &[u8]) -> Option<u64> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("redb")).unwrap();
    fs::write(dir.path().join("redb/index.redb"), bytes).unwrap();
    match Backend::Redb.open(dir.path(), CACHE_BYTES) {
        Ok(store) => Some(last_of_whole_batches(&*store)),
        Err(error) => {
            assert!(!error.is_refusal(), "{error:?}");
            None
        }
    }
}

/// Every page that is not all zeroes, the header first.
fn used_pages(bytes: &[u8]) -> Vec<usize> {
    let pages = bytes.chunks(PAGE_LEN).enumerate();
    pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)).map(|(page, _)| page * PAGE_LEN).collect()
}

fn told_or_older(what: &str, whole: &[u8], damage: impl Fn(&mut Vec<u8>, usize, &mut Random)) {
    let seed = Seed::chosen("PURSER_STORE_SEED");
    let mut random = seed.random();
    let mut told = 0;
    for page in used_pages(whole) {
        let mut bytes = whole.to_vec();
        damage(&mut bytes, page, &mut random);
        match shown(&bytes) {
            Some(last) => assert!(last <= LAST, "{what} of the page at {page}: {last}"),
            None => told += 1,
        }
    }
    assert!(told > 0, "{what}: no damage was found");
}

#[test]
fn damage_is_told_or_an_older_state_shown() {
    for closed in [true, false] {
        let whole = file(closed);
        assert_eq!(shown(&whole), Some(LAST));
        told_or_older("a flipped bit", &whole, |bytes, page, random| {
            let at = page + usize::try_from(random.below(PAGE_LEN as u64)).unwrap();
            bytes[at] ^= 1 << random.below(8);
        });
        told_or_older("zeroes", &whole, |bytes, page, _| bytes[page..page + PAGE_LEN].fill(0));
        told_or_older("a copy of the page before", &whole, |bytes, page, _| {
            let before = page.saturating_sub(PAGE_LEN);
            bytes.copy_within(before..before + PAGE_LEN, page);
        });
        told_or_older("a cut at the start", &whole, |bytes, page, _| bytes.truncate(page));
        told_or_older("a cut in the middle", &whole, |bytes, page, _| bytes.truncate(page + 1_000));
    }
}

#[test]
fn every_byte_of_the_header_may_be_damaged() {
    let whole = file(true);
    let mut told = 0;
    for at in 0..320 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        told += usize::from(shown(&bytes).is_none());
    }
    assert!(told > 0);
}

/// An empty file is what a crash leaves right after it was made; a cut to nothing looks the same, and the journal
/// above finds out that records are missing.
#[test]
fn an_empty_file_is_a_new_store() {
    assert_eq!(shown(&[]), Some(0));
}

#[test]
fn a_file_of_another_program_that_uses_redb_is_refused() {
    fn made(dir: &Path, table: redb::TableDefinition<'_, u64, u64>) {
        fs::create_dir(dir.join("redb")).unwrap();
        let db = redb::Database::create(dir.join("redb/index.redb")).unwrap();
        let transaction = db.begin_write().unwrap();
        transaction.open_table(table).unwrap().insert(1, 1).unwrap();
        transaction.commit().unwrap();
    }
    for (name, expected) in [("theirs", "a table `theirs`"), ("journal", "u64")] {
        let dir = tempfile::tempdir().unwrap();
        made(dir.path(), redb::TableDefinition::new(name));
        let error = Backend::Redb.open(dir.path(), CACHE_BYTES).map(|_| ()).unwrap_err();
        assert!(error.source.to_string().contains(expected), "{}", error.source);
        assert!(!error.is_refusal());
    }
}
