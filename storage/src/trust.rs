//! Whether the store that is there can be trusted beyond what the last records say of it, and where one that is made
//! again begins: behind what is read from compressed segments anyway.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::{Seq, StreamId, StreamVersion, Timestamp};

use crate::error::JournalError;
use crate::journal::JournalConfig;
use crate::open::{Pass, Passed, Replayed};
use crate::segment::is_compressed;
use crate::segment::listing::open;
use crate::segment::recover::last_answer;
use crate::segment::set::{Known, Segments};
use crate::snapshot::{Restored, Streams};
use crate::store::{Batch, Store, keys};
use crate::subjects::SubjectKeys;
use crate::verify::Head;
use crate::{answers, index};

/// Time by which answers may be kept longer than asked for, in milliseconds.
const SLACK_MS: u64 = 120_000;

/// Whether the store has what a snapshot says of the streams that were not met in the records after it. Of streams
/// that ended with `given_up` or before, it may know nothing.
pub(crate) fn keeps(
    store: &dyn Store,
    streams: &Streams,
    met: &BTreeMap<StreamId, StreamVersion>,
    given_up: Seq,
) -> Result<bool, JournalError> {
    let unknown = index::begins(store)?.max(given_up);
    let unmet = streams.iter().filter(|(stream, _)| !met.contains_key(stream));
    Ok(unmet.into_iter().all(|(stream, end)| match index::last_version(store, *stream) {
        Ok(Some(version)) => version == end.version,
        Ok(None) => end.seq <= unknown,
        Err(_) => false,
    }))
}

/// What an opening has to go by.
pub(crate) struct Ground<'a> {
    pub config: &'a JournalConfig,
    pub segments: &'a Arc<Segments>,
    /// With which sealed payloads are read.
    pub keys: Option<&'a SubjectKeys>,
    /// The last acknowledged record as the file beside the segments has it.
    pub known: Option<Head>,
    /// The record before the first that is there.
    pub before: Head,
    /// The snapshot, if there is one: it knows the streams that may be written again.
    pub restored: &'a Restored,
    pub now: Timestamp,
}

impl Ground<'_> {
    /// Brings a store up to the segments, and hands on the records after `restored`.
    pub(crate) fn pass(
        &self,
        store: &dyn Store,
        applied: Head,
        restored: Head,
        replay: &mut dyn FnMut(Replayed),
    ) -> Result<Passed, JournalError> {
        let Ground { config, segments, keys, known, .. } = *self;
        let (dir, command_ids_kept_ms) = (&*config.dir, config.command_ids_kept_ms);
        Pass { dir, segments, store, applied, restored, known, keys, command_ids_kept_ms }.run(replay)
    }

    /// Begins an empty store, and says of which record on it needs to be told. Nothing is skipped that the snapshot does not cover, or that holds answers to commands
    /// which are still to be known.
    pub(crate) fn begin(&self, store: &dyn Store) -> Result<Head, JournalError> {
        let known = self.segments.all().into_values();
        let sealed = known.map_while(|Known { path, sealed, .. }| sealed.map(|info| (path, info)));
        let compressed: Vec<_> = sealed.take_while(|(path, _)| is_compressed(path)).collect();
        let covered = self.restored.head.map_or(Seq::ZERO, |restored| restored.seq);
        // Answers without records may stand behind the last one for as long as the segment was open.
        let slack_ms = SLACK_MS.saturating_add(self.config.segment_age_ms);
        let answers_us =
            i64::try_from(self.config.command_ids_kept_ms.saturating_add(slack_ms).saturating_mul(1_000));
        let settled = Timestamp(self.now.0.saturating_sub(answers_us.unwrap_or(i64::MAX)));
        let is_spare = |last: Seq, last_time| {
            self.config.command_ids_kept_ms > 0 && last <= covered && last_time < settled
        };
        let spare = compressed.iter().take_while(|(_, info)| is_spare(info.last.seq, info.last_time)).count();
        let Some((_, last)) = spare.checked_sub(1).and_then(|last| compressed.get(last)) else {
            return Ok(self.before);
        };
        let mut order = 0;
        // The order of answers goes on from the last that is skipped.
        for (path, _) in compressed.iter().take(spare).rev() {
            let (found, is_sound) = last_answer(path, open(&**self.segments.disk(), path, false)?)?;
            if !is_sound {
                // Whoever reads all of it names the damage.
                return Ok(self.before);
            }
            if let Some(found) = found {
                order = found.saturating_add(1);
                break;
            }
        }
        let mut batch = Batch::default();
        index::put_applied(&mut batch, last.last);
        batch.put(keys::BEGINS, last.last.seq.0.to_be_bytes().to_vec());
        answers::begin(&mut batch, order, last.last_time);
        store.apply(batch)?;
        Ok(last.last)
    }
}
