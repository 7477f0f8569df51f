//! `purser describe`.

mod preemption;
mod sizes;
mod spec;

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::events::{Subjects, detail, one_line};
use super::get::status_word;
use super::{gpu, pool, task, tenant, violations};
use crate::api::view::{ContainerStatus, PodView, StateView};
use crate::cli::arguments::Describe;
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, FeedRecord, Wanted};
use crate::cli::name;
use crate::cli::show::{Table, age, coloured, field, line};

/// Most events that are shown: the last ones.
const EVENTS_MAX: usize = 40;
/// Records before a pod's admission that are looked at: the ledger decides a moment before the pod does.
const DECIDED_BEFORE: u64 = 32;

/// Shows everything about a pod.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    describe: Describe,
) -> Result<u8, Failure> {
    let text = match describe.name.as_slice() {
        [name] => name,
        [kind, name] if matches!(&**kind, "pod" | "pods" | "po") => name,
        [kind, name] if matches!(&**kind, "tenant" | "tenants") => {
            return tenant::describe(client, name).await;
        }
        [kind, name] if matches!(&**kind, "gpu" | "gpus") => return gpu::describe(client, name).await,
        [kind, name] if matches!(&**kind, "pool" | "pools") => return pool::describe(client, name).await,
        [kind, name] if matches!(&**kind, "task" | "tasks") => return task::describe(client, name).await,
        _ => {
            let message = "describe one: `purser describe pod NAME`, `pool NAME`, `task ID`, `tenant NAME` or \
                           `gpu UUID`";
            return Err(Failure::Usage(message.to_owned()));
        }
    };
    let id = name::parse(text, namespace)?;
    let pod: PodView = client.read(&Call::get(name::path(&id, ""))).await?;
    let history = History::read(client, &pod).await?;
    head(&pod)?;
    containers("Init containers", &pod, &pod.status.init_container_statuses, "initContainers", &history)?;
    containers("Containers", &pod, &pod.status.container_statuses, "containers", &history)?;
    line("Conditions:")?;
    for condition in &pod.status.conditions {
        let why = condition.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
        line(&format!("  {:<16} {}{why}", condition.kind, condition.status))?;
    }
    resources(&pod)?;
    sizes::last_resize(&pod)?;
    volumes(&pod.spec)?;
    violations::section(client, Some(pod.metadata.uid.clone()), None).await?;
    history.print(&pod)?;
    Ok(0)
}

fn head(pod: &PodView) -> Result<(), Failure> {
    field("Name", &pod.metadata.name)?;
    field("Namespace", &pod.metadata.namespace)?;
    field("Uid", &pod.metadata.uid)?;
    if let Some(tenant) = &pod.status.purser.tenant {
        field("Tenant", tenant)?;
    }
    field(
        "Created",
        &format!("{} ({} ago)", pod.metadata.creation_timestamp, age(pod.metadata.creation_timestamp)),
    )?;
    field("Labels", &pairs(&pod.metadata.labels))?;
    field("Annotations", &pairs(&pod.metadata.annotations))?;
    if let Some(priority) = pod.spec.get("priority") {
        field("Priority", &priority.to_string())?;
    }
    field("Status", &coloured(&status_word(pod)))?;
    if let Some(message) = &pod.status.message {
        field("Message", message)?;
    }
    if let Some(started) = pod.status.start_time {
        field("Started", &format!("{started} ({} ago)", age(started)))?;
    }
    let facts = &pod.status.purser;
    field("Runtime", &facts.runtime)?;
    field("Run", &facts.run.to_string())?;
    field("Generation", &pod.metadata.generation.to_string())?;
    field("Journal", &format!("admitted by record {}, last record {}", facts.admitted_seq, facts.last_seq))
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "none".to_owned() } else { pairs.join("\n                 ") }
}

fn containers(
    title: &str,
    pod: &PodView,
    statuses: &[ContainerStatus],
    list: &str,
    history: &History,
) -> Result<(), Failure> {
    if statuses.is_empty() {
        return Ok(());
    }
    line(&format!("{title}:"))?;
    for status in statuses {
        let specs = pod.spec.get(list).and_then(Value::as_array);
        let spec = specs.and_then(|specs| specs.iter().find(|spec| spec["name"] == *status.name));
        let start_error = history.start_errors.get(&status.name);
        let limits_enforced = pod.status.purser.limits_enforced;
        container(status, spec.unwrap_or(&Value::Null), limits_enforced, start_error)?;
    }
    Ok(())
}

fn container(
    status: &ContainerStatus,
    spec: &Value,
    limits_enforced: bool,
    start_error: Option<&String>,
) -> Result<(), Failure> {
    let field = |name: &str, value: &str| line(&format!("    {:<14} {value}", format!("{name}:")));
    line(&format!("  {}:", status.name))?;
    let optional = [
        ("Container ID", status.container_id.clone()),
        ("Image", status.image.clone()),
        ("Image ID", status.image_id.clone()),
        ("Host pid", status.host_pid.map(|pid| pid.to_string())),
    ];
    for (name, value) in optional.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        field(name, value)?;
    }
    let asked = [
        // As lists: where one word ends and the next begins is what matters.
        ("Command", spec.get("command").map(Value::to_string)),
        ("Args", spec.get("args").map(Value::to_string)),
        ("Limits", limits(spec, limits_enforced)),
        ("Requests", spec::amounts(spec, "requests")),
        (
            "Allocated",
            Some(sizes::listed(&status.allocated_resources)).filter(|_| status.resources.is_some()),
        ),
        ("In force", status.resources.as_ref().map(|held| sizes::listed(&held.limits))),
        ("Ports", spec::ports(spec)),
    ];
    for (name, value) in asked.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        field(name, value)?;
    }
    field("State", state_line(&status.word, &state(&status.state)).trim_end())?;
    if let Some(last) = &status.last_state {
        field("Last state", &state(last))?;
    }
    let failed_to_start =
        [Some(&status.state), status.last_state.as_ref()].into_iter().flatten().any(is_start_error);
    if let Some(message) = start_error.filter(|_| failed_to_start) {
        field("Start error", message)?;
    }
    field("Ready", &status.ready.to_string())?;
    field("Restarts", &status.restart_count.to_string())?;
    if status.oom_kills > 0 {
        field("Out of memory", &format!("{} times", status.oom_kills))?;
    }
    for kind in ["liveness", "readiness", "startup"] {
        if let Some(probe) = spec.get(format!("{kind}Probe")) {
            field(kind, &spec::probe(probe))?;
        }
    }
    for mount in spec.get("volumeMounts").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let read_only = if mount["readOnly"] == true { " (read only)" } else { "" };
        field("Mount", &format!("{} from {}{read_only}", text("mountPath"), text("name")))?;
    }
    // Names alone: values may be secrets.
    let env = spec.get("env").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = env.filter_map(|variable| variable["name"].as_str()).collect();
    if names.is_empty() { Ok(()) } else { field("Environment", &names.join(", ")) }
}

/// A container's word and what more there is to say, which may begin with the same word.
fn state_line(word: &str, more: &str) -> String {
    match more.strip_prefix(word) {
        Some(rest) => format!("{}{rest}", coloured(word)),
        None => format!("{} {more}", coloured(word)),
    }
}

/// The limits of a container; those that nothing holds it to are named as that.
fn limits(spec: &Value, limits_enforced: bool) -> Option<String> {
    let limits = spec::amounts(spec, "limits")?;
    Some(if limits_enforced { limits } else { format!("{limits} (not in force: no control groups)") })
}

fn is_start_error(state: &StateView) -> bool {
    matches!(state, StateView::Terminated { reason, .. } if reason == "StartError")
}

fn state(state: &StateView) -> String {
    match state {
        StateView::Waiting { message: Some(message), .. } => format!("({message})"),
        StateView::Waiting { message: None, .. } => String::new(),
        StateView::Running { started_at } => format!("since {started_at} ({})", age(*started_at)),
        StateView::Terminated { exit_code, reason, finished_at } => {
            format!("{reason}, exit code {exit_code}, at {finished_at} ({} ago)", age(*finished_at))
        }
    }
}

/// What the node gave a pod.
fn resources(pod: &PodView) -> Result<(), Failure> {
    let Some(grant) = &pod.status.purser.resources else { return Ok(()) };
    line("Resources:")?;
    let row = |name: &str, value: &str| line(&format!("  {name:<16} {value}"));
    for (kind, amount) in &grant.amounts {
        row(kind, amount)?;
    }
    for gpu in &grant.gpus {
        let share = if gpu.whole { "all".to_owned() } else { format!("{}%", gpu.share_percent) };
        row("gpu", &format!("{}: {share}, {} of its memory", gpu.uuid, gpu.memory))?;
    }
    if let Some(qos) = &pod.status.purser.qos {
        row("qos", qos)?;
    }
    let chosen = grant.ports.iter().map(u16::to_string);
    let ports: Vec<String> = grant.fixed_ports.iter().cloned().chain(chosen).collect();
    let rest = [
        ("own processors", grant.cpus.clone()),
        ("port numbers", Some(ports.join(", ")).filter(|ports| !ports.is_empty())),
        ("subnet", grant.subnet.clone()),
    ];
    rest.iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)))
        .try_for_each(|(name, value)| row(name, value))
}

fn volumes(spec: &Value) -> Result<(), Failure> {
    let Some(volumes) = spec.get("volumes").and_then(Value::as_array) else { return Ok(()) };
    line("Volumes:")?;
    for volume in volumes {
        let name = volume["name"].as_str().unwrap_or_default();
        let source: Vec<String> = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "name")
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        line(&format!("  {name:<16} {}", source.join(" ")))?;
    }
    Ok(())
}

/// What happened to a pod.
#[derive(Default)]
struct History {
    /// The last records.
    records: VecDeque<FeedRecord>,
    /// Records before them.
    left_out: usize,
    /// What the runtime said when a container could not be started, by container: the last of it.
    start_errors: BTreeMap<String, String>,
    /// What other pods are called, where a record speaks of them.
    others: Option<Subjects>,
}

impl History {
    async fn read(client: &Client, pod: &PodView) -> Result<History, Failure> {
        let wanted =
            |from| Wanted { pod: Some(pod.metadata.uid.clone()), from: Some(from), ..Wanted::default() };
        let first = pod.status.purser.admitted_seq.saturating_sub(DECIDED_BEFORE).max(1);
        let mut feed = match Feed::open(client, &wanted(first)).await {
            // Then with the first record that is here.
            Err(Failure::Refused(problem)) if &*problem.code == "journal-trimmed" => {
                Feed::open(client, &wanted(0)).await?
            }
            opened => opened?,
        };
        let mut history = History::default();
        while let Some(record) = feed.record().await? {
            history.take(record);
        }
        if history.records.iter().any(|record| record.event.kind == preemption::KIND) {
            history.others = Some(Subjects::known(client).await?);
        }
        Ok(history)
    }

    fn take(&mut self, record: FeedRecord) {
        let text = |field: &str| record.event.payload.get(field).and_then(Value::as_str).map(one_line);
        if record.event.kind == "pod.container-create-failed"
            && let (Some(container), Some(message)) = (text("container"), text("message"))
        {
            self.start_errors.insert(container, message);
        }
        if self.records.len() == EVENTS_MAX {
            self.records.pop_front();
            self.left_out += 1;
        }
        self.records.push_back(record);
    }

    fn print(&self, pod: &PodView) -> Result<(), Failure> {
        line("Events:")?;
        if self.left_out > 0 {
            line(&format!("  ({} earlier ones: `purser events {}`)", self.left_out, pod.metadata.uid))?;
        }
        let mut table = Table::new(&["  SEQ", "AGE", "TYPE", "DETAIL"]);
        for record in &self.records {
            let seq = format!("  {}", record.header.seq);
            let detail = match (&*record.event.kind, &self.others) {
                (preemption::KIND, Some(others)) => {
                    preemption::sentence(record, &pod.metadata.uid, |uid| others.pod(uid))
                }
                _ => detail(record),
            };
            table.row(vec![seq, age(record.header.time), record.event.kind.clone(), detail]);
        }
        table.print()?;
        // Not on record as such: it is what is so now.
        let Some(waiting) = &pod.status.purser.waiting else { return Ok(()) };
        let since = age(waiting.since);
        for shortage in &waiting.shortages {
            line(&format!("  Warning  FailedScheduling  {since}  {}", shortage.sentence()))?;
        }
        for pod in &waiting.make_way {
            line(&format!("  Normal   Preempting        {since}  {pod} makes way"))?;
        }
        match waiting.rank {
            0 => {}
            1 => line(&format!("  Warning  FailedScheduling  {since}  1 pod waits in front"))?,
            rank => line(&format!("  Warning  FailedScheduling  {since}  {rank} pods wait in front"))?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_that_nothing_enforces_are_not_shown_as_if_they_held() {
        let limited =
            json!({ "resources": { "limits": { "memory": "32Mi" }, "requests": { "memory": "32Mi" } } });
        assert_eq!(limits(&limited, false).unwrap(), "memory 32Mi (not in force: no control groups)");
        assert_eq!(limits(&limited, true).unwrap(), "memory 32Mi");
        assert_eq!(limits(&json!({ "resources": { "requests": { "memory": "32Mi" } } }), false), None);
    }
}
