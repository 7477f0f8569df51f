//! What may be asked of pools.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use purser_events::Seq;
use purser_events::Timestamp;
use purser_events::pool::{Pool, PoolCommand, PoolName, PoolRejection, PoolSpec, TaskId, TaskSpec};
use serde::Serialize;

use super::{Outcome, RETRY_AFTER_MS, Request, Service, ServiceError, refused};
use crate::entity::{By, Done, Execute};
use crate::pool::{MakePool, PoolHandle};
use crate::port::FieldError;

/// A request to a pool that was carried out. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolAccepted {
    /// The pool.
    pub pool: PoolName,
    /// The last record that the request led to directly.
    pub seq: Seq,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether this is the first answer, given again to a retry.
    pub replayed: bool,
}

/// A request about a task that was carried out. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskAccepted {
    /// The task.
    pub task: TaskId,
    /// The rest of the answer.
    #[serde(flatten)]
    pub of: PoolAccepted,
}

impl Service {
    /// Has a pool be this. Returns once that is on record, not once its pods are there.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn apply_pool(
        &self,
        name: &PoolName,
        spec: PoolSpec,
        by: Request,
    ) -> Result<PoolAccepted, ServiceError> {
        let _permit = self.permit()?;
        let invalid = self.check_pool(&spec);
        if !invalid.is_empty() {
            return Err(ServiceError::Invalid(invalid));
        }
        let is_there = self.world(|world| world.pools.get(name).is_some_and(Pool::exists));
        let made = self.inner.pool_registry.send(MakePool(name.clone())).await;
        let busy = || ServiceError::Busy { retry_after_ms: RETRY_AFTER_MS };
        let pool = made.map_err(|_| ServiceError::Stopping)?.ok_or_else(busy)?;
        let command = PoolCommand::SetSpec { name: name.clone(), spec: Box::new(spec) };
        let mut accepted = carry_out(name, &pool, command, by.into_by()).await?;
        if accepted.outcome == Outcome::Accepted && !is_there {
            accepted.outcome = Outcome::Created;
        }
        Ok(accepted)
    }

    /// What of a pool's specification cannot be, or cannot be on this node, by fields as in a manifest.
    #[must_use]
    pub fn check_pool(&self, spec: &PoolSpec) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Err(error) = spec.check() {
            errors.push(FieldError { path: error.field, message: error.reason });
        }
        let zone = &spec.scaling.time_zone;
        if self.inner.shell.pools.local_time(zone, self.now()).is_none() {
            let message = format!(
                "this host knows no time zone `{zone}`; write a name of the IANA database as in `Europe/Paris`, and see \
                 that the host has the database (package tzdata)"
            );
            errors.push(FieldError { path: "spec.scaling.timeZone".to_owned(), message });
        }
        let template = self.check(&spec.template).into_iter();
        errors.extend(
            template.map(|error| FieldError { path: format!("spec.template.{}", error.path), ..error }),
        );
        errors
    }

    /// Removes a pool: it takes no tasks any more, and goes once what runs has ended. `force` ends what runs.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn delete_pool(
        &self,
        name: &PoolName,
        force: bool,
        by: Request,
    ) -> Result<PoolAccepted, ServiceError> {
        self.pool_command(name, PoolCommand::Delete { force }, by).await
    }

    /// Lets a pool's freeze windows not count until this moment.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn unfreeze_pool(
        &self,
        name: &PoolName,
        until: Timestamp,
        by: Request,
    ) -> Result<PoolAccepted, ServiceError> {
        self.pool_command(name, PoolCommand::Unfreeze { until }, by).await
    }

    /// Hands in a task. The same task again is so already.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn submit_task(
        &self,
        pool: &PoolName,
        spec: TaskSpec,
        by: Request,
    ) -> Result<TaskAccepted, ServiceError> {
        let task = spec.id;
        let _named = self.name_task(pool, task)?;
        let of = self.pool_command(pool, PoolCommand::Submit { spec: Box::new(spec) }, by).await?;
        Ok(TaskAccepted { task, of })
    }

    /// Has a plan applied.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn confirm_task(&self, task: TaskId, by: Request) -> Result<TaskAccepted, ServiceError> {
        self.task_command(task, PoolCommand::Confirm { task }, by).await
    }

    /// Has a plan not applied.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn discard_task(&self, task: TaskId, by: Request) -> Result<TaskAccepted, ServiceError> {
        self.task_command(task, PoolCommand::Discard { task }, by).await
    }

    /// Ends a task. Returns once that is on record, not once it has ended.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn cancel_task(&self, task: TaskId, by: Request) -> Result<TaskAccepted, ServiceError> {
        self.task_command(task, PoolCommand::Cancel { task }, by).await
    }

    /// The pool of a task that is known.
    #[must_use]
    pub fn pool_of(&self, task: TaskId) -> Option<PoolName> {
        self.world(|world| {
            let mut pools = world.pools.iter();
            pools.find(|(_, pool)| pool.task(task).is_some()).map(|(name, _)| name.clone())
        })
    }

    /// Sees to it that a task's id is that of one task of the node, also while another pool is handed one: tasks are asked
    /// for by their id alone.
    fn name_task(&self, pool: &PoolName, task: TaskId) -> Result<NamedTask<'_>, ServiceError> {
        let taken = |by: PoolName| ServiceError::Pool(PoolRejection::TaskElsewhere { task, pool: by });
        let mut names = self.inner.tasks_coming.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get_mut(&task) {
            Some((other, _)) if other != pool => return Err(taken(other.clone())),
            Some((_, count)) => *count += 1,
            None => {
                names.insert(task, (pool.clone(), 1));
            }
        }
        // What is asked by now, and what is on record: between the two nothing is forgotten.
        let named = NamedTask { names: &self.inner.tasks_coming, task };
        drop(names);
        match self.pool_of(task) {
            Some(other) if other != *pool => Err(taken(other)),
            Some(_) | None => Ok(named),
        }
    }

    pub(super) fn pool(&self, name: &PoolName) -> Result<PoolHandle, ServiceError> {
        self.inner.pools.find(name).ok_or(ServiceError::Pool(PoolRejection::NoSuchPool))
    }

    async fn pool_command(
        &self,
        name: &PoolName,
        command: PoolCommand,
        by: Request,
    ) -> Result<PoolAccepted, ServiceError> {
        let _permit = self.permit()?;
        carry_out(name, &self.pool(name)?, command, by.into_by()).await
    }

    async fn task_command(
        &self,
        task: TaskId,
        command: PoolCommand,
        by: Request,
    ) -> Result<TaskAccepted, ServiceError> {
        let name = self.pool_of(task).ok_or(ServiceError::Pool(PoolRejection::NoSuchTask { task }))?;
        Ok(TaskAccepted { task, of: self.pool_command(&name, command, by).await? })
    }
}

/// Pools that are being handed tasks, by these, and how many callers do so.
pub(super) type TasksComing = BTreeMap<TaskId, (PoolName, usize)>;

/// Keeps a task's id for one pool while it is handed in.
struct NamedTask<'a> {
    names: &'a Mutex<TasksComing>,
    task: TaskId,
}

impl Drop for NamedTask<'_> {
    fn drop(&mut self) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = names.get_mut(&self.task) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.task);
            }
        }
    }
}

async fn carry_out(
    name: &PoolName,
    pool: &PoolHandle,
    command: PoolCommand,
    by: By,
) -> Result<PoolAccepted, ServiceError> {
    let done = ask(pool, command, by).await?;
    let outcome = if done.changed { Outcome::Accepted } else { Outcome::Unchanged };
    Ok(PoolAccepted { pool: name.clone(), seq: done.seq, outcome, replayed: done.replayed })
}

/// Has a pool carry out a command.
pub(super) async fn ask(pool: &PoolHandle, command: PoolCommand, by: By) -> Result<Done, ServiceError> {
    let outcome = pool.actor.send(Execute::<Pool> { command, by }).await;
    outcome.map_err(|_| ServiceError::Stopping)?.map_err(|refusal| refused(refusal, ServiceError::Pool))
}
