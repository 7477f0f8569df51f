//! The journals of several nodes, merged by time. The records of each node keep their order, whatever its clock did.

use std::cmp::Reverse;

use purser_events::{Seq, Timestamp};
use purser_storage::StoredRecord;

use crate::failure::{Exit, Failure};
use crate::reading::Reading;
use crate::skew::Skew;
use crate::source::Place;
use crate::{Console, render};

/// A node that is called something here.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Records of several nodes in one row.
pub(crate) struct Merge {
    nodes: Vec<Reader>,
    pub(crate) skew: Skew,
}

struct Reader {
    name: String,
    reading: Reading,
    next: Option<StoredRecord>,
    /// The latest time so far: a record that is earlier than one before it stays behind that.
    at: Timestamp,
}

impl Reader {
    fn advance(&mut self) -> Option<StoredRecord> {
        let next = self.reading.next();
        if let Some(stored) = &next {
            self.at = self.at.max(stored.header.time);
        }
        std::mem::replace(&mut self.next, next)
    }
}

impl Merge {
    /// Begins to read every node's journal.
    pub(crate) fn open(nodes: &[Node]) -> Result<Merge, Failure> {
        let reader = |node: &Node| {
            let reading = Reading::from(&node.place, Seq(1))?;
            let mut reader =
                Reader { name: render::safe(&node.name), reading, next: None, at: Timestamp(i64::MIN) };
            reader.advance();
            Ok(reader)
        };
        let skew = Skew::of(nodes.iter().map(|node| render::safe(&node.name)).collect());
        Ok(Merge { nodes: nodes.iter().map(reader).collect::<Result<_, Failure>>()?, skew })
    }

    /// The next record, and the number of its node: the earliest, of records at the same time that of the node that was
    /// named first.
    pub(crate) fn next(&mut self) -> Option<(usize, StoredRecord)> {
        let waiting = self.nodes.iter_mut().enumerate().filter(|(_, reader)| reader.next.is_some());
        let (number, reader) = waiting.max_by_key(|(number, reader)| Reverse((reader.at, *number)))?;
        let stored = reader.advance()?;
        self.skew.note(number, &stored.header);
        Some((number, stored))
    }

    /// Reads no more of a node.
    pub(crate) fn leave(&mut self, node: usize) {
        if let Some(reader) = self.nodes.get_mut(node) {
            reader.next = None;
        }
    }

    /// What a node is called.
    pub(crate) fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("", |reader| &reader.name)
    }

    /// The reading of a node.
    pub(crate) fn reading(&mut self, node: usize) -> Option<&mut Reading> {
        self.nodes.get_mut(node).map(|reader| &mut reader.reading)
    }

    /// Whether no node's journal was found damaged.
    pub(crate) fn is_sound(&self) -> bool {
        self.nodes.iter().all(|reader| reader.reading.is_sound())
    }

    /// How a verb ends that found what it says. Every node's damage is told; the first is the verb's own failure.
    pub(crate) fn end(self, found: Exit, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let (mut exit, mut first) = (found, None);
        for Reader { name, reading, .. } in self.nodes {
            match reading.end(found, console) {
                Ok(other) => exit = exit.or_worse(other),
                Err(failure) => {
                    console.note(format_args!("node {name}: {}", failure.told()));
                    first = first.or(Some(failure));
                }
            }
        }
        first.map_or(Ok(exit), Err)
    }
}
