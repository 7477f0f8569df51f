//! Waiting for a task, over restarts of the service.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::logs::copy_output;
use super::task::path;
use crate::api::pools::task_view::TaskView;
use crate::cli::arguments::Output;
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, Wanted};
use crate::cli::show::{line, structured};

/// The first wait before the service is asked again, and the longest: they double.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// Prints a task's output, and ends with it: 0 if it went well, or its plan waits. A service that goes away is waited for.
pub(super) async fn wait(client: &Client, id: &str, output: Output) -> Result<u8, Failure> {
    let quiet = matches!(output, Output::Json | Output::Yaml);
    let mut patience = Patience::default();
    let task = loop {
        match await_end(client, id, &mut patience).await {
            Ok(task) => break task,
            Err(failure) => patience.bear(failure).await?,
        }
    };
    if !quiet {
        print_output(client, id, &mut patience).await?;
    }
    if !structured(&task, output)? {
        line(&sentence(&task))?;
    }
    match (&*task.state, task.exit_code) {
        ("success" | "applied" | "planned_and_finished" | "apply_pending", _) => Ok(0),
        (_, Some(code)) => Ok(u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1)),
        (_, None) => Ok(1),
    }
}

/// Prints all of a task's output, each byte once.
async fn print_output(client: &Client, id: &str, patience: &mut Patience) -> Result<(), Failure> {
    let mut printed = 0;
    loop {
        let copied = match client.open(&Call::get(path(id, "/log"))).await {
            Ok(answer) => copy_output(answer, &mut printed, |error| Failure::Broken(error.to_string())).await,
            Err(failure) => Err(failure),
        };
        match copied {
            Ok(()) => return Ok(()),
            Err(failure) => patience.bear(failure).await?,
        }
    }
}

/// The task once it has ended, or its plan waits.
async fn await_end(client: &Client, id: &str, patience: &mut Patience) -> Result<TaskView, Failure> {
    // Opened first: what happens between the look and the feed would be missed the other way round.
    let wanted = Wanted { kind: Some("pool.".to_owned()), follow: true, ..Wanted::default() };
    let mut feed = Feed::open(client, &wanted).await?;
    loop {
        let task = client.read::<TaskView>(&Call::get(path(id, ""))).await;
        let task = task.map_err(|failure| forgotten(failure, id))?;
        patience.reset();
        let plan_waits = &*task.state == "apply_pending" && !task.confirmed;
        if plan_waits || has_ended(&task) {
            return Ok(task);
        }
        loop {
            let record = feed.record().await?;
            let Some(record) = record else { return Err(Failure::Broken("it has stopped".to_owned())) };
            if record.event.payload.get("task").and_then(Value::as_str) == Some(id) {
                break;
            }
        }
    }
}

/// A task that was there goes with its pool.
fn forgotten(failure: Failure, id: &str) -> Failure {
    match failure {
        Failure::Refused(problem) if &*problem.code == "no-such-task" => {
            let gone =
                format!("task/{id} is not known any more: its pool was removed (the journal has its end)");
            Failure::Unknown(gone)
        }
        other => other,
    }
}

/// How a service that is away is waited for.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// The service has answered.
    fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits a while, if another try may help.
    async fn bear(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.is_passing() {
            return Err(failure);
        }
        if self.failures == 0 {
            eprintln!("purserd is away; the task goes on, and this waits until it is back");
        }
        sleep(AGAIN.saturating_mul(1 << self.failures.min(6)).min(AGAIN_MAX)).await;
        self.failures = self.failures.saturating_add(1);
        Ok(())
    }
}

fn has_ended(task: &TaskView) -> bool {
    matches!(&*task.state, "success" | "applied" | "planned_and_finished" | "failed" | "cancelled")
}

/// How a task stands, on one line.
fn sentence(task: &TaskView) -> String {
    let more = match (&task.message, task.exit_code, task.signal, &task.waits_because) {
        (Some(message), ..) => format!(": {message}"),
        (None, Some(code), ..) => format!(": exit code {code}"),
        (None, None, Some(signal), _) => format!(": signal {signal}"),
        (None, None, None, Some(why)) => format!(": {why}"),
        (None, None, None, None) => String::new(),
    };
    format!("task/{} {}{more}", task.id, task.state)
}
