//! The history of pods as rows: every incarnation that the journal knows, for as long as it does.
//!
//! Rows are JSON: a newer release may still be able to read them. Under `u` and the uid stands the incarnation, under
//! `n` its uid with the newest first, under `e` those that are gone by their last record.

use purser_events::view::Incarnation;
use purser_events::{Header, PodUid, Principal, Seq, StreamKind, Timestamp};
use purser_storage::projection::{Folded, ROW_LEN_MAX, ReadError, Rows, RowsError};
use purser_storage::{Projection, ProjectionReader, Replayed};

/// What the projection is called.
pub const NAME: &str = "history";

/// Version of the layout of the rows, and of how they are folded.
const LAYOUT: u32 = 1;

/// Incarnations that one question looks at; what is beyond is for the next one.
const LOOKED_AT_MAX: usize = 5_000;

/// Places that are read at once.
const STEP: usize = 256;

/// The fold of the journal into the history of pods.
#[derive(Debug, Clone, Copy, Default)]
pub struct History;

/// Which incarnations are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those of this name.
    pub name: Option<String>,
    /// Only those that were admitted on behalf of this principal.
    pub principal: Option<Principal>,
    /// Only those that had not ended before.
    pub since: Option<Timestamp>,
    /// Only those that had been admitted by then.
    pub until: Option<Timestamp>,
    /// Only those whose first record is before this one: where the answer before went no further.
    pub before: Option<Seq>,
    /// How many, at most.
    pub limit: usize,
}

/// Incarnations that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The incarnations, the newest first.
    pub items: Vec<Incarnation>,
    /// What to ask for as `before` to go on; none at the end. A page may be short, or empty, and not be the last.
    pub next: Option<Seq>,
    /// Everything up to this record is in the answer.
    pub as_of: Seq,
    /// Of what happened before this record, only what concerns pods that were there after it is.
    pub first: Seq,
}

impl HistoryQuery {
    fn wants(&self, pod: &Incarnation) -> bool {
        let id = pod.id.as_ref();
        let is_in = self.namespace.as_ref().is_none_or(|space| id.is_some_and(|id| id.namespace() == space));
        let is_called = self.name.as_ref().is_none_or(|name| id.is_some_and(|id| id.name() == name));
        let is_theirs = self.principal.as_ref().is_none_or(|by| pod.admitted_by.as_ref() == Some(by));
        let is_recent = self.since.is_none_or(|since| pod.ended_at.is_none_or(|at| since <= at));
        let is_early = self.until.is_none_or(|until| pod.admitted_at.is_none_or(|at| at <= until));
        is_in && is_called && is_theirs && is_recent && is_early
    }
}

/// Looks for incarnations. Blocks on the disk.
///
/// # Errors
/// Nothing can answer now, or the rows cannot be read.
pub fn list(history: &ProjectionReader, query: &HistoryQuery) -> Result<HistoryPage, ReadError> {
    let ((items, next), generation) = history.read(|_, rows| page(rows, query))?;
    Ok(HistoryPage { items, next, as_of: generation.cursor, first: generation.first })
}

fn page(rows: &dyn Rows, query: &HistoryQuery) -> Result<(Vec<Incarnation>, Option<Seq>), RowsError> {
    let mut items = Vec::new();
    // Places count downwards, so what comes before a record stands after it.
    let mut from = query.before.map_or(Vec::new(), |before| place(Seq(before.0.saturating_sub(1))));
    let (mut looked_at, mut last) = (0, None);
    if query.before.is_some_and(|before| before <= Seq(1)) {
        return Ok((items, None));
    }
    loop {
        let step = rows.scan(b"n", &from, STEP)?;
        let is_end = step.len() < STEP;
        for (key, uid) in step {
            if items.len() >= query.limit || looked_at >= LOOKED_AT_MAX {
                return Ok((items, last));
            }
            looked_at += 1;
            // A row that went meanwhile is one that was to go.
            if let Some(pod) = get(rows, &uid)? {
                last = Some(pod.first);
                if query.wants(&pod) {
                    items.push(pod);
                }
            }
            from = key;
            from.push(0);
        }
        if is_end {
            return Ok((items, None));
        }
    }
}

/// Key of the place of an incarnation in the list, by its first record.
fn place(first: Seq) -> Vec<u8> {
    numbered(b'n', u64::MAX - first.0)
}

fn numbered(letter: u8, number: u64) -> Vec<u8> {
    [&[letter][..], &number.to_be_bytes()].concat()
}

fn row_key(uid: &[u8]) -> Vec<u8> {
    [b"u", uid].concat()
}

fn get(rows: &dyn Rows, uid: &[u8]) -> Result<Option<Incarnation>, RowsError> {
    let Some(row) = rows.get(&row_key(uid))? else { return Ok(None) };
    serde_json::from_slice(&row).map(Some).map_err(|error| RowsError::Malformed(error.to_string()))
}

fn put(rows: &mut dyn Rows, mut pod: Incarnation) -> Result<(), RowsError> {
    let uid = pod.uid.0;
    loop {
        let row = serde_json::to_vec(&pod).map_err(|error| RowsError::Malformed(error.to_string()))?;
        if row.len() <= ROW_LEN_MAX || pod.containers.is_empty() {
            return rows.put(&row_key(uid.as_bytes()), row);
        }
        // Far more of them than a manifest may have: some are better than no history at all.
        pod.containers.truncate(pod.containers.len() / 2);
    }
}

/// What an incarnation was before a record.
fn known(rows: &dyn Rows, header: &Header) -> Result<Option<Incarnation>, RowsError> {
    if header.stream.kind == StreamKind::Pod { get(rows, header.stream.id.as_bytes()) } else { Ok(None) }
}

/// Writes what an incarnation is after a record.
fn note(rows: &mut dyn Rows, pod: Incarnation) -> Result<(), RowsError> {
    let PodUid(uid) = pod.uid;
    if pod.first == pod.last {
        rows.put(&place(pod.first), uid.as_bytes().to_vec())?;
    }
    if pod.is_over() {
        rows.put(&numbered(b'e', pod.last.0), uid.as_bytes().to_vec())?;
    }
    put(rows, pod)
}

impl Projection for History {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layout(&self) -> u32 {
        LAYOUT
    }

    fn fold(&self, _: u32, record: &Replayed, rows: &mut dyn Rows) -> Result<Folded, RowsError> {
        let (header, folded) = match record {
            Replayed::Record(record) => (&record.header, Folded::In),
            // Taken out on purpose: nothing is missing that should be there.
            Replayed::Unreadable { header, reason, .. } if reason.is_withheld() => (header, Folded::In),
            Replayed::Unreadable { header, .. } => (header, Folded::PassedOver),
        };
        let before = known(rows, header)?;
        let after = match record {
            Replayed::Record(record) => Incarnation::follow(before, record),
            Replayed::Unreadable { header, .. } => Incarnation::pass_over(before, header),
        };
        match after {
            Some(pod) => note(rows, pod).map(|()| folded),
            None => Ok(Folded::In),
        }
    }

    fn forget(&self, _: u32, first: Seq, rows_max: usize, rows: &mut dyn Rows) -> Result<bool, RowsError> {
        let end = numbered(b'e', first.0);
        let gone = rows.scan(b"e", &[], rows_max)?;
        let more = gone.len() == rows_max;
        for (key, uid) in gone {
            if key >= end {
                return Ok(false);
            }
            rows.delete(&key);
            if let Some(pod) = get(rows, &uid)? {
                rows.delete(&place(pod.first));
                rows.delete(&row_key(&uid));
            }
        }
        Ok(more)
    }
}
