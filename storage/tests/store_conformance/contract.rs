//! The sentences of the trait, one by one.

use std::fs;

use purser_storage::store::{Backend, Batch};

use crate::support::*;

pub(crate) fn a_batch_is_made_whole(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    assert!(everything(&*store).is_empty());
    store.apply(keys(&[b"a", b"b", b"c"])).unwrap();
    store.apply(batch(&[(b"b", None), (b"c", Some(b"new")), (b"d", Some(b""))])).unwrap();
    store.apply(Batch::default()).unwrap();
    let expected: [(&[u8], &[u8]); 3] = [(b"a", b"a"), (b"c", b"new"), (b"d", b"")];
    let expected = expected.map(|(key, value)| (key.to_vec(), value.to_vec()));
    assert_eq!(scanned(&*store, b"", END), expected);
    assert_eq!(store.get(b"d").unwrap(), Some(vec![]), "an empty value is not an absent one");
    assert_eq!(store.get(b"b").unwrap(), None);
}

pub(crate) fn the_later_write_of_a_key_counts(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    store.apply(keys(&[b"removed and put", b"put and removed"])).unwrap();
    let writes = batch(&[
        (b"twice", Some(b"1")),
        (b"removed and put", None),
        (b"put and removed", Some(b"1")),
        (b"new, put and removed", Some(b"1")),
        (b"twice", Some(b"2")),
        (b"removed and put", Some(b"2")),
        (b"put and removed", None),
        (b"new, put and removed", None),
    ]);
    store.apply(writes).unwrap();
    assert_eq!(store.get(b"twice").unwrap().unwrap(), b"2");
    assert_eq!(store.get(b"removed and put").unwrap().unwrap(), b"2");
    assert_eq!(scanned_keys(&*store, b"", END), [&b"removed and put"[..], b"twice"]);
}

pub(crate) fn what_is_removed_is_gone(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    store.apply(keys(&[b"a", b"b"])).unwrap();
    store.sync().unwrap();
    store.apply(batch(&[(b"a", None), (b"never there", None)])).unwrap();
    assert_eq!(store.get(b"a").unwrap(), None);
    store.sync().unwrap();
    drop(store);
    let store = open(backend, dir.path());
    assert_eq!(scanned_keys(&*store, b"", END), [b"b"]);
}

pub(crate) fn scans_are_in_order_and_within_bounds(backend: Backend) {
    const LEN: u32 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    // Written in another order than that of the keys, over several pages.
    let scattered = (0..LEN).map(|number| number * 1_213 % LEN);
    let writes = scattered.map(|number| (number.to_be_bytes().to_vec(), Some(vec![7; 40]))).collect();
    store.apply(Batch { writes }).unwrap();
    let shown = |from: u32, to: u32| {
        let keys = scanned_keys(&*store, &from.to_be_bytes(), &to.to_be_bytes());
        keys.into_iter().map(|key| u32::from_be_bytes(key.try_into().unwrap())).collect::<Vec<_>>()
    };
    for (from, to) in [(0, LEN), (0, LEN * 2), (1, LEN - 1), (500, 501), (700, 1_500), (LEN - 1, LEN)] {
        assert_eq!(shown(from, to), (from..to.min(LEN)).collect::<Vec<_>>(), "{from}..{to}");
    }
    // Bounds that are no keys themselves.
    assert_eq!(scanned_keys(&*store, &[0, 0, 0, 3, 0], &[0, 0, 0, 5, 0]), [[0, 0, 0, 4], [0, 0, 0, 5]]);
}

pub(crate) fn scans_stop_when_told(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    store.apply(keys(&[b"a", b"b", b"c", b"d"])).unwrap();
    for pairs_max in 1..=4 {
        let shown = scanned_up_to(&*store, b"a", b"z", pairs_max);
        assert_eq!(shown.len(), pairs_max);
        assert_eq!(shown.last().unwrap().0, [b'a' + u8::try_from(pairs_max).unwrap() - 1]);
    }
}

pub(crate) fn ranges_that_hold_nothing_show_nothing(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    let empty = |from: &[u8], to: &[u8]| {
        assert_eq!(scanned(&*store, from, to), [], "{from:?} to {to:?}");
        assert_eq!(store.last_key(from, to).unwrap(), None, "{from:?} to {to:?}");
        assert_eq!(store.remove_range(from, to, 9).unwrap(), 0, "{from:?} to {to:?}");
    };
    empty(b"", END);
    store.apply(keys(&[b"b", b"d"])).unwrap();
    for (from, to) in [("", "b"), ("c", "d"), ("b", "b"), ("c", "c"), ("e", "z"), ("z", "a"), ("d", "b")] {
        empty(from.as_bytes(), to.as_bytes());
    }
    assert_eq!(scanned_keys(&*store, b"", END), [b"b", b"d"]);
}

pub(crate) fn every_byte_may_be_in_a_key(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    let sorted: [&[u8]; 12] = [
        b"",
        &[0],
        &[0, 0],
        &[0, 0xff],
        &[1],
        b"a",
        b"a\0",
        b"ab",
        &[b'a', 0xff],
        b"b",
        &[0xff],
        &[0xff, 0xff, 0xff],
    ];
    let mut backwards = sorted;
    backwards.reverse();
    store.apply(keys(&backwards)).unwrap();
    for _ in 0..2 {
        assert_eq!(scanned_keys(&*store, &[], &[0xff; 4]), sorted);
        assert_eq!(scanned_keys(&*store, &[], &[0xff; 3]), sorted[..11], "the end is not within");
        assert_eq!(scanned_keys(&*store, b"a", b"b"), sorted[5..9], "all that begin with a letter");
        assert_eq!(scanned_keys(&*store, b"ab", &[b'a', 0xff]), [b"ab"]);
        assert_eq!(scanned_keys(&*store, &[0, 0xff], &[1, 0]), [&[0, 0xff][..], &[1]]);
        assert_eq!(store.get(&[0xff, 0xff, 0xff]).unwrap().unwrap(), [0xff; 3]);
        assert_eq!(store.get(&[0xff, 0xff]).unwrap(), None, "a prefix of a key is none");
        assert_eq!(store.get(b"").unwrap().unwrap(), b"");
        store.sync().unwrap();
    }
}

pub(crate) fn the_last_key_is_that_of_the_range(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    store.apply(keys(&[b"e1", b"e2", &[b'e', 0xff], b"f1", b"s1"])).unwrap();
    let last = |from: &[u8], to: &[u8]| store.last_key(from, to).unwrap();
    assert_eq!(last(b"e", b"f").unwrap(), [b'e', 0xff]);
    assert_eq!(last(b"e", b"e2").unwrap(), b"e1", "the end is not within");
    assert_eq!(last(b"e2", b"e3").unwrap(), b"e2", "the start is");
    assert_eq!(last(b"", END).unwrap(), b"s1");
    assert_eq!(last(b"g", b"s"), None);
    store.apply(batch(&[(&[b'e', 0xff], None), (b"e3", Some(b""))])).unwrap();
    assert_eq!(last(b"e", b"f").unwrap(), b"e3");
}

pub(crate) fn ranges_are_removed_from_their_start_up_to_a_number(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    store.apply(keys(&[b"d", b"e1", b"e2", b"e3", b"e4", b"e5", b"f"])).unwrap();
    assert_eq!(store.remove_range(b"e", b"f", 0).unwrap(), 0);
    assert_eq!(scanned_keys(&*store, b"", END).len(), 7);
    assert_eq!(store.remove_range(b"e", b"f", 2).unwrap(), 2);
    assert_eq!(scanned_keys(&*store, b"e", b"f"), [b"e3", b"e4", b"e5"]);
    assert_eq!(store.remove_range(b"e", b"e5", 9).unwrap(), 2);
    assert_eq!(scanned_keys(&*store, b"", END), [&b"d"[..], b"e5", b"f"]);
    assert_eq!(store.remove_range(b"e", b"f", 1).unwrap(), 1);
    assert_eq!(store.remove_range(b"e", b"f", usize::MAX).unwrap(), 0);
    store.sync().unwrap();
    drop(store);
    assert_eq!(scanned_keys(&*open(backend, dir.path()), b"", END), [b"d", b"f"]);
}

pub(crate) fn long_values_come_back(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    let lens = [0, 1, 4_095, 4_096, 4_097, 30_000, 60 * 1_024];
    let values = lens.map(|len| (0..len).map(|_| random.below(256).to_le_bytes()[0]).collect::<Vec<_>>());
    let store = open(backend, dir.path());
    let writes = values.iter().zip(0_u8..).map(|(value, number)| (vec![number], Some(value.clone())));
    store.apply(Batch { writes: writes.collect() }).unwrap();
    store.sync().unwrap();
    assert!(scanned(&*store, &[], END).into_iter().map(|(_, value)| value).eq(values.iter().cloned()));
    drop(store);
    let store = open(backend, dir.path());
    for (value, number) in values.iter().zip(0_u8..) {
        assert!(store.get(&[number]).unwrap().as_ref() == Some(value), "{} bytes", value.len());
    }
}

pub(crate) fn what_was_applied_is_there_after_a_close(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..4_u8 {
        let store = open(backend, dir.path());
        assert_eq!(scanned_keys(&*store, b"", END), expected, "round {round}");
        for number in 0..10 {
            if number == 5 && round % 2 == 0 {
                store.sync().unwrap();
            }
            store.apply(keys(&[&[round, number]])).unwrap();
            expected.push(vec![round, number]);
        }
    }
}

pub(crate) fn bytes_on_disk_grow(backend: Backend) {
    const PAYLOAD_LEN: u64 = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    let store = open(backend, dir.path());
    store.sync().unwrap();
    let before = store.bytes_on_disk().unwrap();
    // Bytes that no file system makes smaller.
    for number in 0..PAYLOAD_LEN / 4_096 {
        let value = (0..512).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
        store.apply(Batch { writes: vec![(number.to_be_bytes().to_vec(), Some(value))] }).unwrap();
    }
    store.sync().unwrap();
    let grown = store.bytes_on_disk().unwrap() - before;
    assert!((PAYLOAD_LEN..PAYLOAD_LEN * 8).contains(&grown), "{grown}");
}

pub(crate) fn a_store_is_opened_once(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(backend, dir.path());
    store.apply(keys(&[b"a"])).unwrap();
    let error = backend.open(dir.path(), CACHE_BYTES).map(|_| ()).unwrap_err();
    assert_eq!(error.action, "open");
    assert!(error.path.starts_with(dir.path().join(backend.name())), "{error:?}");
    assert!(error.is_refusal(), "a store that is in use is not a damaged one: {error:?}");
    assert_eq!(scanned_keys(&*store, b"", END), [b"a"]);
    drop(store);
    assert_eq!(scanned_keys(&*open(backend, dir.path()), b"", END), [b"a"]);
}

pub(crate) fn what_is_in_the_way_is_an_error(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(backend.name()), "not a folder").unwrap();
    let error = backend.open(dir.path(), CACHE_BYTES).map(|_| ()).unwrap_err();
    assert!(!error.is_refusal(), "{error:?}");
    assert!(error.to_string().starts_with("failed to open the store at `"), "{error}");
}

pub(crate) fn a_foreign_file_is_an_error(backend: Backend) {
    let file = match backend {
        Backend::Sled => "sled/conf",
        Backend::Redb => "redb/index.redb",
    };
    for foreign in [&b"#!/bin/sh\nexit 1\n"[..], &[0; 8_192], &[0xa5; 8_192], b"SQLite format 3\0"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        fs::create_dir(dir.path().join(backend.name())).unwrap();
        fs::write(&path, foreign).unwrap();
        let error = backend.open(dir.path(), CACHE_BYTES).map(|_| ()).unwrap_err();
        assert!(!error.is_refusal(), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), foreign, "it is left as it was");
    }
}
