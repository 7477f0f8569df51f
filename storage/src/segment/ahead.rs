//! Reading one segment ahead of whoever goes through it. A thread reads the file and compares checksums; what entries
//! say is found out by the one who wants them, who would otherwise wait for the first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::entry::Entry;
use super::reader::{EntryReader, Reached};
use super::rows::{Cuts, Stop};
use crate::block::FrameBytes;
use crate::folder::{FolderError, io_error};
use crate::frame::{self, FrameError, PREFIX_LEN};

/// Rows that wait to be looked at; a row is what was read at once.
const ROWS_AHEAD: usize = 2;

/// Entries of one segment, which a thread reads ahead.
pub(super) struct AheadReader {
    path: PathBuf,
    /// Taken before the thread is waited for.
    rows: Option<Receiver<Checked>>,
    thread: Option<JoinHandle<()>>,
    now: Checked,
    /// Which entry of the row comes next, and where it begins in the file and in the block.
    index: usize,
    at: u64,
    from: usize,
}

/// A row whose checksums were compared.
struct Checked {
    cuts: Cuts,
    /// So many of its first entries are those that were written.
    sound: usize,
    stop: Option<Stop>,
}

impl AheadReader {
    /// Goes on from where a reader is. If no thread can be started it gives the reader back.
    pub(super) fn start(reader: EntryReader) -> Result<AheadReader, EntryReader> {
        let (path, at) = (reader.path().to_owned(), reader.position());
        let (row, rows) = sync_channel(ROWS_AHEAD);
        // It is handed over to a thread that is there: a closure that could not be started would take it along.
        let (give, given) = sync_channel::<EntryReader>(1);
        let run = move || given.into_iter().for_each(|reader| read(reader, &row));
        let Ok(thread) = Builder::new().name("journal-ahead".to_owned()).spawn(run) else {
            return Err(reader);
        };
        give.send(reader).map_err(|SendError(reader)| reader)?;
        let now = Checked { cuts: Cuts::none(at), sound: 0, stop: None };
        Ok(AheadReader { path, rows: Some(rows), thread: Some(thread), now, index: 0, at, from: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next entry begins.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// As [`EntryReader::step`].
    pub(super) fn step(&mut self) -> Result<Reached<Entry>, FolderError> {
        loop {
            if let Some(len) = self.now.cuts.lens.get(self.index) {
                return Ok(self.entry(*len));
            }
            match self.now.stop.take() {
                Some(Stop::End { at }) => return Ok(Reached::End { at }),
                Some(Stop::Bad { at, source }) => return Ok(Reached::Bad { at, source }),
                Some(Stop::Failed(error)) => return Err(error),
                Some(Stop::Limit) => return Ok(Reached::End { at: self.at }),
                None => self.next_row()?,
            }
        }
    }

    fn entry(&mut self, len: usize) -> Reached<Entry> {
        let at = self.at;
        let parsed = match FrameBytes::of(&self.now.cuts.block, self.from..self.from + len) {
            Some(bytes) if self.index < self.now.sound => Entry::parse_checked(bytes),
            Some(bytes) => Entry::parse_shared(bytes),
            None => Err(FrameError::CutShort { len: 0, announced: PREFIX_LEN }),
        };
        match parsed {
            Ok(entry) => {
                (self.index, self.at, self.from) = (self.index + 1, at + len as u64, self.from + len);
                Reached::Entry { at, entry }
            }
            Err(source) => Reached::Bad { at, source },
        }
    }

    fn next_row(&mut self) -> Result<(), FolderError> {
        let next = self.rows.as_ref().and_then(|rows| rows.recv().ok());
        // Behind a footer nobody asks, so it ended by a defect, which its hook has told.
        let ended =
            || io_error("read", &self.path, io::Error::other("the thread that reads ahead has ended"));
        self.now = next.ok_or_else(ended)?;
        (self.index, self.from) = (0, self.now.cuts.from);
        Ok(())
    }
}

impl Drop for AheadReader {
    fn drop(&mut self) {
        // It ends when nobody takes what it reads, and only then is the file closed.
        self.rows.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads to the segment's end, or as long as somebody wants it.
fn read(mut reader: EntryReader, rows: &SyncSender<Checked>) {
    loop {
        let (cuts, stop) = reader.row(u64::MAX);
        let sound = cuts.entries().take_while(|(_, bytes)| frame::check(bytes).is_ok()).count();
        let is_last = stop.is_some() || cuts.ends_with_footer;
        if rows.send(Checked { cuts, sound, stop }).is_err() || is_last {
            return;
        }
    }
}
