//! An audit of one's own: how often the containers of each pod ended with an error, and which pods are there now.
//!
//! `cargo run -p purser-replay --example exits -- node.journal`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use purser_events::Event;
use purser_events::pod::PodEvent;
use purser_replay::Failure;
use purser_replay::audit::Journal;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: exits EXPORT");
        return ExitCode::from(2);
    };
    match report(&Journal::export(path), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("exits: {}", failure.told());
            ExitCode::from(failure.exit().code())
        }
    }
}

/// Writes one line for each pod whose containers ended with an error, and one for the pods that are there.
pub(crate) fn report(journal: &Journal, out: &mut dyn Write) -> Result<(), Failure> {
    let mut failed = BTreeMap::new();
    for audited in journal.records()? {
        let audited = audited?;
        if let Ok(Event::Pod(PodEvent::ContainerExited(exited))) = audited.event
            && exited.exit.code != 0
        {
            *failed.entry(audited.header.stream).or_insert(0_u64) += 1;
        }
    }
    let world = journal.world(None)?;
    let written = failed.iter().try_for_each(|(pod, times)| writeln!(out, "{pod} failed {times} times"));
    written.and_then(|()| writeln!(out, "{} pods are there", world.pods.len())).map_err(Failure::Output)
}
