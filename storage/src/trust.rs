//! Whether the store that is there can be trusted beyond what the last records say of it.

use std::collections::BTreeMap;

use purser_events::{Seq, StreamId, StreamVersion};

use crate::index;
use crate::snapshot::Streams;
use crate::store::Store;

/// Whether the store has what a snapshot says of the streams that were not met in the records after it. Of streams
/// that ended with `given_up` or before, it may know nothing.
pub(crate) fn keeps(
    store: &dyn Store,
    streams: &Streams,
    met: &BTreeMap<StreamId, StreamVersion>,
    given_up: Seq,
) -> bool {
    let unmet = streams.iter().filter(|(stream, _)| !met.contains_key(stream));
    unmet.into_iter().all(|(stream, end)| match index::last_version(store, *stream) {
        Ok(Some(version)) => version == end.version,
        Ok(None) => end.seq <= given_up,
        Err(_) => false,
    })
}
