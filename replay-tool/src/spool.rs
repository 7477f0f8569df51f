//! Standard input for verbs that read a journal more than once: it is kept in a file that has no name and goes with the
//! tool, however that ends.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::failure::Failure;

/// Most that is kept, in bytes: what a folder for temporary files can be expected to have room for.
const KEPT_LEN_MAX: u64 = 8 << 30;

/// Bytes that are copied at once.
const COPIED_LEN: usize = 1 << 18;

/// Standard input, which can be read once unless it is kept.
pub(crate) struct Spool {
    input: fn() -> Box<dyn Read>,
    kept: RefCell<Option<Arc<File>>>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("kept", &self.is_kept()).finish()
    }
}

impl Spool {
    pub(crate) fn of(input: fn() -> Box<dyn Read>) -> Spool {
        Spool { input, kept: RefCell::new(None) }
    }

    /// Whether it can be read again.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// Reads all of it, unless that was done.
    pub(crate) fn keep(&self) -> Result<(), Failure> {
        if self.is_kept() {
            return Ok(());
        }
        let file = tempfile::tempfile().map_err(Failure::Spool)?;
        copy(&mut (self.input)(), &file, KEPT_LEN_MAX)?;
        self.kept.replace(Some(Arc::new(file)));
        Ok(())
    }

    /// A reader from the beginning on.
    pub(crate) fn open(&self) -> Result<Box<dyn Read>, Failure> {
        Ok(self.kept_at(0).unwrap_or_else(|| (self.input)()))
    }

    /// A reader from a byte on, of what is kept.
    pub(crate) fn open_at(&self, at: u64) -> Result<Box<dyn Read>, Failure> {
        self.keep()?;
        Ok(self.kept_at(at).unwrap_or_else(|| Box::new(io::empty())))
    }

    fn kept_at(&self, at: u64) -> Option<Box<dyn Read>> {
        let kept = self.kept.borrow();
        let file = Arc::clone(kept.as_ref()?);
        Some(Box::new(Kept { file, at }))
    }
}

fn copy(input: &mut dyn Read, mut file: &File, len_max: u64) -> Result<(), Failure> {
    let (mut buffer, mut len) = (vec![0; COPIED_LEN], 0_u64);
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Spool(error)),
        };
        len += count as u64;
        if len > len_max {
            return Err(Failure::SpoolFull { len_max });
        }
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(Failure::Spool)?;
    }
}

/// A reader with a place of its own.
struct Kept {
    file: Arc<File>,
    at: u64,
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_often_as_one_likes() {
        let spool = Spool::of(|| Box::new(io::repeat(7).take(600_000)));
        spool.keep().unwrap();
        for _ in 0..2 {
            let mut bytes = Vec::new();
            spool.open().unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, vec![7; 600_000]);
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(copy(&mut io::repeat(7).take(100), &file, 100).is_ok());
        let refused = copy(&mut io::repeat(7).take(101), &file, 100).unwrap_err();
        assert!(matches!(refused, Failure::SpoolFull { len_max: 100 }), "{refused}");
    }
}
