//! The live view put away in the journal's snapshots, and taken out again at the start.
//!
//! As JSON: a snapshot of an older release must still be read when the records before it are no longer here. That
//! its bytes are those that were put away is told by the hash of its file. The digest of the world in it tells more:
//! whether what is made of them today is what was put away, to the last field. If it is not, the world has changed
//! since, and its records are folded again. Where they are gone, what could be read is taken as it is, and said so.

#[cfg(test)]
mod tests;

use std::sync::PoisonError;

use purser_events::view::WORLD_LAYOUT;
use purser_events::{Seq, StreamId, World};
use purser_storage::{Capture, SnapshotError, Snapshots, StoredSnapshot, StreamEnd, Streams};
use serde::{Deserialize, Serialize};

use super::{Inner, LiveWorld, StreamHead};

/// Number of the layout below. Each change of it, or of the world in it, gets another. Older ones are read for ever:
/// what is new has a default, what is otherwise is made of the old by an upcast in `read`.
const LAYOUT: u32 = WORLD_LAYOUT;

/// What is put away.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    /// Digest of the world as it was put away.
    digest: String,
    unreadable: u64,
    /// As [`LiveWorld::assumed_upto`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assumed_upto: Option<Seq>,
    heads: Vec<(StreamId, StreamHead)>,
    world: World,
}

/// Reads what was put away in this layout or an older one.
fn read(layout: u32, body: &[u8]) -> Result<Stored, SnapshotError> {
    match layout {
        1..=LAYOUT => Ok(serde_json::from_slice(body)?),
        _ => Err(format!("its layout {layout} is unknown").into()),
    }
}

impl Snapshots for LiveWorld {
    fn layout(&self) -> u32 {
        LAYOUT
    }

    fn capture(&self) -> Capture {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::new(move || {
            let Inner { world, heads, unreadable, assumed_upto } = inner;
            if !world.withheld.is_empty() {
                // Once their keys are back, they must be folded from their records.
                return Err("the keys of pods that are there are missing".into());
            }
            let stored = Stored {
                digest: hex(&world.digest()),
                unreadable,
                assumed_upto,
                heads: heads.into_iter().collect(),
                world,
            };
            Ok(serde_json::to_vec(&stored)?)
        })
    }

    fn restore(&mut self, stored: &StoredSnapshot<'_>) -> Result<Streams, SnapshotError> {
        let StoredSnapshot { layout, seq, body, is_only_way } = *stored;
        let Stored { digest, unreadable, assumed_upto, heads, world } = read(layout, body)?;
        let is_same = hex(&world.digest()) == digest;
        let assumed_upto = if is_same { assumed_upto } else { Some(seq) };
        if let Some(upto) = assumed_upto {
            if !is_only_way {
                return Err(
                    "what is read of it is not what was folded once; its records are folded again".into()
                );
            }
            tracing::error!(
                %upto,
                "the world up to this record is what could be read of another release's snapshot: the records before \
                 it are gone and cannot be folded again; see with `purser-replay state --archive` what they said"
            );
        }
        let end = |head: &StreamHead| StreamEnd { version: head.version, seq: head.seq };
        let streams = heads.iter().map(|(stream, head)| (*stream, end(head))).collect();
        let mut inner = self.write();
        *inner = Inner { world, heads: heads.into_iter().collect(), unreadable, assumed_upto };
        self.note_circumstances(&inner);
        drop(inner);
        Ok(streams)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
