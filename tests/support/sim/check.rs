//! What must hold after every step.

use purser_events::{Seq, World, invariant};
use purser_storage::{Head, Journal, StoredRecord};

use super::gpus::Out;
use super::node::Node;
use super::watch::Watch;
use crate::counts::Counts;

/// The journal as the simulator has read it: what nobody may take back.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    pub world: World,
    pub records: Vec<StoredRecord>,
    gpus: Out,
    pub watch: Watch,
}

impl Shadow {
    fn head(&self) -> Head {
        self.records.last().map_or(Head::GENESIS, |last| Head { seq: last.header.seq, hash: last.hash })
    }

    /// Reads what is new, and compares the fold with the world that the node shows.
    pub(super) fn follow(&mut self, node: &Node) -> Result<(), String> {
        let head = node.journal().head();
        if head == self.head() {
            return Ok(());
        }
        self.gpus.begin_group();
        self.read(node.journal())?;
        if head != self.head() {
            return Err(format!("the journal ends at {:?}, what is read of it at {:?}", head, self.head()));
        }
        let (shown_at, shown) = node.live().read(|world| (world.head, world.digest()));
        if shown_at != self.world.head || shown != self.world.digest() {
            return Err(format!("the world shown at {shown_at} is not the fold of the journal"));
        }
        let broken = invariant::check(&self.world);
        if broken.is_empty() { Ok(()) } else { Err(format!("{broken:?}")) }
    }

    fn read(&mut self, journal: &Journal) -> Result<(), String> {
        while self.head().seq < journal.head().seq {
            let records = journal.read(self.head().seq.next(), 256).map_err(|error| error.to_string())?;
            for stored in records {
                let record = stored.record().map_err(|error| format!("{}: {error}", stored.header.seq))?;
                if record.header.seq != self.head().seq.next() {
                    return Err(format!("record {} follows {}", record.header.seq, self.head().seq));
                }
                self.gpus.look(&self.world, &record.event)?;
                self.watch.look(&self.world, &record)?;
                self.world.apply(&record).map_err(|illegal| format!("{}: {illegal}", record.header.seq))?;
                self.records.push(stored);
            }
        }
        Ok(())
    }

    /// A journal that was opened again holds all that anybody had seen before, and nothing else in its place.
    pub(super) fn reopened(&mut self, node: &Node) -> Result<(), String> {
        let before = self.head();
        let mut after = self.trimmed(node.journal().before())?;
        let first = after.records.len();
        after.read(node.journal())?;
        let same =
            before.seq == Seq::ZERO || after.at(before.seq).is_some_and(|record| record.hash == before.hash);
        if !same {
            let found = after.head().seq;
            return Err(format!("lost: records up to {} were seen, {found} are left or others", before.seq));
        }
        let mut streams: std::collections::BTreeMap<_, Vec<Seq>> = std::collections::BTreeMap::new();
        for record in &after.records[first..] {
            streams.entry(record.header.stream).or_default().push(record.header.seq);
        }
        for (stream, expected) in streams {
            let from = purser_events::StreamVersion(1);
            let found = node.journal().read_stream(stream, from, usize::MAX);
            let found = found.map_err(|error| format!("{stream}: {error}"))?;
            let found: Vec<Seq> = found.iter().map(|record| record.header.seq).collect();
            if found != expected {
                return Err(format!("the index of {stream} has {found:?}, not {expected:?}"));
            }
        }
        // Not folded further than the node: its own digest is compared as soon as it is followed.
        let (shown_at, shown) = node.live().read(|world| (world.head, world.digest()));
        *self = after;
        if shown_at == self.world.head && shown == self.world.digest() {
            Ok(())
        } else {
            Err(format!("the world after opening, at {shown_at}, is not the fold of the journal"))
        }
    }

    /// What was seen of the records up to one, which the journal has given up.
    fn trimmed(&self, before: Head) -> Result<Shadow, String> {
        let mut trimmed = Shadow::default();
        for stored in self.records.iter().take_while(|stored| stored.header.seq <= before.seq) {
            let record = stored.record().map_err(|error| format!("{}: {error}", stored.header.seq))?;
            trimmed.watch.look(&trimmed.world, &record)?;
            trimmed.world.apply(&record).map_err(|illegal| format!("{}: {illegal}", record.header.seq))?;
            trimmed.records.push(stored.clone());
        }
        if trimmed.head() == before {
            Ok(trimmed)
        } else {
            Err(format!("the journal begins after {before:?}"))
        }
    }

    /// Sees that the projection is the fold of all that was seen.
    pub(super) fn projected(&self, node: &Node) -> Result<(), String> {
        Counts::agree(node.journal(), self.records.iter().map(|it| (it.header.stream, it.header.seq)))
            .map_err(|broken| format!("the projection is not the fold of the journal: {broken}"))
    }

    fn at(&self, seq: Seq) -> Option<&StoredRecord> {
        self.records.get(usize::try_from(seq.0).ok()?.checked_sub(1)?)
    }
}
