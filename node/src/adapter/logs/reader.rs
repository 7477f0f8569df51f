//! Reading a log while it is written and shortened, in pieces of bounded size.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::{folder_of, older_part};

/// Largest piece that is read at once, in bytes.
const PIECE_LEN_MAX: usize = 64 << 10;
/// Time between two looks for new output.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStart {
    /// At the oldest output that is kept.
    Beginning,
    /// At the last so many lines; all if there are fewer.
    LastLines(u64),
}

/// Reads the output of one try of a container.
pub struct LogReader {
    /// None only while a piece is being read.
    cursor: Option<Cursor>,
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl LogReader {
    /// Opens a log. With `until` it is followed: the end of the log is the end of the output only once that has
    /// come to pass, as it does when the container has ended.
    ///
    /// # Errors
    /// There is no such log, or it cannot be read.
    pub async fn open(
        log: PathBuf,
        start: LogStart,
        until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ) -> std::io::Result<LogReader> {
        let cursor = tokio::task::spawn_blocking(move || Cursor::open(log, start)).await??;
        Ok(LogReader { cursor: Some(cursor), until })
    }

    /// The next piece of output, at most 64 KiB; none at the end.
    ///
    /// # Errors
    /// The log cannot be read, or reading it was broken off before.
    pub async fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            // Looked at before the reading: what was written until then is still read.
            let over = self.until.is_none();
            let mut cursor =
                self.cursor.take().ok_or_else(|| std::io::Error::other("reading was broken off"))?;
            let read = tokio::task::spawn_blocking(move || {
                let piece = cursor.read();
                (cursor, piece)
            });
            let (cursor, piece) = read.await?;
            self.cursor = Some(cursor);
            let piece = piece?;
            match (piece.is_empty(), over, &mut self.until) {
                (false, _, _) => return Ok(Some(piece)),
                (true, true, _) | (true, _, None) => return Ok(None),
                (true, false, Some(until)) => {
                    let over = tokio::select! {
                        () = until => true,
                        () = tokio::time::sleep(LOOK_INTERVAL) => false,
                    };
                    if over {
                        self.until = None;
                    }
                }
            }
        }
    }
}

/// Which file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Older(u64),
    Newer(u64),
}

struct Cursor {
    log: PathBuf,
    newer: File,
    /// Which file the older part was when it was last looked at.
    older: Option<(u64, i64, i64)>,
    place: Place,
}

impl Cursor {
    fn open(log: PathBuf, start: LogStart) -> std::io::Result<Cursor> {
        let newer = open_file(&log)?;
        let folder = folder_of(&log)?;
        folder.lock_shared()?;
        let older = open_file(&older_part(&log)).ok();
        let place = match (start, &older) {
            (LogStart::Beginning, Some(_)) => Place::Older(0),
            (LogStart::Beginning, None) => Place::Newer(0),
            (LogStart::LastLines(lines), _) => last_lines(&newer, older.as_ref(), lines)?,
        };
        let older = older.map(|file| identity(&file)).transpose()?;
        Ok(Cursor { log, newer, older, place })
    }

    /// The next piece; an empty one where there is no more at present.
    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        // The pod was removed: what is open can still be read to its end.
        let Ok(folder) = folder_of(&self.log) else { return self.read_newer() };
        folder.lock_shared()?;
        let older = open_file(&older_part(&self.log)).ok();
        let seen = older.as_ref().map(identity).transpose()?;
        if let (true, Some(older)) = (seen != self.older, &older) {
            self.place = self.place.after_cut(older.metadata()?.len());
        }
        self.older = seen;
        if let Place::Older(offset) = self.place {
            let piece = older.map_or(Ok(Vec::new()), |older| read_at(&older, offset))?;
            if !piece.is_empty() {
                self.place = Place::Older(offset + piece.len() as u64);
                return Ok(piece);
            }
            self.place = Place::Newer(0);
        }
        self.read_newer()
    }

    fn read_newer(&mut self) -> std::io::Result<Vec<u8>> {
        let Place::Newer(offset) = self.place else { return Ok(Vec::new()) };
        // Shorter than what was read: the container has emptied its own log.
        let offset = if self.newer.metadata()?.len() < offset { 0 } else { offset };
        let piece = read_at(&self.newer, offset)?;
        self.place = Place::Newer(offset + piece.len() as u64);
        Ok(piece)
    }
}

impl Place {
    /// Where the same byte is after the first `cut` bytes of the newer part have become the older part.
    fn after_cut(self, cut: u64) -> Place {
        match self {
            Place::Newer(offset) if offset >= cut => Place::Newer(offset - cut),
            Place::Newer(offset) => Place::Older(offset),
            // What was to be read is gone: the oldest that is left comes next.
            Place::Older(_) => Place::Older(0),
        }
    }
}

fn open_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)
}

/// Number and time of change of a file: what tells it from the one that had its name before.
fn identity(file: &File) -> std::io::Result<(u64, i64, i64)> {
    let held = file.metadata()?;
    Ok((held.ino(), held.ctime(), held.ctime_nsec()))
}

fn read_at(file: &File, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE_LEN_MAX];
    let len = file.read_at(&mut piece, offset)?;
    piece.truncate(len);
    Ok(piece)
}

/// The place at which the last so many lines begin. A last line without an end counts.
fn last_lines(newer: &File, older: Option<&File>, lines: u64) -> std::io::Result<Place> {
    let mut wanted = lines;
    let newer_len = newer.metadata()?.len();
    if let Some(offset) = line_from_end(newer, newer_len, true, &mut wanted)? {
        return Ok(Place::Newer(offset));
    }
    let Some(older) = older else { return Ok(Place::Newer(0)) };
    let at_end = newer_len == 0;
    Ok(match line_from_end(older, older.metadata()?.len(), at_end, &mut wanted)? {
        Some(offset) => Place::Older(offset),
        None => Place::Older(0),
    })
}

/// Counts line ends backwards from the end of a file, down from `wanted`; gives the offset right behind the one
/// at which that many lines follow. The end of the last line is none between lines.
fn line_from_end(file: &File, len: u64, at_end: bool, wanted: &mut u64) -> std::io::Result<Option<u64>> {
    if *wanted == 0 {
        return Ok(Some(len));
    }
    let mut end = len;
    while end > 0 {
        let begin = end.saturating_sub(PIECE_LEN_MAX as u64);
        let mut piece = vec![0; usize::try_from(end - begin).expect("a piece fits in memory")];
        file.read_exact_at(&mut piece, begin)?;
        for (index, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let behind = begin + index as u64 + 1;
            if at_end && behind == len {
                continue;
            }
            *wanted -= 1;
            if *wanted == 0 {
                return Ok(Some(behind));
            }
        }
        end = begin;
    }
    Ok(None)
}
