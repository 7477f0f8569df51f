//! Purser's journal: an append-only, gap-free, hash-chained row of records in one folder.
//!
//! One thread writes. A reply to [`Journal::append`] means that the records are on disk and survive a loss of
//! power. Nothing here knows what an event means: layouts are numbers, payloads are bytes.

pub mod answers;
pub mod audit;
mod ballast;
pub mod checkpoint;
pub mod codec;
pub mod disk;
mod erase;
pub mod error;
pub mod evidence;
pub mod export;
pub mod folder;
pub mod frame;
mod index;
pub mod inventory;
pub mod journal;
pub mod merkle;
pub mod migrate;
pub mod observer;
pub mod offline;
mod open;
mod opening;
pub mod panic_guard;
mod published;
mod queue;
mod read;
pub mod record;
pub mod redaction;
mod request;
pub mod retention;
mod room;
pub mod sealer;
pub mod sealing;
mod segment;
pub mod snapshot;
pub mod store;
mod store_thread;
pub mod subjects;
pub mod terms;
pub mod tlog_proof;
mod unsynced;
mod varint;
pub mod verify;
mod writer;

pub use answers::StoredAnswer;
pub use ballast::BallastStanding;
pub use codec::{Codec, CodecError};
pub use disk::Space;
pub use error::{AppendError, JournalError};
pub use evidence::{Evidence, SealedTree};
pub use folder::FolderError;
pub use frame::{FRAME_LEN_MAX, FrameError, Hash};
pub use journal::{Append, Appended, CommandWrite, Journal, JournalConfig, JournalStats, StreamWrite};
pub use observer::{CommitCost, JournalObserver};
pub use open::Replayed;
pub use panic_guard::install_open_guard;
pub use record::{PayloadError, StoredRecord};
pub use segment::{HeaderError, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use snapshot::{Capture, SnapshotError, Snapshots, Streams};
pub use store::{Store, StoreError};
pub use terms::{Class, Durability, PerClass, Terms};
pub use verify::{Fault, Head, Verifier};
