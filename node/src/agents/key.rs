//! The key behind the agents' tokens, and the tokens that follow from it: none of them is kept by the service.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes of the key, and of what a token is made of.
const KEY_LEN: usize = 32;
/// Bytes that the hash takes at a time.
const BLOCK_LEN: usize = 64;

/// A secret of this node.
#[derive(Clone)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// The key in a file; made of `random` if there is none.
    ///
    /// # Errors
    /// It cannot be read or made, it is not of a key's length, or others may read it.
    pub fn load_or_make(path: &Path, random: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Key> {
        match fs::File::open(path) {
            Ok(file) => Key::read(file, path),
            Err(error) if error.kind() == ErrorKind::NotFound => Key::make(path, random),
            Err(error) => Err(error),
        }
    }

    fn read(mut file: fs::File, path: &Path) -> io::Result<Key> {
        let metadata = file.metadata()?;
        if metadata.mode() & 0o077 != 0 {
            let message = format!("it is open to others; run `chmod 600 {}`", path.display());
            return Err(io::Error::other(message));
        }
        let mut key = [0; KEY_LEN];
        if metadata.len() != KEY_LEN as u64 {
            let message =
                format!("it has {} bytes, not {KEY_LEN}; remove it: agents get new tokens", metadata.len());
            return Err(io::Error::other(message));
        }
        file.read_exact(&mut key)?;
        Ok(Key(key))
    }

    fn make(path: &Path, random: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Key> {
        let mut key = [0; KEY_LEN];
        random(&mut key)?;
        // Whole, or not there: a half-written key would be refused for ever.
        let draft = path.with_extension("new");
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        let mut file = options.open(&draft)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        if let Some(folder) = path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(Key(key))
    }

    fn mac(&self, message: &[u8]) -> [u8; 32] {
        let pad = |with: u8| {
            let mut block = [with; BLOCK_LEN];
            block.iter_mut().zip(self.0).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
        Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
    }

    /// The keyed digest of parts (HMAC-SHA256, RFC 2104) as text: no two lists of parts are the same bytes.
    #[must_use]
    pub fn token(&self, parts: &[Vec<u8>]) -> String {
        let mut message = Vec::new();
        for part in parts {
            message.extend((part.len() as u64).to_be_bytes());
            message.extend(part);
        }
        self.mac(&message).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a text is the token of these parts. Takes the same time whichever text of a token's length is asked for.
    #[must_use]
    pub fn is_token(&self, parts: &[Vec<u8>], text: &str) -> bool {
        let token = self.token(parts);
        let differs = token.bytes().zip(text.bytes()).fold(0, |sum, (left, right)| sum | (left ^ right));
        token.len() == text.len() && differs == 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The second case of RFC 4231, with its key filled up by zeros, which changes nothing.
    #[test]
    fn the_digest_is_hmac_sha256() {
        let mut key = [0; KEY_LEN];
        key[..4].copy_from_slice(b"Jefe");
        let digest = Key(key).mac(b"what do ya want for nothing?");
        assert_eq!(hex(&digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_token_is_good_for_its_parts_alone() {
        let key = Key([7; KEY_LEN]);
        let parts = |parts: [&str; 2]| parts.map(|part| part.as_bytes().to_vec());
        let ours = parts(["pool", "1"]);
        let token = key.token(&ours);
        assert!(key.is_token(&ours, &token));
        assert!(!key.is_token(&parts(["pool1", ""]), &token));
        assert!(!key.is_token(&ours, &token[1..]));
        assert!(!key.is_token(&ours, ""));
        assert!(!Key([8; KEY_LEN]).is_token(&ours, &token));
    }

    #[test]
    fn a_key_stays_the_same_and_is_refused_when_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let fill = |buffer: &mut [u8]| {
            buffer.fill(3);
            Ok(())
        };
        let made = Key::load_or_make(&path, fill).unwrap();
        let read = Key::load_or_make(&path, |_| Err(io::Error::other("not asked for"))).unwrap();
        assert_eq!(made.token(&[vec![1]]), read.token(&[vec![1]]));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Key::load_or_make(&path, fill).is_err());
        fs::write(&path, b"short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Key::load_or_make(&path, fill).is_err());
    }
}
