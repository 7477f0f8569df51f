//! The commands behind the records of workers.

use purser_events::Event;
use purser_events::worker::{Worker, WorkerCommand, WorkerEvent};

use super::{About, Redecided};

impl Redecided for Worker {
    fn commands(&self, events: &[WorkerEvent], _: About) -> Vec<WorkerCommand> {
        let command = events.first().map(|event| match event {
            WorkerEvent::Registered(facts) => WorkerCommand::Register(facts.clone()),
            WorkerEvent::Exited(exited) => WorkerCommand::ReportExit { exit: exited.exit.clone() },
        });
        command.into_iter().collect()
    }

    fn of(event: &Event) -> Option<&WorkerEvent> {
        match event {
            Event::Worker(event) => Some(event),
            _ => None,
        }
    }
}
