//! What a journal is told when it is opened.

use std::path::PathBuf;

use uuid::Uuid;

use crate::codec::Codec;
use crate::store::Backend;
use crate::subjects::SubjectsConfig;

/// Where and how a journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// Its folder; made if it is absent.
    pub dir: PathBuf,
    /// The codec of new records; old ones keep theirs.
    pub codec: Codec,
    /// What keeps the store.
    pub backend: Backend,
    /// Memory in which the store keeps pages, in bytes.
    pub cache_bytes: u64,
    /// Requests of each class that may wait; more are refused as [`AppendError::Busy`](crate::AppendError::Busy).
    pub queue_len_max: usize,
    /// Longest time that a group of requests is held open for those who are likely to come again, in microseconds. With 0
    /// a group is what waited when it was begun: who comes later is in the next one.
    pub group_wait_us_max: u64,
    /// Length at which a segment is sealed, in bytes, from [`SEGMENT_BYTES_MIN`](crate::SEGMENT_BYTES_MIN) to
    /// [`SEGMENT_BYTES_MAX`](crate::SEGMENT_BYTES_MAX).
    pub segment_bytes: u64,
    /// Age at which a segment that holds records is sealed by the next commit, in milliseconds.
    pub segment_age_ms: u64,
    /// Records after which the projection is put away again, if it can be; 0 for never.
    pub snapshot_every: u64,
    /// Which boot of the host this is. A store that was not closed in order is made again unless it was written in
    /// the same boot: a loss of power may have left any part of it.
    pub boot_id: Option<Uuid>,
    /// The keys with which payloads of pods are sealed and read; without them none is sealed, and those that are
    /// cannot be read.
    pub subjects: Option<SubjectsConfig>,
    /// Longest time from a lazy append until it is synced, in milliseconds.
    pub lazy_ms_max: u64,
    /// Longest time that the store is behind the segments, in milliseconds; whoever reads waits less. 0 has every append
    /// wait for the store.
    pub store_behind_ms: u64,
    /// Age at which the answer to a command makes way, in milliseconds, if there are not too many of them before;
    /// 0 for never.
    pub command_ids_kept_ms: u64,
    /// Room on the disk that is held for what ends pods, see [`Journal::make_ballast`](crate::Journal::make_ballast); 0 for none.
    pub ballast_bytes: u64,
}

impl JournalConfig {
    /// A journal in `dir` with defaults for all else.
    pub fn new(dir: impl Into<PathBuf>) -> JournalConfig {
        JournalConfig {
            dir: dir.into(),
            codec: Codec::default(),
            backend: Backend::default(),
            cache_bytes: 16 << 20,
            queue_len_max: 4_096,
            group_wait_us_max: 500,
            segment_bytes: 64 << 20,
            segment_age_ms: 3_600_000,
            snapshot_every: 10_000,
            boot_id: None,
            subjects: None,
            lazy_ms_max: 200,
            store_behind_ms: 100,
            command_ids_kept_ms: 0,
            ballast_bytes: 0,
        }
    }
}
