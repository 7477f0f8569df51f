//! What a projection has in the store, and where: under `p` and its name, the standing, a place for each generation,
//! and the rows. Every value begins with a checksum over its key and itself: not every store sees damage.

use purser_events::Seq;

use crate::error::JournalError;
use crate::store::{Batch, Store};
use crate::verify::Head;

const STANDING: u8 = 0;
const PLACE: u8 = 1;
const ROW: u8 = 2;

/// Bytes of the checksum before a value.
const CHECKSUM_LEN: usize = 4;

/// Which generations there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The one that answers.
    pub answering: Option<u32>,
    /// The one that is being built.
    pub building: Option<u32>,
    /// The highest number that was given.
    pub newest: u32,
}

/// How far a generation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub layout: u32,
    /// The first record that it was folded from.
    pub first: Seq,
    /// The last record that is folded in; the one before `first` if there is none.
    pub cursor: Head,
    pub passed_over: u64,
}

fn prefixed(name: &str, section: u8, rest: &[&[u8]]) -> Vec<u8> {
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let mut key = vec![b'p', len];
    key.extend_from_slice(name.as_bytes());
    key.push(section);
    rest.iter().for_each(|part| key.extend_from_slice(part));
    key
}

fn standing_key(name: &str) -> Vec<u8> {
    prefixed(name, STANDING, &[])
}

fn place_key(name: &str, generation: u32) -> Vec<u8> {
    prefixed(name, PLACE, &[&generation.to_be_bytes()])
}

/// Where a generation's row with this key is.
pub(super) fn row_key(name: &str, generation: u32, key: &[u8]) -> Vec<u8> {
    prefixed(name, ROW, &[&generation.to_be_bytes(), key])
}

/// The keys from this one on, and less than the other, of places and rows of generations between two, both left out.
/// None stands for before the first and after the last.
pub(super) fn between(name: &str, after: Option<u32>, before: Option<u32>) -> [(Vec<u8>, Vec<u8>); 2] {
    [PLACE, ROW].map(|section| {
        let from = match after.map(|after| after.checked_add(1)) {
            None => prefixed(name, section, &[]),
            Some(Some(next)) => prefixed(name, section, &[&next.to_be_bytes()]),
            Some(None) => prefixed(name, section + 1, &[]),
        };
        let to = match before {
            Some(before) => prefixed(name, section, &[&before.to_be_bytes()]),
            None => prefixed(name, section + 1, &[]),
        };
        (from, to)
    })
}

/// A value with its checksum.
pub(super) fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(key), value);
    let mut bytes = Vec::with_capacity(CHECKSUM_LEN + value.len());
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// The value of a key, once its checksum is found to be right.
pub(super) fn unsealed<'a>(key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], JournalError> {
    let damaged = JournalError::Value { name: "projection" };
    let Some((checksum, value)) = bytes.split_first_chunk::<CHECKSUM_LEN>() else { return Err(damaged) };
    let expected = crc32c::crc32c_append(crc32c::crc32c(key), value);
    if u32::from_be_bytes(*checksum) == expected { Ok(value) } else { Err(damaged) }
}

/// Which generations there are; none if nothing is known.
pub(super) fn standing(store: &dyn Store, name: &str) -> Result<Option<Standing>, JournalError> {
    let key = standing_key(name);
    let Some(bytes) = store.get(&key)? else { return Ok(None) };
    let numbers = unsealed(&key, &bytes)?.as_chunks::<4>();
    let ([answering, building, newest], []) = numbers else {
        return Err(JournalError::Value { name: "projection" });
    };
    let number = |bytes: &[u8; 4]| Some(u32::from_be_bytes(*bytes)).filter(|number| *number > 0);
    let (answering, building) = (number(answering), number(building));
    Ok(Some(Standing { answering, building, newest: u32::from_be_bytes(*newest) }))
}

pub(super) fn put_standing(batch: &mut Batch, name: &str, standing: Standing) {
    let Standing { answering, building, newest } = standing;
    let numbers = [answering.unwrap_or(0), building.unwrap_or(0), newest];
    let key = standing_key(name);
    let value = sealed(&key, numbers.map(u32::to_be_bytes).as_flattened());
    batch.put(key, value);
}

/// How far a generation has come; none if there is none of that number.
pub(super) fn place(store: &dyn Store, name: &str, generation: u32) -> Result<Option<Place>, JournalError> {
    let key = place_key(name, generation);
    let Some(bytes) = store.get(&key)? else { return Ok(None) };
    let damaged = JournalError::Value { name: "projection" };
    let value = unsealed(&key, &bytes)?;
    let fields = value.split_first_chunk::<4>().and_then(|(layout, rest)| {
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let ([first, cursor, passed_over], []) = rest.as_chunks::<8>() else { return None };
        let [first, seq, passed_over] = [first, cursor, passed_over].map(|bytes| u64::from_be_bytes(*bytes));
        let cursor = Head { seq: Seq(seq), hash: *hash };
        Some(Place { layout: u32::from_be_bytes(*layout), first: Seq(first), cursor, passed_over })
    });
    fields.map(Some).ok_or(damaged)
}

pub(super) fn put_place(batch: &mut Batch, name: &str, generation: u32, place: &Place) {
    let Place { layout, first, cursor, passed_over } = place;
    let mut value = layout.to_be_bytes().to_vec();
    value.extend_from_slice(&cursor.hash);
    for number in [first.0, cursor.seq.0, *passed_over] {
        value.extend_from_slice(&number.to_be_bytes());
    }
    let key = place_key(name, generation);
    let value = sealed(&key, &value);
    batch.put(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Backend;

    #[test]
    fn what_is_put_comes_back_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = Backend::Redb.open(dir.path(), 1 << 20).unwrap();
        assert_eq!(standing(&*store, "a").unwrap(), None);
        let held = Standing { answering: Some(3), building: None, newest: 7 };
        let cursor = Head { seq: Seq(9), hash: [5; 32] };
        let at = Place { layout: 2, first: Seq(4), cursor, passed_over: 1 };
        let mut batch = Batch::default();
        put_standing(&mut batch, "a", held);
        put_place(&mut batch, "a", 3, &at);
        store.apply(batch).unwrap();
        assert_eq!(standing(&*store, "a").unwrap(), Some(held));
        assert_eq!(place(&*store, "a", 3).unwrap(), Some(at));
        assert_eq!((standing(&*store, "b").unwrap(), place(&*store, "a", 4).unwrap()), (None, None));
        for key in [standing_key("a"), place_key("a", 3)] {
            let mut bytes = store.get(&key).unwrap().unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            let mut batch = Batch::default();
            batch.put(key, bytes);
            store.apply(batch).unwrap();
        }
        assert!(standing(&*store, "a").is_err() && place(&*store, "a", 3).is_err());
    }

    #[test]
    fn generations_between_two_are_named_without_them() {
        let within = |after, before, generation: u32| {
            let key = row_key("a", generation, b"k");
            between("a", after, before).iter().any(|(from, to)| *from <= key && key < *to)
        };
        for generation in [1, 4, 5, 6, 8, 9, u32::MAX] {
            assert_eq!(within(None, Some(5), generation), generation < 5, "{generation}");
            assert_eq!(within(Some(5), Some(8), generation), (6..8).contains(&generation), "{generation}");
            assert_eq!(within(Some(8), None, generation), generation > 8, "{generation}");
            assert!(within(None, None, generation) && !within(Some(u32::MAX), None, generation));
        }
    }
}
