//! An entity that lives: its state, its place in the journal, and the only way in which it changes.

use std::sync::Arc;
use std::time::Duration;

use metrics::histogram;
use purser_events::{
    Cause, CommandId, Context, Decider, Event, Origin, Principal, Record, Seq, StreamId, StreamKind,
    StreamVersion,
};
use purser_storage::{
    Append, AppendError, Appended, Class, CommandWrite, Durability, Journal, JournalError, StoredAnswer,
    StreamWrite, Terms,
};
use uuid::Uuid;

use crate::durations::Durations;
use crate::live::LiveWorld;
use crate::shell::Shell;
use crate::verdict::{Verdict, recall};
use crate::{metric, terms};

/// What a caller is told to wait when a key could not be made, in milliseconds.
const NO_KEY_RETRY_AFTER_MS: u64 = 1_000;

/// Asks an entity to carry out a command.
#[derive(Debug, Clone)]
pub struct Execute<D: Decider> {
    /// What is asked.
    pub command: D::Command,
    /// Why, and on whose behalf.
    pub by: By,
}

impl<D: Decider> actix::Message for Execute<D> {
    type Result = Result<Done, Refusal<D::Rejection>>;
}

/// Why something is asked, and on whose behalf.
#[derive(Debug, Clone)]
pub struct By {
    /// Recorded with every event that follows.
    pub origin: Origin,
    /// What makes a retry of the same request recognisable, if it came from outside.
    pub key: Option<CommandKey>,
}

impl By {
    /// The node's own doing, caused by `cause` in the conversation `correlation`.
    #[must_use]
    pub fn node(cause: Cause, correlation: Uuid) -> By {
        By { origin: Origin { cause, correlation, principal: Principal::node() }, key: None }
    }
}

/// What makes a retry recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandKey {
    /// The request's id.
    pub id: CommandId,
    /// Digest of what was asked: the same id with another request is a mistake.
    pub fingerprint: [u8; 32],
}

/// A command that was carried out, or was so already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The entity.
    pub stream: StreamId,
    /// Whether anything happened.
    pub changed: bool,
    /// The last record of this command, or the entity's last if nothing happened.
    pub seq: Seq,
    /// Whether this is the first answer to a retry.
    pub replayed: bool,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal<R> {
    /// The entity refuses.
    #[error(transparent)]
    Rejected(R),
    /// The same command id came with another request before.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The journal takes no more for now.
    #[error("the journal is busy; try again in {retry_after_ms} ms")]
    Busy {
        /// When there may be room, in milliseconds.
        retry_after_ms: u64,
    },
    /// The journal's disk is so full that this is not recorded.
    #[error("the journal's disk is too full to record this")]
    NoRoom,
    /// The events are too large to be recorded.
    #[error("the events have {len} bytes; at most {max} can be recorded")]
    TooLarge {
        /// Bytes needed.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The entity is about to go because it never came to be; ask again.
    #[error("the entity is being retired")]
    Retired,
    /// The journal cannot be written: the node is about to end.
    #[error("the journal cannot be written")]
    Fenced,
}

/// One entity: what it is now and where its stream stands.
#[derive(Debug, Clone)]
pub struct Entity<D: Decider> {
    /// Its stream.
    pub stream: StreamId,
    /// Version of its last record.
    pub version: StreamVersion,
    /// Where its last record is.
    pub last: Seq,
    /// Its last record that was durable when it was answered: what a caller may be told of.
    promised: Seq,
    /// The conversation that its last record belongs to.
    pub correlation: Uuid,
    /// What it is.
    pub state: D,
    /// How long its decisions took.
    pub decisions: Arc<Durations>,
}

/// A decision that is on disk and that the entity has yet to accept.
#[derive(Debug)]
pub struct Committed<D: Decider> {
    done: Done,
    next: D,
    events: Vec<D::Event>,
    records: Vec<Record>,
    /// Whether the records were durable when they were answered.
    is_durable: bool,
}

impl<D: Decider> Entity<D> {
    /// An entity to which nothing has happened.
    #[must_use]
    pub fn new(id: Uuid) -> Entity<D> {
        let stream = StreamId { kind: D::KIND, id };
        Entity {
            stream,
            version: StreamVersion::NONE,
            last: Seq::ZERO,
            promised: Seq::ZERO,
            correlation: id,
            state: D::default(),
            decisions: Arc::default(),
        }
    }

    /// An entity as the live world has it.
    #[must_use]
    pub fn recovered(id: Uuid, state: D, shell: &Shell) -> Entity<D> {
        Entity::of(id, state, &shell.live)
    }

    /// As [`Entity::recovered`], where there are no actors.
    pub(crate) fn of(id: Uuid, state: D, live: &LiveWorld) -> Entity<D> {
        let fresh = Entity::new(id);
        match live.head(fresh.stream) {
            Some(head) => Entity {
                version: head.version,
                last: head.seq,
                promised: head.seq,
                correlation: head.correlation,
                state,
                ..fresh
            },
            None => fresh,
        }
    }

    /// Decides and makes the outcome durable. The entity changes only in [`Entity::accept`]; let no other
    /// command be decided in between.
    ///
    /// # Errors
    /// The entity refuses, or the journal takes no more; nothing happens then.
    ///
    /// # Panics
    /// The decider emits an event that its own state cannot follow: a defect, and going on would record it.
    pub fn commit(
        &self,
        execute: &Execute<D>,
        shell: &Shell,
    ) -> impl Future<Output = Result<Committed<D>, Refusal<D::Rejection>>> + use<D> {
        let prepared = self.prepare(execute, shell);
        let journal = shell.journal.clone();
        let clock = shell.clock.clone();
        async move {
            let (append, decided) = match prepared? {
                Prepared::Settled(committed) => return Ok(committed),
                Prepared::ToWrite(append, decided) => (append, decided),
            };
            // What the node itself has done is never dropped for want of room. What will be seen again is: whoever
            // saw it tells it again, and the entity is free for what matters more.
            let mut terms = decided.decided.terms;
            let asked = matches!(append.origin.cause, Cause::Command(_)) || terms::bring_a_pod(&append);
            let patient = append.command.is_none() && terms.class != Class::Observation;
            let appended = loop {
                match journal.append_on(append.clone(), terms).await {
                    Ok(appended) => break appended,
                    Err(AppendError::Busy { retry_after_ms, .. }) if patient => {
                        clock.sleep(Duration::from_millis(retry_after_ms)).await;
                    }
                    Err(AppendError::NoRoom { .. }) if patient && !asked && terms.class != Class::Safety => {
                        terms.class = Class::Safety;
                    }
                    // Nothing happened: the answer is as good if it is not remembered.
                    Err(AppendError::NoRoom { .. }) if decided.decided.events.is_empty() => {
                        break Appended { records: vec![], duplicate: None };
                    }
                    Err(error) => return Err(refusal(error)),
                }
            };
            decided.settle(appended, &journal)
        }
    }

    /// Decides, and says what is to be written if anything is.
    ///
    /// # Errors
    /// The entity refuses.
    ///
    /// # Panics
    /// As [`Entity::commit`].
    pub(crate) fn prepare(
        &self,
        execute: &Execute<D>,
        shell: &Shell,
    ) -> Result<Prepared<D>, Refusal<D::Rejection>> {
        if let Some((answer, key)) = self.answered(&execute.by, shell)? {
            let first = first_answer(&answer, key, &shell.journal, self.state.clone());
            return first.map(Prepared::Settled);
        }
        let decide = |context: &Context| self.state.decide_next(&execute.command, context);
        let decided = timed(&self.decisions, D::KIND, shell, decide);
        let (decided, next) = match decided {
            Ok((events, next)) => (Ok(events), next),
            Err(rejection) => (Err(rejection), self.state.clone()),
        };
        let (Decided { terms, done, events, refused }, append) = self.outcome(decided, &execute.by, shell);
        Ok(match (append, refused) {
            (None, Some(rejection)) => return Err(Refusal::Rejected(rejection)),
            (None, None) => {
                Prepared::Settled(Committed { done, next, events, records: vec![], is_durable: true })
            }
            (Some(append), refused) => {
                let keyed = execute.by.key.map(|key| (key, self.state.clone()));
                let decided = Decided { terms, done, events, refused };
                Prepared::ToWrite(append, Box::new(ToWrite { keyed, next, decided }))
            }
        })
    }

    /// The answer that the same request got before, if it did.
    ///
    /// # Errors
    /// The answers cannot be read.
    pub(crate) fn answered(
        &self,
        by: &By,
        shell: &Shell,
    ) -> Result<Option<(StoredAnswer, CommandKey)>, Refusal<D::Rejection>> {
        let Some(key) = by.key else { return Ok(None) };
        let answer = shell.journal.answer(key.id).map_err(|error| unreadable(&error))?;
        Ok(answer.map(|answer| (answer, key)))
    }

    /// What a decision comes to, and what is to be written for it: nothing if nothing happened and nobody will ask again.
    pub(crate) fn outcome(
        &self,
        decided: Result<Vec<D::Event>, D::Rejection>,
        by: &By,
        shell: &Shell,
    ) -> (Decided<D>, Option<Append>) {
        let (events, refused) = match decided {
            Ok(events) => {
                let refused = D::refusal(&events);
                (events, refused)
            }
            Err(rejection) => (vec![], Some(rejection)),
        };
        let changed = !events.is_empty();
        // What is not durable yet is not named: after a loss of power another record could have its number.
        let is_durable = self.last <= shell.journal.head().seq;
        // What is answered under a key is written first, and all before it with it.
        let seq = if is_durable || by.key.is_some() { self.last } else { self.promised };
        let done = Done { stream: self.stream, changed, seq, replayed: false };
        let facts: Vec<Event> = events.iter().cloned().map(Into::into).collect();
        let terms = terms::of(&facts);
        let command = by.key.map(|key| CommandWrite {
            id: key.id,
            fingerprint: key.fingerprint,
            answer: Verdict {
                stream: self.stream,
                changed,
                last: self.last,
                version: Some(self.version),
                refused: refused.clone(),
            }
            .written(),
        });
        let append = (changed || command.is_some()).then(|| {
            let write = StreamWrite { stream: self.stream, expected: self.version, events: facts };
            Append { writes: vec![write], origin: by.origin.clone(), command }
        });
        (Decided { terms, done, events, refused }, append)
    }

    /// What a command is to write, where there are no actors and the journal is asked directly.
    ///
    /// # Errors
    /// The entity refuses.
    ///
    /// # Panics
    /// As [`Entity::commit`].
    pub(crate) fn offline(
        &self,
        command: &D::Command,
        context: &Context,
        origin: Origin,
    ) -> Result<Append, D::Rejection> {
        let (events, _) = self.state.decide_next(command, context)?;
        let events = events.into_iter().map(Into::into).collect();
        let write = StreamWrite { stream: self.stream, expected: self.version, events };
        Ok(Append { writes: vec![write], origin, command: None })
    }

    /// Takes what was committed as the new state and returns each event with where it is.
    pub fn accept(&mut self, committed: Committed<D>) -> (Done, Vec<(D::Event, Seq)>) {
        self.note_written(&committed.records, committed.is_durable);
        self.state = committed.next;
        let seqs = committed.records.iter().map(|record| record.header.seq);
        (committed.done, committed.events.into_iter().zip(seqs).collect())
    }

    /// Notes that its stream stands where another's of the same state does.
    pub(crate) fn stand_with(&mut self, other: &Entity<D>) {
        (self.version, self.last, self.promised) = (other.version, other.last, other.promised);
        self.correlation = other.correlation;
    }

    /// Notes where its stream stands after these records.
    pub(crate) fn note_written(&mut self, records: &[Record], is_durable: bool) {
        let Some(last) = records.last() else { return };
        self.version = last.header.version;
        self.last = last.header.seq;
        if is_durable {
            self.promised = self.last;
        }
        self.correlation = last.header.origin.correlation;
    }
}

/// Makes a decision in the circumstances of now, and notes how long it took.
pub(crate) fn timed<T>(
    decisions: &Durations,
    kind: StreamKind,
    shell: &Shell,
    decide: impl FnOnce(&Context) -> T,
) -> T {
    let context = shell.live.context(shell.clock.now());
    let begun = shell.clock.passed();
    let decided = decide(&context);
    let took = shell.clock.passed().saturating_sub(begun);
    decisions.add(took);
    histogram!(metric::DECISION.name, "entity" => kind.word()).record(took);
    decided
}

/// What a decision leads to.
pub(crate) enum Prepared<D: Decider> {
    /// Nothing is to be written.
    Settled(Committed<D>),
    /// This is, and what it then comes to.
    ToWrite(Append, Box<ToWrite<D>>),
}

/// A decision, apart from the state that it leads to.
pub(crate) struct Decided<D: Decider> {
    pub(crate) terms: Terms,
    /// What a caller is told if nothing is written.
    pub(crate) done: Done,
    pub(crate) events: Vec<D::Event>,
    pub(crate) refused: Option<D::Rejection>,
}

impl<D: Decider> Decided<D> {
    /// What a caller is told now that these are the records of it.
    pub(crate) fn done_with(&self, records: &[Record]) -> Done {
        let seq = records.last().map_or(self.done.seq, |record| record.header.seq);
        Done { seq, ..self.done }
    }

    /// What a caller is told where nothing is written.
    pub(crate) fn told(self) -> Result<Done, Refusal<D::Rejection>> {
        self.refused.map_or(Ok(self.done), |rejection| Err(Refusal::Rejected(rejection)))
    }

    /// Whether its records are durable when they are answered.
    pub(crate) fn is_durable(&self) -> bool {
        self.terms.durability == Durability::Sync
    }
}

/// A decision that is to be written.
pub(crate) struct ToWrite<D: Decider> {
    /// The request's id if it has one, and what the entity was: it stays that if the request was answered before.
    keyed: Option<(CommandKey, D)>,
    next: D,
    decided: Decided<D>,
}

impl<D: Decider> ToWrite<D> {
    /// What it comes to now that it is written.
    ///
    /// # Errors
    /// The entity refuses, which is on record.
    fn settle(self, appended: Appended, journal: &Journal) -> Result<Committed<D>, Refusal<D::Rejection>> {
        let ToWrite { keyed, next, decided } = self;
        if let (Some(answer), Some((key, before))) = (&appended.duplicate, keyed) {
            return first_answer(answer, key, journal, before);
        }
        let (done, is_durable) = (decided.done_with(&appended.records), decided.is_durable());
        let Decided { events, refused, .. } = decided;
        // A refusal that is an event as well is told once the entity has accepted that.
        if let Some(rejection) = refused.filter(|_| events.is_empty()) {
            return Err(Refusal::Rejected(rejection));
        }
        Ok(Committed { done, next, events, records: appended.records, is_durable })
    }
}

/// The answer that the first request with this id got; the entity stays as it is.
fn first_answer<D: Decider>(
    answer: &StoredAnswer,
    key: CommandKey,
    journal: &Journal,
    state: D,
) -> Result<Committed<D>, Refusal<D::Rejection>> {
    let done = recall::<D>(answer, key, journal)?;
    Ok(Committed { done, next: state, events: vec![], records: vec![], is_durable: true })
}

/// What a caller is told when an append was not made.
///
/// # Panics
/// The stream has another writer, which only a defect can lead to.
pub(crate) fn refusal<R>(error: AppendError) -> Refusal<R> {
    match error {
        AppendError::Busy { retry_after_ms, .. } => Refusal::Busy { retry_after_ms },
        AppendError::NoRoom { .. } => Refusal::NoRoom,
        AppendError::TooLarge { len, max } => Refusal::TooLarge { len, max },
        AppendError::NoKey { stream, reason } => {
            tracing::error!(%stream, reason, "a key is missing; nothing is recorded without it");
            Refusal::Busy { retry_after_ms: NO_KEY_RETRY_AFTER_MS }
        }
        AppendError::Fenced | AppendError::Closed => Refusal::Fenced,
        AppendError::Conflict { .. } | AppendError::NothingToWrite => {
            // One stream has one writer. In a release this ends the process, and the next one replays.
            panic!("an entity knows where its own stream stands: {error}")
        }
    }
}

fn unreadable<R>(error: &JournalError) -> Refusal<R> {
    tracing::error!(%error, "failed to look up a command id");
    Refusal::Fenced
}
