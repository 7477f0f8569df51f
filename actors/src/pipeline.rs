//! An entity that decides ahead of the disk: the next command is decided on what the last one will have led to, so that
//! many are made durable together. Each caller is answered, and each effect begun, after its own event is durable.
//!
//! What was decided on top of an append that was not made is decided again.

use std::collections::VecDeque;
use std::pin::Pin;

use purser_events::{Cause, Decider, StreamVersion};
use purser_storage::{Append, AppendError, Appended, Class};

use crate::entity::{Decided, Done, Entity, Execute, Refusal, refusal, timed};
use crate::later::Answer;
use crate::shell::Shell;
use crate::verdict::recall;

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
    /// Whether the next command is of another class, and waits until nothing is in flight.
    holds: bool,
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
    Writing { asked: Asked<D>, decided: Box<Decided<D>>, writing: Option<Writing> },
}

/// Hears of what has become durable, before anybody is answered.
pub(crate) trait Onlooker<D: Decider> {
    /// These are about to have happened to `before`.
    fn before(&mut self, before: &D, events: &[D::Event]);

    /// They have, and the entity is what they made of it.
    fn after(&mut self, entity: &Entity<D>, events: &[D::Event]);
}

impl<D: Decider> Pipeline<D> {
    /// An entity of which nothing is in flight.
    pub(crate) fn new(entity: Entity<D>) -> Pipeline<D> {
        Pipeline {
            ahead: entity.clone(),
            settled: entity,
            flight: VecDeque::new(),
            class: None,
            holds: false,
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

    /// Takes notice of what became of the first append in flight.
    pub(crate) fn land(&mut self, written: Written, shell: &Shell, onlooker: &mut impl Onlooker<D>) {
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
            (Ok(Appended { duplicate: Some(answer), .. }), _) if let Some(key) = asked.execute.by.key => {
                // Whoever had asked the same before was told then: nothing was written this time.
                self.again.get_or_insert_default();
                asked.reply.give(recall::<D>(&answer, key, &shell.journal));
            }
            (Ok(appended), _) => {
                let outcome = self.settle(*decided, &appended, onlooker);
                asked.reply.give(outcome);
            }
        }
        self.tell();
        self.advance(shell);
    }

    fn settle(
        &mut self,
        decided: Decided<D>,
        appended: &Appended,
        onlooker: &mut impl Onlooker<D>,
    ) -> Outcome<D> {
        onlooker.before(&self.settled.state, &decided.events);
        follow_all(&mut self.settled.state, &decided.events);
        self.settled.note_written(&appended.records, decided.is_durable());
        onlooker.after(&self.settled, &decided.events);
        let done = match decided.done_with(&appended.records) {
            // What it was decided on has become durable by now.
            done if !done.changed => Done { seq: self.settled.last, ..done },
            done => done,
        };
        decided.refused.map_or(Ok(done), |rejection| Err(Refusal::Rejected(rejection)))
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
        loop {
            if self.flight.is_empty() {
                self.begin_anew();
            }
            while self.again.is_none() && !self.holds && self.flight.len() < FLIGHT_LEN_MAX {
                let Some(asked) = self.waiting.pop_front() else { break };
                if let Some(asked) = self.decide(asked, shell) {
                    self.waiting.push_front(asked);
                    break;
                }
            }
            self.tell();
            // Where nothing is written nobody would come back to those who wait still.
            if !self.flight.is_empty() || self.waiting.is_empty() {
                return;
            }
        }
    }

    /// Nothing is in flight any more.
    fn begin_anew(&mut self) {
        (self.class, self.holds) = (None, false);
        if let Some(mut again) = self.again.take() {
            self.ahead = self.settled.clone();
            again.append(&mut self.waiting);
            self.waiting = again;
        } else if self.ahead.version == self.settled.version {
            // Where the last record is, is known only now. What the entity is, it was ahead already.
            debug_assert_eq!(self.ahead.state, self.settled.state, "what was decided is what was recorded");
            self.ahead.stand_with(&self.settled);
        }
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
        match self.ahead.answered(&asked.execute.by, shell) {
            Err(refused) => {
                self.flight.push_back(Item::Told(Err(refused), asked));
                return None;
            }
            Ok(Some((answer, key))) => {
                self.flight.push_back(Item::Told(recall::<D>(&answer, key, &shell.journal), asked));
                return None;
            }
            Ok(None) => {}
        }
        let Execute { command, by } = &asked.execute;
        let Entity { state, decisions, .. } = &mut self.ahead;
        let decided = timed(decisions, D::KIND, shell, |context| state.decide_ahead(command, context));
        let (mut decided, append) = self.ahead.outcome(decided, by, shell);
        let Some(append) = append else {
            self.flight.push_back(Item::Told(decided.told(), asked));
            return None;
        };
        decided.terms.class = class_of(decided.terms.class, shell);
        if self.class.is_some_and(|class| class != decided.terms.class) {
            self.rewind(&decided);
            self.holds = true;
            return Some(asked);
        }
        self.write(asked, append, decided, shell);
        None
    }

    fn write(&mut self, asked: Asked<D>, append: Append, decided: Decided<D>, shell: &Shell) {
        let mut terms = decided.terms;
        // What the node itself has seen is recorded while there is room for anything; what it would begin is not.
        let is_own = || !matches!(asked.execute.by.origin.cause, Cause::Command(_)) && !self.is_flying();
        if terms.class == Class::Observation && !shell.journal.has_room(terms.class) && is_own() {
            terms.class = Class::Safety;
        }
        match shell.journal.enqueue(append, terms) {
            // Nothing happened: the answer is as good if it is not remembered.
            Err(AppendError::NoRoom { .. }) if decided.events.is_empty() => {
                self.flight.push_back(Item::Told(decided.told(), asked));
            }
            Err(error) => {
                self.rewind(&decided);
                asked.reply.give(Err(refusal(error)));
            }
            Ok(writing) => {
                let count = u64::try_from(decided.events.len()).unwrap_or(u64::MAX);
                self.ahead.version = StreamVersion(self.ahead.version.0 + count);
                self.class = Some(terms.class);
                let writing: Option<Writing> = Some(Box::pin(writing));
                self.flight.push_back(Item::Writing { asked, decided: Box::new(decided), writing });
            }
        }
    }

    /// Takes back what was decided last and is not written: the entity is what all before it leads to.
    fn rewind(&mut self, decided: &Decided<D>) {
        if decided.events.is_empty() {
            return;
        }
        self.ahead.state = self.settled.state.clone();
        for item in &self.flight {
            if let Item::Writing { decided, .. } = item {
                follow_all(&mut self.ahead.state, &decided.events);
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

/// Carries out events that the entity itself decided.
fn follow_all<D: Decider>(state: &mut D, events: &[D::Event]) {
    for event in events {
        state.follow(event).expect("a decider only emits events that its state can follow");
    }
}
