//! Digests of what pools refer to: a pool's members are made again when one changes. Nothing of the contents leaves
//! this file; the digest is keyed, so that nobody can guess a secret by it.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::key::Key;

/// Most bytes that a secret or a config may have in all.
const BYTES_MAX: u64 = 1024 * 1024;
/// Most files in one.
const FILES_MAX: usize = 64;

/// The digest of a file, or of the files in a folder with their names; none if there is nothing. Blocks on the disk.
///
/// # Errors
/// It cannot be read, or is too large.
pub(super) fn digest(key: &Key, path: &Path) -> io::Result<Option<[u8; 32]>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let mut left = BYTES_MAX;
    if !metadata.is_dir() {
        return Ok(Some(key.digest(&[b"file", &read(path, &mut left)?])));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        // What begins so is how a folder is exchanged at once, as Kubernetes does; it is seen through its links.
        if name.as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        if fs::metadata(path.join(&name))?.is_file() {
            names.push(name);
        }
        if FILES_MAX < names.len() {
            return Err(too_large(path));
        }
    }
    names.sort_unstable();
    let mut parts = vec![b"folder".to_vec()];
    for name in names {
        let contents = read(&path.join(&name), &mut left)?;
        parts.extend([name.into_encoded_bytes(), contents]);
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok(Some(key.digest(&parts)))
}

fn read(path: &Path, left: &mut u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    fs::File::open(path)?.take(*left + 1).read_to_end(&mut contents)?;
    *left = left.checked_sub(contents.len() as u64).ok_or_else(|| too_large(path))?;
    Ok(contents)
}

fn too_large(path: &Path) -> io::Error {
    let message = format!("`{}` has more than {BYTES_MAX} bytes or {FILES_MAX} files", path.display());
    io::Error::other(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(folder: &Path, byte: u8) -> Key {
        let fill = |buffer: &mut [u8]| {
            buffer.fill(byte);
            Ok(())
        };
        Key::load_or_make(&folder.join(format!("key-{byte}")), fill).unwrap()
    }

    #[test]
    fn a_digest_follows_names_and_contents_and_says_nothing_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, others) = (key(folder.path(), 1), key(folder.path(), 2));
        let secret = folder.path().join("secret");
        assert_eq!(digest(&ours, &secret).unwrap(), None);
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("user"), "a").unwrap();
        let first = digest(&ours, &secret).unwrap();
        assert_eq!(digest(&ours, &secret).unwrap(), first);
        assert_ne!(digest(&others, &secret).unwrap(), first);
        fs::rename(secret.join("user"), secret.join("name")).unwrap();
        let renamed = digest(&ours, &secret).unwrap();
        assert_ne!(renamed, first);
        fs::write(secret.join("name"), "b").unwrap();
        assert_ne!(digest(&ours, &secret).unwrap(), renamed);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, vec![0; usize::try_from(BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(digest(&key(folder.path(), 1), &path).is_err());
    }
}
