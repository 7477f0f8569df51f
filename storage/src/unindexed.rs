//! Records of a stream of which the store was never told: it was made again behind them, and they are looked for in
//! their segments, one after the other. That is slow, and right.

use std::ops::ControlFlow;

use purser_events::{StreamId, StreamVersion};

use crate::error::JournalError;
use crate::index;
use crate::journal::Journal;
use crate::open::unread;
use crate::read::READ_BYTES_MAX;
use crate::record::StoredRecord;
use crate::segment::entry::Entry;
use crate::store::{Store, keys};

impl Journal {
    /// Those from a version on that stand before all that the store knows of the stream: at most `limit` and about
    /// 1 MiB of them.
    pub(crate) fn read_unindexed(
        &self,
        store: &dyn Store,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        let (mut records, mut bytes) = (Vec::<StoredRecord>::new(), 0);
        let (first, last) = (self.before().seq.next(), index::begins(store)?);
        if last < first || limit == 0 || first_version(store, stream)?.is_some_and(|known| known <= from) {
            return Ok(records);
        }
        let mut walk = self.segment_set().walk(first)?;
        while let Some(entry) = walk.step().map_err(unread)? {
            let Entry::Record(record) = entry else { continue };
            if record.header.seq > last || records.len() >= limit || bytes >= READ_BYTES_MAX {
                break;
            }
            if record.header.stream == stream && record.header.version >= from && record.header.seq >= first {
                bytes += record.as_bytes().len();
                records.push(record.on_its_own());
            }
        }
        Ok(records)
    }
}

/// The first version of a stream that the store knows; none if it knows nothing of it.
fn first_version(store: &dyn Store, stream: StreamId) -> Result<Option<StreamVersion>, JournalError> {
    let (least, end) =
        (keys::stream(stream, StreamVersion(0)), keys::stream(stream, StreamVersion(u64::MAX)));
    let mut first = None;
    store.scan(&least, &end, &mut |key, _| {
        first = keys::stream_version(key);
        ControlFlow::Break(())
    })?;
    Ok(first)
}
