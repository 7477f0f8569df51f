//! House-keeping and stops in order: segments are compressed, archived and trimmed, snapshots are taken as the node
//! stops, and the disk may fail at any call in between.
//!
//! Snapshots are taken at stops alone: there their thread is waited for, and a seed repeats its run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use purser_events::Seq;
use purser_events::causes::told;
use purser_storage::Journal;
use purser_storage::disk::Disk;
use purser_storage::offline::Source;

use super::disk::SimDisk;
use super::run::{Broken, Simulation};
use crate::upkeep;

/// Where segments are archived.
pub(super) const ARCHIVE: &str = "/archive";
/// Most calls to the disk after which it fails while house is kept: as many as a round makes with some segments.
const CALLS_MAX: u64 = 60;
/// The same while the node stops.
const CALLS_OF_A_STOP: u64 = 14;

/// What is known of segments that were sealed: their first records, with their last ones.
#[derive(Debug, Default)]
pub(super) struct Sealed(BTreeMap<Seq, Seq>);

impl Sealed {
    fn note(&mut self, journal: &Journal) {
        self.0.extend(journal.segments().iter().map(|segment| (segment.first, segment.last.seq)));
    }

    /// Sees that the archive has what the journal has no more, from the first record on.
    pub(super) fn whole(&self, journal: &Journal, disk: &SimDisk) -> Result<(), Broken> {
        let before = journal.before().seq;
        let names = disk.names(Path::new(ARCHIVE)).map_err(|error| error.to_string())?;
        let mut next = Seq(1);
        while next <= before {
            let start = format!("{:020}.", next.0);
            let is_it = |name: &OsString| {
                let name = name.to_string_lossy();
                name.starts_with(&start) && !name.ends_with(".new")
            };
            if !names.iter().any(is_it) {
                return Err(format!("lost: the segment of {next} is neither here nor in the archive"));
            }
            let last = self.0.get(&next);
            next = last.ok_or_else(|| format!("a segment that begins with {next} was never sealed"))?.next();
        }
        if next == before.next() { Ok(()) } else { Err(format!("{next} should follow {before}")) }
    }
}

impl Simulation {
    /// Keeps house; if it may be cut, the disk fails in the middle of it now and then.
    pub(super) fn keep_house(&mut self, may_be_cut: bool) -> Result<(), Broken> {
        if self.ground.disk.is_off() {
            return self.crash();
        }
        let is_cut = may_be_cut && self.random.percent(40);
        if is_cut {
            let cut = self.any_cut(CALLS_MAX);
            self.ground.disk.cut(Some(cut));
        }
        let Some(node) = &self.node else { return Ok(()) };
        self.sealed.note(node.journal());
        let faults = self.ground.disk.faults();
        let done = upkeep::round(node.journal(), &self.ground.disk, Path::new(ARCHIVE));
        if is_cut {
            self.ground.disk.cut(None);
        }
        match done {
            Ok(done) => {
                self.report.compressed += done.compressed;
                self.report.trimmed += done.trimmed;
            }
            Err(_) if faults < self.ground.disk.faults() => self.report.upkeep_failed += 1,
            Err(error) => return Err(format!("house-keeping fails: {error}")),
        }
        if self.ground.disk.is_off() {
            return self.crash();
        }
        self.sealed.whole(node.journal(), &self.ground.disk)?;
        self.poll();
        self.look()
    }

    /// The node stops in order; now and then the disk fails in the middle of that.
    pub(super) fn stop(&mut self) -> Result<(), Broken> {
        if self.random.percent(30) {
            let cut = self.any_cut(CALLS_OF_A_STOP);
            self.ground.disk.cut(Some(cut));
        }
        if let Some(node) = self.node.take() {
            self.shadow.follow(&node)?;
            node.end();
        }
        self.report.stops += 1;
        self.die()
    }

    /// Sees that the archive and the journal together hold every record that was seen, as an auditor reads them.
    pub(super) fn audit(&self) -> Result<(), Broken> {
        let told = |error: &dyn std::error::Error| format!("an auditor cannot read it: {}", told(error));
        let folder = super::run::folder();
        let (dir, archive) = (folder.path().join("journal"), folder.path().join("archive"));
        let saved = self
            .ground
            .disk
            .save(&self.dir.path().join("journal"), &dir)
            .and_then(|()| self.ground.disk.save(Path::new(ARCHIVE), &archive))
            .and_then(|()| std::fs::copy(self.dir.path().join("journal/format"), dir.join("format")));
        saved.map_err(|error| told(&error))?;
        let source = Source::from_folder_and_archive(&dir, &archive).map_err(|error| told(&error))?;
        let mut seen = self.shadow.records.iter();
        for record in source {
            let record = record.map_err(|error| told(&error))?;
            // What is written and not shown yet may follow.
            if seen.next().is_some_and(|seen| seen.hash != record.hash) {
                return Err(format!("an auditor finds another record at {}", record.header.seq));
            }
        }
        if seen.next().is_none() { Ok(()) } else { Err("lost: an auditor finds less".to_owned()) }
    }
}
