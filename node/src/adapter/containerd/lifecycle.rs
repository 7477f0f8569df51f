//! What became of containers: looked at, waited for, signalled, removed, listed.

use std::time::Duration;

use containerd_client::services::v1::snapshots::RemoveSnapshotRequest;
use containerd_client::services::v1::{
    Container, DeleteContainerRequest, DeleteTaskRequest, GetContainerRequest, GetRequest, KillRequest,
    ListContainersRequest, ResumeTaskRequest, WaitRequest,
};
use containerd_client::types::v1::{Process, Status as TaskStatus};
use purser_actors::port::{ContainerKey, RuntimeError, Signal, Standing, StartedContainer};
use purser_events::Timestamp;
use purser_events::pod::event::{Exit, ExitReason, FailureClass};
use tonic::Status;

use super::connection::{CALL_LIMIT, TASK_LIMIT, look, within};
use super::failure::{absent_is_fine, from_status, is_absent, is_away};
use super::{ContainerdRuntime, naming, process};

/// Longest time that a killed container may take to be gone.
const DEATH_LIMIT: Duration = Duration::from_secs(15);
/// First and longest wait before a broken call is made again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The exit code of a process whose end nobody saw.
const CODE_UNKNOWN: u8 = 255;
/// Tries to delete a task whose shim is still tidying up.
const DELETE_TRIES: u32 = 20;

const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;

/// A wait that doubles.
pub(super) struct BackOff(Duration);

impl BackOff {
    pub(super) fn new() -> BackOff {
        BackOff(RETRY.0)
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY.1);
    }
}

impl ContainerdRuntime {
    pub(super) async fn standing(&self, key: &ContainerKey) -> Result<Standing, RuntimeError> {
        let id = naming::id_of(key);
        let failed = |status: &Status| from_status("look at a container", status);
        let Some(record) = self.record(&id).await.map_err(|status| failed(&status))? else {
            return Ok(Standing::Absent);
        };
        let started = naming::started_of(&record.labels, naming::STARTED);
        let starting = naming::started_of(&record.labels, naming::STARTING);
        let Some(task) = self.task(&id).await.map_err(|status| failed(&status))? else {
            return Ok(match started {
                // Its task went without anyone asking: the host was restarted, or the shim was killed.
                Some(_) => Standing::Exited { started, exit: self.lost() },
                None => Standing::Created,
            });
        };
        Ok(match TaskStatus::try_from(task.status) {
            Ok(TaskStatus::Created) => Standing::Created,
            Ok(TaskStatus::Stopped) => {
                let at = task.exited_at.as_ref();
                // A service that was killed while it started a container has noted the one and not the other.
                let started = started.or(starting);
                Standing::Exited { started, exit: self.exit(key, task.exit_status, at) }
            }
            Ok(TaskStatus::Running | TaskStatus::Paused | TaskStatus::Pausing | TaskStatus::Unknown)
            | Err(_) => {
                match started.or(starting).or_else(|| self.recognise(&task)) {
                    Some(started) => Standing::Running(started),
                    // It ended between the two looks: say how.
                    None => Standing::Exited { started: None, exit: self.ended(key).await? },
                }
            }
        })
    }

    /// Waits for a container's end, however often containerd goes away meanwhile.
    pub(super) async fn ended(&self, key: &ContainerKey) -> Result<Exit, RuntimeError> {
        let id = naming::id_of(key);
        match self.wait_for(&id, "").await {
            Ok((code, at)) => {
                self.tell_last_kill(key).await;
                Ok(self.exit(key, code, at.as_ref()))
            }
            Err(status) if is_absent(&status) => Ok(self.lost()),
            Err(status) => Err(from_status("wait for a container", &status)),
        }
    }

    /// Waits for the end of a task, or of a command in it.
    pub(super) async fn wait_for(
        &self,
        id: &str,
        exec_id: &str,
    ) -> Result<(u32, Option<prost_types::Timestamp>), Status> {
        let mut back_off = BackOff::new();
        loop {
            let message = WaitRequest { container_id: id.to_owned(), exec_id: exec_id.to_owned() };
            match self.line.tasks().wait(self.line.request(message)).await {
                Ok(reply) => {
                    let reply = reply.into_inner();
                    return Ok((reply.exit_status, reply.exited_at));
                }
                // An end that comes meanwhile is kept by the shim, and told when containerd is back.
                Err(status) if is_away(&status) => back_off.pause().await,
                Err(status) => return Err(status),
            }
        }
    }

    pub(super) async fn send_signal(&self, key: &ContainerKey, signal: Signal) -> Result<(), RuntimeError> {
        let (number, all) = match signal {
            Signal::Terminate => (SIGTERM, false),
            Signal::Kill => (SIGKILL, true),
        };
        let done = self.kill(&naming::id_of(key), "", number, all).await;
        done.map_err(|status| from_status("signal a container", &status))
    }

    /// Sends a signal; that there is nobody to get it is fine.
    pub(super) async fn kill(&self, id: &str, exec_id: &str, signal: u32, all: bool) -> Result<(), Status> {
        let (container_id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = self.line.request(KillRequest { container_id, exec_id, signal, all });
        absent_is_fine(within(CALL_LIMIT, self.line.tasks().kill(request)).await)
    }

    /// Removes everything that there is of a container; the log stays.
    pub(super) async fn take_away(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let id = naming::id_of(key);
        self.remove_task(&id).await.map_err(|status| from_status("remove a container's task", &status))?;
        self.end_cgroup(key).await?;
        let snapshotter = self.config.snapshotter.clone();
        let request = self.line.request(RemoveSnapshotRequest { snapshotter, key: id.clone() });
        absent_is_fine(within(CALL_LIMIT, self.line.snapshots().remove(request)).await)
            .map_err(|status| from_status("remove a container's files", &status))?;
        // Last: while there is a record, a removal that was cut off is found and repeated.
        let request = self.line.request(DeleteContainerRequest { id });
        absent_is_fine(within(CALL_LIMIT, self.line.containers().delete(request)).await)
            .map_err(|status| from_status("remove a container", &status))
    }

    /// Removes a container's cgroup, killing what a shim that was killed left running in it.
    pub(super) async fn end_cgroup(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let (cgroups, key) = (self.cgroups.clone(), key.clone());
        let ended = tokio::task::spawn_blocking(move || cgroups.end(&key)).await;
        ended.expect("removing a cgroup does not panic").map_err(|error| {
            let message = format!("failed to remove the cgroup of a container: {error}");
            RuntimeError::new(FailureClass::Runtime, message)
        })
    }

    async fn remove_task(&self, id: &str) -> Result<(), Status> {
        let status = self.task(id).await?.map(|task| TaskStatus::try_from(task.status));
        if status == Some(Ok(TaskStatus::Created)) {
            // It never ran: its process, once it is killed, must not look as if it had.
            self.note(id, naming::STARTING, String::new()).await;
        }
        match status {
            // Deleting kills what never ran. A shim whose containerd was killed in the middle of a creation has no
            // task to show and must be deleted all the same.
            None | Some(Ok(TaskStatus::Created | TaskStatus::Stopped)) => {}
            Some(Ok(TaskStatus::Paused | TaskStatus::Pausing)) => {
                let request = self.line.request(ResumeTaskRequest { container_id: id.to_owned() });
                absent_is_fine(within(CALL_LIMIT, self.line.tasks().resume(request)).await)?;
                self.kill_and_wait(id).await?;
            }
            Some(Ok(TaskStatus::Running | TaskStatus::Unknown) | Err(_)) => self.kill_and_wait(id).await?,
        }
        let mut back_off = BackOff::new();
        for _ in 1..DELETE_TRIES {
            let request = self.line.request(DeleteTaskRequest { container_id: id.to_owned() });
            match absent_is_fine(within(TASK_LIMIT, self.line.tasks().delete(request)).await) {
                Ok(()) => return Ok(()),
                Err(status) if is_away(&status) => return Err(status),
                Err(_) => back_off.pause().await,
            }
        }
        let request = self.line.request(DeleteTaskRequest { container_id: id.to_owned() });
        absent_is_fine(within(TASK_LIMIT, self.line.tasks().delete(request)).await)
    }

    async fn kill_and_wait(&self, id: &str) -> Result<(), Status> {
        self.kill(id, "", SIGKILL, true).await?;
        match tokio::time::timeout(DEATH_LIMIT, self.wait_for(id, "")).await {
            Ok(ended) => absent_is_fine(ended),
            Err(_) => Err(Status::deadline_exceeded("the container did not end although it was killed")),
        }
    }

    /// Every container of this node that has a record.
    pub(super) async fn listed(&self) -> Result<Vec<ContainerKey>, RuntimeError> {
        let filter = format!("labels.\"{}\"==\"{}\"", naming::NODE, self.config.node_label);
        let message = ListContainersRequest { filters: vec![filter] };
        let listed = look(|| {
            let (mut client, request) = (self.line.containers(), self.line.request(message.clone()));
            async move { client.list(request).await }
        });
        let listed = listed.await.map_err(|status| from_status("list containers", &status))?;
        Ok(listed.containers.iter().filter_map(|record| naming::key_of(&record.labels)).collect())
    }

    pub(super) async fn record(&self, id: &str) -> Result<Option<Container>, Status> {
        let got = look(|| {
            let request = self.line.request(GetContainerRequest { id: id.to_owned() });
            let mut client = self.line.containers();
            async move { client.get(request).await }
        });
        match got.await {
            Ok(reply) => Ok(reply.container),
            Err(status) if is_absent(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn task(&self, id: &str) -> Result<Option<Process>, Status> {
        let got = look(|| {
            let message = GetRequest { container_id: id.to_owned(), exec_id: String::new() };
            let (mut client, request) = (self.line.tasks(), self.line.request(message));
            async move { client.get(request).await }
        });
        match got.await {
            Ok(reply) => Ok(reply.process),
            Err(status) if is_absent(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// A container that runs although nobody noted its start: the node or containerd was killed in between.
    fn recognise(&self, task: &Process) -> Option<StartedContainer> {
        let process = process::identify(task.pid)?;
        // The start was at most one crash ago; the process itself knows it only in ticks since boot.
        Some(StartedContainer { process, started_at: self.clock.now() })
    }

    fn exit(&self, key: &ContainerKey, code: u32, at: Option<&prost_types::Timestamp>) -> Exit {
        let code = u8::try_from(code).unwrap_or(CODE_UNKNOWN);
        let killed = || self.cgroups.out_of_memory_kills(key).is_some_and(|kills| kills > 0);
        let reason = match code {
            0 => ExitReason::Completed,
            _ if killed() => ExitReason::OomKilled,
            _ => ExitReason::Error,
        };
        Exit { code, reason, finished_at: at.and_then(moment).unwrap_or_else(|| self.clock.now()) }
    }

    fn lost(&self) -> Exit {
        Exit { code: CODE_UNKNOWN, reason: ExitReason::Lost, finished_at: self.clock.now() }
    }
}

/// containerd's time as ours; none for its zero, which stands for "not known".
fn moment(at: &prost_types::Timestamp) -> Option<Timestamp> {
    let us = at.seconds.checked_mul(1_000_000)?.checked_add(i64::from(at.nanos) / 1_000)?;
    (us > 0).then_some(Timestamp(us))
}
