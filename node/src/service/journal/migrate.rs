//! `purserd journal migrate`: makes the store anew from the segments, ahead of the start that needs it.

use purser_storage::migrate::{self, Step};
use purser_storage::{FolderError, JournalError};

use super::{JournalVerbError, dir, print};
use crate::config::{Backend, Config};
use crate::service::arguments::{MigrateArgs, Target};
use crate::service::exit::Failure;

/// Parts in a hundred between two words about how far it has come.
const TOLD_EVERY: u64 = 10;

pub(super) fn run(config: &Config, args: MigrateArgs) -> Result<(), Failure> {
    let dir = dir(config)?;
    let (to, name) = match args.to {
        Target::Sled => (Backend::Sled, "sled"),
        Target::Redb => (Backend::Redb, "redb"),
    };
    let mut told = Progress::default();
    let migrated =
        migrate::migrate(&dir, to.into(), config.journal.cache_bytes.get(), &mut |step, at, of| {
            told.note(step, at, of);
        });
    let migrated = migrated.map_err(|error| match error {
        JournalError::Folder(error @ FolderError::Locked { .. }) => JournalVerbError::InUse(error),
        error => JournalVerbError::Migrate(error),
    })?;
    print(&format!(
        "made      {name} with {} records, {} streams and {} answers, each compared with the segments\n",
        migrated.records, migrated.streams, migrated.answers
    ))?;
    if config.journal.backend == to {
        print("config    `journal.backend` says so already\n")?;
    } else {
        print(&format!(
            "config    set `journal.backend = \"{name}\"`: with another value the next start makes that store anew\n"
        ))?;
    }
    Ok(())
}

/// Says on standard error how far it has come.
#[derive(Default)]
struct Progress {
    said: Option<(Step, u64)>,
}

impl Progress {
    fn note(&mut self, step: Step, at: u64, of: u64) {
        let part = at.saturating_mul(100).checked_div(of).unwrap_or(100) / TOLD_EVERY * TOLD_EVERY;
        if self.said != Some((step, part)) {
            self.said = Some((step, part));
            let word = match step {
                Step::Make => "making",
                Step::Check => "checking",
            };
            eprintln!("{word} {part} %, record {at} of {of}");
        }
    }
}
