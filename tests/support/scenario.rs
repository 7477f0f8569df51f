//! Given a history, when a command comes, then these events follow: the one place where scenarios touch the
//! deciders' interface.

use purser_events::{Context, Decider, Policy, Timestamp};

/// The moment at which every scenario takes place.
pub const NOON: Timestamp = Timestamp(1_790_000_000_000_000);

/// A history under test.
#[derive(Debug)]
pub struct Scenario<D: Decider> {
    state: D,
    context: Context,
}

/// What came of a command.
#[derive(Debug)]
pub struct Outcome<D: Decider> {
    before: D,
    result: Result<Vec<D::Event>, D::Rejection>,
}

impl<D: Decider> Scenario<D> {
    /// An entity to which this has happened.
    ///
    /// # Panics
    /// The history is impossible.
    #[track_caller]
    pub fn given<E: Into<D::Event>>(history: impl IntoIterator<Item = E>) -> Scenario<D> {
        let state = history.into_iter().fold(D::default(), |state, event| {
            let event = event.into();
            state.evolve(&event).unwrap_or_else(|illegal| panic!("{illegal}"))
        });
        let context = Context { now: NOON, policy: Policy::default(), cordoned: None };
        Scenario { state, context }
    }

    /// The same at another moment.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Scenario<D> {
        self.context.now = now;
        self
    }

    /// The same on a node that takes no new pods.
    #[must_use]
    pub fn cordoned(mut self, reason: &str) -> Scenario<D> {
        self.context.cordoned = Some(reason.to_owned());
        self
    }

    /// The state now.
    pub fn state(&self) -> &D {
        &self.state
    }

    /// Carries a command out and goes on from there.
    ///
    /// # Panics
    /// The command is refused.
    #[must_use]
    #[track_caller]
    pub fn after(mut self, command: D::Command) -> Scenario<D> {
        let events = self.state.decide(&command, &self.context);
        let events = events.unwrap_or_else(|rejection| panic!("{command:?} was refused: {rejection}"));
        for event in &events {
            self.state = self.state.evolve(event).unwrap_or_else(|illegal| panic!("{illegal}"));
        }
        self
    }

    /// Asks.
    #[must_use]
    pub fn when(self, command: D::Command) -> Outcome<D> {
        let result = self.state.decide(&command, &self.context);
        Outcome { before: self.state, result }
    }
}

impl<D: Decider> Outcome<D> {
    /// Exactly these events follow.
    ///
    /// # Panics
    /// Others do, or none.
    #[track_caller]
    pub fn then<E: Into<D::Event>>(self, expected: impl IntoIterator<Item = E>) {
        let expected: Vec<D::Event> = expected.into_iter().map(Into::into).collect();
        assert_eq!(self.result, Ok(expected), "given {:?}", self.before);
    }

    /// Nothing follows: it is so already.
    ///
    /// # Panics
    /// Something does.
    #[track_caller]
    pub fn then_nothing(self) {
        assert_eq!(self.result, Ok(vec![]), "given {:?}", self.before);
    }

    /// It is refused like this.
    ///
    /// # Panics
    /// It is not, or otherwise.
    #[track_caller]
    pub fn then_refused(self, expected: D::Rejection) {
        assert_eq!(self.result, Err(expected), "given {:?}", self.before);
    }
}
