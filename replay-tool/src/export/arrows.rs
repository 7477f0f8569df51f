//! Arrows from causes to effects, and from tasks that wait to their slots: first all are counted, so that each can begin
//! where its cause stands.

use std::collections::BTreeSet;

use purser_events::{Header, Seq, Timestamp};

use crate::cli::FilterArgs;
use crate::failure::Failure;
use crate::filter::Filter;
use crate::graph::cause_of;
use crate::reading::Reading;
use crate::slots::{Slots, Turn};
use crate::source::Place;

/// Most arrows from one record; more are not drawn.
const ARROWS_MAX: u16 = 1_000;

/// How many arrows begin at each record: two bytes a record.
pub(crate) struct Arrows {
    /// Position of the first count.
    before: Seq,
    /// 0 for a record that is not meant, else one more than the arrows that are still to come.
    counts: Vec<u16>,
    /// Records since which a task waited that then got a slot.
    waits: BTreeSet<Seq>,
}

impl Arrows {
    /// Reads the journal for the records that are meant.
    pub(crate) fn read(args: &FilterArgs, place: &Place, now: Timestamp) -> Result<Arrows, Failure> {
        place.again()?;
        let mut filter = Filter::new(args, place, now)?;
        let mut reading = Reading::from(place, Seq(1))?;
        let mut arrows = Arrows { before: reading.before(), counts: Vec::new(), waits: BTreeSet::new() };
        let mut slots = Slots::default();
        // Damage is told of by the reading that shows something.
        while let Some(stored) = reading.next() {
            let event = stored.event();
            let wanted = filter.wants(&stored, &event);
            if filter.is_past(stored.header.seq) {
                break;
            }
            if wanted {
                arrows.note(&stored.header);
            }
            let turn = event.ok().and_then(|event| slots.note(&stored.header, &event));
            if let Some(Turn::Taken { since, .. }) = turn
                && wanted
                && arrows.count(since).is_some_and(|count| *count > 0)
            {
                arrows.waits.insert(since);
            }
        }
        Ok(arrows)
    }

    fn note(&mut self, header: &Header) {
        let Some(at) = self.at(header.seq) else { return };
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count = 1;
        }
        let cause = cause_of(header.origin.cause).filter(|cause| *cause < header.seq);
        if let Some(count) = cause.and_then(|cause| self.count(cause))
            && (1..=ARROWS_MAX).contains(count)
        {
            *count += 1;
        }
    }

    /// The arrows that begin at a record, by their ids.
    pub(crate) fn from(&mut self, seq: Seq) -> Vec<String> {
        let count = self.count(seq).copied().unwrap_or_default();
        (1..count).map(|number| id(seq, number)).collect()
    }

    /// The arrow that ends at a record, by its id: to be asked once of each record.
    pub(crate) fn to(&mut self, header: &Header) -> Option<String> {
        let cause = cause_of(header.origin.cause).filter(|cause| *cause < header.seq)?;
        let count = self.count(cause).filter(|count| **count > 1)?;
        *count -= 1;
        let number = *count;
        Some(id(cause, number))
    }

    /// The arrow from a record since which a task waited to the slot that it got, by its id.
    pub(crate) fn wait_of(&self, seq: Seq) -> Option<String> {
        self.waits.contains(&seq).then(|| format!("{seq}.slot"))
    }

    fn count(&mut self, seq: Seq) -> Option<&mut u16> {
        let at = self.at(seq)?;
        self.counts.get_mut(at)
    }

    fn at(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.0.checked_sub(self.before.0)?.checked_sub(1)?).ok()
    }
}

fn id(cause: Seq, number: u16) -> String {
    format!("{cause}.{number}")
}
