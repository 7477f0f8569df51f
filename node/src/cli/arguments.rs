//! The command line of `purser`.

pub mod history;
pub mod import;
pub mod ledger;
pub mod node;
pub mod pool;
pub mod resize;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use purser_events::pod::Phase;

/// What `purser` was asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "purser",
    version,
    about = "Runs and watches pods of the node that purserd serves",
    after_help = "Exit codes: 0 done; 1 refused or failed; 2 wrong command line; 3 the service cannot be reached; 4 a \
                  wait took too long. `purser exec` ends with the exit code of the command."
)]
pub struct Arguments {
    /// The socket of purserd [default: /run/purser/purser.sock for root; for another user
    /// $XDG_RUNTIME_DIR/purser.sock, else ~/.local/state/purser/purser.sock]
    #[arg(long, global = true, value_name = "PATH", env = "PURSER_SOCKET")]
    pub socket: Option<PathBuf>,
    /// The namespace of pods that are named without one; `default` if absent
    #[arg(short, long, global = true, value_name = "NAMESPACE", env = "PURSER_NAMESPACE")]
    pub namespace: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Runs the pods and pools of manifests, unless they run already
    Apply(Apply),
    /// Lists pods, pools, tasks, workers, resources, tenants or reservations, or shows the node
    Get(Get),
    /// Shows everything about a pod, a pool, a task, a tenant or a GPU
    Describe(Describe),
    /// Prints a container's output
    Logs(Logs),
    /// Runs a command in a container and ends with its exit code
    Exec(Exec),
    /// Gives containers of a pod that runs other limits
    Resize(resize::Resize),
    /// Stops pods and waits until they have; they stay and can be started again
    Stop(End),
    /// Starts pods that have stopped or failed
    Start(Start),
    /// Removes pods or pools for good, or tenants' bounds
    Delete(Delete),
    /// Waits until a pod is as wanted
    Wait(Wait),
    /// Prints what happened
    Events(Events),
    /// Shows what became of pods, also of those that are long gone
    History(history::History),
    /// Shows the folds of the journal that answer questions, or has one built again
    Projections(history::Projections),
    /// Shows what recorded use gives reason to say: odd use, what runs out, what is asked for in vain
    Advise {
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Sets what is given out, and to whom
    Set {
        /// What to set
        #[command(subcommand)]
        verb: ledger::SetVerb,
    },
    /// Stops giving a resource out, or starts again
    Resources(ledger::Resources),
    /// Has resources kept for a pod to be
    Reserve(Box<ledger::Reserve>),
    /// Gives a reservation up
    CancelReservation(ledger::CancelReservation),
    /// Brings images to the node
    Image {
        /// What to do
        #[command(subcommand)]
        verb: ImageVerb,
    },
    /// Gives a task to a pool
    Submit(Box<pool::Submit>),
    /// Has a planned change applied
    Confirm(pool::TaskChange),
    /// Drops a planned change
    Discard(pool::TaskChange),
    /// Ends a task
    CancelTask(pool::TaskChange),
    /// Prints a task's output
    TaskLog(pool::TaskLog),
    /// Lifts the freeze of a pool for a while
    Unfreeze(pool::Unfreeze),
    /// Asks what a pool would have done
    Pool {
        /// What to ask
        #[command(subcommand)]
        verb: pool::PoolVerb,
    },
    /// Takes over what another system had in force
    Import {
        /// What to take over
        #[command(subcommand)]
        verb: import::ImportVerb,
    },
    /// Says how the node stands
    Status(Status),
    /// Makes the node, or one GPU, take no new pods; those that run go on
    Cordon {
        /// The node if absent; `gpu UUID` for a GPU, by its uuid, the beginning of it, or its index
        #[arg(num_args = 0..=2, value_name = "WHAT")]
        what: Vec<String>,
        /// Why, at most 256 bytes; the reason in force stays if absent
        #[arg(long)]
        reason: Option<String>,
    },
    /// Makes the node, or one GPU, take new pods again
    Uncordon {
        /// The node if absent; `gpu UUID` for a GPU: its faults are forgiven, and it takes pods after its probation
        #[arg(num_args = 0..=2, value_name = "WHAT")]
        what: Vec<String>,
    },
    /// Makes one GPU take no new pods, and stops those that have something of it
    Drain(node::Drain),
    /// Lets go of what is known of a GPU that is gone for good
    Forget {
        /// `gpu UUID`: by its uuid, or the beginning of it
        #[arg(num_args = 1..=2, required = true, value_name = "WHAT")]
        what: Vec<String>,
    },
    /// Prints a script that completes command lines of purser
    Completion {
        /// For which shell
        shell: Shell,
    },
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names alone
    Name,
}

/// `purser apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A manifest, a folder of manifests (*.yaml, *.yml, *.json), or - for standard input
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only check: nothing is recorded or run
    #[arg(long)]
    pub dry_run: bool,
}

/// `purser get`.
#[derive(Debug, Args)]
pub struct Get {
    /// What: pods, pools, tasks, workers, node, resources, gpus, violations, process, tenants or reservations; or pod/NAME
    pub what: String,
    /// Which one, or whose workers; all if absent. Of process, its id on the host
    pub name: Option<String>,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only pods with these labels, as in app=web,!old
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Go on with every change
    #[arg(short, long)]
    pub watch: bool,
    /// Tasks of this pool
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    /// Tasks in this state, as pending, waiting, running, apply_pending or failed
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Violations of this pod: NAME, NAMESPACE/NAME or pod/NAME
    #[arg(long, value_name = "POD")]
    pub pod: Option<String>,
    /// Violations on this GPU
    #[arg(long, value_name = "UUID")]
    pub gpu: Option<String>,
    /// Violations that had not ended before: a time as in 2026-01-31T12:00:00Z, or so long ago, as in 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = history::Moment::parse)]
    pub since: Option<history::Moment>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `purser describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// NAME, NAMESPACE/NAME or pod/NAME; the word `pod` before it may be given as in kubectl, `pool` for a pool, `task`
    /// for a task by its id, `tenant` for a tenant, `gpu` for a GPU by its uuid, the beginning of it, or its index
    #[arg(required = true, num_args = 1..=2)]
    pub name: Vec<String>,
}

/// `purser logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The pod
    pub name: String,
    /// The container; the pod's only one if absent
    #[arg(short, long)]
    pub container: Option<String>,
    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// The output of the try before the present one
    #[arg(short, long)]
    pub previous: bool,
    /// Begin with so many lines before the end
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u64>,
}

/// `purser exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// The pod
    pub name: String,
    /// The container; the pod's only one if absent
    #[arg(short, long)]
    pub container: Option<String>,
    /// Give the command what comes in on standard input
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// A terminal, which there is not yet
    #[arg(short = 't', long, hide = true)]
    pub tty: bool,
    /// The command, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `purser stop`.
#[derive(Debug, Args)]
pub struct End {
    /// The pods
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Seconds until the kill; the pod's own if absent
    #[arg(long, value_name = "SECONDS")]
    pub grace_period: Option<u32>,
    /// Whether to wait until the pods have stopped
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait, as in 30s, 5m, 1h
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: std::time::Duration,
}

/// `purser start`.
#[derive(Debug, Args)]
pub struct Start {
    /// The pods
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// `purser delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The pods; pools after the word `pool`, tenants after the word `tenant`
    #[arg(required_unless_present_any = ["files", "all"])]
    pub names: Vec<String>,
    /// The pods and pools of these manifests
    #[arg(short, long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// End the running and planned tasks of a pool instead of waiting for them
    #[arg(long)]
    pub force: bool,
    /// Every pod of the namespace
    #[arg(long, conflicts_with_all = ["names", "files"])]
    pub all: bool,
    /// Seconds until the kill; the pod's own if absent
    #[arg(long, value_name = "SECONDS")]
    pub grace_period: Option<u32>,
    /// Wait until the pods are gone
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, as in 30s, 5m, 1h
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: std::time::Duration,
}

/// `purser wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// The pod
    pub name: String,
    /// What to wait for: condition=Ready, phase=PHASE or delete
    #[arg(long = "for", value_name = "WHAT", value_parser = Goal::parse)]
    pub goal: Goal,
    /// How long to wait, as in 30s, 5m, 1h
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: std::time::Duration,
}

/// What to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// A condition holds.
    Condition(String),
    /// The pod is in this state.
    Phase(String),
    /// The pod is gone.
    Delete,
    /// The pod does not run, whatever it ended with.
    Ended,
    /// No resize of it is under way.
    Resized,
}

impl Goal {
    fn parse(text: &str) -> Result<Goal, String> {
        const CONDITIONS: [&str; 3] = ["Initialized", "ContainersReady", "Ready"];
        let pick = |known: &[&str], word: &str| {
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(word));
            found.map(|known| (*known).to_owned()).ok_or(format!("must be one of {}", known.join(", ")))
        };
        match text.split_once('=') {
            Some(("condition", word)) => pick(&CONDITIONS, word).map(Goal::Condition),
            Some(("phase", word)) => pick(&Phase::WORDS, word).map(Goal::Phase),
            None if text == "delete" => Ok(Goal::Delete),
            _ => Err("must be condition=Ready, phase=PHASE or delete".to_owned()),
        }
    }
}

/// `purser events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Only of this pod
    pub pod: Option<String>,
    /// The first record
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only these types, as in pod.started,worker.
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// How to print: table, or json for one record a line
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `purser image`.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Loads the image of an OCI archive into containerd
    Load(Load),
}

/// `purser image load`.
#[derive(Debug, Args)]
pub struct Load {
    /// The archive, an uncompressed tar, or - for standard input
    pub file: PathBuf,
    /// What the image is to be called; what the archive says if absent
    #[arg(long, value_name = "REFERENCE")]
    pub name: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `purser status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Wait until the service takes requests
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, as in 30s, 5m, 1h
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub timeout: std::time::Duration,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Reads `30`, `30s`, `5m`, `1h` and `500ms`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "must be as 500ms, 30s, 5m or 1h".to_owned())?;
    let ms = match &text[digits.len()..] {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    let ms = ms.filter(|ms| *ms <= 30 * 24 * 3_600_000);
    ms.map(std::time::Duration::from_millis).ok_or("must be as 500ms, 30s, 5m or 1h, at most 720h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Surroundings;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_manual_names_every_verb_and_option() {
        let page = include_str!("../../../docs/cli.md");
        for verb in Arguments::command().get_subcommands() {
            assert!(
                page.contains(&format!("## `purser {}", verb.get_name())),
                "no section on {}",
                verb.get_name()
            );
            for option in verb.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}")), "docs/cli.md lacks --{option}");
            }
        }
    }

    #[test]
    fn the_help_says_where_the_socket_is_looked_for() {
        let help = Arguments::command().render_long_help().to_string();
        let words: Vec<&str> = help.split_whitespace().collect();
        let help = words.join(" ");
        let user = |variable: &str, value: &str| Surroundings {
            root: false,
            variables: [(variable.to_owned(), value.to_owned())].into(),
        };
        let root = Surroundings { root: true, ..Default::default() };
        let home = user("HOME", "/~").socket(None).display().to_string().replace("/~", "~");
        let runtime = user("XDG_RUNTIME_DIR", "/$XDG_RUNTIME_DIR").socket(None).display().to_string();
        for socket in [root.socket(None).display().to_string(), home, runtime[1..].to_owned()] {
            assert!(help.contains(&socket), "{socket}: {help}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("30").unwrap().as_secs(), 30);
        assert_eq!(duration("5m").unwrap().as_secs(), 300);
        assert_eq!(duration("250ms").unwrap().as_millis(), 250);
        for text in ["", "m", "5d", "-1s", "99999999999999999999h", "1000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn goals_are_checked() {
        assert_eq!(Goal::parse("condition=ready"), Ok(Goal::Condition("Ready".to_owned())));
        assert_eq!(Goal::parse("phase=Running"), Ok(Goal::Phase("Running".to_owned())));
        assert_eq!(Goal::parse("delete"), Ok(Goal::Delete));
        assert!(Goal::parse("phase=Runing").is_err() && Goal::parse("soon").is_err());
    }
}
