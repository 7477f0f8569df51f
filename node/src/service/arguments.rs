//! The command line of `purserd`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// What `purserd` was asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "purserd",
    version,
    about = "Runs and watches pods on this node, and remembers every state transition",
    after_help = "Exit codes: 0 stopped in order; 2 wrong command line or config; 70 the journal cannot be written \
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
