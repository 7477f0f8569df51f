//! `follow`: what a live node records, as it comes, from the last records on.
//!
//! The node's feed only says that there is something new. What is shown is read as an export from the last record on, so
//! that every record is checked and follows on the one before.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use purser_events::{Seq, Timestamp};
use purser_storage::offline::{SourceError, SourceFailure};
use purser_storage::{Head, StoredRecord};

use super::log::Listing;
use crate::Console;
use crate::cli::FollowArgs;
use crate::cursor::{self, Cursor};
use crate::failure::{Exit, Failure};
use crate::filter::Filter;
use crate::http::{self, HttpError};
use crate::reading::Reading;
use crate::source::Place;

/// The first wait before a node that does not answer is asked again, and the longest; each is twice the one before.
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest part of a line of the feed that is looked at, in bytes: a number is shorter.
const LINE_LEN_MAX: usize = 64;

pub(crate) fn run(
    args: &FollowArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let socket = place.socket().ok_or(Failure::NotLive)?;
    let after = args.cursor_file.as_deref().map(cursor::read).transpose()?.flatten();
    let filter = Filter::new(&args.filter, place, now)?;
    let listing = Listing::new(args.output.into());
    let kept = after.as_ref().map_or(Seq::ZERO, |cursor| cursor.seq);
    let mut following = Following { args, place, filter, listing, last: None, kept, is_over: false };
    following.begin(after.as_ref(), console)?;
    let mut wait = Duration::ZERO;
    while !following.is_over {
        let failed = match following.listen(socket, &mut wait, console) {
            // The feed ended in order: the node goes down.
            Ok(()) => "the feed ended".to_owned(),
            Err(failure) if is_passing(&failure) => failure.told(),
            Err(failure) => return Err(failure),
        };
        if following.is_over {
            break;
        }
        if wait < WAIT_MAX {
            console.note(format_args!("purser-replay: {failed}; the node is asked again"));
        }
        thread::sleep(wait);
        wait = (wait * 2).clamp(WAIT_FIRST, WAIT_MAX);
    }
    Ok(following.listing.exit())
}

/// Whether the node may answer again.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Node { source: HttpError::Io(_) | HttpError::Malformed, .. } => true,
        Failure::Node { source: HttpError::Refused { status, .. }, .. } => *status >= 500,
        Failure::Source(error) => is_cut_short(error),
        _ => false,
    }
}

/// Whether the node ended its answer early, as one that goes down does.
pub(crate) fn is_cut_short(error: &SourceError) -> bool {
    use purser_storage::export::ExportError as E;
    error.failure() == SourceFailure::Io || matches!(error, SourceError::Export(E::CutShort { .. }))
}

struct Following<'a> {
    args: &'a FollowArgs,
    place: &'a Place,
    filter: Filter<'a>,
    listing: Listing,
    /// The last record that was looked at.
    last: Option<Head>,
    /// The record that the cursor's file names.
    kept: Seq,
    /// Whether no later record can match.
    is_over: bool,
}

impl Following<'_> {
    /// Shows the last records that match, or what came after a cursor.
    fn begin(&mut self, after: Option<&Cursor>, console: &mut Console<'_>) -> Result<(), Failure> {
        let from = self.filter.from();
        let from = if from == Seq(1) { from } else { after.map_or(from, |cursor| cursor.seq.min(from)) };
        let mut reading = Reading::from(self.place, from)?;
        let mut held: VecDeque<StoredRecord> = VecDeque::new();
        while let Some(stored) = reading.next() {
            let wanted = self.takes(&stored);
            if self.is_over {
                break;
            }
            match after {
                Some(cursor) if cursor.seq == stored.header.seq && !cursor.is_of(&stored) => {
                    return Err(Failure::OtherJournal { seq: cursor.seq });
                }
                Some(cursor) if stored.header.seq <= cursor.seq => {}
                Some(_) if wanted => self.listing.show(None, &stored, &stored.event(), console)?,
                None if wanted && self.args.lines > 0 => {
                    if held.len() == self.args.lines {
                        held.pop_front();
                    }
                    held.push_back(stored);
                }
                Some(_) | None => {}
            }
        }
        if !self.is_over {
            reading.reached(after.map(|cursor| cursor.seq))?;
        }
        if let Some(error) = reading.into_failure() {
            return Err(error.into());
        }
        for stored in held {
            self.listing.show(None, &stored, &stored.event(), console)?;
        }
        self.keep(console)
    }

    /// Takes notice of a record; says whether it is to be shown.
    fn takes(&mut self, stored: &StoredRecord) -> bool {
        let wanted = self.filter.wants(stored, &stored.event());
        self.is_over = self.filter.is_past(stored.header.seq);
        if !self.is_over {
            self.last = Some(Head { seq: stored.header.seq, hash: stored.hash });
        }
        wanted
    }

    /// All that was to be shown is out, and the next call goes on behind it.
    fn keep(&mut self, console: &mut Console<'_>) -> Result<(), Failure> {
        console.out.flush().map_err(Failure::Output)?;
        match (&self.args.cursor_file, &self.last) {
            // What was shown once is not shown again.
            (Some(path), Some(last)) if self.kept < last.seq => {
                self.kept = last.seq;
                cursor::write(&Cursor::of(last.seq, &last.hash), path)
            }
            (Some(_), Some(_) | None) | (None, _) => Ok(()),
        }
    }

    fn last_seq(&self) -> Seq {
        self.last.map_or(Seq::ZERO, |last| last.seq)
    }

    /// Shows what comes, until the feed ends.
    fn listen(
        &mut self,
        socket: &Path,
        wait: &mut Duration,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let failed = |source| Failure::Node { socket: socket.to_owned(), source };
        let path = format!("/v1/events?follow=true&from={}", self.last_seq().next());
        let feed = match http::get(socket, &path) {
            Ok(feed) => feed,
            // What comes next was trimmed meanwhile, or was never there: what is there now says which.
            Err(HttpError::Refused { status: 400..500, .. }) => return self.catch_up(console),
            Err(error) => return Err(failed(error)),
        };
        *wait = Duration::ZERO;
        let mut ids = Ids(BufReader::new(feed));
        while let Some(seq) = ids.next().map_err(|error| failed(error.into()))? {
            if seq > self.last_seq() {
                self.catch_up(console)?;
            }
            if self.is_over {
                break;
            }
        }
        Ok(())
    }

    /// Shows what was recorded since.
    fn catch_up(&mut self, console: &mut Console<'_>) -> Result<(), Failure> {
        let last = self.last.unwrap_or(Head::GENESIS);
        let mut reading = Reading::from(self.place, last.seq.next())?;
        let before = reading.begins_after();
        if before.seq < last.seq || before.seq == last.seq && before.hash != last.hash {
            return Err(Failure::OtherJournal { seq: last.seq });
        }
        if before.seq > last.seq {
            let first = last.seq.next();
            console.note(format_args!(
                "purser-replay: records {first} to {} are missing: the node has trimmed them",
                before.seq
            ));
        }
        while let Some(stored) = reading.next() {
            let wanted = self.takes(&stored);
            if self.is_over {
                break;
            }
            if wanted {
                self.listing.show(None, &stored, &stored.event(), console)?;
            }
        }
        self.keep(console)?;
        reading.into_failure().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The numbers of records in a feed of server-sent events; all else in it is passed over, and not kept.
struct Ids<R>(BufReader<R>);

impl<R: Read> Ids<R> {
    fn next(&mut self) -> io::Result<Option<Seq>> {
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            let text = std::str::from_utf8(&line).unwrap_or_default();
            if let Some(seq) = text.strip_prefix("id:").and_then(|id| id.trim().parse().ok()) {
                return Ok(Some(Seq(seq)));
            }
        }
    }

    /// The beginning of the next line.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let buffer = match self.0.fill_buf() {
                Ok([]) => return Ok(None),
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            let room = LINE_LEN_MAX.saturating_sub(line.len());
            line.extend(part.iter().take(room));
            let count = end.map_or(buffer.len(), |end| end + 1);
            self.0.consume(count);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_and_all_else_is_passed_over() {
        let long = "x".repeat(100_000);
        let feed = format!(
            ": still here\n\nid: 7\nevent: pod.admitted\ndata: id: 9\n\nid:8\r\ndata: {long}\n\nid: x\nid: 1"
        );
        let mut ids = Ids(BufReader::with_capacity(100, io::Cursor::new(feed)));
        let mut found = Vec::new();
        while let Some(seq) = ids.next().unwrap() {
            found.push(seq);
        }
        assert_eq!(found, [Seq(7), Seq(8)], "a line that has no end is not whole");
    }
}
