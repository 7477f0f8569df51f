//! What is where in the store: one letter, then big-endian numbers, so that keys sort as their numbers do.

use purser_events::{CommandId, StreamId, StreamVersion};

/// Key of how far the store has come: the last record's position as eight bytes, big-endian, and its hash.
pub(crate) const APPLIED: &[u8] = b"m/indexed";

/// Key of the last record whose place in its stream the store has given up, as eight bytes, big-endian.
pub(crate) const TRIMMED: &[u8] = b"m/trimmed";

/// Key of the last record of which the store was never told, as eight bytes, big-endian, if it was made again behind
/// the first that is there.
pub(crate) const BEGINS: &[u8] = b"m/begins";

/// Holds positions of a stream's records from this version on, each as its distance to the one before.
pub(crate) fn stream(stream: StreamId, version: StreamVersion) -> [u8; 26] {
    let mut key = [0; 26];
    key[0] = b's';
    key[1] = stream.kind as u8;
    key[2..18].copy_from_slice(stream.id.as_bytes());
    key[18..].copy_from_slice(&version.0.to_be_bytes());
    key
}

/// The version from the key of a stream's positions.
pub(crate) fn stream_version(key: &[u8]) -> Option<StreamVersion> {
    let (_, version) = key.split_last_chunk()?;
    (key.len() == 26).then(|| StreamVersion(u64::from_be_bytes(*version)))
}

/// Holds the answer to a command, see [`crate::answers`].
pub(crate) fn answer(id: CommandId) -> [u8; 17] {
    let mut key = [b'c'; 17];
    key[1..].copy_from_slice(id.0.as_bytes());
    key
}

/// Holds the id of the command that was answered at this place in order, as 16 bytes.
pub(crate) fn answer_order(order: u64) -> [u8; 9] {
    lettered(b'o', order)
}

/// Holds a moment by which every answer before this place in order had been given: signed microseconds since 1970.
pub(crate) fn answers_before(order: u64) -> [u8; 9] {
    lettered(b't', order)
}

/// The place in order from the key of such a moment.
pub(crate) fn answers_before_of(key: &[u8]) -> Option<u64> {
    numbered(b't', key)
}

/// The place in order from its key.
pub(crate) fn answer_order_of(key: &[u8]) -> Option<u64> {
    numbered(b'o', key)
}

fn lettered(letter: u8, number: u64) -> [u8; 9] {
    let mut key = [letter; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn numbered(letter: u8, key: &[u8]) -> Option<u64> {
    let (first, number) = key.split_first()?;
    let number = number.try_into().ok()?;
    (*first == letter).then(|| u64::from_be_bytes(number))
}
