//! Makes lengths, checksums and hashes of changed bytes right again, so that what is behind them is reached: a decoder that
//! turns away what does not have its checksum never sees what a hostile writer, who makes checksums too, would put there.
//!
//! Written after `docs/journal-format.md` and not with the code that it is to try. What is not changed comes back as it was.

use sha2::{Digest, Sha256};

type Hash = [u8; 32];

const EXPORT_HEADER_LEN: usize = 56;
const SEGMENT_HEADER_LEN: usize = 72;
const SNAPSHOT_HEADER_LEN: usize = 100;
const KEY_LEN: usize = 44;

/// Length and checksum in front of an entry's body.
const PREFIX_LEN: usize = 8;

/// Longest entry.
const ENTRY_LEN_MAX: usize = 60 * 1024;

/// Bytes of a record's body that are always there and in their place.
const FIXED_LEN: usize = 48;

const KIND_RECORD: u8 = 1;
const KIND_FOOTER: u8 = 0xaf;
const FLAG_REDACTED: u8 = 1;

/// The last record so far.
#[derive(Clone, Copy)]
struct Head {
    seq: u64,
    hash: Hash,
}

/// One frame, which follows on no record.
pub(crate) fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_entry(&mut out, bytes.get(PREFIX_LEN..).unwrap_or_default(), &mut Head { seq: 0, hash: [0; 32] });
    out
}

/// An export.
pub(crate) fn export(bytes: &[u8]) -> Vec<u8> {
    let Some((header, rest)) = bytes.split_at_checked(EXPORT_HEADER_LEN) else { return bytes.to_vec() };
    let mut out = b"PURSERX\n".to_vec();
    out.extend_from_slice(&header[8..EXPORT_HEADER_LEN - 4]);
    put_checksum(&mut out, 0);
    let mut head = Head { seq: number(&out, 12), hash: hash_at(&out, 20) };
    put_entries(&mut out, rest, &mut head);
    let end = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.seq.to_le_bytes());
    out.extend_from_slice(&head.hash);
    put_checksum(&mut out, end);
    out
}

/// A plain segment.
pub(crate) fn segment(bytes: &[u8]) -> Vec<u8> {
    let Some((header, rest)) = bytes.split_at_checked(SEGMENT_HEADER_LEN) else { return bytes.to_vec() };
    let mut out = header[..SEGMENT_HEADER_LEN - 4].to_vec();
    put_checksum(&mut out, 0);
    let mut head = Head { seq: number(&out, 12).saturating_sub(1), hash: hash_at(&out, 28) };
    let left = put_entries(&mut out, rest, &mut head);
    out.extend_from_slice(left);
    out
}

/// A snapshot.
pub(crate) fn snapshot(bytes: &[u8]) -> Vec<u8> {
    let Some((header, body)) = bytes.split_at_checked(SNAPSHOT_HEADER_LEN) else { return bytes.to_vec() };
    let mut out = header[..56].to_vec();
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(&Sha256::digest(body));
    put_checksum(&mut out, 0);
    out.extend_from_slice(body);
    out
}

/// The file of a subject's key, and a sealed frame behind it.
pub(crate) fn key_and_frame(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (key, rest) = bytes.split_at(bytes.len().min(KEY_LEN));
    let mut out = key.get(..KEY_LEN - 4).unwrap_or(key).to_vec();
    put_checksum(&mut out, 0);
    (out, frame(rest))
}

/// Appends entries as far as they go; gives back what is behind them.
fn put_entries<'a>(out: &mut Vec<u8>, mut rest: &'a [u8], head: &mut Head) -> &'a [u8] {
    while let Some(announced) = rest.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize) {
        if announced == 0 {
            return rest;
        }
        let len = announced.saturating_add(PREFIX_LEN).clamp(PREFIX_LEN, ENTRY_LEN_MAX).min(rest.len());
        let (entry, behind) = rest.split_at(len);
        let body = entry.get(PREFIX_LEN..).unwrap_or_default();
        if body.first() == Some(&KIND_FOOTER) {
            put_footer(out, body, head);
            return &[];
        }
        put_entry(out, body, head);
        rest = behind;
    }
    &[]
}

fn put_entry(out: &mut Vec<u8>, body: &[u8], head: &mut Head) {
    let record = (body.first() == Some(&KIND_RECORD)).then(|| record(body, head)).flatten();
    let body = record.as_deref().unwrap_or(body);
    let at = out.len();
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&out[at..]), body);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(body);
}

/// A record's body with the length of its payload and its hash as they should be; none if its header makes no sense.
fn record(body: &[u8], head: &mut Head) -> Option<Vec<u8>> {
    let mut at = FIXED_LEN;
    let seq = varint(body, &mut at)?;
    // The version of the stream, and the epoch.
    varint(body, &mut at)?;
    varint(body, &mut at)?;
    let flags = *body.get(2)?;
    match flags >> 4 & 7 {
        1 => at += 16,
        3..=5 => _ = varint(body, &mut at)?,
        _ => {}
    }
    at += 1 + usize::from(*body.get(at)?);
    let header_end = at;
    let said = varint(body, &mut at)?;
    let payload = body.get(at..body.len().checked_sub(32)?)?;
    let is_redacted = flags & FLAG_REDACTED != 0;
    let mut made = body.get(..header_end)?.to_vec();
    // That of a payload that is not there any more can be any.
    put_varint(&mut made, if is_redacted { said } else { payload.len() as u64 });
    let mut header = made.clone();
    header[2] &= !FLAG_REDACTED;
    let digest: Hash = if is_redacted { payload.try_into().ok()? } else { Sha256::digest(payload).into() };
    let hash: Hash =
        Sha256::new().chain_update(head.hash).chain_update(&header).chain_update(digest).finalize().into();
    made.extend_from_slice(payload);
    made.extend_from_slice(&hash);
    *head = Head { seq, hash };
    Some(made)
}

/// The footer of a segment of which `out` has all that is before it, and the segment's end.
fn put_footer(out: &mut Vec<u8>, body: &[u8], head: &mut Head) {
    let (at, content) = (out.len() as u64, Sha256::digest(&*out));
    let mut body = body.to_vec();
    for (from, bytes) in [(3, &head.seq.to_le_bytes()[..]), (11, &head.hash), (67, &content)] {
        if let Some(place) = body.get_mut(from..from + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    put_entry(out, &body, head);
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(b"PURSERF\n");
}

/// Appends the checksum of all from a place on.
fn put_checksum(out: &mut Vec<u8>, from: usize) {
    let checksum = crc32c::crc32c(&out[from..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |number| u64::from_le_bytes(*number))
}

fn hash_at(bytes: &[u8], at: usize) -> Hash {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
}

/// Seven bits a byte, the lowest first; the last byte has its highest bit clear.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
