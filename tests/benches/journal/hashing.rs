//! What the hashes of a frame and the checkpoints cost in batches of 256, and two hash functions beside each other.

use std::hint::black_box;
use std::time::{Duration, Instant};

use purser_events::Seq;
use purser_tests::bench::{Bound, Times, ratio};
use purser_tests::sealed;
use sha2::{Digest, Sha256};

use crate::append::{OpenJournal, Seals};
use crate::event::PAYLOAD_LEN;
use crate::ours;
use crate::place::Place;
use crate::rounds;

/// In percent of the rate that an append would have without hashes and checkpoints.
const WANTED: Bound = Bound::AtMost(20.0);
/// Events that are appended together where the cost is measured.
const BATCH: usize = 256;
/// Records that are hashed in one round.
const RECORDS: u32 = 200_000;
/// Length and checksum before a frame's body, which no hash covers, in bytes.
const PREFIX_LEN: usize = 8;
const HASH_LEN: usize = 32;

type Hash = [u8; HASH_LEN];

pub(crate) fn run(place: &Place) {
    let records = bodies(place);
    let (mut sha256, mut blake3) = (Times::default(), Times::default());
    let (mut plain, mut checkpointed) = (Times::default(), Times::default());
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
        plain.add(take_turn(place, Seals::Off));
        checkpointed.add(take_turn(place, Seals::On));
    }
    let (header_len, payload_len) = (records[0].0.len(), records[0].1.len());
    println!(
        "hashing: hash of a payload of {payload_len} bytes, then of the hash before, a header of {header_len} and it; \
         {} rounds of {RECORDS} records in turn",
        rounds()
    );
    let ns = |times: &Times| times.median().as_nanos();
    println!("  SHA-256                          {:6} ns a record", ns(&sha256));
    println!(
        "  BLAKE3                           {:6} ns a record   {:.2} x",
        ns(&blake3),
        ratio(&blake3, &sha256)
    );
    println!(
        "  journal, batches of {BATCH}          {:6} ns an event, of which hashes are {:.1} %",
        ns(&plain),
        100.0 * ratio(&sha256, &plain)
    );
    println!(
        "  checkpoint every {} events    {:6} ns an event, {:.1} % less of a rate",
        sealed::checkpoint_events(),
        ns(&checkpointed),
        100.0 * (1.0 - ratio(&plain, &checkpointed))
    );
    let cost = 100.0 * cost(&sha256, &plain, &checkpointed);
    println!("  hashing and checkpoints: {cost:.1} % of the append rate   {}", WANTED.verdict(cost, " %"));
}

/// Time for an event in one turn of a new journal.
fn take_turn(place: &Place, seals: Seals) -> Duration {
    let folder = place.empty("hashing");
    let mut journal = OpenJournal::new(&folder.join("data"), 1, seals);
    let turn = journal.turn(BATCH);
    drop(journal);
    place.remove(&folder);
    turn.took / u32::try_from(turn.events).expect("a turn is short")
}

/// The part of the rate that is lost to hashes and checkpoints: 1 less the rate with both over the rate with neither.
/// The journal always hashes, so an append with neither is taken for one without checkpoints less the time of its
/// hashes; with one committer they are taken one after the other with all else.
fn cost(hashes: &Times, plain: &Times, checkpointed: &Times) -> f64 {
    let seconds = |times: &Times| times.median().as_secs_f64();
    1.0 - (seconds(plain) - seconds(hashes)) / seconds(checkpointed)
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
