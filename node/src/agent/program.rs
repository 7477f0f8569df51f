//! How a task's program is started: in a process group of its own, with an environment that is made for it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::Pid;
use tokio::net::unix::pipe::Receiver;

use super::leftovers::MARK;
use super::protocol::{Assignment, Kind, Phase};

/// Variables that the agent passes on from its own environment, beside those it is told to.
const PASSED_ON: [&str; 23] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "POD_NAME",
    "POD_NAMESPACE",
    "HOSTNAME",
];

/// Where programs are looked for if the agent has no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The exit code of a program that is not there, and of one that cannot be run: the shell's convention.
pub(super) const NOT_FOUND: i32 = 127;
pub(super) const NOT_RUNNABLE: i32 = 126;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Started {
    /// Its process, which leads a group of its own.
    pub(super) pid: Pid,
    /// What it writes, to both of its outputs.
    pub(super) output: Receiver,
}

/// Where a task finds what is its own.
#[derive(Debug)]
pub(super) struct Place {
    /// The task's folder.
    pub(super) folder: PathBuf,
    /// Where it may say something of its end.
    pub(super) message: PathBuf,
    /// What marks its processes.
    pub(super) mark: String,
}

/// Picks from an environment what goes on to tasks: the usual ones and those that are named.
pub(super) fn passed_on(
    environment: impl Iterator<Item = (OsString, OsString)>,
    named: &[String],
) -> BTreeMap<OsString, OsString> {
    let goes_on = |name: &OsStr| {
        let known = name.to_str();
        known.is_some_and(|name| PASSED_ON.contains(&name) || named.iter().any(|it| it == name))
    };
    let mut passed: BTreeMap<_, _> = environment.filter(|(name, _)| goes_on(name)).collect();
    passed.entry("PATH".into()).or_insert_with(|| PATH.into());
    passed
}

/// Starts a task's program.
///
/// # Errors
/// It is not there, cannot be run, or there are too many processes; the folder it is to run in is not there.
pub(super) fn start(
    assignment: &Assignment,
    place: &Place,
    passed_on: &BTreeMap<OsString, OsString>,
) -> io::Result<Started> {
    let (program, arguments) =
        assignment.argv.split_first().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "no program"))?;
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(passed_on).envs(&assignment.env).envs(own_variables(assignment));
    command.env("PURSER_TASK_DIR", &place.folder).env("PURSER_MESSAGE_FILE", &place.message);
    command.env(MARK, &place.mark).current_dir(working_dir(assignment, &place.folder)).process_group(0);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let output = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    // Not waited for through this: the reaper collects it, and `Child` does nothing when it goes.
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Started { pid: Pid::from_raw(pid), output })
}

/// Where a task's program runs.
fn working_dir(assignment: &Assignment, folder: &Path) -> PathBuf {
    // An absolute path replaces the folder's.
    assignment.working_dir.as_ref().map_or_else(|| folder.to_path_buf(), |dir| folder.join(dir))
}

fn own_variables(assignment: &Assignment) -> Vec<(&'static str, String)> {
    let kind = match assignment.kind {
        Kind::Plan => "plan",
        Kind::Apply => "apply",
        Kind::PlanAndApply => "plan_and_apply",
        Kind::DriftCheck => "drift_check",
        Kind::Work => "work",
    };
    let phase = match assignment.phase {
        Phase::Plan => "plan",
        Phase::Apply => "apply",
        Phase::Only => "only",
    };
    let mut variables = vec![
        ("PURSER_TASK", assignment.task.to_string()),
        ("PURSER_KIND", kind.to_owned()),
        ("PURSER_PHASE", phase.to_owned()),
        ("PURSER_ATTEMPT", assignment.attempt.to_string()),
    ];
    variables.extend(assignment.workspace.clone().map(|workspace| ("PURSER_WORKSPACE", workspace)));
    variables
}

/// What a failure to start a program comes to: the exit code, and what to say.
pub(super) fn not_started(assignment: &Assignment, error: &io::Error) -> (i32, String) {
    let program = assignment.argv.first().map_or("", String::as_str);
    let code = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
    (code, format!("`{program}` could not be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_of_the_agents_environment_goes_on() {
        let pair = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        let own =
            [("HOME", "/root"), ("PURSER_AGENT_DIR", "/secret"), ("AWS_PROFILE", "x"), ("EDITOR", "vi")];
        let passed = passed_on(own.into_iter().map(pair), &["AWS_PROFILE".into()]);
        let expected = [("AWS_PROFILE", "x"), ("HOME", "/root"), ("PATH", PATH)];
        assert_eq!(passed, expected.into_iter().map(pair).collect());
    }
}
