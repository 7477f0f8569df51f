//! The live view put away in the journal's snapshots, and taken out again at the start.
//!
//! As JSON: a snapshot of an older release must still be read when the records before it are no longer here.

use std::sync::PoisonError;

use purser_events::{StreamId, World};
use purser_storage::{Capture, SnapshotError, Snapshots, Streams};
use serde::{Deserialize, Serialize};

use super::{Inner, LiveWorld, StreamHead};

/// Number of the layout below. A change that an older reader, or this one, could not follow gets another.
const LAYOUT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    /// Digest of the world: what is read must be what was written, to the last field.
    digest: String,
    unreadable: u64,
    heads: Vec<(StreamId, StreamHead)>,
    world: World,
}

impl Snapshots for LiveWorld {
    fn layout(&self) -> u32 {
        LAYOUT
    }

    fn capture(&self) -> Capture {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::new(move || {
            let Inner { world, heads, unreadable } = inner;
            if !world.withheld.is_empty() {
                // Once their keys are back, they must be folded from their records.
                return Err("the keys of pods that are there are missing".into());
            }
            let stored = Stored {
                digest: hex(&world.digest()),
                unreadable,
                heads: heads.into_iter().collect(),
                world,
            };
            Ok(serde_json::to_vec(&stored)?)
        })
    }

    fn restore(&mut self, body: &[u8]) -> Result<Streams, SnapshotError> {
        let Stored { digest, unreadable, heads, world } = serde_json::from_slice(body)?;
        if hex(&world.digest()) != digest {
            return Err("what is read from it is not what was put away".into());
        }
        let streams = heads.iter().map(|(stream, head)| (*stream, head.version)).collect();
        *self.write() = Inner { world, heads: heads.into_iter().collect(), unreadable };
        Ok(streams)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
