//! Bearer tokens of those who come over TCP.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Largest token file that is read, in bytes.
const FILE_LEN_MAX: u64 = 256 * 1024;

/// The tokens that are accepted, as digests: the tokens themselves are not kept.
#[derive(Clone)]
pub struct Tokens {
    known: Vec<(String, [u8; 32])>,
}

/// Why a token file is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("failed to read the token file `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Everybody on the host may read or change it.
    #[error("the token file `{path}` is open to others (mode {mode:03o}); run `chmod 600 {path}`")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is not `name token`.
    #[error(
        "line {line} of the token file `{path}` is not `name token` with a name of 1 to 48 letters, digits, `-`, \
         `_` and `.` and a token of 16 to 256 visible characters"
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// No line has a token.
    #[error("the token file `{path}` has no token")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl Tokens {
    /// Reads a token file.
    ///
    /// # Errors
    /// It cannot be read, others may read or change it, or a line is malformed. No error holds a token.
    pub fn read(path: &Path) -> Result<Tokens, TokenError> {
        let fail = |source| TokenError::Read { path: path.to_path_buf(), source };
        let metadata = std::fs::metadata(path).map_err(fail)?;
        // Others may do nothing, the group may only read.
        if metadata.mode() & 0o027 != 0 {
            return Err(TokenError::Open { path: path.to_path_buf(), mode: metadata.mode() & 0o777 });
        }
        if metadata.len() > FILE_LEN_MAX {
            return Err(fail(std::io::Error::other(format!("it has more than {FILE_LEN_MAX} bytes"))));
        }
        let text = std::fs::read_to_string(path).map_err(fail)?;
        Tokens::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Tokens, TokenError> {
        let mut known = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || TokenError::Line { path: path.to_path_buf(), line: index + 1 };
            let (name, token) = line.split_once(char::is_whitespace).ok_or_else(malformed)?;
            let token = token.trim();
            if !is_name(name) || !is_token(token) {
                return Err(malformed());
            }
            known.push((name.to_owned(), digest(token)));
        }
        if known.is_empty() {
            return Err(TokenError::Empty { path: path.to_path_buf() });
        }
        Ok(Tokens { known })
    }

    /// The name that a token belongs to. Takes the same time whichever token is asked for.
    #[must_use]
    pub fn name_of(&self, token: &str) -> Option<&str> {
        let asked = digest(token);
        let mut found = None;
        for (name, known) in &self.known {
            let difference = asked.iter().zip(known).fold(0, |sum, (left, right)| sum | (left ^ right));
            if difference == 0 {
                found = Some(name.as_str());
            }
        }
        found
    }
}

fn is_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=48).contains(&name.len()) && name.bytes().all(fine)
}

fn is_token(token: &str) -> bool {
    (16..=256).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_token_gives_its_name() {
        let file = file("# people\nada 0123456789abcdef\n\ngrace fedcba9876543210\n", 0o600);
        let tokens = Tokens::read(file.path()).unwrap();
        assert_eq!(tokens.name_of("fedcba9876543210"), Some("grace"));
        assert_eq!(tokens.name_of("fedcba987654321"), None);
        assert_eq!(tokens.name_of(""), None);
    }

    #[test]
    fn files_open_to_others_are_refused() {
        for mode in [0o604, 0o620, 0o666] {
            let file = file("ada 0123456789abcdef\n", mode);
            assert!(matches!(Tokens::read(file.path()), Err(TokenError::Open { .. })), "{mode:o}");
        }
    }

    #[test]
    fn malformed_lines_are_named_without_their_text() {
        for text in ["ada\n", "ada short\n", "a/b 0123456789abcdef\n"] {
            let file = file(text, 0o600);
            let error = Tokens::read(file.path()).err().unwrap();
            assert!(matches!(error, TokenError::Line { line: 1, .. }));
        }
        assert!(matches!(Tokens::read(file("\n", 0o600).path()), Err(TokenError::Empty { .. })));
    }
}
