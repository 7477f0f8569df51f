//! Why a manifest was refused.

use purser_actors::port::FieldError;

/// Most wrong fields that one refusal lists.
pub const FIELD_ERRORS_MAX: usize = 100;

/// Why a text of manifests, or one document in it, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not YAML or JSON.
    #[error("document {document}, line {line}, column {column}: {message}")]
    Syntax {
        /// Which document, from 1.
        document: usize,
        /// Line of the text, from 1.
        line: usize,
        /// Character of the line, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The whole text is too large.
    #[error("the manifests have {bytes} bytes, at most {bytes_max} are read at once")]
    TextTooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// One document is too large.
    #[error("document {document} has {bytes} bytes, at most {bytes_max} are allowed")]
    DocumentTooLarge {
        /// Which document, from 1.
        document: usize,
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// There are too many documents.
    #[error("there are more than {documents_max} documents")]
    TooManyDocuments {
        /// Documents allowed.
        documents_max: usize,
    },
    /// Fields are wrong: every one of them, up to [`FIELD_ERRORS_MAX`].
    #[error("{}", lines(.0))]
    Fields(Vec<FieldError>),
}

impl ManifestError {
    /// The wrong fields, if that is why.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        match self {
            ManifestError::Fields(errors) => errors,
            ManifestError::Syntax { .. }
            | ManifestError::TextTooLarge { .. }
            | ManifestError::DocumentTooLarge { .. }
            | ManifestError::TooManyDocuments { .. } => &[],
        }
    }
}

fn lines(errors: &[FieldError]) -> String {
    let line = |error: &FieldError| match error.path.as_str() {
        "" => error.message.clone(),
        path => format!("{path}: {}", error.message),
    };
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Wrong fields as they are found.
#[derive(Debug, Default)]
pub(super) struct FieldErrors {
    errors: Vec<FieldError>,
    /// How many of them were found before meaning was looked at.
    of_shape: usize,
}

impl FieldErrors {
    /// Notes a wrong field. Nothing about a field that was already found to have the wrong shape, inside or
    /// around it: what was left out of it would be reported as missing.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>) {
        let is_known = self.errors[..self.of_shape].iter().any(|known| is_within(path, &known.path));
        if !is_known && self.errors.len() < FIELD_ERRORS_MAX {
            self.errors.push(FieldError { path: path.to_owned(), message: message.into() });
        }
    }

    /// Says that every shape has been looked at: from here on meaning is.
    pub(super) fn shapes_are_done(&mut self) {
        self.of_shape = self.errors.len();
    }

    /// Whether no more errors are taken.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= FIELD_ERRORS_MAX
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.errors.len()
    }

    /// What to tell whoever sent it.
    pub(super) fn into_error(self) -> ManifestError {
        ManifestError::Fields(self.errors)
    }

    /// The value if nothing is wrong.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, ManifestError> {
        if self.errors.is_empty() { Ok(value) } else { Err(ManifestError::Fields(self.errors)) }
    }
}

/// Whether one path is the other, or lies in what the other names.
fn is_within(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    short.is_empty()
        || long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
