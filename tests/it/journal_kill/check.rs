//! What must hold of a journal whose writer was killed.

use std::collections::{BTreeMap, BTreeSet};

use purser_actors::LiveWorld;
use purser_events::{Record, Seq, StreamId, StreamVersion, World};
use purser_storage::{Hash, Journal, JournalConfig, JournalError, Replayed, SEGMENT_BYTES_MIN, StoredRecord};
use purser_tests::counts::Counts;
use purser_tests::evidence;
use purser_tests::random::Random;
use uuid::Uuid;

use super::ack::{Ack, CommitId};
use super::writer::{NOON, Orders};

/// Streams that are looked at beside those that are new.
const OLD_STREAMS: usize = 10;
/// In so many of a hundred openings the store is not trusted, as after another start of the host.
const OTHER_BOOT: u64 = 4;

/// Records between two snapshots: a few kills.
const SNAPSHOT_EVERY: u64 = 20;

/// An open journal that is sealed, and what it holds.
pub(super) struct Opened {
    pub journal: Journal,
    /// Every record.
    pub records: Vec<Record>,
    /// What opening came to, with a snapshot or without.
    live: LiveWorld,
}

pub(super) fn open(orders: &Orders) -> Result<Opened, JournalError> {
    let boot = if Random(orders.seed).percent(OTHER_BOOT) { Uuid::from_u128(8) } else { Uuid::from_u128(7) };
    let config = JournalConfig {
        backend: orders.backend,
        cache_bytes: 1 << 20,
        segment_bytes: SEGMENT_BYTES_MIN,
        boot_id: Some(boot),
        snapshot_every: SNAPSHOT_EVERY,
        ..JournalConfig::new(&orders.folder)
    };
    let live = LiveWorld::new();
    let (replayed, committed) = (live.clone(), live.clone());
    let replay = move |record| match record {
        Replayed::Record(_) => replayed.replay(record),
        Replayed::Unreadable { seq, reason, .. } => panic!("record {seq} cannot be read: {reason}"),
    };
    let commit = move |records: &[Record]| committed.commit(records);
    let journal = Journal::open_with_snapshots(config, || NOON, replay, commit, live.clone())?;
    evidence::seal(&journal, &orders.folder.with_extension("key")).unwrap();
    Counts::begin(&journal)?;
    let records = read_from(&journal, Seq(1)).iter().map(|stored| stored.record().unwrap()).collect();
    Ok(Opened { journal, records, live })
}

/// What was left, folded.
pub(super) struct Found {
    pub world: World,
    pub versions: BTreeMap<StreamId, StreamVersion>,
}

impl Found {
    pub(super) fn of(records: &[Record]) -> Found {
        let (mut world, mut versions) = (World::default(), BTreeMap::new());
        for record in records {
            world.apply(record).unwrap();
            versions.insert(record.header.stream, record.header.version);
        }
        Found { world, versions }
    }
}

/// Every record from one on.
fn read_from(journal: &Journal, from: Seq) -> Vec<StoredRecord> {
    let (mut found, mut next) = (Vec::new(), from);
    while next <= journal.head().seq {
        found.extend(journal.read(next, 4_096).unwrap());
        next = found.last().unwrap().header.seq.next();
    }
    found
}

/// Checks what was left against all that was acknowledged.
pub(super) fn check(Opened { journal, records, live }: &Opened, acks: &[Ack], orders: &Orders) {
    let since = if orders.all { 0 } else { orders.since };
    let new = &acks[since.min(acks.len())..];
    let head = journal.head();
    assert_eq!(records.len() as u64, head.seq.0, "every record is there once");
    let first = new.iter().map(|ack| ack.first).min().unwrap_or(head.seq.next());
    let stored = read_from(journal, first);
    let hashes: BTreeMap<Seq, Hash> = stored.iter().map(|stored| (stored.header.seq, stored.hash)).collect();
    for ack in new {
        assert_eq!(hashes.get(&ack.last), Some(&ack.hash), "lost, or another record: {ack:?}");
        assert!(ack.commit.len() as u64 == ack.last.0 + 1 - ack.first.0, "{ack:?}");
    }
    assert_eq!(stored.last().map_or(head.hash, |last| last.hash), head.hash);
    for (stored, record) in stored.iter().zip(&records[place(first)..]) {
        assert_eq!(&stored.record().unwrap(), record, "what is read twice is the same");
    }
    let digest = fold(records, new);
    let shown = live.read(|world| (world.head, world.digest()));
    assert_eq!(shown, (head.seq, digest), "a snapshot and what follows it are another world");
    Counts::agree(journal, records.iter().map(|record| (record.header.stream, record.header.seq))).unwrap();
    let commits = commits(records);
    answers(journal, acks, &commits, since);
    streams(journal, records, first, orders);
}

/// Where a record is in a list of all.
fn place(seq: Seq) -> usize {
    usize::try_from(seq.0).unwrap() - 1
}

/// No gap, and the same world as the one that the killed process had; gives the digest of the world now.
fn fold(records: &[Record], new: &[Ack]) -> Hash {
    let told: BTreeMap<Seq, Hash> = new.iter().map(|ack| (ack.world_head, ack.world_digest)).collect();
    let mut world = World::default();
    for (record, expected) in records.iter().zip((1..).map(Seq)) {
        assert_eq!(record.header.seq, expected, "a gap");
        world.apply(record).unwrap();
        if let Some(digest) = told.get(&expected) {
            assert_eq!(world.digest(), *digest, "another world at record {expected}");
        }
    }
    assert!(told.keys().all(|head| *head <= world.head), "the killed process had seen more");
    world.digest()
}

/// Every commit, whole and in one piece.
fn commits(records: &[Record]) -> BTreeMap<CommitId, (Seq, Seq)> {
    let mut commits = BTreeMap::new();
    for whole in records.chunk_by(|one, next| one.header.origin.correlation == next.header.origin.correlation)
    {
        let (first, last) = (&whole[0].header, &whole[whole.len() - 1].header);
        let commit = CommitId::of(first.origin.correlation);
        assert_eq!(commit.epoch, first.epoch, "record {} is of another opening", first.seq);
        assert_eq!(whole.len(), commit.len(), "commit {commit} at {} is torn", first.seq);
        let before = commits.insert(commit, (first.seq, last.seq));
        assert_eq!(before, None, "commit {commit} is there twice");
    }
    commits
}

/// Every commit that is there has its answer, byte by byte, whether anybody was told or not.
fn answers(journal: &Journal, acks: &[Ack], commits: &BTreeMap<CommitId, (Seq, Seq)>, since: usize) {
    for ack in acks {
        assert_eq!(commits.get(&ack.commit), Some(&(ack.first, ack.last)), "lost: {ack:?}");
    }
    let old: BTreeSet<CommitId> = acks[..since.min(acks.len())].iter().map(|ack| ack.commit).collect();
    for (commit, places) in commits.iter().filter(|(commit, _)| !old.contains(commit)) {
        let Some(command) = commit.command() else { continue };
        let stored = journal.answer(command.id).unwrap().expect("the commit is there, and so is its answer");
        assert_eq!((stored.first, stored.last), *places, "commit {commit}");
        assert_eq!((stored.fingerprint, stored.answer), (command.fingerprint, command.answer), "{commit}");
    }
}

/// Reading by stream gives what reading from end to end gives.
fn streams(journal: &Journal, records: &[Record], first: Seq, orders: &Orders) {
    let mut by_stream: BTreeMap<StreamId, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_stream.entry(record.header.stream).or_default().push(record);
    }
    let mut looked_at: BTreeSet<StreamId> =
        records[place(first).min(records.len())..].iter().map(|record| record.header.stream).collect();
    let (known, mut random) = (by_stream.keys().copied().collect::<Vec<_>>(), Random(orders.seed));
    if orders.last {
        looked_at.extend(&known);
    } else if !known.is_empty() {
        looked_at.extend((0..OLD_STREAMS).map(|_| known[random.index(known.len())]));
    }
    for stream in looked_at {
        // Long ones from somewhere near their end.
        let all = &by_stream[&stream];
        let skipped = all.len().saturating_sub(1 + random.index(20));
        let from = StreamVersion(skipped as u64 + 1);
        let found = journal.read_stream(stream, from, 1_000).unwrap();
        let found: Vec<Record> = found.iter().map(|stored| stored.record().unwrap()).collect();
        let expected: Vec<Record> = all[skipped..].iter().map(|record| (*record).clone()).collect();
        assert_eq!(found, expected, "the index of {stream} is out of step");
    }
}
