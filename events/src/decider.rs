//! What every entity is: a decision and a transition, both pure.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::ids::StreamKind;

/// An entity as pure logic. The initial state is [`Default`]: nothing has happened yet.
pub trait Decider: Clone + fmt::Debug + Default + PartialEq + Send + Sync + 'static {
    /// What may be asked of it.
    type Command: fmt::Debug + Clone + Send + 'static;
    /// What can happen to it.
    type Event: fmt::Debug + Clone + PartialEq + Into<crate::Event> + Send + 'static;
    /// Why it may refuse.
    type Rejection: std::error::Error + Clone + PartialEq + Serialize + DeserializeOwned + Send + 'static;

    /// The kind of its stream.
    const KIND: StreamKind;

    /// Says what a command would make happen: events, none (it is already so), or a refusal.
    ///
    /// # Errors
    /// The named reason why the command is refused; nothing happens then.
    fn decide(&self, command: &Self::Command, context: &Context)
    -> Result<Vec<Self::Event>, Self::Rejection>;

    /// What [`Decider::decide`] says, with the state that it leads to: the entity's own events were tried out on it before
    /// any of them is on disk.
    ///
    /// # Errors
    /// As for [`Decider::decide`].
    ///
    /// # Panics
    /// The events are none that the state can follow: a defect, and going on would record it.
    fn decide_next(
        &self,
        command: &Self::Command,
        context: &Context,
    ) -> Result<(Vec<Self::Event>, Self), Self::Rejection> {
        let events = self.decide(command, context)?;
        let next = events.iter().try_fold(self.clone(), |state, event| state.evolve(event));
        Ok((events, next.expect("a decider only emits events that its state can follow")))
    }

    /// Decides, and becomes the state that follows: [`Decider::decide_next`] for an entity that goes on with what it
    /// has decided, without the copy. After a refusal it is what it was.
    ///
    /// # Errors
    /// As for [`Decider::decide`].
    ///
    /// # Panics
    /// As [`Decider::decide_next`].
    fn decide_ahead(
        &mut self,
        command: &Self::Command,
        context: &Context,
    ) -> Result<Vec<Self::Event>, Self::Rejection> {
        let (events, next) = self.decide_next(command, context)?;
        *self = next;
        Ok(events)
    }

    /// The refusal that these events put on record, if they do: whoever asked is refused, and that he asked is a fact.
    #[must_use]
    fn refusal(events: &[Self::Event]) -> Option<Self::Rejection> {
        let _ = events;
        None
    }

    /// The state after an event.
    ///
    /// # Errors
    /// The event cannot happen in this state: our own defect, or a damaged journal.
    fn evolve(&self, event: &Self::Event) -> Result<Self, IllegalTransition>;

    /// Becomes the state after an event, or stays what it was. The same as [`Decider::evolve`] without a copy: a
    /// replay does it once a record.
    ///
    /// # Errors
    /// As for [`Decider::evolve`].
    fn follow(&mut self, event: &Self::Event) -> Result<(), IllegalTransition> {
        *self = self.evolve(event)?;
        Ok(())
    }

    /// Whether nothing can happen any more.
    fn is_terminal(&self) -> bool;
}

/// An event that its entity's state cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event `{event}` is impossible in state `{state}`")]
pub struct IllegalTransition {
    /// The state, in short.
    pub state: String,
    /// The event, in short.
    pub event: String,
}

impl IllegalTransition {
    /// Notes an event that cannot follow a state.
    pub fn new(state: impl fmt::Display, event: impl fmt::Display) -> IllegalTransition {
        IllegalTransition { state: state.to_string(), event: event.to_string() }
    }
}
