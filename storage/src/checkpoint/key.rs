//! The keys that sign notes, and their public halves as people pass them on.
//!
//! ```text
//! id            SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key), the first 4 bytes
//! verifier key  <name>+<id, 8 hex digits>+<base64 of 0x01 ‖ public key>
//! ```
//!
//! 0x01 says Ed25519. There is no source of randomness here: a seed comes from outside.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Longest name of a key, in bytes.
pub const KEY_NAME_LEN_MAX: usize = 255;

/// Number of Ed25519 among the signature types.
const ALGORITHM: u8 = 0x01;

/// Bytes of an Ed25519 signature.
pub(crate) const SIGNATURE_LEN: usize = ed25519_dalek::SIGNATURE_LENGTH;

/// An Ed25519 signature.
pub(crate) type Signature = [u8; SIGNATURE_LEN];

/// An Ed25519 public key.
pub type PublicKey = [u8; ed25519_dalek::PUBLIC_KEY_LENGTH];

/// Why something is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name cannot stand in a signature line.
    #[error("name of a key is empty, too long, or holds spaces, `+` or control characters")]
    Name,
    /// The text is not `<name>+<id>+<base64>`.
    #[error("verifier key is not of the form `name+id+base64`")]
    Malformed,
    /// It is a key of another kind.
    #[error("verifier key is of kind {number}, only Ed25519 (1) is known")]
    Kind {
        /// Its number among the signature types.
        number: u8,
    },
    /// The id in the text is not that of the key.
    #[error("id of the verifier key does not match: a digit of it was mistaken")]
    Id,
    /// The bytes are not a public key, or one under which anything verifies.
    #[error("bytes are not a usable Ed25519 public key")]
    PublicKey,
}

/// 32 random bytes that a key is made of; wiped when dropped.
pub struct Seed(Box<Zeroizing<[u8; Seed::LEN]>>);

impl Seed {
    /// Bytes of a seed.
    pub const LEN: usize = ed25519_dalek::SECRET_KEY_LENGTH;

    /// Takes a seed from a source of bytes that nobody can guess.
    ///
    /// # Errors
    ///
    /// When the source fails or ends.
    pub fn read_from(source: &mut impl Read) -> io::Result<Seed> {
        let mut seed = Seed(Box::new(Zeroizing::new([0; Seed::LEN])));
        source.read_exact(seed.0.as_mut_slice())?;
        Ok(seed)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seed(..)")
    }
}

/// Whether this can stand as a name in a signature line.
pub(super) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|char: char| char.is_whitespace() || char.is_control() || char == '+')
}

/// Checks that a key of ours can have this name.
fn check_name(name: &str) -> Result<(), KeyError> {
    if is_key_name(name) && name.len() <= KEY_NAME_LEN_MAX { Ok(()) } else { Err(KeyError::Name) }
}

/// A name and the public key that signs under it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    /// The verifier key of a public key under this name.
    ///
    /// # Errors
    ///
    /// When the name cannot be one, or the bytes are not a usable public key.
    pub fn new(name: &str, public: &PublicKey) -> Result<VerifierKey, KeyError> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(public).map_err(|_| KeyError::PublicKey)?;
        if key.is_weak() {
            return Err(KeyError::PublicKey);
        }
        let input = [name.as_bytes(), b"\n", &[ALGORITHM], public].concat();
        let [first, second, third, fourth, ..] = <[u8; 32]>::from(Sha256::digest(input));
        Ok(VerifierKey { name: name.to_owned(), id: [first, second, third, fourth], key })
    }

    /// Who signs with it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells it from other keys of the same name in most cases; it proves nothing.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The public key itself.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.key.as_bytes()
    }

    /// Whether the key made this signature of the message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<VerifierKey, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Malformed);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Malformed)?;
        let (&number, public) = key.split_first().ok_or(KeyError::Malformed)?;
        if number != ALGORITHM {
            return Err(KeyError::Kind { number });
        }
        let public = public.try_into().map_err(|_| KeyError::Malformed)?;
        let key = VerifierKey::new(name, public)?;
        if hex(key.id) == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ALGORITHM], &self.public()[..]].concat());
        write!(formatter, "{}+{}+{key}", self.name, hex(self.id))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifierKey({self})")
    }
}

fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// A secret key that signs notes under one name; wiped when dropped.
pub struct NoteSigner {
    verifier: VerifierKey,
    // In one place on the heap: a value that moves leaves its bytes behind.
    secret: Box<SigningKey>,
}

impl NoteSigner {
    /// The key that is made of a seed.
    ///
    /// # Errors
    ///
    /// When a key cannot have this name.
    pub fn new(name: &str, seed: &Seed) -> Result<NoteSigner, KeyError> {
        let secret = Box::new(SigningKey::from_bytes(&seed.0));
        let verifier = VerifierKey::new(name, secret.verifying_key().as_bytes())?;
        Ok(NoteSigner { verifier, secret })
    }

    /// Its public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The seed it was made of, which is the secret itself.
    pub(crate) fn secret(&self) -> &[u8; Seed::LEN] {
        self.secret.as_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.secret.sign(message).to_bytes()
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NoteSigner").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
