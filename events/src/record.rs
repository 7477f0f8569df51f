//! A record: an event with its place in the journal and the answer to who, when and why.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Event;
use crate::ids::{CommandId, Seq, StreamId, StreamVersion};
use crate::units::Timestamp;

/// An event on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Where it stands and why it is there.
    pub header: Header,
    /// What happened.
    pub event: Event,
}

/// Everything about a record but the event itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Position in the journal.
    pub seq: Seq,
    /// The entity that it happened to.
    pub stream: StreamId,
    /// Position in that entity's stream.
    pub version: StreamVersion,
    /// When it was written. Clocks jump: order is by `seq` alone.
    pub time: Timestamp,
    /// Which opening of the journal wrote it, from 1.
    pub epoch: u64,
    /// What led to it, and on whose behalf.
    pub origin: Origin,
}

/// Why a record is there: what led to it, what it belongs to and who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// What led to it directly.
    pub cause: Cause,
    /// The conversation that it belongs to: everything that one request set off has the same.
    pub correlation: Uuid,
    /// On whose behalf it happened.
    pub principal: Principal,
}

/// What led to a record directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "of")]
pub enum Cause {
    /// A request from outside.
    Command(CommandId),
    /// An earlier record.
    Record(Seq),
    /// A time that an earlier record had set came.
    Timer(Seq),
    /// Something was seen outside, of what an earlier record speaks of.
    Observation(Seq),
    /// The node's own start, stop or self-check.
    Node,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Command(id) => write!(f, "command {id}"),
            Cause::Record(seq) => write!(f, "record {seq}"),
            Cause::Timer(seq) => write!(f, "timer of record {seq}"),
            Cause::Observation(seq) => write!(f, "observation on record {seq}"),
            Cause::Node => write!(f, "node"),
        }
    }
}

/// On whose behalf something happened: `node`, `uid:<number>` of a caller on the unix socket, or `token:<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(Cow<'static, str>);

const NODE: &str = "node";

impl Principal {
    /// Longest principal that a record holds, in bytes.
    pub const LEN_MAX: usize = 64;

    /// The node itself.
    #[must_use]
    pub fn node() -> Principal {
        Principal(Cow::Borrowed(NODE))
    }

    /// A principal by its text; cut at [`Principal::LEN_MAX`] bytes, control characters replaced.
    #[must_use]
    pub fn new(text: &str) -> Principal {
        let mut clean: String = text.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        let mut end = clean.len().min(Principal::LEN_MAX);
        while !clean.is_char_boundary(end) {
            end -= 1;
        }
        clean.truncate(end);
        Principal(clean.into())
    }

    /// The principal that has exactly this text; none if [`Principal::new`] would change it.
    #[must_use]
    pub fn exactly(text: &str) -> Option<Principal> {
        if text == NODE {
            // What most records have costs nothing to read.
            return Some(Principal::node());
        }
        let fits = text.len() <= Principal::LEN_MAX && !text.chars().any(char::is_control);
        fits.then(|| Principal(text.to_owned().into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
