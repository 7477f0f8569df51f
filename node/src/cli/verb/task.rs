//! `purser submit`, `get tasks`, `describe task`, `confirm`, `discard`, `cancel-task` and `task-log`.

use purser_actors::port::Ids;
use serde_json::Value;

use super::events::detail;
use super::logs::copy_output;
use super::task_wait;
use crate::adapter::clock::UuidV7;
use crate::api::pools::TaskAccepted;
use crate::api::pools::task_routes::{SecretSource, TaskRequest};
use crate::api::pools::task_view::{TaskList, TaskView};
use crate::cli::arguments::pool::{Kind, Submit, TaskChange, TaskLog};
use crate::cli::arguments::{Get, Output};
use crate::cli::client::{Call, Client, encoded, with_query};
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, FeedRecord, Wanted};
use crate::cli::show::{Table, age, coloured, field, line, structured};

pub(super) fn path(id: &str, rest: &str) -> String {
    format!("/v1/tasks/{}{rest}", encoded(id))
}

/// Gives a task to a pool.
pub(in crate::cli) async fn submit(client: &Client, submit: Submit) -> Result<u8, Failure> {
    let (argv, apply_argv) = phases(submit.kind, submit.command)?;
    let id = submit.id.unwrap_or_else(|| UuidV7.uuid());
    let request = TaskRequest {
        id: Some(id),
        kind: submit.kind.into(),
        workspace: submit.workspace,
        priority: submit.priority,
        argv,
        apply_argv,
        env: submit.env.into_iter().collect(),
        secret_env: submit.secret_env.into_iter().map(|(name, place)| (name, source(&place))).collect(),
        working_dir: submit.working_dir,
        timeout_seconds: submit.timeout.map(|time| u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX)),
        labels: submit.labels.into_iter().collect(),
    };
    let body = serde_json::to_value(&request).map_err(|error| Failure::Usage(error.to_string()))?;
    let call = Call::post(format!("/v1/pools/{}/tasks", encoded(&submit.pool))).json(&body);
    let accepted: TaskAccepted = client.change(&call).await?;
    if submit.wait {
        return task_wait::wait(client, &id.to_string(), submit.output).await;
    }
    if !structured(&accepted, submit.output)? {
        line(&told(&accepted))?;
    }
    Ok(0)
}

/// As in `cloud/token`, or `cloud` of a secret that is one file.
fn source(place: &str) -> SecretSource {
    match place.split_once('/') {
        Some((secret, key)) => SecretSource { secret: secret.to_owned(), key: Some(key.to_owned()) },
        None => SecretSource { secret: place.to_owned(), key: None },
    }
}

/// Program and arguments of each phase: those of the apply stand behind another `--`.
fn phases(kind: Kind, command: Vec<String>) -> Result<(Vec<String>, Vec<String>), Failure> {
    if kind != Kind::PlanAndApply {
        return Ok((command, vec![]));
    }
    match command.iter().position(|word| word == "--") {
        Some(at) if 0 < at && at + 1 < command.len() => {
            Ok((command.iter().take(at).cloned().collect(), command.into_iter().skip(at + 1).collect()))
        }
        _ => {
            let message = "plan_and_apply has two commands: `-- PLAN… -- APPLY…`, as in `-- terraform plan -out p -- \
                           terraform apply p`";
            Err(Failure::Usage(message.to_owned()))
        }
    }
}

fn told(accepted: &TaskAccepted) -> String {
    format!("task/{} {} in pool/{} ({})", accepted.task, accepted.outcome, accepted.pool, accepted.state)
}

/// Lists tasks, or shows one.
pub(super) async fn get(client: &Client, get: &Get) -> Result<u8, Failure> {
    let feed = match get.watch {
        true => {
            let wanted = Wanted { kind: Some("pool.".to_owned()), follow: true, ..Wanted::default() };
            Some(Feed::open(client, &wanted).await?)
        }
        false => None,
    };
    let mut columns = Columns::new(get.output);
    if let Some(id) = &get.name {
        let task: TaskView = client.read(&Call::get(path(id, ""))).await?;
        if structured(&task, get.output)? {
            return Ok(0);
        }
        columns.print(std::slice::from_ref(&task))?;
        return watch(client, feed, columns, get, vec![task]).await;
    }
    let target = with_query("/v1/tasks", &[("pool", get.pool.clone()), ("state", get.state.clone())]);
    let list: TaskList = client.read(&Call::get(target)).await?;
    if structured(&list, get.output)? {
        return Ok(0);
    }
    if list.items.is_empty() && feed.is_none() {
        eprintln!("no tasks");
        return Ok(0);
    }
    columns.print(&list.items)?;
    if (list.items.len() as u64) < list.total {
        eprintln!(
            "these are the newest {} of {}; --pool and --state show fewer",
            list.items.len(),
            list.total
        );
    }
    watch(client, feed, columns, get, list.items).await
}

/// Prints a task's row again with every change of it, until the feed ends.
async fn watch(
    client: &Client,
    feed: Option<Feed>,
    mut columns: Columns,
    get: &Get,
    known: Vec<TaskView>,
) -> Result<u8, Failure> {
    let Some(mut feed) = feed else { return Ok(0) };
    let mut last: std::collections::BTreeMap<String, Vec<String>> =
        known.iter().map(|task| (task.id.clone(), Columns::cells(task, get.output))).collect();
    while let Some(record) = feed.record().await? {
        let payload = &record.event.payload;
        let named = payload.get("task").or_else(|| payload.pointer("/spec/id")).and_then(Value::as_str);
        let Some(id) = named.filter(|id| get.name.as_deref().is_none_or(|only| only == *id)) else {
            continue;
        };
        // One that is forgotten meanwhile has nothing more to show.
        let Ok(task) = client.read::<TaskView>(&Call::get(path(id, ""))).await else { continue };
        let is_meant = get.pool.as_ref().is_none_or(|pool| *pool == task.pool)
            && (get.state.as_ref().is_none_or(|state| *state == task.state) || last.contains_key(id));
        let cells = Columns::cells(&task, get.output);
        if is_meant && last.get(id) != Some(&cells) {
            columns.print(std::slice::from_ref(&task))?;
            last.insert(id.to_owned(), cells);
        }
    }
    Err(Failure::Broken("it has stopped".to_owned()))
}

/// The columns of a list of tasks.
struct Columns {
    table: Table,
    output: Output,
}

impl Columns {
    fn new(output: Output) -> Columns {
        let mut headings = vec!["ID", "POOL", "KIND", "STATE", "WORKSPACE", "TRIES", "POD", "AGE"];
        if output == Output::Wide {
            headings.extend(["PRIORITY", "COMMAND", "WHY"]);
        }
        Columns { table: Table::new(&headings), output }
    }

    fn print(&mut self, tasks: &[TaskView]) -> Result<(), Failure> {
        for task in tasks {
            if self.output == Output::Name {
                line(&format!("task/{}", task.id))?;
            } else {
                self.table.row(Columns::cells(task, self.output));
            }
        }
        if self.output == Output::Name { Ok(()) } else { self.table.print() }
    }

    fn cells(task: &TaskView, output: Output) -> Vec<String> {
        let slot = task.slot.as_ref().map(|slot| format!("{}:{}", slot.pod, slot.slot));
        let mut cells = vec![
            task.id.clone(),
            task.pool.clone(),
            task.kind.clone(),
            task.state.clone(),
            task.workspace.clone().unwrap_or_else(|| "-".to_owned()),
            task.attempts.to_string(),
            slot.unwrap_or_else(|| "-".to_owned()),
            age(task.submitted_at),
        ];
        if output == Output::Wide {
            let why = task.waits_because.clone().or_else(|| task.message.clone());
            cells.extend([
                task.priority.to_string(),
                task.argv.join(" "),
                why.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        cells
    }
}

/// Shows everything about a task.
pub(super) async fn describe(client: &Client, id: &str) -> Result<u8, Failure> {
    let task: TaskView = client.read(&Call::get(path(id, ""))).await?;
    field("Task", &task.id)?;
    field("Pool", &task.pool)?;
    field("Kind", &task.kind)?;
    field("State", &coloured(&task.state))?;
    if let Some(why) = &task.waits_because {
        field("Waits because", why)?;
    }
    let optional = [
        ("Workspace", task.workspace.clone()),
        ("Not before", task.not_before.map(|at| at.to_string())),
        ("Plan", task.summary.clone()),
        ("To end", task.cancel.clone()),
        ("Last loss", task.last_loss.clone()),
        ("Exit code", task.exit_code.map(|code| code.to_string())),
        ("Signal", task.signal.map(|signal| signal.to_string())),
        ("Message", task.message.clone()),
    ];
    for (name, value) in optional.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        field(name, value)?;
    }
    field("Priority", &task.priority.to_string())?;
    // As lists: where one word ends and the next begins is what matters.
    field("Command", &Value::from(task.argv.clone()).to_string())?;
    if !task.apply_argv.is_empty() {
        field("Apply", &Value::from(task.apply_argv.clone()).to_string())?;
    }
    if !task.env_names.is_empty() {
        field("Environment", &task.env_names.join(", "))?;
    }
    for (name, place) in &task.secret_env {
        field("Secret", &format!("{name} from {place}"))?;
    }
    for (key, value) in &task.labels {
        field("Label", &format!("{key}={value}"))?;
    }
    field("Submitted", &format!("{} ({} ago)", task.submitted_at, age(task.submitted_at)))?;
    field("Tries", &task.attempts.to_string())?;
    if let Some(slot) = &task.slot {
        let phase = slot
            .phase
            .as_ref()
            .map_or_else(|| "kept for its plan".to_owned(), |phase| format!("phase {phase}"));
        let begun = if slot.started { "begun" } else { "not begun" };
        let told = format!(
            "{}:{} by token {}, {phase}, {begun}, until {}",
            slot.pod, slot.slot, slot.token, slot.until
        );
        field("Slot", &told)?;
    }
    history(&task.history)?;
    Ok(0)
}

/// What is on record of a task.
fn history(records: &[Value]) -> Result<(), Failure> {
    if records.is_empty() {
        return line("History: none that can be read any more");
    }
    line("History:")?;
    let mut table = Table::new(&["  SEQ", "AT", "EVENT", "DETAIL"]);
    for record in records {
        let mut record: FeedRecord =
            serde_json::from_value(record.clone()).map_err(|error| Failure::Senseless(error.to_string()))?;
        if let Value::Object(fields) = &mut record.event.payload {
            // Both stand above and beside it already.
            fields.retain(|name, _| name != "task" && name != "at");
        }
        table.row(vec![
            format!("  {}", record.header.seq),
            record.header.time.to_string(),
            record.event.kind.clone(),
            detail(&record),
        ]);
    }
    table.print()
}

/// Has a planned change applied.
pub(in crate::cli) async fn confirm(client: &Client, change: TaskChange) -> Result<u8, Failure> {
    ask(client, change, "confirm").await
}

/// Drops a planned change.
pub(in crate::cli) async fn discard(client: &Client, change: TaskChange) -> Result<u8, Failure> {
    ask(client, change, "discard").await
}

/// Ends a task.
pub(in crate::cli) async fn cancel(client: &Client, change: TaskChange) -> Result<u8, Failure> {
    ask(client, change, "cancel").await
}

async fn ask(client: &Client, change: TaskChange, verb: &str) -> Result<u8, Failure> {
    let call = Call::post(path(&change.task.to_string(), &format!("/{verb}")));
    let accepted: TaskAccepted = client.change(&call).await?;
    if !structured(&accepted, change.output)? {
        line(&told(&accepted))?;
    }
    Ok(0)
}

/// Prints a task's output.
pub(in crate::cli) async fn log(client: &Client, log: TaskLog) -> Result<u8, Failure> {
    copy_log(client, &log.task.to_string(), log.follow).await?;
    Ok(0)
}

async fn copy_log(client: &Client, id: &str, follow: bool) -> Result<(), Failure> {
    let target = with_query(&path(id, "/log"), &[("follow", follow.then(|| "true".to_owned()))]);
    copy_output(client.open(&Call::get(target)).await?, &mut 0, |error| match follow {
        true => Failure::Broken("the task had not ended".to_owned()),
        false => Failure::Broken(error.to_string()),
    })
    .await
}
