//! Signed notes: a text, an empty line, and a line for each signature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{NoteSigner, VerifierKey, is_key_name};

/// Longest note that is read, in bytes.
pub const NOTE_LEN_MAX: usize = 256 * 1024;

/// Most signatures of a note. The format asks for at least 16.
pub const SIGNATURES_MAX: usize = 64;

/// What a signature line begins with: an em dash and a space.
const LINE_START: &str = "\u{2014} ";

/// Bytes of a key's id, in front of the signature itself.
const ID_LEN: usize = 4;

/// Why something is not a signed note, or not one to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is longer than any that is read.
    #[error("note has {len} bytes, at most {NOTE_LEN_MAX} are allowed")]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// It is not UTF-8, or holds control characters other than newlines.
    #[error("note is not plain UTF-8 text")]
    NotText,
    /// There is no text that ends with a newline, followed by an empty line and signatures.
    #[error("note has no text, or no signatures behind an empty line")]
    Incomplete,
    /// A line after the text is not a signature.
    #[error("line {line} of the signatures is not one")]
    Line {
        /// Which line behind the empty one, from 1.
        line: usize,
    },
    /// It has more signatures than are read.
    #[error("note has more than {SIGNATURES_MAX} signatures")]
    TooManySignatures,
    /// Signatures of another text cannot be added.
    #[error("signatures are of another text")]
    OtherText,
    /// A key that is known did not make the signature that bears its name.
    #[error("signature by `{name}` is wrong: the text is not what was signed, or somebody else signed it")]
    WrongSignature {
        /// Name of the key.
        name: String,
    },
    /// No key that is known has signed it.
    #[error("note is not signed by any key that is known")]
    Unsigned,
}

/// One line of signature, which says nothing before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: [u8; ID_LEN],
    signature: Vec<u8>,
}

impl NoteSignature {
    /// Who seems to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the line claims to be by this key.
    #[must_use]
    pub fn claims(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }

    /// Whether it is by this key, of this text.
    #[must_use]
    pub fn is_by(&self, key: &VerifierKey, text: &str) -> bool {
        self.claims(key) && key.has_signed(text.as_bytes(), &self.signature)
    }

    fn parse(line: &str) -> Option<NoteSignature> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        if !is_key_name(name) {
            return None;
        }
        let bytes = STANDARD.decode(encoded).ok()?;
        let (id, signature) = bytes.split_first_chunk::<ID_LEN>()?;
        let is_there = !signature.is_empty();
        is_there.then(|| NoteSignature { name: name.to_owned(), id: *id, signature: signature.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = STANDARD.encode([&self.id, self.signature.as_slice()].concat());
        write!(formatter, "{LINE_START}{} {encoded}", self.name)
    }
}

/// A text with at least one signature, which says nothing before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Signs a text, which must end with a newline.
    ///
    /// # Errors
    ///
    /// When the text cannot be that of a note.
    pub fn sign(text: &str, signer: &NoteSigner) -> Result<SignedNote, NoteError> {
        if !text.ends_with('\n') {
            return Err(NoteError::Incomplete);
        }
        check_text(text)?;
        let note = SignedNote { text: text.to_owned(), signatures: vec![signature(text, signer)] };
        note.check_len()?;
        Ok(note)
    }

    /// Adds one more signature; nothing changes if it is there already.
    ///
    /// # Errors
    ///
    /// When there would be too many.
    pub fn add_signature(&mut self, signer: &NoteSigner) -> Result<(), NoteError> {
        let signature = signature(&self.text, signer);
        self.add(vec![signature])
    }

    /// Adds the signatures of another copy of the same text, as a witness hands it back.
    ///
    /// # Errors
    ///
    /// When the text is another, or there would be too many signatures.
    pub fn merge(&mut self, other: &SignedNote) -> Result<(), NoteError> {
        if self.text != other.text {
            return Err(NoteError::OtherText);
        }
        self.add(other.signatures.clone())
    }

    fn add(&mut self, signatures: Vec<NoteSignature>) -> Result<(), NoteError> {
        let mut extended = self.clone();
        for signature in signatures {
            if !extended.signatures.contains(&signature) {
                extended.signatures.push(signature);
            }
        }
        if extended.signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        extended.check_len()?;
        *self = extended;
        Ok(())
    }

    /// Reads a note as it is stored or passed on.
    ///
    /// # Errors
    ///
    /// When it is not written exactly as [`fmt::Display`] writes it.
    pub fn parse(bytes: &[u8]) -> Result<SignedNote, NoteError> {
        if bytes.len() > NOTE_LEN_MAX {
            return Err(NoteError::TooLong { len: bytes.len() });
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        check_text(note)?;
        // The text may hold empty lines: the last one ends it.
        let end = note.rfind("\n\n").ok_or(NoteError::Incomplete)?;
        let (text, lines) = note.split_at(end + 1);
        let lines = lines.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines: Vec<_> =
            lines.ok_or(NoteError::Incomplete)?.split('\n').take(SIGNATURES_MAX + 1).collect();
        if lines.len() > SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        let signatures = lines.iter().zip(1..);
        let signatures =
            signatures.map(|(text, line)| NoteSignature::parse(text).ok_or(NoteError::Line { line }));
        Ok(SignedNote { text: text.to_owned(), signatures: signatures.collect::<Result<_, _>>()? })
    }

    /// What was signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signatures, also those by keys that nobody here knows.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Which of these keys have signed it, each once. Signatures by other keys are passed over.
    ///
    /// # Errors
    ///
    /// When none has, or a signature that bears the name and id of one of them is wrong.
    pub fn verify<'k>(&self, trusted: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signed_by: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            // Ids are short: two keys of one name may share one.
            let mut claimed = trusted.iter().filter(|key| signature.claims(key)).peekable();
            if claimed.peek().is_none() {
                continue;
            }
            let Some(key) = claimed.find(|key| signature.is_by(key, &self.text)) else {
                return Err(NoteError::WrongSignature { name: signature.name.clone() });
            };
            if !signed_by.contains(&key) {
                signed_by.push(key);
            }
        }
        if signed_by.is_empty() { Err(NoteError::Unsigned) } else { Ok(signed_by) }
    }

    fn check_len(&self) -> Result<(), NoteError> {
        let len = self.to_string().len();
        if len > NOTE_LEN_MAX { Err(NoteError::TooLong { len }) } else { Ok(()) }
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(formatter, "{signature}"))
    }
}

fn signature(text: &str, signer: &NoteSigner) -> NoteSignature {
    let verifier = signer.verifier();
    let signature = signer.sign(text.as_bytes()).to_vec();
    NoteSignature { name: verifier.name().to_owned(), id: verifier.id(), signature }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    let is_wrong = |char: char| char < ' ' && char != '\n';
    if text.contains(is_wrong) { Err(NoteError::NotText) } else { Ok(()) }
}
