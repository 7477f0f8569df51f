//! What pools refer to, as bytes that a digest is made of: a pool's members are made again when one changes.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Most bytes that a secret or a config may have in all.
const BYTES_MAX: u64 = 1024 * 1024;
/// Most files in one.
const FILES_MAX: usize = 64;

/// A file, or the files of a folder with their names, as bytes that no other ones have; none if there is nothing. Blocks
/// on the disk.
///
/// # Errors
/// It cannot be read, or is too large.
pub(super) fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let mut left = BYTES_MAX;
    let mut whole = Vec::new();
    let mut add = |part: &[u8]| {
        whole.extend((part.len() as u64).to_be_bytes());
        whole.extend(part);
    };
    if !metadata.is_dir() {
        add(&read(path, &mut left)?);
        return Ok(Some(whole));
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
    for name in names {
        let contents = read(&path.join(&name), &mut left)?;
        add(name.as_encoded_bytes());
        add(&contents);
    }
    Ok(Some(whole))
}

/// Most bytes of a secret that becomes a variable.
const VALUE_LEN_MAX: u64 = 16 * 1024;

/// A file, as the value of a variable. Blocks on the disk.
///
/// # Errors
/// It cannot be read, is no file, or is too large.
pub(super) fn value(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe or a device would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file; name one of it by `key`"));
    }
    let mut left = VALUE_LEN_MAX;
    read(path, &mut left).map_err(|error| match error.kind() {
        ErrorKind::Other => io::Error::other(format!("it has more than {VALUE_LEN_MAX} bytes")),
        _ => error,
    })
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

    #[test]
    fn names_and_contents_count() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        assert_eq!(content(&secret).unwrap(), None);
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("user"), "a").unwrap();
        let first = content(&secret).unwrap();
        assert_eq!(content(&secret).unwrap(), first);
        fs::rename(secret.join("user"), secret.join("name")).unwrap();
        let renamed = content(&secret).unwrap();
        assert_ne!(renamed, first);
        fs::write(secret.join("name"), "b").unwrap();
        assert_ne!(content(&secret).unwrap(), renamed);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, vec![0; usize::try_from(BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(content(&path).is_err());
    }
}
