//! A long journal read from front to back, over many segments: what is read is what pages have, and damage is told where it is.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use purser_events::Seq;
use purser_storage::{Journal, StoredRecord};

use crate::retention::{compress_all, fill_until_sealed, open_small, read_all};

/// So many that there are several before and behind any of them.
const SEALED: usize = 6;

/// The records up to an error, and what it says.
fn read_through(journal: &Journal) -> (Vec<StoredRecord>, Option<String>) {
    let mut records = Vec::new();
    for record in journal.records(Seq(1)).unwrap() {
        match record {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error.to_string())),
        }
    }
    (records, None)
}

#[tokio::test]
async fn what_is_read_one_by_one_is_what_pages_have() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, SEALED).await;
    let pages = read_all(&journal);
    assert_eq!(read_through(&journal), (pages.clone(), None));
    compress_all(&journal);
    assert_eq!(read_through(&journal), (pages.clone(), None));
    // From anywhere, and left off anywhere.
    for from in (1..pages.len()).step_by(211) {
        let some = journal.records(Seq(from as u64)).unwrap().take(1_000).map(Result::unwrap);
        assert!(some.eq(pages[from - 1..].iter().take(1_000).cloned()), "from {from}");
    }
}

#[tokio::test]
async fn damage_far_into_it_is_told_at_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, SEALED).await;
    let pages = read_all(&journal);
    let damaged = &journal.segments()[SEALED - 2];
    let file = OpenOptions::new().read(true).write(true).open(&damaged.path).unwrap();
    let mut seen = 0;
    for at in (80..damaged.bytes - 4_096).step_by(7_919) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x04], at).unwrap();
        let (records, error) = read_through(&journal);
        let lost = Seq(records.len() as u64 + 1);
        assert!((damaged.first..=damaged.last.seq).contains(&lost), "byte {at}: {lost}");
        assert_eq!(records, pages[..records.len()], "byte {at}");
        assert_eq!(error.unwrap(), journal.read(lost, 1).unwrap_err().to_string(), "byte {at}");
        file.write_all_at(&byte, at).unwrap();
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
    assert_eq!(read_through(&journal), (pages, None), "all is as it was");
}
