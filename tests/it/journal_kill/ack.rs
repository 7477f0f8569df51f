//! What a process says of a commit once its append has returned.

use std::fmt;
use std::str::FromStr;

use purser_events::{CommandId, Seq};
use purser_storage::{CommandWrite, Hash};
use purser_tests::random::Random;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Most events of one commit.
const EVENTS_MAX: u64 = 4;

/// Which commit: the opening of the journal, the committer, and which of its commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CommitId {
    pub epoch: u64,
    pub committer: u64,
    pub number: u64,
}

impl CommitId {
    /// The conversation that its records belong to, which tells them from those of others.
    pub(super) fn uuid(self) -> Uuid {
        Uuid::from_u64_pair(self.epoch << 8 | self.committer, self.number)
    }

    pub(super) fn of(uuid: Uuid) -> CommitId {
        let (first, number) = uuid.as_u64_pair();
        CommitId { epoch: first >> 8, committer: first & 0xff, number }
    }

    /// Numbers that belong to this commit alone.
    pub(super) fn random(self) -> Random {
        let (first, second) = self.uuid().as_u64_pair();
        Random(first.rotate_left(32) ^ second)
    }

    /// How many events it has.
    pub(super) fn len(self) -> usize {
        1 + usize::try_from(self.random().below(EVENTS_MAX)).unwrap()
    }

    /// Its command, if it is one of those that answer one.
    pub(super) fn command(self) -> Option<CommandWrite> {
        let random = &mut self.random();
        let asked = random.below(5) < 2;
        asked.then(|| CommandWrite {
            id: CommandId(self.uuid()),
            fingerprint: Sha256::digest(self.to_string()).into(),
            answer: format!("the answer to {self};").repeat(1 + random.index(40)).into_bytes(),
        })
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.epoch, self.committer, self.number)
    }
}

impl FromStr for CommitId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<CommitId, Self::Err> {
        let mut parts = text.split('/').map(str::parse);
        let mut next = || parts.next().unwrap_or_else(|| "".parse());
        Ok(CommitId { epoch: next()?, committer: next()?, number: next()? })
    }
}

/// What a committer was told of its commit, and what the world was like afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ack {
    pub commit: CommitId,
    pub first: Seq,
    pub last: Seq,
    /// Of the last record: it covers all before.
    pub hash: Hash,
    /// The last record that the world then held; others may have come in between.
    pub world_head: Seq,
    pub world_digest: Hash,
}

impl Ack {
    pub(super) fn line(&self) -> String {
        let Ack { commit, first, last, hash, world_head, world_digest } = self;
        let (hash, digest) = (hex(hash), hex(world_digest));
        format!("acknowledged {commit} {first} {last} {hash} {world_head} {digest}\n")
    }

    /// Reads a whole line.
    pub(super) fn parse(line: &str) -> Option<Ack> {
        let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
        let ["acknowledged", commit, first, last, hash, world_head, digest] = words[..] else { return None };
        Some(Ack {
            commit: commit.parse().ok()?,
            first: Seq(first.parse().ok()?),
            last: Seq(last.parse().ok()?),
            hash: unhex(hash)?,
            world_head: Seq(world_head.parse().ok()?),
            world_digest: unhex(digest)?,
        })
    }
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let byte = |at: usize| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..size_of::<Hash>()).map(byte).collect();
    bytes?.try_into().ok()
}
