//! A file that a verb makes: whole, or not there.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Console;
use crate::failure::Failure;

/// Lets `write` fill a new file, which only its owner may read; `-` is standard output. An existing file stays as it is,
/// and a part of one is removed.
pub(crate) fn write_new<T>(
    path: &Path,
    console: &mut Console<'_>,
    write: impl FnOnce(&mut dyn Write) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if path == Path::new("-") {
        return write(&mut *console.out);
    }
    let open = |source| Failure::Open { path: path.to_owned(), source };
    // Pods' environments may be in it.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(open)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    let written = write(&mut out).and_then(|written| {
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(Failure::Output)?;
        Ok(written)
    });
    if written.is_err() {
        // A part is of no use; that it cannot be removed is not what went wrong.
        let _ = fs::remove_file(path);
    }
    written
}
