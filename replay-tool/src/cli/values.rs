//! What arguments are made of: each is read once, here, and refused with what would have been right.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use purser_events::event::LAYOUTS;
use purser_events::{PodId, PodUid, Seq, StreamId};
use uuid::Uuid;

use crate::when::When;

/// Positions from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// Why an argument makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// Not a range of positions.
    #[error("expected record numbers from 1: A..B, A.., ..B or A, with A not after B")]
    Range,
    /// Not a stream.
    #[error("expected a kind and a uid, as in node/UID, pod/UID, worker/UID or ledger/UID")]
    Stream,
    /// Not a pod.
    #[error("expected namespace/name, name or a uid: {0}")]
    Pod(#[source] purser_events::NameError),
    /// Not an event type.
    #[error("no event type is called so; there are {}", type_names())]
    Type,
    /// Not a node.
    #[error("expected a name and a path, as in gpu-01=gpu-01.journal")]
    Node,
    /// Not a moment.
    #[error(
        "expected a record's number or a time as in 2026-03-01T12:30:00Z, 2026-03-01, today, yesterday or -2h"
    )]
    Moment,
}

fn type_names() -> String {
    LAYOUTS.iter().map(|layout| layout.name).collect::<Vec<_>>().join(", ")
}

impl FromStr for SeqRange {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<SeqRange, ArgumentError> {
        let number = |text: &str| text.parse().map(Seq).map_err(|_| ArgumentError::Range);
        let (first, last) = match text.split_once("..") {
            None => (number(text)?, number(text)?),
            Some(("", "")) => return Err(ArgumentError::Range),
            Some((first, "")) => (number(first)?, Seq(u64::MAX)),
            Some(("", last)) => (Seq(1), number(last)?),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        if first <= last { Ok(SeqRange { first, last }) } else { Err(ArgumentError::Range) }
    }
}

/// A stream by its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamName(pub StreamId);

impl FromStr for StreamName {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<StreamName, ArgumentError> {
        text.parse().map(StreamName).map_err(|_| ArgumentError::Stream)
    }
}

/// A pod by its name, which incarnations share, or one incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodName {
    /// Every pod of that name.
    Name(PodId),
    /// One incarnation.
    Incarnation(PodUid),
}

impl FromStr for PodName {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<PodName, ArgumentError> {
        if let Ok(uid) = Uuid::try_parse(text) {
            return Ok(PodName::Incarnation(PodUid(uid)));
        }
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        PodId::new(namespace, name).map(PodName::Name).map_err(ArgumentError::Pod)
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PodName::Name(id) => write!(f, "{id}"),
            PodName::Incarnation(uid) => write!(f, "{uid}"),
        }
    }
}

/// One entity: a stream, or a pod by its name or uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By its stream.
    Stream(StreamName),
    /// A pod.
    Pod(PodName),
}

impl FromStr for Target {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Target, ArgumentError> {
        text.parse().map(Target::Stream).or_else(|_| text.parse().map(Target::Pod))
    }
}

/// Where a chain of causes begins: a record, or the last one of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordOrPod {
    /// This record.
    Record(Seq),
    /// The last record of a pod or its workers.
    Pod(PodName),
}

impl FromStr for RecordOrPod {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<RecordOrPod, ArgumentError> {
        match text.parse() {
            Ok(0) => Err(ArgumentError::Range),
            Ok(seq) => Ok(RecordOrPod::Record(Seq(seq))),
            Err(_) => text.parse().map(RecordOrPod::Pod),
        }
    }
}

/// A node by a name that is given to it here, and the way to its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSource {
    /// What it is called in what is shown.
    pub name: String,
    /// An export, a copied folder or a socket.
    pub path: PathBuf,
}

impl FromStr for NodeSource {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<NodeSource, ArgumentError> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(NodeSource { name: name.to_owned(), path: path.into() })
            }
            Some(_) | None => Err(ArgumentError::Node),
        }
    }
}

/// An event type, or the beginning of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeName(String);

impl TypeName {
    /// Whether a type is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.0.ends_with('.') { name.starts_with(&self.0) } else { name == self.0 }
    }
}

impl FromStr for TypeName {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<TypeName, ArgumentError> {
        let name = TypeName(text.to_owned());
        // A type that does not exist would silently match nothing.
        let known = LAYOUTS.iter().any(|layout| name.matches(layout.name));
        if known { Ok(name) } else { Err(ArgumentError::Type) }
    }
}

/// A place in history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this record.
    Seq(Seq),
    /// Before the first record that is later.
    Time(When),
}

impl FromStr for Moment {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Moment, ArgumentError> {
        if let Ok(seq) = text.parse() {
            return Ok(Moment::Seq(Seq(seq)));
        }
        When::from_str(text).map(Moment::Time).map_err(|_| ArgumentError::Moment)
    }
}
