//! A projection for tests: how many records each stream has, and which was the last. It can be told from a plain fold.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::causes::told;
use purser_events::{Seq, StreamId};
use purser_storage::projection::{Folded, Projection, Rows, RowsError};
use purser_storage::{Journal, JournalError, Replayed};

/// Its name.
const NAME: &str = "counts";

/// The projection.
#[derive(Debug, Clone, Copy)]
pub struct Counts;

/// Records of a stream, and the last of them.
type Count = (u64, Seq);

fn key(stream: StreamId) -> Vec<u8> {
    [&[stream.kind as u8], stream.id.as_bytes().as_slice()].concat()
}

fn encode((count, last): Count) -> Vec<u8> {
    [count.to_be_bytes(), last.0.to_be_bytes()].concat()
}

fn decode(row: &[u8]) -> Count {
    let ([count, last], []) = row.as_chunks::<8>() else { panic!("no row of ours: {row:?}") };
    (u64::from_be_bytes(*count), Seq(u64::from_be_bytes(*last)))
}

impl Projection for Counts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layout(&self) -> u32 {
        1
    }

    fn fold(&self, _: u32, record: &Replayed, rows: &mut dyn Rows) -> Result<Folded, RowsError> {
        let header = match record {
            Replayed::Record(record) => &record.header,
            Replayed::Unreadable { header, .. } => header,
        };
        let key = key(header.stream);
        let before = rows.get(&key)?.map_or(0, |row| decode(&row).0);
        rows.put(&key, encode((before + 1, header.seq)))?;
        Ok(Folded::In)
    }
}

impl Counts {
    /// Has a journal keep it up to date.
    ///
    /// # Errors
    /// It cannot be begun.
    pub fn begin(journal: &Journal) -> Result<(), JournalError> {
        journal.project(Arc::new(Counts))
    }

    /// Waits until it holds all of a journal's records, and compares it with `records`: those of the journal, and any
    /// that were trimmed.
    ///
    /// # Errors
    /// It is something else, or pauses.
    pub fn agree(
        journal: &Journal,
        records: impl IntoIterator<Item = (StreamId, Seq)>,
    ) -> Result<(), String> {
        let Some(reader) = journal.projection(NAME) else { return Err("it was not begun".to_owned()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| told(&error))?;
        runtime.block_on(reader.at_least(journal.head().seq)).map_err(|error| told(&error))?;
        let read = reader.read(|_, rows| rows.scan(&[], &[], usize::MAX)).map_err(|error| told(&error))?;
        let (rows, generation) = read;
        let found: BTreeMap<Vec<u8>, Count> =
            rows.iter().map(|(key, row)| (key.clone(), decode(row))).collect();
        let mut plainly: BTreeMap<Vec<u8>, Count> = BTreeMap::new();
        // Rows that were built again lack what was trimmed before.
        for (stream, seq) in records.into_iter().filter(|(_, seq)| *seq >= generation.first) {
            let (count, last) = plainly.entry(key(stream)).or_default();
            (*count, *last) = (*count + 1, seq);
        }
        if found == plainly { Ok(()) } else { Err(format!("its rows are {found:?}, not {plainly:?}")) }
    }
}
