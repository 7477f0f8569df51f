//! A regular expression from the command line: matched in time that grows with the text alone, and bounded in size.

use std::str::FromStr;

use regex::{Regex, RegexBuilder};

/// Most memory that a compiled pattern takes, in bytes.
const SIZE_MAX: usize = 1 << 20;

/// Longest pattern, in bytes.
const LEN_MAX: usize = 1_024;

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// It is too long to be looked at.
    #[error("a pattern has at most {LEN_MAX} bytes: give a shorter one")]
    TooLong,
    /// It is none.
    #[error(transparent)]
    Malformed(#[from] regex::Error),
}

impl Pattern {
    /// Whether it matches anywhere in a text.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > LEN_MAX {
            return Err(PatternError::TooLong);
        }
        Ok(Pattern(RegexBuilder::new(text).size_limit(SIZE_MAX).build()?))
    }
}
