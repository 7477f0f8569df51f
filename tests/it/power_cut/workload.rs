//! The program whose power is cut: opens a journal, lets several clients append to it, and says after each append
//! that it was acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use purser_events::node::NodeEvent;
use purser_events::node::event::Cordoned;
use purser_events::{
    Cause, CommandId, Event, NodeUid, Origin, Principal, Record, Seq, StreamId, StreamVersion, Timestamp,
};
use purser_storage::{
    Append, CommandWrite, Durability, Hash, Journal, JournalConfig, Replayed, StreamWrite, Terms,
};
use purser_tests::random::Random;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::kept::{self, Kind};

/// When everything happens.
pub(super) const NOON: Timestamp = Timestamp(1_790_000_000_000_000);
/// Clients that append at the same time.
const CLIENTS: usize = 8;
/// Commits of one client in one opening of the journal.
const COMMITS: usize = 18;
/// Those of them that are promised to last: all but every fourth, unless that one answers a command.
const COMMITS_PROMISED: usize = 15;
/// Most events of one commit.
const EVENTS_MAX: usize = 8;

/// Acknowledgements of all clients between an opening of the journal and its end.
pub(super) const ACKS: usize = CLIENTS * COMMITS_PROMISED;

/// The journal's folder in the watched one.
pub(super) const JOURNAL: &str = "journal";

/// Which commit: the opening of the journal, the client, and which of its commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CommitId {
    epoch: u64,
    client: u64,
    number: u64,
}

impl CommitId {
    /// Whether it may be lost: then nobody is told that it is there.
    fn is_lazy(self) -> bool {
        self.number % 4 == 3 && self.command().is_none()
    }

    /// Its command, if it is one of those that answer one.
    pub(super) fn command(self) -> Option<CommandWrite> {
        let CommitId { epoch, client, number } = self;
        // Of many lengths, up to the longest that is allowed.
        let repeated = 1 + usize::try_from(number).ok()? * 5;
        (number % 3 == 1).then(|| CommandWrite {
            id: CommandId(Uuid::from_u64_pair(epoch << 32 | client, number)),
            fingerprint: Sha256::digest(self.to_string()).into(),
            answer: format!("the answer to {self};").repeat(repeated).into_bytes(),
        })
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.epoch, self.client, self.number)
    }
}

impl FromStr for CommitId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<CommitId, Self::Err> {
        let mut parts = text.split('/').map(str::parse);
        let mut next = || parts.next().unwrap_or_else(|| "".parse());
        Ok(CommitId { epoch: next()?, client: next()?, number: next()? })
    }
}

/// Which event of a commit, and of how many: each event says so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    pub commit: CommitId,
    pub index: usize,
    pub count: usize,
}

impl Label {
    /// What an event says of itself.
    pub(super) fn of(event: &Event) -> Option<Label> {
        let Event::Node(NodeEvent::Cordoned(Cordoned { reason })) = event else { return None };
        let mut words = reason.split(' ');
        let commit = words.next()?.parse().ok()?;
        Some(Label { commit, index: words.next()?.parse().ok()?, count: words.next()?.parse().ok()? })
    }

    fn event(self, random: &mut Random) -> Event {
        let len = match random.below(100) {
            0..=69 => 10 + random.below(300),
            70..=96 => 300 + random.below(3_000),
            _ => 4_000 + random.below(20_000),
        };
        // Not all the same, or a sector in the wrong place could pass for the right one.
        let letters: Vec<char> = ('a'..='z').collect();
        let padding: String = (0..len).map(|_| letters[random.index(letters.len())]).collect();
        let reason = format!("{} {} {} {padding}", self.commit, self.index, self.count);
        Event::Node(NodeEvent::Cordoned(Cordoned { reason }))
    }
}

/// What a client was told: which records its commit became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    pub commit: CommitId,
    pub first: Seq,
    pub last: Seq,
    pub digest: Hash,
}

impl Ack {
    fn line(&self) -> String {
        let digest: String = self.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("acknowledged {} {} {} {digest}\n", self.commit, self.first, self.last)
    }

    /// Reads the line that a client wrote.
    pub(super) fn parse(line: &str) -> Option<Ack> {
        let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
        let ["acknowledged", commit, first, last, digest] = words[..] else { return None };
        let byte = |at: usize| u8::from_str_radix(digest.get(at * 2..at * 2 + 2)?, 16).ok();
        let digest: Option<Vec<u8>> = (0..size_of::<Hash>()).map(byte).collect();
        Some(Ack {
            commit: commit.parse().ok()?,
            first: Seq(first.parse().ok()?),
            last: Seq(last.parse().ok()?),
            digest: digest?.try_into().ok()?,
        })
    }
}

/// An event that no client wrote.
pub(super) fn some_event() -> Event {
    Event::Node(NodeEvent::Cordoned(Cordoned { reason: "after the cut".to_owned() }))
}

/// A hash over all that records say.
pub(super) fn digest<'a>(records: impl IntoIterator<Item = &'a Record>) -> Hash {
    let mut hash = Sha256::new();
    for record in records {
        hash.update(serde_json::to_vec(record).expect("a record can be written as JSON"));
    }
    hash.finalize().into()
}

/// Opens a journal; also gives all records that it had.
pub(super) fn open(dir: &Path) -> Result<(Journal, Vec<Record>), purser_storage::JournalError> {
    let mut records = Vec::new();
    let journal = Journal::open(
        JournalConfig { cache_bytes: 1 << 20, ..JournalConfig::new(dir) },
        || NOON,
        |replayed| match replayed {
            Replayed::Record(record) => records.push(record),
            Replayed::Unreadable { seq, reason, .. } => panic!("record {seq} cannot be read: {reason}"),
        },
        |_| {},
    )?;
    Ok((journal, records))
}

/// A request on behalf of nobody in particular.
pub(super) fn append(writes: Vec<StreamWrite>, command: Option<CommandWrite>) -> Append {
    let origin = Origin { cause: Cause::Node, correlation: Uuid::nil(), principal: Principal::node() };
    Append { writes, origin, command }
}

/// One client: writes to two streams of its own, in turn or together.
struct Client {
    number: u64,
    streams: [(StreamId, StreamVersion); 2],
    random: Random,
    journal: Journal,
    acks: Arc<Mutex<File>>,
}

impl Client {
    async fn run(mut self) {
        for number in 0..COMMITS as u64 {
            self.commit(number).await;
        }
    }

    async fn commit(&mut self, number: u64) {
        let commit = CommitId { epoch: self.journal.epoch(), client: self.number, number };
        let count = 1 + self.random.index(EVENTS_MAX);
        let label = |index| Label { commit, index, count };
        let mut events: Vec<Event> = (0..count).map(|index| label(index).event(&mut self.random)).collect();
        let second = events.split_off(self.random.index(count + 1));
        let mut writes = Vec::new();
        for ((stream, version), events) in self.streams.iter_mut().zip([events, second]) {
            let expected = *version;
            version.0 += events.len() as u64;
            writes.push(StreamWrite { stream: *stream, expected, events });
        }
        let durability = if commit.is_lazy() { Durability::Lazy } else { Durability::Sync };
        let terms = Terms { durability, ..Terms::default() };
        let appended = self.journal.append_on(append(writes, commit.command()), terms).await.unwrap();
        let (first, last) = (appended.records.first().unwrap(), appended.records.last().unwrap());
        assert_eq!(appended.records.len(), count);
        if commit.is_lazy() {
            return;
        }
        let digest = digest(&appended.records);
        let ack = Ack { commit, first: first.header.seq, last: last.header.seq, digest };
        self.acks.lock().unwrap().write_all(ack.line().as_bytes()).unwrap();
    }
}

/// Opens the journal, lets every client make its commits, and gives the open journal back.
pub(super) fn run(folder: &Path, acks: &Path, seed: u64, kind: Kind) -> Journal {
    let dir = folder.join(JOURNAL);
    let (journal, records) = match kind {
        Kind::Plain => open(&dir).unwrap(),
        Kind::Kept(backend) => {
            let before = if dir.exists() { kept::chain(folder, false).unwrap() } else { Vec::new() };
            (kept::open(&dir, backend).unwrap().0, before)
        }
    };
    let mut versions: BTreeMap<StreamId, StreamVersion> = BTreeMap::new();
    versions.extend(records.iter().map(|record| (record.header.stream, record.header.version)));
    let acks = Arc::new(Mutex::new(OpenOptions::new().create(true).append(true).open(acks).unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let keeper = match kind {
            Kind::Plain => None,
            Kind::Kept(_) => {
                kept::seal(&journal, folder).unwrap();
                Some(tokio::spawn(kept::keep_house(journal.clone(), folder.to_owned())))
            }
        };
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS as u64 {
            let stream = |which: u64| NodeUid(Uuid::from_u64_pair(number, which)).stream();
            let known = |stream: StreamId| versions.get(&stream).copied().unwrap_or(StreamVersion::NONE);
            let streams = [0, 1].map(|which| (stream(which), known(stream(which))));
            let random = Random(seed ^ number << 8 ^ journal.epoch());
            let (journal, acks) = (journal.clone(), Arc::clone(&acks));
            clients.spawn(Client { number, streams, random, journal, acks }.run());
        }
        clients.join_all().await;
        if let Some(keeper) = keeper {
            keeper.abort();
            assert!(keeper.await.is_err_and(|end| end.is_cancelled()), "house-keeping failed");
            kept::keep_house_once(&journal, folder).unwrap();
        }
    });
    journal
}
