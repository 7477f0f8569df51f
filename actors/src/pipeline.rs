//! An entity that decides ahead of the disk: the next command is decided on what the last one will have led to, so that
//! many are made durable together. Each caller is answered, and each effect begun, after its own event is durable.
//!
//! What was decided on top of an append that was not made is decided again.

use std::collections::VecDeque;
use std::pin::Pin;

use purser_events::{Cause, Decider, Seq, StreamVersion};
use purser_storage::{Append, AppendError, Appended, Class};

use crate::entity::{Done, Entity, Execute, Prepared, Refusal, ToWrite, refusal};
use crate::later::Answer;
use crate::shell::Shell;

/// Most decisions that are on their way to the disk at once.
const FLIGHT_LEN_MAX: usize = 256;

/// What a caller is told.
pub(crate) type Outcome<D> = Result<Done, Refusal<<D as Decider>::Rejection>>;
/// What the journal says of an append.
pub(crate) type Written = Result<Appended, AppendError>;
/// An append on its way to the disk.
pub(crate) type Writing = Pin<Box<dyn Future<Output = Written> + Send>>;

/// One entity, ahead of the disk.
pub(crate) struct Pipeline<D: Decider> {
    /// What it is by what is on disk.
    settled: Entity<D>,
    /// What it will be.
    ahead: Entity<D>,
    flight: VecDeque<Item<D>>,
    /// The class of what is in flight: another class would be written out of turn.
    class: Option<Class>,
    /// An append was not made: what follows it in flight will not be either, and comes back in here.
    again: Option<VecDeque<Asked<D>>>,
    waiting: VecDeque<Asked<D>>,
}

struct Asked<D: Decider> {
    execute: Execute<D>,
    reply: Answer<Outcome<D>>,
}

enum Item<D: Decider> {
    /// An answer that holds once all before it is on disk.
    Told(Outcome<D>, Asked<D>),
    /// A decision that is being written.
    Writing { asked: Asked<D>, decided: Box<ToWrite<D>>, writing: Option<Writing> },
}

/// What has become durable.
pub(crate) struct Landed<D: Decider> {
    /// The state before.
    pub(crate) before: D,
    /// What happened, and where it is on record.
    pub(crate) happened: Vec<(D::Event, Seq)>,
}

impl<D: Decider> Pipeline<D> {
    /// An entity of which nothing is in flight.
    pub(crate) fn new(entity: Entity<D>) -> Pipeline<D> {
        Pipeline {
            ahead: entity.clone(),
            settled: entity,
            flight: VecDeque::new(),
            class: None,
            again: None,
            waiting: VecDeque::new(),
        }
    }

    /// Takes a command; its answer comes to `reply` in time.
    pub(crate) fn ask(&mut self, execute: Execute<D>, reply: Answer<Outcome<D>>, shell: &Shell) {
        self.waiting.push_back(Asked { execute, reply });
        self.advance(shell);
    }

    /// What is to be awaited next: hand what it says to [`Pipeline::land`].
    pub(crate) fn next_writing(&mut self) -> Option<Writing> {
        match self.flight.front_mut() {
            Some(Item::Writing { writing, .. }) => writing.take(),
            Some(Item::Told(..)) | None => None,
        }
    }

    /// Takes notice of what became of the first append in flight. `then` acts on what is durable now, before anybody is
    /// answered.
    pub(crate) fn land(&mut self, written: Written, shell: &Shell, then: impl FnOnce(&Entity<D>, Landed<D>)) {
        let Some(Item::Writing { asked, decided, .. }) = self.flight.pop_front() else {
            unreachable!("only the first append in flight is awaited");
        };
        match (written, &mut self.again) {
            // Decided on what never came to be.
            (Err(AppendError::Conflict { .. }), Some(again)) => again.push_back(asked),
            (Err(error), _) => {
                self.again.get_or_insert_default();
                asked.reply.give(Err(refusal(error)));
            }
            (Ok(appended), _) => {
                // Whoever had asked the same before: nothing was written this time.
                if appended.duplicate.is_some() {
                    self.again.get_or_insert_default();
                }
                let outcome = self.settle(*decided, appended, then);
                asked.reply.give(outcome);
            }
        }
        self.tell();
        self.advance(shell);
    }

    fn settle(
        &mut self,
        decided: ToWrite<D>,
        appended: Appended,
        then: impl FnOnce(&Entity<D>, Landed<D>),
    ) -> Outcome<D> {
        let refused = decided.refused.clone();
        let committed = decided.settle(appended)?;
        let before = self.settled.state.clone();
        let (done, happened) = self.settled.accept(committed);
        // Whoever had asked the same before was told then.
        let refused = refused.filter(|_| !happened.is_empty());
        then(&self.settled, Landed { before, happened });
        refused.map_or(Ok(done), |rejection| Err(Refusal::Rejected(rejection)))
    }

    /// Gives the answers that wait for nothing any more.
    fn tell(&mut self) {
        while matches!(self.flight.front(), Some(Item::Told(..))) {
            let Some(Item::Told(outcome, asked)) = self.flight.pop_front() else { return };
            // It holds for a state that never came to be.
            if let Some(again) = &mut self.again {
                again.push_back(asked);
                continue;
            }
            let last = self.settled.last;
            let outcome = outcome.map(|done| if done.replayed { done } else { Done { seq: last, ..done } });
            asked.reply.give(outcome);
        }
    }

    /// Decides what waits, as far as it can be now.
    fn advance(&mut self, shell: &Shell) {
        if self.flight.is_empty() {
            self.class = None;
            if let Some(mut again) = self.again.take() {
                self.ahead = self.settled.clone();
                again.append(&mut self.waiting);
                self.waiting = again;
            } else if self.ahead.version == self.settled.version {
                // Where the last record is, is known only now.
                self.ahead = self.settled.clone();
            }
        }
        while self.again.is_none() && self.flight.len() < FLIGHT_LEN_MAX {
            let Some(asked) = self.waiting.pop_front() else { break };
            if let Some(asked) = self.decide(asked, shell) {
                self.waiting.push_front(asked);
                break;
            }
        }
        self.tell();
    }

    /// Decides one command; gives it back if it must wait for what is in flight.
    fn decide(&mut self, asked: Asked<D>, shell: &Shell) -> Option<Asked<D>> {
        let is_keyed = |asked: &Asked<D>| asked.execute.by.key.is_some();
        let same_key = |item: &Item<D>| match item {
            Item::Writing { asked: flying, .. } => flying.execute.by.key == asked.execute.by.key,
            Item::Told(..) => false,
        };
        if is_keyed(&asked) && self.flight.iter().any(same_key) {
            return Some(asked);
        }
        let (append, mut decided) = match self.ahead.prepare(&asked.execute, shell) {
            Err(refused) => {
                self.flight.push_back(Item::Told(Err(refused), asked));
                return None;
            }
            Ok(Prepared::Settled(committed)) => {
                self.flight.push_back(Item::Told(Ok(committed.done()), asked));
                return None;
            }
            Ok(Prepared::ToWrite(append, decided)) => (append, decided),
        };
        decided.terms.class = class_of(decided.terms.class, shell);
        if self.class.is_some_and(|class| class != decided.terms.class) {
            return Some(asked);
        }
        self.write(asked, append, decided, shell);
        None
    }

    fn write(&mut self, asked: Asked<D>, append: Append, decided: Box<ToWrite<D>>, shell: &Shell) {
        let mut terms = decided.terms;
        // What the node itself has seen or done is recorded while there is room for anything.
        let is_own = || !matches!(asked.execute.by.origin.cause, Cause::Command(_)) && !self.is_flying();
        if !shell.journal.has_room(terms.class) && is_own() {
            terms.class = Class::Safety;
        }
        match shell.journal.enqueue(append, terms) {
            Err(error) => asked.reply.give(Err(refusal(error))),
            Ok(writing) => {
                let count = u64::try_from(decided.events.len()).unwrap_or(u64::MAX);
                self.ahead.state = decided.next.clone();
                self.ahead.version = StreamVersion(self.ahead.version.0 + count);
                self.class = Some(terms.class);
                let writing: Option<Writing> = Some(Box::pin(writing));
                self.flight.push_back(Item::Writing { asked, decided, writing });
            }
        }
    }

    fn is_flying(&self) -> bool {
        self.flight.iter().any(|item| matches!(item, Item::Writing { .. }))
    }
}

/// The class in which a decision is written: as long as there is room for everything, all of an entity's are alike, so that
/// none has to wait for those of another class before it.
fn class_of(class: Class, shell: &Shell) -> Class {
    let is_alike = class == Class::Safety && shell.journal.has_room(Class::Lifecycle);
    if is_alike { Class::Lifecycle } else { class }
}
