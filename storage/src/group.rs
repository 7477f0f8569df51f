//! A group of requests on its way to the segment: those that come, and what they come to.

use std::collections::HashMap;
use std::time::Instant;

use purser_events::CommandId;

use crate::answers::StoredAnswer;
use crate::evidence::Evidence;
use crate::frame::Hash;
use crate::index::Place;
use crate::queue::Queue;
use crate::request::Request;
use crate::store::Batch;
use crate::terms::Class;

/// A group that is about to be written.
#[derive(Default)]
pub(crate) struct Group {
    /// What goes to the segment.
    pub bytes: Vec<u8>,
    pub records: Vec<Place>,
    /// What else goes to the store.
    pub batch: Batch,
    pub answers: HashMap<CommandId, StoredAnswer>,
    /// Of the records, in order.
    pub hashes: Vec<Hash>,
    pub evidence: Vec<Evidence>,
    /// Whether something written before is not durable yet.
    pub continues: bool,
    /// Whether anyone waits for it to be durable.
    pub awaited: bool,
}

impl Group {
    /// Whether the next entry is the first that is not durable.
    pub(crate) fn begins(&self) -> bool {
        self.bytes.is_empty() && !self.continues
    }
}

/// The requests of a group, as they come.
pub(crate) struct Coming<'a> {
    pub queue: &'a Queue,
    /// Those that are not in the group yet.
    pub part: Vec<Request>,
    pub begun: Instant,
    /// Those that are in the group, to be answered.
    pub staged: Vec<Request>,
}

impl Coming<'_> {
    pub(crate) fn has_safety(&self) -> bool {
        self.part.iter().any(|request| request.append.terms.class == Class::Safety)
    }
}
