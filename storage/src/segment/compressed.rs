//! A sealed segment compressed: the same bytes in blocks, each a zstd frame of its own, so that reading can begin
//! anywhere. `zstd -d` gives the plain segment back; `docs/journal-format.md` tells it byte by byte.
//!
//! What is damaged is told as an [`io::Error`] of kind `InvalidData` that holds a [`Damage`].

use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::{HEADER_LEN, HeaderError, SEGMENT_BYTES_MAX};
use crate::disk::DiskFile;

/// Bytes of the plain segment in a block; the last block may have fewer.
const BLOCK_LEN: usize = 1 << 20;

/// Longest plain segment that is compressed or read: more is announced only by damage.
pub(crate) const PLAIN_LEN_MAX: u64 = 4 * SEGMENT_BYTES_MAX;

/// Number of the format of compressed segments that this release writes.
const FORMAT: u16 = 1;

const LEVEL: i32 = 3;

const MAGIC: [u8; 8] = *b"PURSERZ\n";
/// Begins a frame that decoders skip; the one in front holds what is ours.
const SKIPPABLE: u32 = 0x184d_2a50;
/// Begins the skippable frame that holds the seek table.
const SEEK_TABLE: u32 = 0x184d_2a5e;
const SEEK_TABLE_MAGIC: u32 = 0x8f92_eab1;
/// Bytes before what is in a skippable frame.
const SKIPPABLE_LEN: usize = 8;
const FRONT_BODY_LEN: usize = 20 + HEADER_LEN + 4;
const FRONT_LEN: usize = SKIPPABLE_LEN + FRONT_BODY_LEN;
const TABLE_ENTRY_LEN: usize = 8;
const TABLE_FOOTER_LEN: usize = 9;

/// What is wrong with a compressed segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// Its first bytes, or its table of blocks.
    #[error(transparent)]
    Front(HeaderError),
    /// A block, counted from 0.
    #[error("compressed block {number} is damaged")]
    Block { number: u64 },
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, damage)
    }
}

/// The damage that an error tells of; none if it tells of something else.
pub(crate) fn damage_of(error: &io::Error) -> Option<&Damage> {
    error.get_ref()?.downcast_ref()
}

/// Writes a plain segment compressed to an empty file; not durable yet.
pub(crate) fn compress(plain: &dyn DiskFile, target: &dyn DiskFile) -> io::Result<()> {
    let plain_len = plain.len()?;
    if plain_len > PLAIN_LEN_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut header = [0; HEADER_LEN];
    if plain.read_up_to(&mut header, 0)? != HEADER_LEN {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    target.write_all_at(&front(plain_len, &header), 0)?;
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(zstd_safe::CParameter::ChecksumFlag(true))?;
    let mut sizes = vec![(FRONT_LEN, 0)];
    let (mut from, mut to) = (0, FRONT_LEN as u64);
    let mut buffer = vec![0; BLOCK_LEN];
    while from < plain_len {
        let len = usize::try_from(plain_len - from).unwrap_or(BLOCK_LEN).min(BLOCK_LEN);
        let block = buffer.get_mut(..len).unwrap_or_default();
        if plain.read_up_to(block, from)? != len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let compressed = compressor.compress(block)?;
        target.write_all_at(&compressed, to)?;
        sizes.push((compressed.len(), len));
        from += len as u64;
        to += compressed.len() as u64;
    }
    target.write_all_at(&seek_table(&sizes), to)
}

fn front(plain_len: u64, header: &[u8; HEADER_LEN]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRONT_LEN);
    bytes.extend_from_slice(&SKIPPABLE.to_le_bytes());
    bytes.extend_from_slice(&len_u32(FRONT_BODY_LEN).to_le_bytes());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&plain_len.to_le_bytes());
    bytes.extend_from_slice(header);
    let checksum = crc32c::crc32c(bytes.get(SKIPPABLE_LEN..).unwrap_or_default());
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn seek_table(sizes: &[(usize, usize)]) -> Vec<u8> {
    let body_len = sizes.len() * TABLE_ENTRY_LEN + TABLE_FOOTER_LEN;
    let mut bytes = Vec::with_capacity(SKIPPABLE_LEN + body_len);
    bytes.extend_from_slice(&SEEK_TABLE.to_le_bytes());
    bytes.extend_from_slice(&len_u32(body_len).to_le_bytes());
    for (compressed, plain) in sizes {
        bytes.extend_from_slice(&len_u32(*compressed).to_le_bytes());
        bytes.extend_from_slice(&len_u32(*plain).to_le_bytes());
    }
    bytes.extend_from_slice(&len_u32(sizes.len()).to_le_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&SEEK_TABLE_MAGIC.to_le_bytes());
    bytes
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("blocks and their table are bounded far below 4 GiB")
}

/// The plain bytes of a compressed segment, as a file that can be read. Holds one block in memory.
pub(crate) struct CompressedFile {
    file: Box<dyn DiskFile>,
    blocks: Result<Blocks, HeaderError>,
    last_read: Mutex<Option<(usize, Vec<u8>)>>,
}

/// Where the blocks are.
struct Blocks {
    plain_len: u64,
    /// The plain segment's first bytes, which can be read whatever became of the blocks.
    header: [u8; HEADER_LEN],
    /// Where each begins, and where the last ends.
    bounds: Vec<u64>,
}

impl CompressedFile {
    /// Opens a compressed segment. Damage is told by every reading, not here.
    pub(crate) fn new(file: Box<dyn DiskFile>) -> io::Result<CompressedFile> {
        let blocks = Blocks::read(&*file)?;
        Ok(CompressedFile { file, blocks, last_read: Mutex::new(None) })
    }

    fn blocks(&self) -> io::Result<&Blocks> {
        self.blocks.as_ref().map_err(|error| Damage::Front(error.clone()).into())
    }

    fn read_block(&self, blocks: &Blocks, number: usize) -> io::Result<Vec<u8>> {
        let damage = || io::Error::from(Damage::Block { number: number as u64 });
        let (Some(from), Some(to)) = (blocks.bounds.get(number), blocks.bounds.get(number + 1)) else {
            return Err(damage());
        };
        let mut compressed = vec![0; usize::try_from(to - from).map_err(|_| damage())?];
        if self.file.read_up_to(&mut compressed, *from)? != compressed.len() {
            return Err(damage());
        }
        let before = number as u64 * BLOCK_LEN as u64;
        let len = usize::try_from(blocks.plain_len - before).unwrap_or(BLOCK_LEN).min(BLOCK_LEN);
        let mut plain = Vec::with_capacity(len);
        // Never more than has room: a frame that holds more is damage.
        let read = Decompressor::new()?.decompress_to_buffer(&compressed, &mut plain);
        if read.is_ok_and(|read| read == len) { Ok(plain) } else { Err(damage()) }
    }
}

impl Blocks {
    fn read(file: &dyn DiskFile) -> io::Result<Result<Blocks, HeaderError>> {
        let mut bytes = [0; FRONT_LEN];
        let read = file.read_up_to(&mut bytes, 0)?;
        let (plain_len, header) = match parse_front(bytes.get(..read).unwrap_or_default()) {
            Ok(front) => front,
            Err(error) => return Ok(Err(error)),
        };
        let count = usize::try_from(plain_len.div_ceil(BLOCK_LEN as u64)).unwrap_or(usize::MAX) + 1;
        let table_len = SKIPPABLE_LEN + count * TABLE_ENTRY_LEN + TABLE_FOOTER_LEN;
        let Some(table_at) = file.len()?.checked_sub(table_len as u64) else {
            return Ok(Err(HeaderError::Damaged));
        };
        let mut table = vec![0; table_len];
        let read = file.read_up_to(&mut table, table_at)?;
        let bounds = if read == table_len { parse_table(&table, plain_len, table_at) } else { None };
        Ok(bounds.map(|bounds| Blocks { plain_len, header, bounds }).ok_or(HeaderError::Damaged))
    }
}

/// The plain segment's length and first bytes as a compressed one's first bytes say them.
fn parse_front(bytes: &[u8]) -> Result<(u64, [u8; HEADER_LEN]), HeaderError> {
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if number(0) != Some(SKIPPABLE) || bytes.get(SKIPPABLE_LEN..SKIPPABLE_LEN + 8) != Some(&MAGIC) {
        return Err(HeaderError::Foreign);
    }
    let body = bytes.get(SKIPPABLE_LEN..).unwrap_or_default();
    match body.get(8..10).and_then(|format| format.try_into().ok()).map(u16::from_le_bytes) {
        Some(format) if format > FORMAT => return Err(HeaderError::Newer { format }),
        Some(_) | None => {}
    }
    let parts = body.split_last_chunk::<4>().and_then(|(checked, checksum)| {
        let plain_len = checked.get(12..20)?.try_into().ok().map(u64::from_le_bytes)?;
        Some((checked, checksum, plain_len, checked.get(20..)?.try_into().ok()?))
    });
    let Some((checked, checksum, plain_len, header)) = parts else { return Err(HeaderError::Damaged) };
    let sound = number(4) == Some(len_u32(FRONT_BODY_LEN))
        && crc32c::crc32c(checked).to_le_bytes() == *checksum
        && (HEADER_LEN as u64..=PLAIN_LEN_MAX).contains(&plain_len);
    if sound { Ok((plain_len, header)) } else { Err(HeaderError::Damaged) }
}

/// Where the blocks begin and the last one ends, if the table fits the file that it stands in.
fn parse_table(table: &[u8], plain_len: u64, table_at: u64) -> Option<Vec<u64>> {
    let (head, rest) = table.split_at_checked(SKIPPABLE_LEN)?;
    let (entries, footer) = rest.split_at_checked(rest.len().checked_sub(TABLE_FOOTER_LEN)?)?;
    let (entries, []) = entries.as_chunks::<TABLE_ENTRY_LEN>() else { return None };
    let sizes: Vec<(usize, usize)> = entries
        .iter()
        .map(|entry| {
            let (compressed, plain) = entry.split_at(4);
            let size = |bytes: &[u8]| usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok();
            Some((size(compressed)?, size(plain)?))
        })
        .collect::<Option<_>>()?;
    // Made again it must be the same, which checks all that is fixed.
    let (made_head, made_footer) = (seek_table(&sizes), SKIPPABLE_LEN + entries.len() * TABLE_ENTRY_LEN);
    if made_head.get(..SKIPPABLE_LEN) != Some(head) || made_head.get(made_footer..) != Some(footer) {
        return None;
    }
    let (first, blocks) = sizes.split_first()?;
    let mut left = plain_len;
    let mut bounds = vec![FRONT_LEN as u64];
    for (compressed, plain) in blocks {
        let end = bounds.last()? + *compressed as u64;
        bounds.push(end);
        let fits = *plain as u64 == left.min(BLOCK_LEN as u64)
            && *compressed <= zstd_safe::compress_bound(BLOCK_LEN);
        left = left.checked_sub(*plain as u64).filter(|_| fits)?;
    }
    let whole = *first == (FRONT_LEN, 0) && left == 0 && bounds.last() == Some(&table_at);
    whole.then_some(bounds)
}

fn copy_from(bytes: &[u8], skipped: usize, buffer: &mut [u8]) -> usize {
    let rest = bytes.get(skipped..).unwrap_or_default();
    let len = rest.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..len), rest.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}

impl DiskFile for CompressedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let blocks = self.blocks()?;
        if at >= blocks.plain_len || buffer.is_empty() {
            return Ok(0);
        }
        let number = usize::try_from(at / BLOCK_LEN as u64).unwrap_or(usize::MAX);
        let skipped = usize::try_from(at % BLOCK_LEN as u64).unwrap_or(usize::MAX);
        let mut last_read = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        if last_read.as_ref().is_none_or(|(held, _)| *held != number) {
            match self.read_block(blocks, number) {
                Ok(block) => *last_read = Some((number, block)),
                Err(_) if at < HEADER_LEN as u64 => return Ok(copy_from(&blocks.header, skipped, buffer)),
                Err(error) => return Err(error),
            }
        }
        let block = last_read.as_ref().map_or(&[][..], |(_, block)| block);
        Ok(copy_from(block, skipped, buffer))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.blocks()?.plain_len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        (&file as &dyn DiskFile).write_all_at(bytes, 0).unwrap();
        file
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        let target = tempfile::tempfile().unwrap();
        compress(&file(plain), &target).unwrap();
        whole(&target).unwrap()
    }

    fn opened(bytes: &[u8]) -> CompressedFile {
        CompressedFile::new(Box::new(file(bytes))).unwrap()
    }

    fn whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap() + 1];
        let read = file.read_up_to(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Bytes that are as well compressed as records are.
    fn plain(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut noise = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..len).map(|at| if at % 64 < 32 { noise() } else { b'.' }).collect()
    }

    #[test]
    fn a_table_that_was_changed_is_damage() {
        let sound = compressed(&plain(3 * BLOCK_LEN + 5, 7));
        let table_at = sound.len() - (SKIPPABLE_LEN + 5 * TABLE_ENTRY_LEN + TABLE_FOOTER_LEN);
        for at in (0..FRONT_LEN).chain(table_at..sound.len()) {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            let error = opened(&bytes).len().unwrap_err();
            assert!(matches!(damage_of(&error), Some(Damage::Front(_))), "byte {at}: {error}");
        }
        for len in [0, 1, FRONT_LEN, table_at, sound.len() - 1] {
            assert!(opened(&sound[..len]).len().is_err(), "cut to {len}");
        }
        let mut newer = sound;
        newer[SKIPPABLE_LEN + 8] = 2;
        let error = opened(&newer).len().unwrap_err();
        assert_eq!(damage_of(&error), Some(&Damage::Front(HeaderError::Newer { format: 2 })));
    }

    #[test]
    fn a_block_that_holds_more_than_it_may_is_damage() {
        let bomb = zstd::bulk::compress(&vec![0; 64 * BLOCK_LEN], LEVEL).unwrap();
        let mut bytes = front(BLOCK_LEN as u64, &[1; HEADER_LEN]);
        bytes.extend_from_slice(&bomb);
        bytes.extend_from_slice(&seek_table(&[(FRONT_LEN, 0), (bomb.len(), BLOCK_LEN)]));
        let error = whole(&opened(&bytes)).unwrap_err();
        assert_eq!(damage_of(&error), Some(&Damage::Block { number: 0 }));
        // A table that announces more than any segment holds is not even made room for.
        let mut bytes = front(u64::MAX, &[1; HEADER_LEN]);
        bytes.extend_from_slice(&seek_table(&[(FRONT_LEN, 0)]));
        assert!(opened(&bytes).len().is_err());
    }

    #[test]
    fn what_stands_before_a_damaged_block_can_be_read() {
        let plain = plain(2 * BLOCK_LEN, 3);
        let mut bytes = compressed(&plain);
        let last = bytes.len() - (SKIPPABLE_LEN + 3 * TABLE_ENTRY_LEN + TABLE_FOOTER_LEN) - 1;
        bytes[last] ^= 0x10;
        let file = opened(&bytes);
        let mut read = vec![0; BLOCK_LEN];
        assert_eq!((&file as &dyn DiskFile).read_up_to(&mut read, 0).unwrap(), BLOCK_LEN);
        assert_eq!(read, plain[..BLOCK_LEN]);
        let error = file.read_at(&mut read, BLOCK_LEN as u64).unwrap_err();
        assert_eq!(damage_of(&error), Some(&Damage::Block { number: 1 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_byte_is_given_back(
            len in prop_oneof![72..2_000_usize, (BLOCK_LEN - 1)..(BLOCK_LEN + 2), 72..3 * BLOCK_LEN],
            seed: u64,
            part in any::<prop::sample::Index>(),
        ) {
            let plain = plain(len, seed);
            let file = opened(&compressed(&plain));
            prop_assert!(whole(&file).unwrap() == plain);
            let from = part.index(len);
            let mut bytes = vec![0; 5_000];
            let read = (&file as &dyn DiskFile).read_up_to(&mut bytes, from as u64).unwrap();
            prop_assert_eq!(&bytes[..read], &plain[from..(from + 5_000).min(len)]);
        }

        #[test]
        fn a_flipped_bit_is_damage_or_changes_nothing(
            seed: u64,
            at in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let plain = plain(BLOCK_LEN + 10_000, seed);
            let mut bytes = compressed(&plain);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            match whole(&opened(&bytes)) {
                Ok(read) => prop_assert!(read == plain, "byte {} passed for another content", at),
                Err(error) => prop_assert!(damage_of(&error).is_some(), "byte {}: {}", at, error),
            }
        }
    }
}
