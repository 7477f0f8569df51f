//! The bytes of a file, kept in pages so that copies and holes cost nothing.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

const PAGE_LEN: usize = 4_096;

/// Bytes in a page.
const PAGE: u64 = PAGE_LEN as u64;

type Page = [u8; PAGE_LEN];

/// What a file holds; pages that were never written are zeros.
#[derive(Debug, Clone, Default)]
pub struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Content {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads a whole file.
    pub(crate) fn read(path: &Path) -> io::Result<Content> {
        let mut content = Content::default();
        content.write(0, &std::fs::read(path)?);
        Ok(content)
    }

    /// Writes bytes at an offset and grows the file to hold them.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.patch(offset, bytes);
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Puts bytes in place without a change of the length; bytes beyond it show only once it grows.
    pub(crate) fn patch(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (number, start) = (offset / PAGE, in_page(offset));
            let (now, rest) = bytes.split_at(bytes.len().min(PAGE_LEN - start));
            let page = self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE_LEN]));
            Arc::make_mut(page)[start..start + now.len()].copy_from_slice(now);
            offset += now.len() as u64;
            bytes = rest;
        }
    }

    /// Cuts the file off, or lets it grow by zeros.
    pub(crate) fn resize(&mut self, len: u64) {
        self.pages.split_off(&len.div_ceil(PAGE));
        let start = in_page(len);
        if start != 0
            && let Some(page) = self.pages.get_mut(&(len / PAGE))
        {
            Arc::make_mut(page)[start..].fill(0);
        }
        self.len = len;
    }

    /// The parts of a range that were ever written, as offset and length.
    pub(crate) fn written_in(&self, from: u64, to: u64) -> Vec<(u64, usize)> {
        let pages = self.pages.range(from / PAGE..to.div_ceil(PAGE));
        let parts = pages.map(|(number, _)| {
            let (start, end) = ((number * PAGE).max(from), ((number + 1) * PAGE).min(to));
            (start, usize::try_from(end - start).expect("a page's length fits"))
        });
        parts.collect()
    }

    /// Bytes of a range, less where the file ends before.
    pub(crate) fn bytes(&self, from: u64, len: usize) -> Vec<u8> {
        let end = (from + len as u64).min(self.len).max(from);
        let one = |at: u64| self.pages.get(&(at / PAGE)).map_or(0, |page| page[in_page(at)]);
        (from..end).map(one).collect()
    }

    /// Whether two files have the same bytes.
    pub(crate) fn same_as(&self, other: &Content) -> bool {
        let numbers = self.pages.keys().chain(other.pages.keys());
        let zeros: Page = [0; PAGE_LEN];
        let page = |content: &Content, number: &u64| content.pages.get(number).map_or(zeros, |page| **page);
        self.len == other.len && { numbers }.all(|number| page(self, number) == page(other, number))
    }

    /// Writes the file to a real disk.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        // As the journal makes them: for their owner alone.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        for (number, page) in &self.pages {
            let start = number * PAGE;
            if start < self.len {
                let len = usize::try_from(PAGE.min(self.len - start)).expect("a page's length fits");
                file.write_all_at(&page[..len], start)?;
            }
        }
        file.set_len(self.len)
    }
}

fn in_page(offset: u64) -> usize {
    usize::try_from(offset % PAGE).expect("a page's length fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_does_not_come_back_when_the_file_grows() {
        let mut content = Content::default();
        content.write(4_090, b"across a page");
        content.resize(4_093);
        content.resize(4_100);
        assert_eq!(content.bytes(4_088, 100), b"\0\0acr\0\0\0\0\0\0\0");
        assert_eq!(content.len(), 4_100);
    }

    #[test]
    fn only_what_was_written_is_listed() {
        let mut content = Content::default();
        content.write(10_000, b"x");
        assert_eq!(content.written_in(0, 20_000), [(8_192, 4_096)]);
        assert_eq!(content.written_in(8_200, 8_210), [(8_200, 10)]);
        assert_eq!(content.written_in(0, 8_192), []);
    }

    #[test]
    fn holes_are_zeros() {
        let (mut hole, mut zeros) = (Content::default(), Content::default());
        hole.resize(5_000);
        zeros.write(0, &[0; 5_000]);
        assert!(hole.same_as(&zeros));
        zeros.write(4_999, b"1");
        assert!(!hole.same_as(&zeros));
    }
}
