//! Running a command beside a container's main process: with its environment, user, mounts and limits.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use std::os::unix::process::ExitStatusExt;

use purser_actors::port::{ExecChunk, ExecIo, Ids, OutputStream, RuntimeError};
use purser_events::pod::event::FailureClass;
use purser_events::worker::ProcessIdentity;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::folder::Folder;
use super::identity;
use super::records::{self, Failure, Keep, Report, State};
use super::{names, off_thread, watch as processes};
use crate::adapter::clock::UuidV7;

/// Largest piece of output that is handed on, in bytes.
const CHUNK_LEN_MAX: usize = 64 << 10;
/// How long a pipe that something else still holds open is listened to after the command has ended.
const LISTEN_AFTER: Duration = Duration::from_millis(100);
const REPORT_LEN_MAX: usize = 64 << 10;
/// What the names of a command's files begin with.
const FILE_PREFIX: &str = "exec-";
const IDENTITY_EXTENSION: &str = "process";

/// Runs `argv` in the container of `folder`, which is in `state`.
pub(super) async fn exec(
    shim: &Path,
    folder: &Folder,
    state: &State,
    argv: &[String],
    io: ExecIo,
) -> Result<u8, RuntimeError> {
    let failed = |error: std::io::Error| {
        RuntimeError::from(Failure::runtime(format!("failed to run a command: {error}")))
    };
    let contained = folder.plan().map_err(failed)?.is_some_and(|plan| !plan.cgroups.is_empty());
    let report = ReportFile(folder.path().join(format!("{FILE_PREFIX}{}.json", UuidV7.uuid())));
    let mut command = Command::new(shim);
    command.arg("shim-exec").arg(folder.path()).arg(&report.0).args(argv);
    command.env_clear().current_dir("/").process_group(0);
    command.stdin(if io.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running { child: command.spawn().map_err(failed)? };
    let code = running.attend(state, contained, io).await.map_err(failed)?;
    match off_thread(move || report.take()).await {
        Some((class, message)) => Err(RuntimeError::new(class, message)),
        None => Ok(code),
    }
}

/// Where the helper says what kept the command from running; gone when this is.
struct ReportFile(PathBuf);

impl ReportFile {
    fn take(self) -> Option<(FailureClass, String)> {
        let text = std::fs::read(&self.0).ok().filter(|text| text.len() <= REPORT_LEN_MAX)?;
        match serde_json::from_slice(&text) {
            Ok(Report::Failed { class, message }) => Some((class, message)),
            // Nothing in it: the command ran.
            Ok(Report::Started(_)) | Err(_) => None,
        }
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(identity_file(&self.0));
    }
}

/// Where the helper says which process the command is, beside its report.
fn identity_file(report: &Path) -> PathBuf {
    report.with_extension(IDENTITY_EXTENSION)
}

/// Writes down that this process is about to become a command.
///
/// # Errors
/// The container's folder cannot be written.
pub(super) fn note_own_process(report: &Path) -> std::io::Result<()> {
    let process = identity::identify(std::process::id())?;
    records::write(&identity_file(report), &process, Keep::Processes)
}

/// The processes that run commands in the container of `folder` now, and are not below its shim.
pub(super) fn running(folder: &Folder) -> std::io::Result<Vec<ProcessIdentity>> {
    let mut running = Vec::new();
    for name in names(folder.path())?.iter().filter(|name| name.starts_with(FILE_PREFIX)) {
        let path = folder.path().join(name);
        if path.extension().is_some_and(|extension| extension == IDENTITY_EXTENSION) {
            running.extend(records::read::<ProcessIdentity>(&path)?.filter(identity::lives));
        }
    }
    Ok(running)
}

/// Kills the commands in the container of `folder` that an earlier service began and did not see to their end:
/// nobody reads what they say any more.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn end_left_behind(folder: &Folder) -> std::io::Result<()> {
    for process in running(folder)? {
        // A command leads a group of its own: as long as it lives, no other group has its number.
        if let Some(group) = i32::try_from(process.host_pid).ok().and_then(Pid::from_raw) {
            tracing::info!(pid = process.host_pid, "killing a command that an earlier service left");
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let files = names(folder.path())?.into_iter().filter(|name| name.starts_with(FILE_PREFIX));
    files.map(|name| folder.path().join(name)).try_for_each(std::fs::remove_file)
}

/// A command with its process group, which is killed when this is dropped before its end.
struct Running {
    child: Child,
}

impl Running {
    fn kill_group(&self) {
        // As long as the child is not collected, no other group can have its number; then it has no id.
        let group = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Feeds and drains the command until it has ended.
    async fn attend(&mut self, state: &State, contained: bool, io: ExecIo) -> std::io::Result<u8> {
        let (stdin, stdout) = (self.child.stdin.take(), self.child.stdout.take());
        let stderr = self.child.stderr.take();
        let (ended, end) = watch::channel(false);
        let outputs = async {
            tokio::join!(
                hand_on(stdout, OutputStream::Stdout, &io.output, end.clone()),
                hand_on(stderr, OutputStream::Stderr, &io.output, end),
            )
        };
        let feed = async {
            if let (Some(mut from), Some(mut to)) = (io.stdin, stdin) {
                // A command that does not read to the end of its input is fine.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
            // The end of the input is not the end of the command.
            std::future::pending::<()>().await;
        };
        let end = async {
            let status = self.end(state, contained).await;
            ended.send_replace(true);
            status
        };
        tokio::select! {
            (status, _) = async { tokio::join!(end, outputs) } => Ok(exit_code(status?)),
            () = feed => unreachable!("it never ends"),
        }
    }

    /// Waits for the command; it does not outlive its container.
    async fn end(&mut self, state: &State, contained: bool) -> std::io::Result<ExitStatus> {
        let process = self.child.id().map(identity::identify).transpose()?;
        if let Some(process) = process {
            tokio::select! {
                () = processes::ended(&process) => {}
                () = processes::ended(&state.shim) => self.kill_group(),
            }
            processes::ended(&process).await;
        }
        if !contained {
            // No control group would end these with the container.
            self.kill_group();
        }
        self.child.wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Hands the output on until its end, or until the command is over and nothing more comes.
async fn hand_on(
    from: Option<impl AsyncRead + Unpin>,
    stream: OutputStream,
    to: &mpsc::Sender<ExecChunk>,
    mut end: watch::Receiver<bool>,
) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; CHUNK_LEN_MAX];
    loop {
        let over = *end.borrow();
        let read = if over {
            timeout(LISTEN_AFTER, from.read(&mut buffer)).await.unwrap_or(Ok(0))
        } else {
            tokio::select! {
                read = from.read(&mut buffer) => read,
                _ = end.changed() => continue,
            }
        };
        match read {
            Ok(0) | Err(_) => return,
            // A receiver that is gone does not end the command: its output is thrown away.
            Ok(len) => drop(to.send(ExecChunk { stream, bytes: buffer[..len].to_vec() }).await),
        }
    }
}

/// 128 + signal for a command that a signal ended.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}
