//! A record's bytes. They may be a part of a piece of a file that was read at once: its records share it then, and it
//! stays as long as one of them does.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The bytes of one frame. Clones share them.
#[derive(Clone)]
pub(crate) struct FrameBytes {
    block: Arc<Vec<u8>>,
    /// Where they are in the block, which has them.
    range: Range<usize>,
}

impl FrameBytes {
    /// Bytes of a block; none if it does not have them.
    pub(crate) fn of(block: &Arc<Vec<u8>>, range: Range<usize>) -> Option<FrameBytes> {
        block.get(range.clone())?;
        Some(FrameBytes { block: Arc::clone(block), range })
    }

    /// The same bytes in memory of their own: for who keeps them longer than others from the same block.
    pub(crate) fn on_their_own(self) -> FrameBytes {
        if self.len() == self.block.len() { self } else { self.to_vec().into() }
    }
}

impl From<Vec<u8>> for FrameBytes {
    fn from(bytes: Vec<u8>) -> FrameBytes {
        let range = 0..bytes.len();
        FrameBytes { block: Arc::new(bytes), range }
    }
}

impl Deref for FrameBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.block.get(self.range.clone()).unwrap_or_default()
    }
}

impl PartialEq for FrameBytes {
    fn eq(&self, other: &FrameBytes) -> bool {
        **self == **other
    }
}

impl Eq for FrameBytes {}

impl fmt::Debug for FrameBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Blocks that a file is read into, one after the other. One that no record lies in any more is used again.
#[derive(Debug)]
pub(crate) struct Blocks {
    len: usize,
    /// Those that were read before and that records may lie in.
    spent: Vec<Arc<Vec<u8>>>,
    present: Arc<Vec<u8>>,
}

impl Blocks {
    /// Most blocks that are looked at for one that is free.
    const SPENT_MAX: usize = 8;

    /// Blocks of so many bytes each; there is none yet.
    pub(crate) fn new(len: usize) -> Blocks {
        Blocks { len, spent: Vec::new(), present: Arc::default() }
    }

    /// The block that is read from now.
    pub(crate) fn present(&self) -> &Arc<Vec<u8>> {
        &self.present
    }

    /// A block that no record lies in, which begins with a part of the one before.
    pub(crate) fn next(&mut self, kept: Range<usize>) -> &mut [u8] {
        match Arc::get_mut(&mut self.present) {
            Some(present) if present.len() == self.len => present.copy_within(kept, 0),
            Some(_) | None => self.begin(kept),
        }
        Arc::<Vec<u8>>::make_mut(&mut self.present)
    }

    fn begin(&mut self, kept: Range<usize>) {
        let free = self.spent.iter().position(|block| Arc::strong_count(block) == 1);
        let free = free.map(|free| self.spent.swap_remove(free));
        let mut next = free.unwrap_or_else(|| Arc::new(vec![0; self.len]));
        let kept = self.present.get(kept).unwrap_or_default();
        if let Some(begin) = Arc::make_mut(&mut next).get_mut(..kept.len()) {
            begin.copy_from_slice(kept);
        }
        let spent = std::mem::replace(&mut self.present, next);
        if spent.len() == self.len && self.spent.len() < Blocks::SPENT_MAX {
            self.spent.push(spent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_once_no_record_lies_in_it() {
        let mut blocks = Blocks::new(8);
        blocks.next(0..0).copy_from_slice(b"01234567");
        let (first, last) = (
            FrameBytes::of(blocks.present(), 0..3).unwrap(),
            FrameBytes::of(blocks.present(), 3..6).unwrap(),
        );
        assert_eq!(blocks.next(6..8).get(..2).unwrap(), b"67", "what is unread goes along");
        assert_eq!((&*first, &*last), (&b"012"[..], &b"345"[..]), "records keep what they had");
        let (held, freed) = (FrameBytes::of(blocks.present(), 0..2).unwrap(), first.block.as_ptr());
        drop((first, last));
        blocks.next(0..0);
        assert_eq!(blocks.present().as_ptr(), freed);
        assert_eq!(&*held, b"67");
        blocks.next(0..0);
        assert_eq!(blocks.present().as_ptr(), freed, "nobody has the present one either");
    }

    #[test]
    fn bytes_on_their_own_keep_no_block() {
        let block = Arc::new(b"abcdef".to_vec());
        let bytes = FrameBytes::of(&block, 2..4).unwrap();
        let own = bytes.clone().on_their_own();
        assert_eq!(own, bytes);
        drop(bytes);
        assert_eq!((Arc::strong_count(&block), &*own), (1, &b"cd"[..]));
        assert!(FrameBytes::of(&block, 5..7).is_none());
    }
}
