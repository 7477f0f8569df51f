//! `salvage`: a new journal out of the records before the damage, and exports of those behind it. Every record keeps its
//! number and its hash; what is lost is told.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use purser_events::Seq;
use purser_storage::export::Writer;
use purser_storage::offline::{Item, SourceError, SourceFailure};
use purser_storage::salvage::{Rebuilt, Run, Survivors};
use purser_storage::{Evidence, FolderError, Head, StoredRecord};
use serde_json::{Value, json};

use crate::cli::{Output, SalvageArgs};
use crate::failure::{Exit, Failure};
use crate::source::{Opened, Place};
use crate::{Console, render};

/// Most rows of records behind the damage that are kept, each in a file of its own.
const PARTS_MAX: usize = 1_000;

/// Records behind the damage that follow on each other.
struct Part {
    /// Known by its checksum alone: what it followed on is lost.
    first: StoredRecord,
    run: Run,
    /// With the records after the first, if there are any.
    file: Option<(PathBuf, Writer<BufWriter<File>>)>,
}

/// What was found behind the damage, and where it is now.
struct Found {
    first: Seq,
    last: Seq,
    first_record: Value,
    file: Option<PathBuf>,
}

struct Salvage<'a> {
    to: &'a Path,
    before: Head,
    /// The new journal, as long as nothing is missing.
    rebuilt: Option<Rebuilt>,
    /// The records in it.
    run: Run,
    /// Its last record, of the last commit that is whole.
    head: Head,
    /// Whether the files are damaged so that nothing of them could be read in order.
    is_by_files: bool,
    failure: Option<SourceError>,
    known_last: Option<Seq>,
    parts: Vec<Found>,
    part: Option<Part>,
    /// Records that stand where they do not belong: their number was passed already.
    stray: u64,
    /// Records behind the last part that is kept.
    more: u64,
    unlooked: Vec<String>,
}

pub(crate) fn run(args: &SalvageArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut salvage = rebuild(args, place)?;
    if salvage.failure.is_some() {
        salvage.look_behind(place)?;
    }
    salvage.end_journal()?;
    let report = salvage.json(place);
    let path = args.to.join("report.json");
    fs::write(&path, render::pretty(&report) + "\n").map_err(|source| Failure::Open { path, source })?;
    match args.output {
        Output::Text => salvage.tell(console)?,
        Output::Json => console.line(format_args!("{}", render::pretty(&report)))?,
    }
    let is_whole = salvage.failure.is_none() && salvage.lost().is_empty();
    Ok(if is_whole { Exit::Ok } else { Exit::Integrity })
}

/// A new journal of the records before the damage, as far as they can be read in order.
fn rebuild<'a>(args: &'a SalvageArgs, place: &Place) -> Result<Salvage<'a>, Failure> {
    let (mut source, mut failure) = match place.open(Seq(1)) {
        Ok(source) => (Some(source), None),
        Err(Failure::Source(error)) if error.failure() == SourceFailure::Integrity => (None, Some(error)),
        Err(failure) => return Err(failure),
    };
    // What cannot be opened leaves nothing behind.
    fs::create_dir(&args.to).map_err(|source| Failure::Open { path: args.to.clone(), source })?;
    let before = source.as_ref().map_or(Head::GENESIS, Opened::before);
    let mut rebuilt = Rebuilt::begin(&args.to.join("journal"), before).map_err(of_folder)?;
    while let Some(item) = source.as_mut().and_then(Opened::next_item) {
        match item {
            Ok(Item::Record(record)) => rebuilt.record(&record).map_err(of_folder)?,
            Ok(Item::Evidence(evidence)) => rebuilt.evidence(&evidence).map_err(of_folder)?,
            // Nothing is broken: a newer release reads it.
            Err(error) if error.failure() == SourceFailure::Unknown => return Err(error.into()),
            Err(error) => failure = Some(error),
        }
    }
    let head = source.as_ref().map_or(before, Opened::head);
    let (parts, part, stray, more, unlooked) = <_>::default();
    Ok(Salvage {
        to: &args.to,
        before,
        rebuilt: Some(rebuilt),
        run: Run::after(head),
        head,
        is_by_files: source.is_none(),
        failure,
        known_last: source.as_ref().and_then(Opened::known_last),
        parts,
        part,
        stray,
        more,
        unlooked,
    })
}

fn of_folder(error: FolderError) -> Failure {
    Failure::Source(SourceError::Folder(error))
}

impl Salvage<'_> {
    /// Looks for records behind the new journal's last.
    fn look_behind(&mut self, place: &Place) -> Result<(), Failure> {
        if !place.is_of_files() {
            self.unlooked
                .push(format!("what is behind the damage of the {}: save it as a file", place.words()));
        }
        for path in place.files()? {
            let survivors = Survivors::of(&path);
            let Ok(mut survivors) = survivors else {
                self.unlooked.push(path.display().to_string());
                continue;
            };
            loop {
                match survivors.next_survivor() {
                    Ok(Some(Item::Record(record))) => self.note(*record)?,
                    Ok(Some(Item::Evidence(evidence))) => self.note_evidence(&evidence)?,
                    Ok(None) => break,
                    Err(_) => {
                        self.unlooked.push(path.display().to_string());
                        break;
                    }
                }
            }
        }
        self.end_part()
    }

    fn note(&mut self, record: StoredRecord) -> Result<(), Failure> {
        let seq = record.header.seq;
        if seq <= self.run.last() {
            return Ok(());
        }
        if let Some(rebuilt) = &mut self.rebuilt
            && self.run.last().next() == seq
            && self.run.follows(&record).is_ok()
        {
            return rebuilt.record(&record).map_err(of_folder);
        }
        self.end_journal()?;
        if let Some(part) = &mut self.part {
            if part.run.last().next() == seq && part.run.follows(&record).is_ok() {
                return part.write(self.to, &record);
            }
            if seq <= part.run.last() {
                self.stray += 1;
                return Ok(());
            }
        }
        if self.parts.last().is_some_and(|last| seq <= last.last) {
            self.stray += 1;
            return Ok(());
        }
        self.end_part()?;
        if self.parts.len() == PARTS_MAX {
            self.more += 1;
            return Ok(());
        }
        self.part = Some(Part { run: Run::behind(&record), first: record, file: None });
        Ok(())
    }

    /// Evidence that stands between the records of the new journal, unless it was read in order already.
    fn note_evidence(&mut self, evidence: &Evidence) -> Result<(), Failure> {
        match &mut self.rebuilt {
            Some(rebuilt) if self.is_by_files => rebuilt.evidence(evidence).map_err(of_folder),
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing more follows on the new journal.
    fn end_journal(&mut self) -> Result<(), Failure> {
        if let Some(rebuilt) = self.rebuilt.take() {
            self.head = rebuilt.finish().map_err(of_folder)?;
        }
        Ok(())
    }

    fn end_part(&mut self) -> Result<(), Failure> {
        let Some(part) = self.part.take() else { return Ok(()) };
        let file = match part.file {
            Some((path, writer)) => {
                writer.finish()?;
                Some(path)
            }
            None => None,
        };
        self.parts.push(Found {
            first: part.first.header.seq,
            last: part.run.last(),
            first_record: render::record_json(&part.first, &part.first.event()),
            file,
        });
        Ok(())
    }

    /// The records that are nowhere, each row of them by its first and last.
    fn lost(&self) -> Vec<(Seq, Seq)> {
        let mut next = self.head.seq.next();
        let mut lost = Vec::new();
        for part in &self.parts {
            if next < part.first {
                lost.push((next, Seq(part.first.0 - 1)));
            }
            next = part.last.next();
        }
        if let Some(last) = self.known_last.filter(|last| next <= *last) {
            lost.push((next, last));
        }
        lost
    }

    fn json(&self, place: &Place) -> Value {
        let part = |part: &Found| {
            let file =
                part.file.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
            json!({
                "first": part.first, "last": part.last, "export": file, "knownByChecksumAlone": part.first_record,
            })
        };
        let lost = self.lost();
        json!({
            "source": place.words(), "after": self.before.seq, "journal": "journal", "last": self.head.seq,
            "hash": render::hex(&self.head.hash), "damage": self.failure.as_ref().map(|failure| purser_events::causes::told(failure)),
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
            "lost": lost.iter().map(|(first, last)| json!({ "first": first, "last": last })).collect::<Vec<_>>(),
            "lastKnown": self.known_last, "stray": self.stray, "notKept": self.more, "unreadableFiles": self.unlooked,
            "answers": "answers to commands are not taken over: who repeats a request with its old key repeats it",
        })
    }

    fn tell(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        let first = self.before.seq.next();
        match self.head.seq {
            last if last < first => console.line(format_args!("journal   no record"))?,
            last => console.line(format_args!("journal   records {first} to {last}"))?,
        }
        if let Some(failure) = &self.failure {
            console
                .line(format_args!("damage    {}", render::safe(&purser_events::causes::told(failure))))?;
        }
        for part in &self.parts {
            let (first, last) = (part.first, part.last);
            match part.file.as_ref().and_then(|path| path.file_name()) {
                Some(name) => console.line(format_args!(
                    "behind    records {first} to {last}: the first in report.json, known by its checksum alone, the others \
                     in {}",
                    name.to_string_lossy()
                ))?,
                None => console.line(format_args!(
                    "behind    record {first}: in report.json, known by its checksum alone"
                ))?,
            }
        }
        for (first, last) in self.lost() {
            match first == last {
                true => console.line(format_args!("lost      record {first}"))?,
                false => console.line(format_args!("lost      records {first} to {last}"))?,
            }
        }
        if self.failure.is_some() && self.known_last.is_none() {
            console.line(format_args!("end       the source does not say how many records there were"))?;
        }
        if self.stray > 0 {
            console.line(format_args!("stray     {} records stand where they do not belong", self.stray))?;
        }
        if self.more > 0 {
            console.line(format_args!(
                "… and {} more records behind these {PARTS_MAX} rows, which are in no file: salvage what is left of the source \
                 by itself",
                self.more
            ))?;
        }
        for path in &self.unlooked {
            console.line(format_args!("unread    {}", render::safe(path)))?;
        }
        Ok(())
    }
}

impl Part {
    /// Adds a record that follows.
    fn write(&mut self, to: &Path, record: &StoredRecord) -> Result<(), Failure> {
        if self.file.is_none() {
            let head = Head { seq: self.first.header.seq, hash: self.first.hash };
            let path = to.join(format!("behind-{}.journal", head.seq));
            let open = |source| Failure::Open { path: path.clone(), source };
            let file = File::options().write(true).create_new(true).open(&path).map_err(open)?;
            self.file = Some((path, Writer::new(BufWriter::new(file), head)?));
        }
        if let Some((_, writer)) = &mut self.file {
            writer.write(record)?;
        }
        Ok(())
    }
}
