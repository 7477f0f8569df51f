//! Looks up what the screen shows: records around a place, the world at it, and what led to it. Reads parts of the journal,
//! each from the nearest place that is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::{Event, Seq, Timestamp};
use purser_storage::{PayloadError, StoredRecord};

use super::atlas::{Atlas, BLOCK_LEN, apply};
use super::state::{Content, Filter, Notables, Pane, Row, Rows};
use crate::Console;
use crate::cli::Moment;
use crate::failure::Failure;
use crate::fold::{Folded, Until};
use crate::graph::cause_of;
use crate::notable::Notable;
use crate::pattern::Pattern;
use crate::render;
use crate::source::Place;
use crate::verb::{show, why};

/// Rows that are looked up in each direction.
const ROWS_LEN: usize = 256;

/// Blocks that are looked through for more rows once one is found.
const MORE_BLOCKS: u64 = 32;

/// Blocks that are read at once on the way back.
const BACK_BLOCKS_MAX: usize = 64;

/// Longest text of a row, in characters: what is wider than any screen is seen beside the list.
const TEXT_LEN_MAX: usize = 400;

/// Links of a chain that are followed.
const CHAIN_LEN_MAX: usize = 100;

/// Asked now and then, with the record that was read last, whether to go on.
pub(super) type GoOn<'a> = &'a mut dyn FnMut(Seq) -> bool;

/// A journal to look things up in.
pub(super) struct Desk {
    place: Place,
    pub(super) atlas: Atlas,
    /// The world that was looked at last.
    world: Option<Folded>,
}

type Said = Result<Event, PayloadError>;

/// Which records are looked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    pub(super) filter: Option<&'a Filter>,
    pub(super) pattern: Option<&'a Pattern>,
}

impl Wanted<'_> {
    fn has(&self, stored: &StoredRecord, said: &Said) -> bool {
        let holds = |filter: &Filter| {
            let payload = said.as_ref().map(Event::payload_json).unwrap_or_default();
            filter.expr.holds(&stored.header, &render::type_name(stored), &payload)
        };
        self.filter.is_none_or(holds)
            && self.pattern.is_none_or(|pattern| pattern.is_in(&render::oneline(stored, said)))
    }

    fn is_any(&self) -> bool {
        self.filter.is_none() && self.pattern.is_none()
    }
}

/// What was found in one direction.
struct Found {
    rows: Vec<Row>,
    /// The last record that was looked at.
    upto: Seq,
    /// Whether somebody wanted it to stop.
    is_stopped: bool,
}

impl Desk {
    /// Reads a journal through.
    pub(super) fn new(place: Place) -> Result<Desk, Failure> {
        let atlas = Atlas::read(&place)?;
        Ok(Desk { place, atlas, world: None })
    }

    /// Reads what a live node has recorded since; says whether there was anything.
    pub(super) fn read_on(&mut self) -> Result<bool, Failure> {
        self.atlas.read_on(&self.place)
    }

    /// What the journal is read from, in words.
    pub(super) fn words(&self) -> String {
        render::safe(&self.place.words())
    }

    /// Rows around a record; none if no record from there on, or back from there, is wanted.
    pub(super) fn rows(
        &self,
        near: Seq,
        back: bool,
        wanted: Wanted<'_>,
        go_on: GoOn<'_>,
    ) -> Result<Option<Rows>, Failure> {
        let Atlas { first, last, .. } = self.atlas;
        let near = near.clamp(first, last.max(first));
        let (mut before, after, selected);
        if back {
            before = self.backward(near, ROWS_LEN, wanted, go_on)?;
            if before.rows.is_empty() {
                return Ok(None);
            }
            selected = before.rows.len() - 1;
            after = self.forward(near.next(), ROWS_LEN, true, wanted, go_on)?;
        } else {
            after = self.forward(near, ROWS_LEN, false, wanted, go_on)?;
            if after.rows.is_empty() {
                return Ok(None);
            }
            let prev = Seq(near.0.saturating_sub(1));
            before = if near > first {
                self.backward(prev, ROWS_LEN, wanted, go_on)?
            } else {
                Found { rows: Vec::new(), upto: first, is_stopped: false }
            };
            selected = before.rows.len();
        }
        before.rows.extend(after.rows);
        Ok(Some(Rows { rows: Arc::new(before.rows), selected, from: before.upto, to: after.upto }))
    }

    /// The next record that is wanted, from one on.
    pub(super) fn find(
        &self,
        from: Seq,
        back: bool,
        wanted: Wanted<'_>,
        go_on: GoOn<'_>,
    ) -> Result<Search, Failure> {
        if from < self.atlas.first || self.atlas.last < from {
            return Ok(Search::Nowhere);
        }
        let found = if back {
            self.backward(from, 1, wanted, go_on)?
        } else {
            self.forward(from, 1, false, wanted, go_on)?
        };
        let row = if back { found.rows.last() } else { found.rows.first() };
        Ok(match (row, found.is_stopped) {
            (Some(row), _) => Search::At(row.seq),
            (None, true) => Search::Stopped,
            (None, false) => Search::Nowhere,
        })
    }

    fn forward(
        &self,
        from: Seq,
        len: usize,
        is_more: bool,
        wanted: Wanted<'_>,
        go_on: GoOn<'_>,
    ) -> Result<Found, Failure> {
        let mut found = Found { rows: Vec::new(), upto: Seq(from.0.saturating_sub(1)), is_stopped: false };
        if self.atlas.last < from {
            return Ok(found);
        }
        let mut opened = self.atlas.open(self.atlas.block_of(from), &self.place)?;
        let mut looked = 0;
        while found.upto < self.atlas.last && found.rows.len() < len {
            let Some(stored) = opened.next().transpose()? else { break };
            let seq = stored.header.seq;
            if seq < from {
                continue;
            }
            self.take(&stored, wanted, &mut found);
            looked += 1;
            if looked % BLOCK_LEN == 0 {
                let is_enough = is_more || !found.rows.is_empty();
                if is_enough && looked >= MORE_BLOCKS * BLOCK_LEN {
                    break;
                }
                if !go_on(seq) {
                    found.is_stopped = true;
                    break;
                }
            }
        }
        Ok(found)
    }

    fn backward(&self, from: Seq, len: usize, wanted: Wanted<'_>, go_on: GoOn<'_>) -> Result<Found, Failure> {
        let mut found = Found { rows: Vec::new(), upto: from.next(), is_stopped: false };
        let (mut end, mut step, mut looked) = (self.atlas.block_of(from) + 1, 1, 0);
        while end > 0 && found.rows.len() < len {
            let begin = end.saturating_sub(step);
            let mut part = Found { rows: Vec::new(), upto: Seq::ZERO, is_stopped: false };
            let past = self.atlas.block_first(end).min(from.next());
            let mut opened = self.atlas.open(begin, &self.place)?;
            while let Some(stored) = opened.next().transpose()? {
                if stored.header.seq >= past {
                    break;
                }
                self.take(&stored, wanted, &mut part);
                // What comes behind the last that is asked for may be damaged, and is not asked for.
                if stored.header.seq.next() >= past {
                    break;
                }
            }
            found.upto = self.atlas.block_first(begin);
            part.rows.extend(found.rows);
            found.rows = part.rows;
            looked += u64::try_from(end - begin).unwrap_or(u64::MAX);
            end = begin;
            if !wanted.is_any() {
                step = (step * 2).min(BACK_BLOCKS_MAX);
            }
            if found.rows.len() >= len || (!found.rows.is_empty() && looked >= MORE_BLOCKS) {
                break;
            }
            if !go_on(found.upto) {
                found.is_stopped = true;
                break;
            }
        }
        Ok(found)
    }

    fn take(&self, stored: &StoredRecord, wanted: Wanted<'_>, found: &mut Found) {
        found.upto = stored.header.seq;
        let said = stored.event();
        if wanted.has(stored, &said) {
            found.rows.push(row(stored, &said));
        }
    }

    /// What a pane shows of a record.
    pub(super) fn content(&mut self, pane: Pane, seq: Seq, go_on: GoOn<'_>) -> Result<Content, Failure> {
        let lines = match pane {
            Pane::Record => self.record(seq)?,
            Pane::Why => self.why(seq)?,
            Pane::World => self.world(seq, go_on)?,
        };
        Ok(Content { pane, seq, lines: Arc::new(lines) })
    }

    fn stored(&self, seq: Seq) -> Result<Option<StoredRecord>, Failure> {
        if seq < self.atlas.first || self.atlas.last < seq {
            return Ok(None);
        }
        let mut opened = self.atlas.open(self.atlas.block_of(seq), &self.place)?;
        while let Some(stored) = opened.next().transpose()? {
            if stored.header.seq >= seq {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    fn record(&self, seq: Seq) -> Result<Vec<String>, Failure> {
        let stored = self.stored(seq)?;
        told(|console| stored.map_or(Ok(()), |stored| show::show_text(&stored, false, console)))
    }

    /// What led to a record: what had asked for it, else its cause.
    pub(super) fn cause(&self, seq: Seq) -> Result<Option<Seq>, Failure> {
        let cause = self.stored(seq)?.and_then(|stored| cause_of(stored.header.origin.cause));
        // A cause comes first, or a chain would not end.
        Ok(self.atlas.asked_by(seq).or(cause).filter(|cause| *cause < seq))
    }

    fn why(&self, seq: Seq) -> Result<Vec<String>, Failure> {
        let (mut chain, mut rings, mut outside) = (vec![seq], BTreeMap::new(), None);
        while let Some(at) = chain.last().copied()
            && chain.len() <= CHAIN_LEN_MAX
        {
            if at < self.atlas.first {
                outside = Some(at);
                chain.pop();
                break;
            }
            if let Some(stored) = self.stored(at)? {
                rings.insert(at, why::Ring::of(&stored));
            }
            match self.cause(at)? {
                Some(cause) => chain.push(cause),
                None => break,
            }
        }
        why::ask(&chain, &mut rings);
        let chain: Vec<&why::Ring> = chain.iter().filter_map(|seq| rings.get(seq)).collect();
        told(|console| why::tell(&chain, outside, None, console))
    }

    fn world(&mut self, seq: Seq, go_on: GoOn<'_>) -> Result<Vec<String>, Failure> {
        if !self.atlas.has_worlds() {
            return Ok(vec![
                format!("The journal begins with record {}.", self.atlas.first),
                "What was before it is not known, so what was true is not either:".to_owned(),
                "give the archive as well, with --archive.".to_owned(),
            ]);
        }
        let mut folded = self.atlas.anchor(seq);
        if let Some(last) = self.world.take()
            && folded.world.head <= last.world.head
            && last.world.head <= seq
        {
            folded = last;
        }
        let from = folded.world.head.next();
        if from <= seq {
            let mut opened = self.atlas.open(self.atlas.block_of(from), &self.place)?;
            while folded.world.head < seq
                && let Some(stored) = opened.next().transpose()?
            {
                let at = stored.header.seq;
                if at < from {
                    continue;
                }
                apply(&mut folded, stored);
                if at.0.is_multiple_of(BLOCK_LEN) && !go_on(at) {
                    return Ok(vec![format!("stopped at record {at}")]);
                }
            }
        }
        let lines = super::world::lines(&folded);
        self.world = Some(folded);
        Ok(lines)
    }

    /// The record that a moment means: the one with that number, or the last before a later time.
    pub(super) fn at(&self, moment: Moment, now: Timestamp) -> Result<Seq, Failure> {
        let Atlas { first, last, .. } = self.atlas;
        let seq = match moment.seen_from(now) {
            Until::Seq(seq) => seq,
            Until::Time(time) => Seq(self.later_than(time)?.0.saturating_sub(1)),
        };
        Ok(seq.clamp(first, last.max(first)))
    }

    /// The first record that is later than a time; the one after the last if none is.
    pub(super) fn later_than(&self, time: Timestamp) -> Result<Seq, Failure> {
        let mut opened = self.atlas.open(self.atlas.block_after(time), &self.place)?;
        while let Some(stored) = opened.next().transpose()? {
            if stored.header.time > time {
                return Ok(stored.header.seq);
            }
            if stored.header.seq >= self.atlas.last {
                break;
            }
        }
        Ok(self.atlas.last.next())
    }

    /// The next record of a kind.
    pub(super) fn notable(&self, from: Seq, notable: Notable, back: bool) -> Option<Seq> {
        let places = match notable {
            Notable::Violation => &self.atlas.violations,
            Notable::Failure => &self.atlas.failures,
        };
        let at = places.partition_point(|seq| if back { *seq < from } else { *seq <= from });
        let at = if back { at.checked_sub(1)? } else { at };
        places.get(at).copied()
    }

    /// How many records are looked for.
    pub(super) fn notables(&self) -> Notables {
        let Atlas { failures, violations, is_cut, .. } = &self.atlas;
        Notables { failures: failures.len(), violations: violations.len(), is_cut: *is_cut }
    }
}

/// What a search comes to.
pub(super) enum Search {
    At(Seq),
    Nowhere,
    Stopped,
}

fn row(stored: &StoredRecord, said: &Said) -> Row {
    let header = &stored.header;
    let text = match said {
        Ok(event) => render::compact(&event.payload_json()),
        Err(error) => render::payload_error(error),
    };
    Row {
        seq: header.seq,
        time: header.time,
        kind: render::type_name(stored),
        stream: header.stream,
        text: text.chars().take(TEXT_LEN_MAX).collect(),
        notable: said.as_ref().ok().and_then(Notable::of),
    }
}

/// What a verb says, line by line.
fn told(say: impl FnOnce(&mut Console<'_>) -> Result<(), Failure>) -> Result<Vec<String>, Failure> {
    let (mut out, mut notes) = (Vec::new(), std::io::sink());
    say(&mut Console { out: &mut out, notes: &mut notes })?;
    Ok(String::from_utf8_lossy(&out).lines().map(str::to_owned).collect())
}
