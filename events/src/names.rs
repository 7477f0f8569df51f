//! Names that people give: checked once, here, so that no other place need fear what is in them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// More characters than Kubernetes allows here.
    #[error("must have at most {max} characters, has {len}")]
    TooLong {
        /// Characters allowed.
        max: usize,
        /// Characters given.
        len: usize,
    },
    /// A character outside a-z, 0-9 and `-` (in a subdomain also `.`), or one at a place where it may not stand.
    #[error(
        "must consist of lower-case letters, digits, '-'{} and begin and end with a letter or digit",
        if *.dots { " or '.'," } else { "," }
    )]
    Malformed {
        /// Whether dots are allowed between the parts.
        dots: bool,
    },
}

/// Checks an RFC 1123 label: at most 63 characters of a-z, 0-9 and `-`, neither first nor last a `-`.
///
/// # Errors
/// Names what is wrong with it.
pub fn check_label(text: &str) -> Result<(), NameError> {
    check(text, 63, false)
}

/// Checks an RFC 1123 subdomain: labels joined by dots, at most 253 characters in all.
///
/// # Errors
/// Names what is wrong with it.
pub fn check_subdomain(text: &str) -> Result<(), NameError> {
    check(text, 253, true)
}

fn check(text: &str, max: usize, dots: bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { max, len: text.len() });
    }
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part_is_fine = |part: &str| match part.as_bytes() {
        [] => false,
        [only] => inner(*only),
        [first, middle @ .., last] => {
            inner(*first) && inner(*last) && middle.iter().all(|&byte| inner(byte) || byte == b'-')
        }
    };
    let fine = if dots { text.split('.').all(part_is_fine) } else { part_is_fine(text) };
    if fine { Ok(()) } else { Err(NameError::Malformed { dots }) }
}

/// What a person calls a pod: namespace and name. Incarnations of it have a [`crate::PodUid`] each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "PodIdFields")]
pub struct PodId {
    // Shared: entities are cloned at every step of a replay, and their names never change.
    namespace: Arc<str>,
    name: Arc<str>,
}

#[derive(Deserialize)]
#[serde(rename = "PodId")]
struct PodIdFields {
    namespace: String,
    name: String,
}

impl TryFrom<PodIdFields> for PodId {
    type Error = NameError;

    fn try_from(fields: PodIdFields) -> Result<PodId, NameError> {
        PodId::new(fields.namespace, fields.name)
    }
}

impl PodId {
    /// A pod's name, checked: the namespace is an RFC 1123 label, the name a subdomain, as in Kubernetes.
    ///
    /// # Errors
    /// Names what is wrong with the first part that is not well formed.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Result<PodId, NameError> {
        let (namespace, name) = (namespace.into(), name.into());
        check_label(&namespace)?;
        check_subdomain(&name)?;
        Ok(PodId { namespace: namespace.into(), name: name.into() })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within the namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for PodId {
    type Err = NameError;

    /// Reads `namespace/name`.
    fn from_str(text: &str) -> Result<PodId, NameError> {
        let (namespace, name) = text.split_once('/').unwrap_or(("", text));
        PodId::new(namespace, name)
    }
}

/// A container's name within its pod: an RFC 1123 label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ContainerName(Arc<str>);

/// A text, as it is read.
impl Serialize for ContainerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl ContainerName {
    /// A container's name, checked.
    ///
    /// # Errors
    /// Names what is wrong with it.
    pub fn new(name: impl Into<String>) -> Result<ContainerName, NameError> {
        let name = name.into();
        check_label(&name)?;
        Ok(ContainerName(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerName {
    type Error = NameError;

    fn try_from(name: String) -> Result<ContainerName, NameError> {
        ContainerName::new(name)
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_break_paths_are_refused() {
        for name in ["", ".", "..", "../a", "a/b", "a..b", "-a", "a-", "A", "a_b", "a\0", "a b", "é"] {
            assert!(PodId::new("default", name).is_err(), "{name:?} was accepted");
            assert!(PodId::new(name, "pod").is_err(), "{name:?} was accepted as a namespace");
        }
        assert!(PodId::new("default", "a".repeat(254)).is_err());
        assert!(PodId::new("a.b", "pod").is_err(), "a namespace is one label");
    }

    #[test]
    fn names_of_kubernetes_are_accepted() {
        for name in ["a", "web-1", "web.example.com", "0", &"a".repeat(253)] {
            assert!(PodId::new("default", name).is_ok(), "{name:?} was refused");
        }
    }
}
