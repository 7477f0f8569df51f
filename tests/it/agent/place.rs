//! An agent in a folder of its own, and what it is told to run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_tests::binaries::Binaries;
use purser_tests::bounded::{self, pid_of};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::script::Script;

/// The folder of one agent.
pub(super) struct Place {
    folder: TempDir,
}

impl Place {
    pub(super) fn new() -> Place {
        Place { folder: tempfile::Builder::new().prefix("agent-").tempdir().unwrap() }
    }

    pub(super) fn script(&self) -> Script {
        Script::listen(self.folder.path())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of a task.
    pub(super) fn task(&self, task: &str) -> PathBuf {
        self.path("work/tasks").join(task)
    }

    /// The agent's command line, with an environment that says nothing else.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&Binaries::built().purser_agent);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("PURSER_AGENT_DIR", self.folder.path()).env("PURSER_AGENT_LOG_LEVEL", "debug");
        command
            .env("SECRET_OF_THE_POD", "hunter2")
            .env("FOR_TASKS", "yes")
            .env("PURSER_AGENT_PASS_ENV", "FOR_TASKS");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    pub(super) fn start(&self) -> Agent {
        Agent::of(&mut self.command())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in inhabitants(self.folder.path()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// The processes whose working folder is in this one.
pub(super) fn inhabitants(folder: &Path) -> Vec<Pid> {
    let folder = folder.canonicalize().unwrap_or_default();
    let entries = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let lives_there =
        |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
    pids.filter(lives_there).map(Pid::from_raw).collect()
}

/// An agent that runs. What it says is shown if the test fails.
pub(super) struct Agent {
    child: Child,
    said: Option<std::thread::JoinHandle<String>>,
}

impl Agent {
    pub(super) fn of(command: &mut Command) -> Agent {
        let mut child = command.spawn().unwrap();
        let mut stream = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            let _ = stream.read_to_string(&mut said);
            said
        });
        Agent { child, said: Some(said) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(pid_of(&self.child), signal).unwrap();
    }

    /// Waits for its end; gives how it ended and what it said.
    pub(super) fn end(mut self) -> (ExitStatus, String) {
        let status = bounded::wait(&mut self.child, "the agent");
        (status, self.said.take().unwrap().join().unwrap())
    }

    /// Kills it and waits until it is gone.
    pub(super) fn kill(self) {
        self.signal(Signal::SIGKILL);
        self.end();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(said) = self.said.take() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            // A task that is left over may hold the other end open.
            if std::thread::panicking() && said.is_finished() {
                eprintln!("{}", said.join().unwrap_or_default());
            }
        }
    }
}

/// A task's id, by its number.
pub(super) fn task(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

/// An assignment of a shell script: of the task with this number, under this token, in slot 0.
pub(super) fn shell(number: u128, token: u64, script: &str) -> Value {
    json!({
        "task": task(number), "token": token, "slot": 0, "phase": "only", "kind": "work", "attempt": 1,
        "argv": ["sh", "-c", script], "graceS": 30,
    })
}

/// The same with other fields.
pub(super) fn with(mut assignment: Value, fields: Value) -> Value {
    let (Some(assigned), Value::Object(fields)) = (assignment.as_object_mut(), fields) else {
        panic!("fields are an object");
    };
    assigned.extend(fields);
    assignment
}
