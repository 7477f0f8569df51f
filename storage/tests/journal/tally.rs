//! A projection for tests: counts records, and mixes their places into a number that tells any other order, gap or
//! repetition. What it does is written down, and it can be made to wait.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use purser_events::node::NodeEvent;
use purser_events::{Event, Record, Seq};
use purser_storage::projection::{Folded, Projection, ProjectionReader, ReadError, Rows, RowsError};
use purser_storage::store::Stores;
use purser_storage::{Journal, JournalConfig, ProjectionStatus, Replayed};

use crate::support::*;

/// A record with this reason cannot be folded.
pub(crate) const POISON: &str = "poison";

/// Records that are counted, and the number that is mixed of their places.
pub(crate) type Count = (u64, u64);

/// A fold that waits: tells that it is there, and goes on when told.
type Gate = (Sender<()>, Receiver<()>);

pub(crate) struct Tally {
    layout: u32,
    /// The oldest layout that can be read.
    reads_from: u32,
    /// Where it waits, once.
    gates: Mutex<Vec<(u32, Seq, Gate)>>,
    /// What was folded, as layout and place.
    pub(crate) log: Arc<Mutex<Vec<(u32, Seq)>>>,
}

impl Tally {
    pub(crate) fn new(layout: u32) -> Tally {
        Tally { layout, reads_from: 1, gates: Mutex::default(), log: Arc::default() }
    }

    /// The same, but unable to read older layouts.
    pub(crate) fn alone(self) -> Tally {
        Tally { reads_from: self.layout, ..self }
    }

    /// Has the fold of a record into a layout wait. The first end tells that it does, the other lets it go on.
    pub(crate) fn gate(&self, layout: u32, seq: u64) -> (Receiver<()>, Sender<()>) {
        let ((there, is_there), (go, may_go)) = (channel(), channel());
        self.gates.lock().unwrap().push((layout, Seq(seq), (there, may_go)));
        (is_there, go)
    }

    fn wait(&self, layout: u32, seq: Seq) {
        let mut gates = self.gates.lock().unwrap();
        let Some(at) = gates.iter().position(|gate| (gate.0, gate.1) == (layout, seq)) else { return };
        let (_, _, (there, may_go)) = gates.remove(at);
        drop(gates);
        // A test that is over waits for nothing and lets all go on.
        let _ = there.send(());
        let _ = may_go.recv();
    }
}

/// The count after one more record.
fn counted((count, mix): Count, layout: u32, seq: Seq) -> Count {
    let mix = mix.rotate_left(7) ^ seq.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(layout.into());
    (count + 1, mix)
}

fn encode((count, mix): Count) -> Vec<u8> {
    [count.to_be_bytes(), mix.to_be_bytes()].concat()
}

fn decode(row: Option<Vec<u8>>) -> Count {
    let row = row.unwrap_or_else(|| encode((0, 0)));
    let ([count, mix], []) = row.as_chunks::<8>() else { panic!("{row:?}") };
    (u64::from_be_bytes(*count), u64::from_be_bytes(*mix))
}

fn is_poison(record: &Record) -> bool {
    matches!(&record.event, Event::Node(NodeEvent::Cordoned(cordoned)) if cordoned.reason == POISON)
}

impl Projection for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn layout(&self) -> u32 {
        self.layout
    }

    fn reads(&self, layout: u32) -> bool {
        (self.reads_from..=self.layout).contains(&layout)
    }

    fn fold(&self, layout: u32, record: &Replayed, rows: &mut dyn Rows) -> Result<Folded, RowsError> {
        let (header, sound) = match record {
            Replayed::Record(record) => (&record.header, !is_poison(record)),
            Replayed::Unreadable { header, .. } => (header, false),
        };
        self.wait(layout, header.seq);
        self.log.lock().unwrap().push((layout, header.seq));
        if !sound {
            return Ok(Folded::PassedOver);
        }
        let count = counted(decode(rows.get(b"count")?), layout, header.seq);
        rows.put(b"count", encode(count))?;
        // One row a record: a generation that is over leaves many.
        rows.put(&header.seq.0.to_be_bytes(), layout.to_be_bytes().to_vec())?;
        Ok(Folded::In)
    }

    fn forget(&self, _: u32, first: Seq, rows_max: usize, rows: &mut dyn Rows) -> Result<bool, RowsError> {
        // Keys of records are the only ones of eight bytes that begin with zero.
        let old: Vec<_> = rows
            .scan(&[0], &[], rows_max)?
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| key[..] < first.0.to_be_bytes()[..])
            .collect();
        old.iter().for_each(|key| rows.delete(key));
        Ok(old.len() == rows_max)
    }
}

/// What a tally of this layout over the whole journal is, folded here and now.
pub(crate) fn plainly(journal: &Journal, layout: u32) -> Count {
    let (mut count, mut next) = ((0, 0), journal.before().seq.next());
    while next <= journal.head().seq {
        for stored in journal.read(next, 1_000).unwrap() {
            next = stored.header.seq.next();
            if stored.record().is_ok_and(|record| !is_poison(&record)) {
                count = counted(count, layout, stored.header.seq);
            }
        }
    }
    count
}

/// Layout and count that answer now, and up to which record they are true.
pub(crate) fn ask(tally: &ProjectionReader) -> Result<((u32, Count), Seq), ReadError> {
    let read = tally.read(|layout, rows| Ok((layout, decode(rows.get(b"count")?))));
    read.map(|(answer, generation)| (answer, generation.cursor))
}

/// Records of which there is a row.
pub(crate) fn seqs(tally: &ProjectionReader) -> Vec<u64> {
    let read = tally.read(|_, rows| rows.scan(&[0], &[], usize::MAX));
    let seq = |(key, _): (Vec<u8>, Vec<u8>)| u64::from_be_bytes(key.try_into().unwrap());
    read.unwrap().0.into_iter().map(seq).collect()
}

/// Waits until a projection stands as wanted.
pub(crate) async fn until(
    tally: &ProjectionReader,
    wanted: impl FnMut(&ProjectionStatus) -> bool,
) -> ProjectionStatus {
    tally.statuses().wait_for(wanted).await.unwrap().clone()
}

/// Waits until rows of a layout answer, hold the whole journal, and are the only ones.
pub(crate) async fn until_settled(
    journal: &Journal,
    tally: &ProjectionReader,
    layout: u32,
) -> ProjectionStatus {
    let head = journal.head().seq;
    let settled = |status: &ProjectionStatus| {
        let answers = status.answering.is_some_and(|it| it.layout == layout && it.cursor >= head);
        answers && status.building.is_none() && !status.removing
    };
    let status = until(tally, |status| settled(status) || status.paused.is_some()).await;
    assert_eq!(status.paused, None);
    status
}

/// A journal on a store with a tally beside it.
pub(crate) fn open_with(dir: &Path, stores: &dyn Stores, tally: Tally) -> (Journal, ProjectionReader) {
    let disk = Arc::new(purser_storage::disk::SystemDisk);
    let config = JournalConfig { boot_id: Some(uuid::Uuid::from_u128(7)), ..JournalConfig::new(dir) };
    let journal = Journal::open_on(disk, stores, config, || NOW, |_| {}, |_| {}).unwrap();
    journal.project(Arc::new(tally)).unwrap();
    let reader = journal.projection("tally").unwrap();
    (journal, reader)
}

/// Writes so many records in commits of ten, every hundredth of which cannot be folded.
pub(crate) async fn write_records(journal: &Journal, count: u64) {
    let from = journal.head().seq.0;
    for number in (from..from + count).step_by(10) {
        let reason = |number: u64| if number.is_multiple_of(100) { POISON } else { "sound" };
        let reasons: Vec<&str> = (number..(from + count).min(number + 10)).map(reason).collect();
        journal.append(append(stream(1), number, &reasons)).await.unwrap();
    }
}
