//! Starting a container: by way of a shim that is told everything through the attempt's folder.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use purser_actors::port::{RuntimeError, StartedContainer};
use purser_events::pod::event::FailureClass;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::folder::Folder;
use super::records::{Failure, Plan, Report};
use super::standing::{Found, look_settled};
use super::{cgroup, off_thread};

/// Longest wait for a shim's word.
const REPORT_MAX: Duration = Duration::from_secs(30);
const REPORT_LEN_MAX: u64 = 64 << 10;

/// Runs a plan in a folder whose lock the caller has taken.
pub(super) async fn start(
    shim: &Path,
    folder: Folder,
    plan: Plan,
    lock: File,
) -> Result<StartedContainer, RuntimeError> {
    let groups = plan.cgroups.clone();
    let result = run(shim, &folder, plan, lock).await;
    if result.is_err() {
        // What cannot be removed now is removed with the attempt.
        off_thread(move || {
            let _ = cgroup::remove(&groups);
            let _ = folder.remove();
        })
        .await;
    }
    result
}

async fn run(shim: &Path, folder: &Folder, plan: Plan, lock: File) -> Result<StartedContainer, RuntimeError> {
    let failed = |what: &str, error: std::io::Error| {
        RuntimeError::from(Failure::runtime(format!("failed to {what}: {error}")))
    };
    let at = folder.clone();
    let written = off_thread(move || at.write_plan(&plan)).await;
    written.map_err(|error| failed("write the container's plan", error))?;
    let mut command = Command::new(shim);
    // The node's own environment may hold secrets.
    command.arg0("purser-shim").arg("shim").arg(folder.path()).env_clear().current_dir("/");
    command.stdin(lock).stdout(Stdio::piped()).stderr(Stdio::null());
    let spawned = command.spawn();
    // The shim has the lock now: this copy of it would hide the shim's end.
    drop(command);
    let mut child =
        spawned.map_err(|error| failed(&format!("start the shim `{}`", shim.display()), error))?;
    let output = child.stdout.take().expect("standard output is piped");
    let mut said = Vec::new();
    let heard = timeout(REPORT_MAX, output.take(REPORT_LEN_MAX).read_to_end(&mut said)).await;
    // The shim outlives this process; while it does not, the runtime collects it when it ends.
    drop(child);
    if heard.is_err() {
        let message = format!("the shim did not answer within {} s", REPORT_MAX.as_secs());
        return Err(RuntimeError::new(FailureClass::Unavailable, message));
    }
    match serde_json::from_slice(&said) {
        Ok(Report::Started(state)) => Ok(state.started()),
        Ok(Report::Failed { class, message }) => Err(RuntimeError::new(class, message)),
        Err(_) => started_silently(folder.clone()).await,
    }
}

/// A shim that ended without a word was killed: its folder still says how far it came.
async fn started_silently(folder: Folder) -> Result<StartedContainer, RuntimeError> {
    match off_thread(move || look_settled(&folder)).await? {
        Found::Running(state) | Found::Ended(state, _) => Ok(state.started()),
        Found::Absent | Found::Created | Found::Starting => {
            Err(Failure::runtime("the shim ended before the container started").into())
        }
    }
}
