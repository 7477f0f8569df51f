//! The command line of `purserd`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use uuid::Uuid;

/// What `purserd` was asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "purserd",
    version,
    about = "Runs and watches pods on this node, and remembers every state transition",
    after_help = "Exit codes: 0 stopped in order, or done; 1 refused, nothing was changed; 2 wrong command line or config; 70 the journal cannot be written \
                  any more, or another failure; 73 a folder or socket cannot be made; 74 the journal is damaged or \
                  of a newer release; 75 another purserd holds the journal."
)]
pub struct Arguments {
    /// The config, a TOML file; defaults if absent
    #[arg(long, global = true, value_name = "FILE", env = "PURSER_CONFIG")]
    pub config: Option<PathBuf>,
    /// What to do instead of running the node
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do instead of running the node.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Prints the config in effect, or says what is wrong with it
    CheckConfig,
    /// Keys that seal the journal
    Keys {
        /// What to do about them
        #[command(subcommand)]
        verb: KeysVerb,
    },
    /// The journal, while purserd does not run
    Journal {
        /// What to do about it
        #[command(subcommand)]
        verb: JournalVerb,
    },
    /// Prints a script that completes command lines of purserd
    Completion {
        /// For which shell
        shell: Shell,
    },
}

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Makes the first key and prints its verifier key, which belongs off this host; sealing begins with the next start
    Setup {
        /// Name of the journal in checkpoints, without spaces and `+` [default: purser/HOSTNAME/ and 8 random digits]
        #[arg(long)]
        name: Option<String>,
    },
    /// Shows which key is in force
    Show,
}

/// What to do about the journal.
#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Takes the payloads of a pod that is gone out of the journal, for good
    Redact(RedactArgs),
    /// Makes the store anew from the segments, checks it, and removes the other one
    Migrate(MigrateArgs),
    /// Shows what there is of the journal
    Status(StatusArgs),
}

/// Arguments of `journal redact`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("subject").required(true).args(["pod", "uid"]))]
pub struct RedactArgs {
    /// Every incarnation that had this name and is gone: NAME or NAMESPACE/NAME
    #[arg(value_name = "POD")]
    pub pod: Option<String>,
    /// One incarnation
    #[arg(long, value_name = "UID")]
    pub uid: Option<Uuid>,
    /// Why, in one line of at most 256 bytes: it stays in the journal
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Only says what would go
    #[arg(long)]
    pub dry_run: bool,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `journal migrate`.
#[derive(Debug, Clone, Copy, Args)]
pub struct MigrateArgs {
    /// What is to keep the store
    #[arg(long, value_enum, value_name = "BACKEND")]
    pub to: Target,
}

/// What can keep the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// sled 0.34
    Sled,
    /// redb 4
    Redb,
}

/// Arguments of `journal status`.
#[derive(Debug, Clone, Copy, Args)]
pub struct StatusArgs {
    /// For programs
    #[arg(long)]
    pub json: bool,
}
