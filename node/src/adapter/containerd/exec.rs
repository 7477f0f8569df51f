//! Commands in running containers: output and input over pipes that live in the file system.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, StartRequest,
};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use oci_spec::runtime::{Process, Spec};
use prost_types::Any;
use purser_actors::port::{ContainerKey, ExecChunk, ExecIo, OutputStream, RuntimeError};
use purser_events::pod::event::FailureClass;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};

use super::connection::{CALL_LIMIT, TASK_LIMIT, within};
use super::failure::{absent_is_fine, from_create, from_status};
use super::{ContainerdConfig, ContainerdRuntime, naming};
use crate::adapter::volumes::private_folder;

/// How containerd encodes a process of an OCI runtime specification.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// Bytes of one piece of output.
const CHUNK_LEN: usize = 64 << 10;
/// How long output may pause after the command's end: something that it left running may hold the pipe.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Most bytes that are read after the command's end.
const DRAIN_LEN_MAX: usize = 1 << 20;
/// Longest time that a killed command may take to be gone.
const DEATH_LIMIT: Duration = Duration::from_secs(10);
const SIGKILL: u32 = 9;
/// The file beside a command's pipes that says in which container it runs.
const CONTAINER_FILE: &str = "container";

impl ContainerdRuntime {
    /// Runs a command in a container to its end. Dropping the future kills it.
    pub(super) async fn run_command(
        &self,
        key: &ContainerKey,
        argv: &[String],
        io: ExecIo,
    ) -> Result<u8, RuntimeError> {
        let id = naming::id_of(key);
        let process = self.process_of(&id, argv).await?;
        let exec_id = format!("exec-{}", self.ids.uuid());
        let folder = self.config.runtime_dir.join("exec").join(&exec_id);
        let command = Command { runtime: self.clone(), id, exec_id, folder, over: false };
        let result = command.run(process, io).await;
        command.tidy_up().await;
        result
    }

    /// The container's own process with other arguments: the same user, environment and rights.
    async fn process_of(&self, id: &str, argv: &[String]) -> Result<Process, RuntimeError> {
        let record = self.record(id).await.map_err(|status| from_status("look at a container", &status))?;
        let Some(spec) = record.and_then(|record| record.spec) else { return Err(not_running()) };
        let spec: Spec = serde_json::from_slice(&spec.value).map_err(|error| {
            let message = format!("failed to read the container's specification: {error}");
            RuntimeError::new(FailureClass::Runtime, message)
        })?;
        let mut process = spec.process().clone().ok_or_else(not_running)?;
        process.set_args(Some(argv.to_vec())).set_terminal(Some(false));
        Ok(process)
    }
}

/// One command; kills it and removes its pipes when it is dropped before its end.
struct Command {
    runtime: ContainerdRuntime,
    id: String,
    exec_id: String,
    folder: PathBuf,
    over: bool,
}

impl Command {
    async fn run(&self, process: Process, io: ExecIo) -> Result<u8, RuntimeError> {
        let ExecIo { stdin, output } = io;
        let pipes = self.make_pipes(stdin.is_some()).map_err(|error| {
            RuntimeError::new(FailureClass::Runtime, format!("failed to make the command's pipes: {error}"))
        })?;
        self.begin(process, stdin.is_some()).await?;
        let (end, ended) = watch::channel(false);
        let exit = async {
            let exit = self.runtime.wait_for(&self.id, &self.exec_id).await;
            // Whoever pumps is either still there, or has seen the end of its pipe already.
            let _pumps_may_be_done = end.send(true);
            exit
        };
        let output = async {
            tokio::join!(
                pump(pipes.stdout, OutputStream::Stdout, output.clone(), ended.clone()),
                pump(pipes.stderr, OutputStream::Stderr, output.clone(), ended.clone()),
            )
        };
        let both = async { tokio::join!(exit, output).0 };
        let exit = match (stdin, pipes.stdin) {
            (Some(input), Some(pipe)) => {
                let fed = self.feed(input, pipe);
                tokio::pin!(both, fed);
                tokio::select! {
                    exit = &mut both => exit,
                    () = &mut fed => both.await,
                }
            }
            (_, _) => both.await,
        };
        let (code, _) = exit.map_err(|status| from_status("wait for the command", &status))?;
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }

    fn make_pipes(&self, with_stdin: bool) -> std::io::Result<Pipes> {
        private_folder(&self.folder)?;
        // A service that comes back finds by this what to kill.
        std::fs::write(self.folder.join(CONTAINER_FILE), &self.id)?;
        let make = |name: &str| {
            let path = self.folder.join(name);
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            Ok::<_, std::io::Error>(path)
        };
        // Opened before containerd does: its own opening waits for the other end.
        let receiver = |name: &str| {
            let path = make(name)?;
            pipe::OpenOptions::new().open_receiver(path)
        };
        let stdin = if with_stdin {
            let path = make("stdin")?;
            Some(pipe::OpenOptions::new().read_write(true).open_sender(path)?)
        } else {
            None
        };
        Ok(Pipes { stdin, stdout: receiver("stdout")?, stderr: receiver("stderr")? })
    }

    async fn begin(&self, process: Process, with_stdin: bool) -> Result<(), RuntimeError> {
        let value = serde_json::to_vec(&process).map_err(|error| {
            RuntimeError::new(FailureClass::Invalid, format!("failed to describe the command: {error}"))
        })?;
        let path = |name: &str| self.folder.join(name).display().to_string();
        let line = &self.runtime.line;
        let request = line.request(ExecProcessRequest {
            container_id: self.id.clone(),
            exec_id: self.exec_id.clone(),
            stdin: if with_stdin { path("stdin") } else { String::new() },
            stdout: path("stdout"),
            stderr: path("stderr"),
            terminal: false,
            spec: Some(Any { type_url: PROCESS_TYPE.to_owned(), value }),
        });
        within(CALL_LIMIT, line.tasks().exec(request)).await.map_err(|status| begin_failed(&status))?;
        let message = StartRequest { container_id: self.id.clone(), exec_id: self.exec_id.clone() };
        let started = within(TASK_LIMIT, line.tasks().start(line.request(message))).await;
        started.map(|_| ()).map_err(|status| begin_failed(&status))
    }

    /// Copies what the command reads, and then tells it that there is no more.
    async fn feed(&self, mut input: std::pin::Pin<Box<dyn AsyncRead + Send>>, mut pipe: pipe::Sender) {
        if let Err(error) = tokio::io::copy(&mut input, &mut pipe).await {
            tracing::debug!(%error, "failed to pass on a command's input");
        }
        drop(pipe);
        let line = &self.runtime.line;
        let (container_id, exec_id) = (self.id.clone(), self.exec_id.clone());
        let request = line.request(CloseIoRequest { container_id, exec_id, stdin: true });
        if let Err(status) = within(CALL_LIMIT, line.tasks().close_io(request)).await {
            tracing::debug!(code = ?status.code(), "failed to close a command's input");
        }
    }

    async fn tidy_up(mut self) {
        discard(&self.runtime, &self.id, &self.exec_id, &self.folder).await;
        self.over = true;
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (runtime, id) = (self.runtime.clone(), std::mem::take(&mut self.id));
        let (exec_id, folder) = (std::mem::take(&mut self.exec_id), std::mem::take(&mut self.folder));
        // Outside of a runtime the whole node is coming down; its next start ends the command.
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            handle.spawn(async move { discard(&runtime, &id, &exec_id, &folder).await });
        }
    }
}

/// The commands that an earlier service began and did not see to their end, by their folders; a folder that does
/// not say whose it is belongs to none that was begun, and is removed.
fn left_behind(folder: &Path) -> std::io::Result<Vec<Left>> {
    let mut left = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(left),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let folder = entry?.path();
        let id = std::fs::read_to_string(folder.join(CONTAINER_FILE)).ok().filter(|id| !id.is_empty());
        let exec_id = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        match (id, exec_id) {
            (Some(id), Some(exec_id)) => left.push(Left { id, exec_id, folder }),
            (_, _) => std::fs::remove_dir_all(folder)?,
        }
    }
    Ok(left)
}

/// What an earlier service left of a command.
#[derive(Debug)]
pub(super) struct Left {
    id: String,
    exec_id: String,
    folder: PathBuf,
}

/// Looks for what an earlier service left of commands, before this one begins any.
pub(super) fn find_left(config: &ContainerdConfig) -> Vec<Left> {
    let folder = config.runtime_dir.join("exec");
    left_behind(&folder).unwrap_or_else(|error| {
        tracing::warn!(folder = %folder.display(), %error, "failed to look for commands that a crash left");
        Vec::new()
    })
}

/// Kills and removes the commands that an earlier service left: nobody reads what they say any more.
pub(super) async fn end_left(runtime: &ContainerdRuntime) {
    let left = std::mem::take(&mut *runtime.left.lock().unwrap_or_else(PoisonError::into_inner));
    for Left { id, exec_id, folder } in left {
        tracing::info!(container = id, "removing a command that an earlier service left");
        // A start that was cut off waits for somebody to read, and holds the whole container up until then.
        let reader =
            |name: &str| pipe::OpenOptions::new().read_write(true).open_receiver(folder.join(name)).ok();
        let _readers = [reader("stdout"), reader("stderr")];
        discard(runtime, &id, &exec_id, &folder).await;
    }
}

/// Removes what there is of a command, killing it if it runs.
async fn discard(runtime: &ContainerdRuntime, id: &str, exec_id: &str, folder: &Path) {
    let line = &runtime.line;
    let delete = async || {
        let message = DeleteProcessRequest { container_id: id.to_owned(), exec_id: exec_id.to_owned() };
        within(CALL_LIMIT, line.tasks().delete_process(line.request(message))).await
    };
    let mut deleted = absent_is_fine(delete().await);
    if deleted.is_err() {
        // It still runs: the caller went away.
        deleted = match runtime.kill(id, exec_id, SIGKILL, false).await {
            Ok(()) => {
                let ended = tokio::time::timeout(DEATH_LIMIT, runtime.wait_for(id, exec_id)).await;
                if ended.is_err() {
                    tracing::warn!(container = id, "a command did not end although it was killed");
                }
                absent_is_fine(delete().await)
            }
            Err(status) => Err(status),
        };
    }
    if let Err(status) = deleted {
        tracing::warn!(container = id, code = ?status.code(), "failed to remove a command; its container's removal will");
    }
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "failed to remove a command's pipes");
    }
}

struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

async fn pump(
    mut pipe: pipe::Receiver,
    stream: OutputStream,
    output: mpsc::Sender<ExecChunk>,
    mut ended: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; CHUNK_LEN];
    let mut drained = 0;
    while drained < DRAIN_LEN_MAX {
        let read = tokio::select! {
            read = pipe.read(&mut buffer) => read,
            () = overdue(&mut ended) => break,
        };
        let len = match read {
            Ok(0) | Err(_) => break,
            Ok(len) => len,
        };
        if *ended.borrow() {
            drained += len;
        }
        // A receiver that is gone does not end the command: its output is read and dropped.
        let _nobody_listens = output.send(ExecChunk { stream, bytes: buffer[..len].to_vec() }).await;
    }
}

/// Returns when the command has ended and its output has been silent for long enough.
async fn overdue(ended: &mut watch::Receiver<bool>) {
    if ended.wait_for(|over| *over).await.is_ok() {
        tokio::time::sleep(DRAIN_LIMIT).await;
    }
}

fn begin_failed(status: &Status) -> RuntimeError {
    match status.code() {
        Code::NotFound | Code::FailedPrecondition => not_running(),
        _ => {
            let RuntimeError { class, message } = from_create(status);
            RuntimeError::new(class, message.replacen("start the container", "run the command", 1))
        }
    }
}

fn not_running() -> RuntimeError {
    RuntimeError::new(FailureClass::Invalid, "the container is not running")
}
