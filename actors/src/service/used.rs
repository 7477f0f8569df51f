//! Where in the ledger's stream the newest records of use are, among all the others: looked for once, and followed from
//! then on.

use std::collections::VecDeque;

use purser_events::Timestamp;

/// Records of use that are known at most, the newest: 7 days of one every five minutes.
pub(super) const USES_MAX: usize = 2_016;
/// Records that are read at once.
pub(super) const PAGE: usize = 1_000;

/// A record of the ledger as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its place in the stream.
    pub(super) version: u64,
    /// When it was written.
    pub(super) time: Timestamp,
    /// Whether it is one of use.
    pub(super) is_use: bool,
}

/// The places of the newest records of use.
#[derive(Debug, Default)]
pub(super) struct Places {
    uses: VecDeque<u64>,
    /// The last record that was looked at; 0 before any was.
    upto: u64,
}

impl Places {
    /// The places, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.uses.iter().copied()
    }

    /// Looks at what is new up to the stream's last record. `page` reads records from a place on, in order; those that
    /// were trimmed it leaves out. The first look goes back until there is nothing but records from before `oldest`.
    ///
    /// # Errors
    /// As `page`. What was seen before it stays known.
    pub(super) fn follow<E>(
        &mut self,
        head: u64,
        oldest: Timestamp,
        mut page: impl FnMut(u64) -> Result<Vec<Seen>, E>,
    ) -> Result<(), E> {
        if self.upto == 0 {
            self.uses = first_look(head, oldest, &mut page)?;
            self.upto = head;
        }
        while self.upto < head {
            let seen = page(self.upto + 1)?;
            let Some(last) = seen.last().map(|seen| seen.version.min(head)) else { break };
            let uses = seen.iter().filter(|seen| seen.is_use && seen.version <= head);
            self.uses.extend(uses.map(|seen| seen.version));
            self.upto = last;
            self.uses.drain(..self.uses.len().saturating_sub(USES_MAX));
        }
        Ok(())
    }
}

/// Goes back from the last record, page by page, until there are enough.
fn first_look<E>(
    head: u64,
    oldest: Timestamp,
    page: &mut impl FnMut(u64) -> Result<Vec<Seen>, E>,
) -> Result<VecDeque<u64>, E> {
    let (mut uses, mut end) = (VecDeque::new(), head);
    while 0 < end && uses.len() < USES_MAX {
        let start = end.saturating_sub(PAGE as u64) + 1;
        let (mut next, mut found, mut is_old) = (start, vec![], true);
        while next <= end {
            // A page may be short: then the next one goes on.
            let seen = page(next)?;
            let Some(last) = seen.last() else { break };
            next = last.version + 1;
            let of_these = seen.iter().filter(|seen| seen.version <= end);
            for seen in of_these {
                is_old &= seen.time < oldest;
                if seen.is_use {
                    found.push(seen.version);
                }
            }
        }
        for version in found.into_iter().rev() {
            uses.push_front(version);
        }
        // Also if all of them were trimmed.
        if is_old {
            break;
        }
        end = start - 1;
    }
    uses.drain(..uses.len().saturating_sub(USES_MAX));
    Ok(uses)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A stream of so many records, one a second, every `nth` of which is of use; what is before `first` was trimmed.
    fn stream(len: u64, first: u64, nth: u64) -> impl Fn(u64) -> Result<Vec<Seen>, Infallible> {
        move |from| {
            // Shorter than asked for, as pages of large records are.
            let versions = (from.max(first)..=len).take(300);
            let seen = |version: u64| {
                let time = Timestamp(i64::try_from(version).unwrap() * 1_000_000);
                Seen { version, time, is_use: version.is_multiple_of(nth) }
            };
            Ok(versions.map(seen).collect())
        }
    }

    fn places(len: u64, first: u64, nth: u64, oldest_s: i64) -> Vec<u64> {
        let mut places = Places::default();
        let Ok(()) = places.follow(len, Timestamp(oldest_s * 1_000_000), stream(len, first, nth));
        places.all().collect()
    }

    #[test]
    fn use_is_found_behind_any_number_of_other_records() {
        let expected: Vec<u64> = (0..=3).map(|index| index * 60_000).skip(1).collect();
        assert_eq!(places(200_000, 1, 60_000, 0), expected);
    }

    #[test]
    fn no_more_are_kept_than_may_be_and_the_newest_are() {
        let found = places(10_000, 1, 2, 0);
        assert_eq!((found.len(), found.first(), found.last()), (USES_MAX, Some(&5_970), Some(&10_000)));
    }

    #[test]
    fn what_is_too_old_or_was_trimmed_ends_the_look() {
        let mut pages = 0;
        let read = stream(100_000, 1, 10);
        let Ok(()) = Places::default().follow(100_000, Timestamp(99_500 * 1_000_000), |from| {
            pages += 1;
            read(from)
        });
        assert!(pages <= 8, "{pages} pages");
        assert_eq!(places(5_000, 4_900, 50, 0), [4_900, 4_950, 5_000]);
        assert_eq!(places(0, 1, 50, 0), [0_u64; 0]);
    }

    #[test]
    fn what_comes_later_is_followed_without_looking_back() {
        let mut places = Places::default();
        let Ok(()) = places.follow(100, Timestamp(0), stream(100, 1, 50));
        let read = stream(1_000, 1, 50);
        let mut asked = vec![];
        let Ok(()) = places.follow(1_000, Timestamp(0), |from| {
            asked.push(from);
            read(from)
        });
        assert_eq!(asked, [101, 401, 701]);
        assert_eq!(places.all().count(), 20);
        let Ok(()) = places.follow::<Infallible>(1_000, Timestamp(0), |_| panic!("nothing is new"));
    }
}
