//! What the hashes of a frame cost: two functions beside each other, and their share of an append in batches of 256.

use std::hint::black_box;
use std::time::{Duration, Instant};

use purser_events::Seq;
use purser_tests::bench::{Times, ratio};
use sha2::{Digest, Sha256};

use crate::append::OpenJournal;
use crate::event::PAYLOAD_LEN;
use crate::ours;
use crate::place::Place;
use crate::rounds;

/// Events that are appended together where the share is measured.
const BATCH: usize = 256;
/// Records that are hashed in one round.
const RECORDS: u32 = 200_000;
/// Length and checksum before a frame's body, which no hash covers, in bytes.
const PREFIX_LEN: usize = 8;
const HASH_LEN: usize = 32;

type Hash = [u8; HASH_LEN];

pub(crate) fn run(place: &Place) {
    let records = bodies(place);
    let (mut sha256, mut blake3, mut append) = (Times::default(), Times::default(), Times::default());
    for _ in 0..rounds() {
        sha256.add(chain(&records, |header, payload, previous| {
            let payload = Sha256::digest(payload);
            Sha256::new().chain_update(previous).chain_update(header).chain_update(payload).finalize().into()
        }));
        blake3.add(chain(&records, |header, payload, previous| {
            let payload = blake3::hash(payload);
            let mut hash = blake3::Hasher::new();
            hash.update(previous).update(header).update(payload.as_bytes());
            hash.finalize().into()
        }));
        let folder = place.empty("hashing");
        let turn = OpenJournal::new(&folder, 1).turn(BATCH);
        place.remove(&folder);
        append.add(turn.took / u32::try_from(turn.events).expect("a turn is short"));
    }
    let (header_len, payload_len) = (records[0].0.len(), records[0].1.len());
    println!(
        "hashing: hash of a payload of {payload_len} bytes, then of the hash before, a header of {header_len} and it; \
         {} rounds of {RECORDS} records in turn",
        rounds()
    );
    println!("  SHA-256   {:6} ns a record", sha256.median().as_nanos());
    println!("  BLAKE3    {:6} ns a record   {:.2} x", blake3.median().as_nanos(), ratio(&blake3, &sha256));
    println!("  journal   {:6} ns an event, durable, in batches of {BATCH}", append.median().as_nanos());
    println!("    of which the hashes of a frame are {:.1} %", 100.0 * share_of_append(&sha256, &append));
}

/// The part of an append's time that goes into hashes. At most: the payload's is taken on the caller's thread, beside
/// the one that writes.
fn share_of_append(hashes: &Times, append: &Times) -> f64 {
    ratio(hashes, append)
}

/// Real frames of the journal, taken apart into what the hashes cover: header and payload.
fn bodies(place: &Place) -> Vec<(Vec<u8>, Vec<u8>)> {
    let dir = place.empty("bodies");
    let (journal, _) = ours::open(&dir);
    ours::fill(&journal, BATCH as u64);
    let records = journal.read(Seq(1), BATCH).expect("the journal can be read");
    assert_eq!(records.len(), BATCH);
    journal.close().expect("the journal can be closed");
    place.remove(&dir);
    let take_apart = |frame: &[u8]| {
        let (header, payload) = frame[PREFIX_LEN..frame.len() - HASH_LEN]
            .split_at(frame.len() - PREFIX_LEN - HASH_LEN - PAYLOAD_LEN);
        (header.to_vec(), payload.to_vec())
    };
    records.iter().map(|record| take_apart(record.as_bytes())).collect()
}

/// Time for one record's hashes, each taken over the one before.
fn chain(records: &[(Vec<u8>, Vec<u8>)], hash: impl Fn(&[u8], &[u8], &Hash) -> Hash) -> Duration {
    let mut previous = [0; HASH_LEN];
    let since = Instant::now();
    for (header, payload) in records.iter().cycle().take(RECORDS as usize) {
        previous = hash(header, payload, &previous);
    }
    black_box(previous);
    since.elapsed() / RECORDS
}
