//! An answer to a message that is given later, by whoever has kept it: no task of its own waits for it meanwhile.

use std::cell::RefCell;
use std::rc::Rc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};

/// Where an answer goes; who never gives it leaves who asked without one.
pub(crate) struct Answer<T>(Rc<RefCell<State<T>>>);

/// What a handler returns whose answer is given later.
pub(crate) struct Later<T>(Rc<RefCell<State<T>>>);

enum State<T> {
    /// Nobody has come for the answer, and it was not given.
    New,
    /// It was given before anybody came for it.
    Given(T),
    /// Somebody waits for it.
    Awaited(OneshotSender<T>),
    /// It went to who asked, or nobody wants it.
    Done,
}

/// An answer that is to be given, and what a handler returns for it.
pub(crate) fn later<T>() -> (Answer<T>, Later<T>) {
    let state = Rc::new(RefCell::new(State::New));
    (Answer(Rc::clone(&state)), Later(state))
}

impl<T> Answer<T> {
    /// Gives the answer. A caller who went away is told nothing.
    pub(crate) fn give(self, answer: T) {
        let state = self.0.replace(State::Done);
        match state {
            State::New => drop(self.0.replace(State::Given(answer))),
            State::Awaited(sender) => drop(sender.send(answer)),
            State::Given(_) | State::Done => {}
        }
    }
}

impl<A: Actor, M: Message<Result = T>, T: 'static> MessageResponse<A, M> for Later<T> {
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<T>>) {
        let state = self.0.replace(State::Done);
        match (state, sender) {
            (State::Given(answer), Some(sender)) => drop(sender.send(answer)),
            (State::New, Some(sender)) => drop(self.0.replace(State::Awaited(sender))),
            (State::New | State::Given(_) | State::Awaited(_) | State::Done, _) => {}
        }
    }
}
