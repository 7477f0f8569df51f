//! The one thread that writes: takes what waits, writes it together, syncs once, then answers everyone. If nobody
//! in a group waits for the sync, it is left to the next group, or to a deadline.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use purser_events::{CommandId, Header, Record, Seq, StreamId, StreamVersion, Timestamp};

use crate::answers::{self, AnswerOrder, StoredAnswer};
use crate::ballast::{Ballast, Gate};
use crate::codec::Codec;
use crate::error::{AppendError, JournalError};
use crate::folder::{Folder, HeadFile};
use crate::found::Found;
use crate::frame::{self, FrameParts};
use crate::group::{Coming, Group};
use crate::index::{self, Place};
use crate::journal::{Appended, CommandWrite};
use crate::observer::CommitCost;
use crate::published::{FenceOnPanic, Published, PublishedState};
use crate::queue::{Next, Queue, Serving};
use crate::request::{Encoded, Outcome, Prepared, PreparedWrite, Request};
use crate::sealer::exchange::Exchange;
use crate::segment::SegmentHeader;
use crate::segment::entry::{self, AnswerEntry, Opened};
use crate::segment::open_segment::{FOOTER_RESERVE, OpenSegment};
use crate::segment::set::Segments;
use crate::snapshot::{self, SnapshotThread};
use crate::store::Store;
use crate::store_thread::{StoreGroup, StoreThread};
use crate::terms::Durability;
use crate::unsynced::{Synced, Unsynced, Written};
use crate::verify::Head;

/// Is shown the records of each commit.
pub(crate) type OnCommit = Box<dyn FnMut(&[Record]) + Send>;

/// Where the journal stands; owned by the thread.
pub(crate) struct Writer {
    /// The segment that takes what is written; none after a failure to go on to the next.
    pub segment: Option<OpenSegment>,
    /// What goes to and comes from the thread that seals.
    pub exchange: Arc<Exchange>,
    pub segments: Arc<Segments>,
    pub ballast: Arc<Ballast>,
    pub unsynced: Unsynced,
    pub lazy_wait: Duration,
    pub segment_bytes: u64,
    pub segment_age_ms: u64,
    pub store: Arc<dyn Store>,
    pub store_thread: StoreThread,
    /// The folder, held until the thread ends, and the file that remembers the head outside the segments.
    pub head_file: HeadFile,
    pub _folder: Folder,
    pub codec: Codec,
    pub now: Box<dyn Fn() -> Timestamp + Send>,
    pub on_commit: OnCommit,
    pub head: Head,
    pub epoch: u64,
    pub found: Found,
    pub opened: Opened,
    /// The versions of streams, among them of all that the store is behind with.
    pub streams: HashMap<StreamId, StreamVersion>,
    /// Versions as the snapshot had them, of streams that the store may not know.
    pub base_streams: BTreeMap<StreamId, StreamVersion>,
    pub answers: AnswerOrder,
    /// Answers that the store may not have yet, by the group that it gets them with.
    pub recent_answers: VecDeque<(u64, HashMap<CommandId, StoredAnswer>)>,
    pub snapshots: Option<SnapshotThread>,
    pub known_snapshots: snapshot::Known,
    pub published: Arc<Published>,
}

/// Streams whose versions are kept in memory; the store knows the others.
const STREAMS_LEN_MAX: usize = 20_000;

impl Writer {
    /// Serves requests until the queue is closed.
    pub(crate) fn run(mut self, queue: &Queue) {
        let _on_panic = FenceOnPanic(Arc::clone(&self.published));
        let _serving = Serving(queue);
        let mut fenced = false;
        loop {
            let due = if fenced { None } else { self.unsynced.due(self.lazy_wait) };
            match queue.take(due) {
                Next::Group(requests) => fenced = self.serve(requests, fenced, queue),
                Next::Due => {
                    let synced = self.sync(self.head);
                    fenced = self.unless_failed(synced).is_none();
                }
                Next::Ended => break,
            }
        }
        if !fenced {
            let closed = self.close();
            self.unless_failed(closed);
        }
    }

    /// Carries out a group, which begins with these requests, and answers it; says whether the journal is fenced now.
    fn serve(&mut self, requests: Vec<Request>, fenced: bool, queue: &Queue) -> bool {
        let mut coming = Coming { queue, part: requests, begun: Instant::now(), staged: Vec::new() };
        let outcomes = if fenced { None } else { self.commit(&mut coming) };
        let fenced = outcomes.is_none();
        let Coming { part, mut staged, begun, .. } = coming;
        staged.extend(part);
        let outcomes = outcomes.unwrap_or_else(|| staged.iter().map(|_| Err(AppendError::Fenced)).collect());
        // First: whoever is answered may come again at once.
        queue.note_served(begun.elapsed());
        for (Request { append, reply }, outcome) in staged.into_iter().zip(outcomes) {
            if let Err(AppendError::NoRoom { class }) = outcome {
                queue.note_refused(class);
            }
            // Whoever asked may have gone: what was written stays written.
            let _ = reply.send((outcome, append));
        }
        fenced
    }

    /// Leaves a note that the store can be trusted at the next start, whatever happened to the host.
    fn close(&mut self) -> Result<(), JournalError> {
        self.sync(self.head)?;
        if let Some(snapshots) = self.snapshots.take() {
            snapshots.close(self.head);
        }
        self.store_thread.lag().settle().map_err(|failed| self.published.why(failed))?;
        self.store.sync()?;
        let mut group = Group::default();
        self.stage_evidence(&mut group);
        let segment = self.segment.as_mut().ok_or(JournalError::Closed)?;
        if !group.bytes.is_empty() {
            segment.write(&group.bytes, None)?;
            segment.sync()?;
        }
        let mut bytes = Vec::new();
        entry::put_closed(&mut bytes);
        segment.write(&bytes, None)?;
        Ok(segment.sync()?)
    }

    /// Carries out a group and gives one outcome a request; none if the journal failed.
    fn commit(&mut self, coming: &mut Coming<'_>) -> Option<Vec<Outcome>> {
        let outcomes = self.try_commit(coming);
        self.unless_failed(outcomes)
    }

    /// What was done; after a failure nothing more is written.
    fn unless_failed<T>(&self, done: Result<T, JournalError>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal failed and is fenced");
                error.note(self.segments.dir());
                self.published.fence(error);
                self.store_thread.give_up();
                None
            }
        }
    }

    fn try_commit(&mut self, coming: &mut Coming<'_>) -> Result<Vec<Outcome>, JournalError> {
        let now = (self.now)();
        let before = self.head;
        self.forget_answers();
        let mut group = Group { continues: !self.unsynced.is_empty(), ..Group::default() };
        let outcomes = self.stage_all(coming, now, &mut group)?;
        let requests = outcomes.len();
        if group.bytes.is_empty() {
            return Ok(outcomes);
        }
        let (head, Group { bytes, records, batch, answers, hashes, evidence, awaited, .. }) =
            (self.head, group);
        let (bytes_len, records_len) = (bytes.len(), records.len());
        let started = Instant::now();
        let (ballast, segments) = (Arc::clone(&self.ballast), Arc::clone(&self.segments));
        let segment = self.segment_for(bytes_len, before, now)?;
        ballast.make_room(segment, bytes_len)?;
        let last = (records_len > 0).then_some((head, now));
        let marks = segment.contents().marks().len();
        segment.write(&bytes, last)?;
        let hash_ahead = segment.hash_ahead();
        if marks < segment.contents().marks().len() {
            // Readers need not go through all of it.
            let (first, path) = (segment.header.first(), segment.path.clone());
            segments.note_open(first, path, segment.contents().marks());
        }
        let written = Instant::now();
        let number = self.store_thread.begin(StoreGroup { records, answers: batch, head });
        let number = number.map_err(|failed| self.published.why(failed))?;
        if !answers.is_empty() {
            self.recent_answers.push_back((number, answers));
        }
        if let Some(task) = hash_ahead {
            self.store_thread.run_aside(task);
        }
        // Never tried again: after a failed sync the kernel may have dropped the pages and report success.
        let synced = if awaited { self.sync_segment() } else { Ok(()) };
        let sync = written.elapsed();
        synced?;
        self.store_thread.keep_step().map_err(|failed| self.published.why(failed))?;
        let write = written - started;
        let cost =
            CommitCost { requests, records: records_len, bytes: bytes_len, write, sync: Duration::ZERO };
        self.unsynced.note(Written { cost, first: before.seq.next(), hashes, evidence }, written);
        if awaited {
            self.publish(sync, head, self.answers.next, &outcomes)?;
        } else {
            outcomes.iter().flatten().for_each(|appended| self.unsynced.keep(&appended.records));
        }
        if self.streams.len() > STREAMS_LEN_MAX {
            self.store_thread.lag().settle().map_err(|failed| self.published.why(failed))?;
            self.streams.clear();
        }
        Ok(outcomes)
    }

    /// Adds requests to the group until nobody comes any more. While some are added, others are still on their way.
    fn stage_all(
        &mut self,
        coming: &mut Coming<'_>,
        now: Timestamp,
        group: &mut Group,
    ) -> Result<Vec<Outcome>, JournalError> {
        let mut looked: Option<Gate> = None;
        let mut outcomes = Vec::with_capacity(coming.part.len());
        while !coming.part.is_empty() {
            let gate = match looked {
                Some(gate) if !coming.has_safety() => gate,
                Some(_) | None => self.ballast.gate(coming.has_safety()),
            };
            looked = Some(gate);
            group.bytes.reserve(coming.part.iter().map(|request| request.append.bytes_in_segment()).sum());
            group.records.reserve(coming.part.iter().map(|request| request.append.records.len()).sum());
            for mut request in coming.part.drain(..) {
                outcomes.push(match gate.admit(request.append.terms.class) {
                    Ok(()) => self.stage(&mut request.append, now, group)?,
                    Err(refusal) => Err(refusal),
                });
                coming.staged.push(request);
            }
            coming.queue.gather_more(&mut coming.part, coming.begun);
        }
        // With little room it goes along with what is taken, but takes none for itself.
        if looked.is_none_or(Gate::is_open) || !group.bytes.is_empty() {
            self.stage_evidence(group);
        }
        Ok(outcomes)
    }

    /// Lets go of answers that the store has by now.
    fn forget_answers(&mut self) {
        if !self.recent_answers.is_empty() {
            let applied = self.store_thread.lag().applied();
            self.recent_answers.retain(|(number, _)| *number > applied);
        }
    }

    /// Makes durable what was answered before it was: all up to `head`.
    fn sync(&mut self, head: Head) -> Result<(), JournalError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.sync_segment()?;
        // Answers to commands are not among it.
        let answers_end = self.published.state().answers_end;
        self.publish(started.elapsed(), head, answers_end, &[])
    }

    fn sync_segment(&self) -> Result<(), JournalError> {
        Ok(self.segment.as_ref().map_or(Ok(()), OpenSegment::sync)?)
    }

    /// The segment that has room for so many bytes: the open one, or a new one after it.
    fn segment_for(
        &mut self,
        len: usize,
        before: Head,
        now: Timestamp,
    ) -> Result<&mut OpenSegment, JournalError> {
        let is_due = self.segment.as_ref().is_some_and(|segment| {
            let full = segment.end() + len as u64 + FOOTER_RESERVE > self.segment_bytes;
            let old = now.ms_since(segment.header.created) > self.segment_age_ms;
            (full || old) && segment.contents().last().seq >= segment.header.first()
        });
        if is_due {
            // The footer says that all before it is durable.
            self.sync(before)?;
        }
        if is_due && let Some(segment) = self.segment.take() {
            let sealed = segment.seal()?;
            self.segments.note_sealed(&sealed);
            tracing::info!(segment = %sealed.path.display(), last = %sealed.footer.last.seq, "segment sealed");
            self.segment = Some(self.new_segment(before, now)?);
        }
        self.segment.as_mut().ok_or(JournalError::Closed)
    }

    fn new_segment(&self, before: Head, now: Timestamp) -> Result<OpenSegment, JournalError> {
        let header = SegmentHeader { before, epoch: self.opened.epoch, created: now };
        let mut segment = self.ballast.make_segment(self.segments.dir(), header)?;
        segment.carry(&self.exchange.newest())?;
        let mut bytes = Vec::new();
        // Each segment begins with whose it is, so that nobody has to look in the one before.
        entry::put_opened(&mut bytes, &self.opened);
        segment.write(&bytes, None)?;
        // The group after it may say that all before it is durable.
        segment.sync()?;
        self.segments.note_open(header.first(), segment.path.clone(), segment.contents().marks());
        Ok(segment)
    }

    /// Shows what a sync has made durable, up to `head`, with `outcomes` at its end: first to the projection, then to
    /// those who wait for a new head, then to those who put away and seal what is durable.
    fn publish(
        &mut self,
        sync: Duration,
        head: Head,
        answers_end: u64,
        outcomes: &[Outcome],
    ) -> Result<(), JournalError> {
        self.head_file.write(head)?;
        let Synced { cost, commits: earlier, first, hashes, evidence } = self.unsynced.synced(sync);
        if let Some(observer) = self.published.observer.get() {
            observer.committed(cost);
        }
        let state = PublishedState { head, answers_end };
        self.published.set(state);
        let commits = outcomes.iter().flatten().map(|appended| &appended.records);
        for commit in earlier.iter().chain(commits) {
            if !commit.is_empty() {
                (self.on_commit)(commit);
            }
        }
        self.published.heads.send_if_modified(|seq| std::mem::replace(seq, head.seq) != head.seq);
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.committed(cost.records, head);
        }
        self.exchange.note_written(evidence);
        self.exchange.tell(first, hashes);
        Ok(())
    }

    /// Adds what was signed in the meantime. It speaks of records that are durable, never of this group's.
    fn stage_evidence(&self, group: &mut Group) {
        group.evidence = self.exchange.take();
        for evidence in &group.evidence {
            let begins_group = group.begins();
            entry::put_evidence(&mut group.bytes, begins_group, evidence);
        }
    }

    /// Adds a request to the group, or says why it is left out.
    fn stage(
        &mut self,
        append: &mut Prepared,
        now: Timestamp,
        group: &mut Group,
    ) -> Result<Outcome, JournalError> {
        if let Some(command) = &append.command
            && let Some(first) = self.known_answer(command.id, group)?
        {
            return Ok(Ok(Appended { records: Vec::new(), duplicate: Some(first) }));
        }
        if let Err(conflict) = self.check_expected(&append.writes)? {
            return Ok(Err(conflict));
        }
        group.awaited |= append.terms.durability == Durability::Sync;
        let mut records = std::mem::take(&mut append.records);
        let count = records.len();
        // Before its records: a commit that a stop tears is told by its last record, which is then missing.
        if let Some(CommandWrite { id, fingerprint, answer }) = append.command.take() {
            let next = self.head.seq.next();
            let last = Seq(self.head.seq.0 + count as u64);
            let (first, last) = if count > 0 { (next, last) } else { (Seq::ZERO, Seq::ZERO) };
            let answer = StoredAnswer { fingerprint, answer, first, last };
            let order = self.answers.push(&*self.store, &mut group.batch, id, &answer)?;
            let entry = AnswerEntry { id, order, answer, continued: count > 0 };
            let begins_group = group.begins();
            entry::put_answer(&mut group.bytes, begins_group, &entry);
            group.answers.insert(id, entry.answer);
        }
        let (mut unplaced, mut encoded) = (records.iter_mut(), append.encoded.iter());
        let (mut payloads, mut left) = (&*append.payloads, count);
        for PreparedWrite { stream, count, .. } in &append.writes {
            let mut version = self.version(*stream)?;
            for (record, encoded) in unplaced.by_ref().take(*count).zip(encoded.by_ref()) {
                (version, left) = (version.next(), left - 1);
                let header = &mut record.header;
                (header.seq, header.version, header.time) = (self.head.seq.next(), version, now);
                header.epoch = self.opened.epoch;
                let (payload, rest) = payloads.split_at(encoded.payload_len);
                payloads = rest;
                self.stage_event(header, encoded, payload, left > 0, group);
            }
            self.streams.insert(*stream, version);
        }
        if count > 0 {
            self.answers.settle(&*self.store, &mut group.batch, now)?;
        }
        Ok(Ok(Appended { records, duplicate: None }))
    }

    fn known_answer(&self, id: CommandId, group: &Group) -> Result<Option<StoredAnswer>, JournalError> {
        match group.answers.get(&id) {
            Some(answer) => Ok(Some(answer.clone())),
            None => match self.recent_answers.iter().find_map(|(_, answers)| answers.get(&id)) {
                Some(answer) => Ok(Some(answer.clone())),
                None => Ok(answers::find(&*self.store, id)?.map(|(answer, _)| answer)),
            },
        }
    }

    fn check_expected(&mut self, writes: &[PreparedWrite]) -> Result<Result<(), AppendError>, JournalError> {
        if let [PreparedWrite { stream, expected, .. }] = *writes {
            let actual = self.version(stream)?;
            let conflict = AppendError::Conflict { stream, expected, actual };
            return Ok(if actual == expected { Ok(()) } else { Err(conflict) });
        }
        // A stream may be written twice in one request.
        let mut ahead: BTreeMap<StreamId, StreamVersion> = BTreeMap::new();
        for write in writes {
            let PreparedWrite { stream, expected, .. } = *write;
            let actual = match ahead.get(&stream) {
                Some(version) => *version,
                None => self.version(stream)?,
            };
            if actual != expected {
                return Ok(Err(AppendError::Conflict { stream, expected, actual }));
            }
            ahead.insert(stream, StreamVersion(actual.0 + write.count as u64));
        }
        Ok(Ok(()))
    }

    /// The version of a stream's last record, those of this group included.
    fn version(&mut self, stream: StreamId) -> Result<StreamVersion, JournalError> {
        if let Some(version) = self.streams.get(&stream) {
            return Ok(*version);
        }
        let stored = index::last_version(&*self.store, stream)?;
        // Either may lack the stream; neither goes too far.
        let known = stored.max(self.base_streams.get(&stream).copied());
        let version = known.unwrap_or(StreamVersion::NONE);
        self.streams.insert(stream, version);
        Ok(version)
    }

    fn stage_event(
        &mut self,
        header: &Header,
        encoded: &Encoded,
        payload: &[u8],
        continued: bool,
        group: &mut Group,
    ) {
        let begins_group = group.begins();
        let hash = frame::encode_into(
            &mut group.bytes,
            &FrameParts {
                header,
                layout_number: encoded.layout.number,
                layout_version: encoded.layout.version,
                codec: self.codec,
                sealed: encoded.sealed,
                continued,
                begins_group,
                payload,
                payload_hash: &encoded.payload_hash,
                previous: &self.head.hash,
            },
        );
        group.hashes.push(hash);
        group.records.push(Place::of(header));
        self.head = Head { seq: header.seq, hash };
    }
}
