//! The agent's command line and environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::protocol::{FOLDER, FOLDER_VARIABLE, SOCKET_FILE, TOKEN_FILE};

/// Runs the tasks that a pool of Purser gives to the pod that this runs in.
///
/// It finds the service's socket and its own token in a folder that the service puts into the pod. See
/// docs/agent-protocol.md for what tasks find in their environment, and how a plan says that there are changes.
///
/// Exit codes: 0 it was asked to stop, 1 it could not go on, 2 wrong arguments, 3 another agent runs in its place,
/// 74 its folder cannot be used.
#[derive(Debug, Parser)]
#[command(name = "purser-agent", version, max_term_width = 100)]
pub(super) struct Arguments {
    /// Folder with `agent.sock` and `token`.
    #[arg(long, env = FOLDER_VARIABLE, value_name = "DIR", default_value = FOLDER)]
    dir: PathBuf,
    /// The service's socket, if it is not in the agent's folder.
    #[arg(long, env = "PURSER_AGENT_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where tasks run and the agent remembers what it has; `work` in the agent's folder by default. It must live as long
    /// as what plans leave behind, and belong to this agent alone.
    #[arg(long, env = "PURSER_AGENT_WORK_DIR", value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Variables of the agent's environment that tasks get too, beside the usual ones; separated by commas.
    #[arg(long, env = "PURSER_AGENT_PASS_ENV", value_name = "NAME,…", value_delimiter = ',')]
    pub(super) pass_env: Vec<String>,
    /// How long running tasks have to end once the agent is asked to stop, in seconds, up to 86400.
    #[arg(long, env = "PURSER_AGENT_STOP_GRACE_S", value_name = "SECONDS", default_value_t = 25)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=86_400))]
    stop_grace_s: u64,
    /// Form of the agent's own messages, on standard error.
    #[arg(long, env = "PURSER_AGENT_LOG", value_name = "FORM", default_value = "text")]
    pub(super) log: LogForm,
    /// Least level of them: error, warn, info or debug.
    #[arg(long, env = "PURSER_AGENT_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: LogLevel,
}

/// How the agent says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogForm {
    /// Lines for people.
    Text,
    /// An object a line.
    Json,
}

/// How much the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    /// What needs somebody.
    Error,
    /// And what may.
    Warn,
    /// And what happens to tasks.
    Info,
    /// And each failed try.
    Debug,
}

impl Arguments {
    pub(super) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.dir.join(SOCKET_FILE))
    }

    pub(super) fn token(&self) -> PathBuf {
        self.dir.join(TOKEN_FILE)
    }

    pub(super) fn work_dir(&self) -> PathBuf {
        self.work_dir.clone().unwrap_or_else(|| self.dir.join("work"))
    }

    pub(super) fn stop_grace(&self) -> Duration {
        Duration::from_secs(self.stop_grace_s)
    }

    /// What is wrong with the arguments together, and what to do about it.
    pub(super) fn wrong(&self) -> Option<String> {
        if !self.dir.is_dir() {
            let dir = self.dir.display();
            return Some(format!(
                "there is no folder `{dir}`: the agent runs in a pod of a pool, which has it; elsewhere name one with \
                 --dir or {FOLDER_VARIABLE}"
            ));
        }
        let bad = self.pass_env.iter().find(|name| name.is_empty() || name.contains('='));
        bad.map(|name| {
            format!("--pass-env: `{name}` is no name of a variable: give names alone, as in `A,B`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["purser-agent"], arguments].concat())
    }

    #[test]
    fn all_is_in_one_folder_unless_it_is_said() {
        let arguments = parse(&["--dir", "/run/x"]).unwrap();
        assert_eq!(arguments.socket(), PathBuf::from("/run/x/agent.sock"));
        assert_eq!(arguments.token(), PathBuf::from("/run/x/token"));
        assert_eq!(arguments.work_dir(), PathBuf::from("/run/x/work"));
        let arguments = parse(&["--dir", "/run/x", "--socket", "/s", "--work-dir", "/w"]).unwrap();
        assert_eq!((arguments.socket(), arguments.work_dir()), (PathBuf::from("/s"), PathBuf::from("/w")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(parse(&["--stop-grace-s", "86401"]).unwrap_err().to_string().contains("--stop-grace-s"));
        let missing = parse(&["--dir", "/nowhere/at/all"]).unwrap().wrong().unwrap();
        assert!(missing.contains("/nowhere/at/all") && missing.contains("PURSER_AGENT_DIR"), "{missing}");
        let bad = parse(&["--dir", "/", "--pass-env", "A,B=c"]).unwrap().wrong().unwrap();
        assert!(bad.contains("B=c") && bad.contains("--pass-env"), "{bad}");
    }
}
