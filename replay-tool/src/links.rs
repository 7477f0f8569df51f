//! What led to each record: eight bytes a record, for chains that lead back.

use purser_events::Seq;

use crate::asks::Asks;
use crate::failure::Failure;
use crate::graph::cause_of;
use crate::reading::Reading;
use crate::source::Place;

/// Records by which the room for causes grows.
const GROWTH_LEN: usize = 1 << 20;

/// What led to a record: what it names as its cause, or of an end that was asked for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// A record of the source.
    To(Seq),
    /// A record from before the source.
    Outside(Seq),
}

/// The cause of every record up to one.
pub(crate) struct Links {
    before: Seq,
    /// The record that is the cause, or 0; the first is of the first record of the source.
    causes: Vec<u64>,
}

impl Links {
    /// Reads the journal up to a record, which must be there.
    pub(crate) fn read(place: &Place, upto: Seq) -> Result<Links, Failure> {
        place.again()?;
        let mut reading = Reading::from(place, Seq(1))?;
        let before = reading.before();
        let (mut causes, mut asks) = (Vec::new(), Asks::new());
        while let Some(stored) = reading.next() {
            let seq = stored.header.seq;
            if seq > upto {
                break;
            }
            // Of an end that was asked for, the request says more than the start does.
            let ask = asks.note(&stored);
            let cause = ask.or_else(|| cause_of(stored.header.origin.cause));
            // A cause comes first, or a chain would not end.
            if let Some(cause) = cause.filter(|cause| *cause >= seq) {
                return Err(Failure::LaterCause { seq, cause });
            }
            if causes.len() == causes.capacity() {
                // Not twice as many each time: of a long journal that would be much more than there is.
                causes.reserve_exact(GROWTH_LEN);
            }
            causes.push(cause.map_or(0, |cause| cause.0));
            if seq == upto {
                return Ok(Links { before, causes });
            }
        }
        let last = reading.head().seq;
        match reading.into_failure() {
            Some(error) => Err(error.into()),
            None => Err(Failure::NoRecord { first: before.next(), last, asked: upto }),
        }
    }

    /// What led to a record, if a record did.
    pub(crate) fn cause(&self, seq: Seq) -> Option<Link> {
        let at = usize::try_from(seq.0.checked_sub(self.before.0)?.checked_sub(1)?).ok()?;
        let cause = self.causes.get(at).map(|cause| Seq(*cause)).filter(|cause| *cause > Seq::ZERO)?;
        Some(if cause > self.before { Link::To(cause) } else { Link::Outside(cause) })
    }
}
