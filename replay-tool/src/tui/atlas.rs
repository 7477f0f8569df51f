//! What is learnt of a journal in one reading, so that any place of it is found again at once: places to read on from, the
//! world at some of them, and where failures and violations are. It stays small however long the journal is.

use std::sync::Arc;

use purser_events::view::World;
use purser_events::{Seq, Timestamp};
use purser_storage::offline::{Mark, SourceError};

use super::density::Density;
use crate::asks::Asks;
use crate::failure::Failure;
use crate::fold::Folded;
use crate::notable::Notable;
use crate::source::{Opened, Place};
use crate::verb::follow::is_cut_short;
use crate::{Console, render};

/// Records between two places to read on from.
pub(super) const BLOCK_LEN: u64 = 1_024;

/// Records between two worlds that are kept, at first.
const ANCHOR_EVERY: u64 = 32 * BLOCK_LEN;

/// Most bytes of worlds that are kept: once there are more, every second goes.
const ANCHORS_LEN_MAX: usize = 32 << 20;

/// Records of a kind that are known by their place; of later ones, no more is known than that they are there.
const PLACES_MAX: usize = 1 << 20;

/// A journal that was read.
pub(super) struct Atlas {
    /// The first record; 1 unless the journal was trimmed.
    pub(super) first: Seq,
    /// The last sound record.
    pub(super) last: Seq,
    /// Where each block begins: the first with record `first`.
    blocks: Vec<Block>,
    anchors: Vec<Anchor>,
    anchor_every: u64,
    pub(super) failures: Vec<Seq>,
    pub(super) violations: Vec<Seq>,
    /// Ends that were asked for, with what had asked for them.
    asked: Vec<(Seq, Seq)>,
    /// Whether more of these were met than are known.
    pub(super) is_cut: bool,
    pub(super) density: Arc<Density>,
    /// Why it could not be read to its end.
    pub(super) damage: Option<String>,
    /// What a live node's journal is read on with.
    so_far: Option<Box<SoFar>>,
}

/// What the next record is taken together with.
struct SoFar {
    mark: Mark,
    density: Density,
    asks: Asks,
    folded: Folded,
    /// The latest time until then.
    latest: Timestamp,
}

#[derive(Clone, Copy)]
struct Block {
    mark: Mark,
    /// The latest time before it.
    latest: Timestamp,
}

/// The world after a record, as JSON and compressed.
struct Anchor {
    seq: Seq,
    time: Option<Timestamp>,
    len: usize,
    world: Vec<u8>,
}

impl Atlas {
    /// Reads a journal to its end, or to the first record that is not sound.
    pub(super) fn read(place: &Place) -> Result<Atlas, Failure> {
        place.again()?;
        let mut opened = place.open(Seq(1))?;
        let before = opened.before().seq;
        let mut atlas = Atlas {
            first: before.next(),
            last: before,
            blocks: vec![Block { mark: opened.mark(), latest: Timestamp(i64::MIN) }],
            anchors: Vec::new(),
            anchor_every: ANCHOR_EVERY,
            failures: Vec::new(),
            violations: Vec::new(),
            asked: Vec::new(),
            is_cut: false,
            density: Arc::new(Density::new()),
            damage: None,
            so_far: None,
        };
        let mut so_far = Box::new(SoFar {
            mark: opened.mark(),
            density: Density::new(),
            asks: Asks::new(),
            folded: Folded::default(),
            latest: Timestamp(i64::MIN),
        });
        if let Some(error) = atlas.gather(&mut opened, &mut so_far)? {
            atlas.damaged(&error);
        } else if place.is_live() {
            atlas.so_far = Some(so_far);
        }
        Ok(atlas)
    }

    /// Reads what a live node has recorded since; says whether there was anything.
    pub(super) fn read_on(&mut self, place: &Place) -> Result<bool, Failure> {
        let Some(mut so_far) = self.so_far.take() else { return Ok(false) };
        let last = self.last;
        let read = self.read_on_from(&mut so_far, place);
        // Of a node that does not answer more may come; of a damaged journal, or of another, not.
        if self.damage.is_none() {
            self.so_far = Some(so_far);
        }
        read.map(|()| last < self.last || self.damage.is_some())
    }

    fn read_on_from(&mut self, so_far: &mut SoFar, place: &Place) -> Result<(), Failure> {
        let last = self.last;
        let mut opened = place.open_after(&so_far.mark)?;
        let before = opened.before().seq;
        if before < last {
            self.damage = Some(format!("the node has another journal now, which ends at record {before}"));
            return Ok(());
        }
        if last < before {
            self.damage = Some(format!("the node has trimmed records {} to {before} meanwhile", last.next()));
            return Ok(());
        }
        match self.gather(&mut opened, so_far)? {
            Some(error) if is_cut_short(&error) => Err(error.into()),
            Some(error) => {
                self.damaged(&error);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn damaged(&mut self, error: &SourceError) {
        self.damage = Some(render::safe(&purser_events::causes::told(error)));
    }

    /// Takes what is read to the places where it is found again, and gives back why that ended too early, if it did.
    fn gather(&mut self, opened: &mut Opened, so_far: &mut SoFar) -> Result<Option<SourceError>, Failure> {
        let mut ended = None;
        while let Some(stored) = opened.next() {
            let stored = match stored {
                Ok(stored) => stored,
                Err(error) => {
                    ended = Some(error);
                    break;
                }
            };
            let seq = stored.header.seq;
            so_far.latest = so_far.latest.max(stored.header.time);
            let notable = stored.event().ok().and_then(|event| Notable::of(&event));
            so_far.density.note(so_far.latest, notable);
            let places = match notable {
                Some(Notable::Violation) => Some(&mut self.violations),
                Some(Notable::Failure) => Some(&mut self.failures),
                None => None,
            };
            self.is_cut |= places.is_some_and(|places| !push(places, seq));
            if let Some(ask) = so_far.asks.note(&stored) {
                self.is_cut |= !push(&mut self.asked, (seq, ask));
            }
            if self.has_worlds() {
                apply(&mut so_far.folded, stored);
            }
            self.last = seq;
            so_far.mark = opened.mark();
            let passed = seq.0.saturating_sub(self.first.0).saturating_add(1);
            if passed.is_multiple_of(BLOCK_LEN) {
                self.blocks.push(Block { mark: so_far.mark, latest: so_far.latest });
            }
            if self.has_worlds() && passed.is_multiple_of(self.anchor_every) {
                self.keep(&so_far.folded)?;
            }
        }
        self.density = Arc::new(so_far.density.clone());
        Ok(ended)
    }

    /// Whether it begins with the first record: of less, nobody knows what the world was.
    pub(super) fn has_worlds(&self) -> bool {
        self.first == Seq(1)
    }

    fn keep(&mut self, folded: &Folded) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(&folded.world).map_err(|error| Failure::Output(error.into()))?;
        let world = zstd::bulk::compress(&bytes, 1).map_err(Failure::Output)?;
        self.anchors.push(Anchor { seq: folded.world.head, time: folded.time, len: bytes.len(), world });
        let kept: usize = self.anchors.iter().map(|anchor| anchor.world.len()).sum();
        if ANCHORS_LEN_MAX < kept {
            self.anchor_every *= 2;
            let every = self.anchor_every;
            self.anchors.retain(|anchor| anchor.seq.0.is_multiple_of(every));
        }
        Ok(())
    }

    /// The last world that is kept of a record or one before it; the empty one before the first.
    pub(super) fn anchor(&self, seq: Seq) -> Folded {
        let count = self.anchors.partition_point(|anchor| anchor.seq <= seq);
        let kept = self.anchors.get(..count).unwrap_or_default().iter().rev();
        let world = |anchor: &Anchor| -> Option<Folded> {
            let bytes = zstd::bulk::decompress(&anchor.world, anchor.len).ok()?;
            let world: World = serde_json::from_slice(&bytes).ok()?;
            Some(Folded { world, time: anchor.time, ..Folded::default() })
        };
        kept.filter_map(world).next().unwrap_or_default()
    }

    /// The number of the block that a record is in.
    pub(super) fn block_of(&self, seq: Seq) -> usize {
        let passed = seq.0.saturating_sub(self.first.0) / BLOCK_LEN;
        usize::try_from(passed).unwrap_or(usize::MAX).min(self.blocks.len().saturating_sub(1))
    }

    /// The first record of a block.
    pub(super) fn block_first(&self, block: usize) -> Seq {
        self.blocks.get(block).map_or(self.last.next(), |block| block.mark.head.seq.next())
    }

    /// Reads from the beginning of a block on.
    pub(super) fn open(&self, block: usize, place: &Place) -> Result<Opened, Failure> {
        match self.blocks.get(block) {
            Some(block) => place.open_after(&block.mark),
            None => place.open(self.first),
        }
    }

    /// The block with the first record that is later than a time, if it has one.
    pub(super) fn block_after(&self, time: Timestamp) -> usize {
        let count = self.blocks.partition_point(|block| block.latest <= time);
        count.saturating_sub(1)
    }

    /// What had asked for the end that a record tells of.
    pub(super) fn asked_by(&self, seq: Seq) -> Option<Seq> {
        let at = self.asked.binary_search_by_key(&seq, |(end, _)| *end).ok()?;
        self.asked.get(at).map(|(_, ask)| *ask)
    }
}

/// Folds a record in; what cannot be folded is in the world as well.
pub(super) fn apply(folded: &mut Folded, stored: purser_storage::StoredRecord) {
    let (mut out, mut notes) = (std::io::sink(), std::io::sink());
    folded.apply(stored, &mut Console { out: &mut out, notes: &mut notes });
}

/// Whether there was room.
fn push<T>(places: &mut Vec<T>, place: T) -> bool {
    let has_room = places.len() < PLACES_MAX;
    if has_room {
        places.push(place);
    }
    has_room
}
