//! What pools, their slots, their tasks and what tasks are about are called.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::ids::{StreamId, StreamKind, derived};
use crate::names::{NameError, check_label};

/// A pool's name: an RFC 1123 label of at most 40 characters, so that its pods' names fit as well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PoolName {
    text: Arc<str>,
    /// Follows from the text: it is asked for with every record, and takes a hash to make.
    stream: Uuid,
}

impl PoolName {
    /// Most characters of a name.
    pub const LEN_MAX: usize = 40;

    /// A pool's name, checked.
    ///
    /// # Errors
    /// Names what is wrong with it.
    pub fn new(name: impl Into<String>) -> Result<PoolName, NameError> {
        let name = name.into();
        check_label(&name)?;
        match name.len() {
            len if PoolName::LEN_MAX < len => Err(NameError::TooLong { max: PoolName::LEN_MAX, len }),
            _ => {
                let stream = derived(&[b"pool/", name.as_bytes()]);
                Ok(PoolName { text: name.into(), stream })
            }
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pool's stream: always the same one for the same name.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId { kind: StreamKind::Pool, id: self.stream }
    }

    /// The name of a member's pod. No two members of a pool have the same, ever.
    #[must_use]
    pub fn pod_name(&self, member: u64) -> String {
        format!("{self}-{member}")
    }
}

/// A text, as it is read.
impl Serialize for PoolName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl TryFrom<String> for PoolName {
    type Error = NameError;

    fn try_from(name: String) -> Result<PoolName, NameError> {
        PoolName::new(name)
    }
}

impl std::str::FromStr for PoolName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<PoolName, NameError> {
        PoolName::new(name)
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// One task. Whoever submits it draws the id: submitted twice, it is the same task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub Uuid);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shows that one has a slot: each one that a pool gives out is greater than all before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

impl Token {
    /// The token after this one.
    #[must_use]
    pub fn next(self) -> Token {
        Token(self.0.saturating_add(1))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One slot of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotKey {
    /// Whose, by the pool's own count.
    pub member: u64,
    /// Which of its slots, from 0.
    pub slot: u8,
}

/// As in `12/0`: member 12, slot 0.
impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.member, self.slot)
    }
}

/// What a task is about: applies of one workspace come one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Workspace(Arc<str>);

/// Text that names no workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {} bytes and no control characters", Workspace::LEN_MAX)]
pub struct WorkspaceError;

impl Workspace {
    /// Most bytes of a name.
    pub const LEN_MAX: usize = 253;

    /// A workspace's name, checked.
    ///
    /// # Errors
    /// It is empty, too long, or has characters that a terminal would obey.
    pub fn new(name: &str) -> Result<Workspace, WorkspaceError> {
        let fits = !name.is_empty() && name.len() <= Workspace::LEN_MAX;
        let is_plain = !name.chars().any(char::is_control);
        if fits && is_plain { Ok(Workspace(name.into())) } else { Err(WorkspaceError) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text, as it is read.
impl Serialize for Workspace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl TryFrom<String> for Workspace {
    type Error = WorkspaceError;

    fn try_from(name: String) -> Result<Workspace, WorkspaceError> {
        Workspace::new(&name)
    }
}

impl fmt::Display for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
