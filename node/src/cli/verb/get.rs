//! `purser get`.

use std::collections::BTreeMap;

use purser_events::PodId;
use serde_json::Value;

use super::{gpus, pool, process, reserve, resources, status, task, tenant, violations};
use crate::api::footing::RUNTIME_MISSING;
use crate::api::pods::PodList;
use crate::api::view::{ContainerStatus, PodView};
use crate::cli::arguments::{Get, Output};
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, FeedRecord, Wanted};
use crate::cli::name::{self, DEFAULT_NAMESPACE};
use crate::cli::show::{Table, age, line, structured};

/// What pods may be called.
const PODS: [&str; 3] = ["pods", "pod", "po"];

/// Lists or shows.
pub(in crate::cli) async fn run(client: &Client, namespace: Option<&str>, get: Get) -> Result<u8, Failure> {
    match get.what.split_once('/') {
        Some(("pod" | "pods" | "po", name)) if get.name.is_none() => {
            return pods(client, namespace, &Get { name: Some(name.to_owned()), ..get }).await;
        }
        Some(("pool" | "pools", name)) if get.name.is_none() => {
            return pool::get(client, Some(name), get.output).await;
        }
        _ => {}
    }
    let only = get.name.as_deref();
    match get.what.as_str() {
        "resources" | "resource" => resources::get(client, only, &get).await,
        "tasks" | "task" => task::get(client, &get).await,
        what if get.watch && !PODS.contains(&what) => {
            let message = format!("{what} cannot be watched: only pods, tasks and resources can");
            Err(Failure::Usage(message))
        }
        "pools" | "pool" => pool::get(client, only, get.output).await,
        "process" | "processes" => process::get(client, only, get.output).await,
        "gpus" | "gpu" => gpus::get(client, only, get.output).await,
        "violations" | "violation" => violations::get(client, namespace, &get).await,
        "tenants" | "tenant" => tenant::get(client, only, get.output).await,
        "reservations" | "reservation" => reserve::get(client, only, get.output).await,
        what if PODS.contains(&what) => pods(client, namespace, &get).await,
        "workers" | "worker" => workers(client, namespace, &get).await,
        "node" | "nodes" | "no" => {
            status::print(client, get.output).await?;
            Ok(0)
        }
        other => Err(Failure::Usage(format!(
            "there are no `{other}`; get pods, pools, tasks, workers, node, resources, gpus, violations, tenants or \
             reservations, process PID, or pod/NAME"
        ))),
    }
}

async fn pods(client: &Client, namespace: Option<&str>, get: &Get) -> Result<u8, Failure> {
    // Opened before the list is read: what happens in between is then in one of them, or in both.
    let feed = match get.watch {
        true => Some(Feed::open(client, &Wanted { follow: true, ..Wanted::default() }).await?),
        false => None,
    };
    if let Some(text) = &get.name {
        let id = name::parse(text, namespace)?;
        let pod: PodView = client.read(&Call::get(name::path(&id, ""))).await?;
        if !structured(&pod, get.output)? {
            let mut columns = Columns::new(get);
            columns.print(std::slice::from_ref(&pod))?;
            return watch(client, feed, columns, vec![pod], Some(id), None).await;
        }
        return Ok(0);
    }
    let list = list(client, namespace, get).await?;
    if structured(&list, get.output)? {
        return Ok(0);
    }
    if list.items.is_empty() && feed.is_none() {
        let space = namespace.unwrap_or(DEFAULT_NAMESPACE);
        eprintln!(
            "no pods{}",
            if get.all_namespaces { String::new() } else { format!(" in namespace `{space}`") }
        );
        return Ok(0);
    }
    let mut columns = Columns::new(get);
    columns.print(&list.items)?;
    let space = (!get.all_namespaces).then(|| namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned());
    watch(client, feed, columns, list.items, None, space).await
}

async fn list(client: &Client, namespace: Option<&str>, get: &Get) -> Result<PodList, Failure> {
    let space = (!get.all_namespaces).then(|| namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned());
    let target = with_query("/v1/pods", &[("namespace", space), ("label", get.selector.clone())]);
    client.read(&Call::get(target)).await
}

/// Prints a pod's row again with every change of it, until the feed ends.
async fn watch(
    client: &Client,
    feed: Option<Feed>,
    mut columns: Columns,
    known: Vec<PodView>,
    only: Option<PodId>,
    space: Option<String>,
) -> Result<u8, Failure> {
    let Some(mut feed) = feed else { return Ok(0) };
    let mut names: BTreeMap<String, PodId> = BTreeMap::new();
    let mut last: BTreeMap<String, PodView> = BTreeMap::new();
    for pod in known {
        if let Ok(id) = PodId::new(&*pod.metadata.namespace, &*pod.metadata.name) {
            names.insert(pod.metadata.uid.clone(), id);
            last.insert(pod.metadata.uid.clone(), pod);
        }
    }
    while let Some(record) = feed.record().await? {
        let Some(id) = subject(&record, &mut names) else { continue };
        let of_space = space.as_deref().is_none_or(|space| space == id.namespace());
        if !of_space || only.as_ref().is_some_and(|only| *only != id) {
            continue;
        }
        let uid = &record.header.stream.id;
        let pod = if record.event.kind == "pod.terminated" {
            last.remove(uid).map(|mut pod| {
                "Terminated".clone_into(&mut pod.status.phase);
                pod
            })
        } else {
            client.read::<PodView>(&Call::get(name::path(&id, ""))).await.ok()
        };
        let Some(pod) = pod else { continue };
        let changed = last.get(uid).is_none_or(|before| columns.cells(before) != columns.cells(&pod));
        if changed {
            columns.print(std::slice::from_ref(&pod))?;
        }
        if record.event.kind != "pod.terminated" {
            last.insert(uid.clone(), pod);
        }
    }
    Err(Failure::Broken("it has stopped".to_owned()))
}

/// The pod that a record is about, if it is about one.
fn subject(record: &FeedRecord, names: &mut BTreeMap<String, PodId>) -> Option<PodId> {
    if record.header.stream.kind != "pod" {
        return None;
    }
    let part = |field| record.event.payload.pointer(field).and_then(Value::as_str);
    if let (Some(space), Some(name)) = (part("/spec/id/namespace"), part("/spec/id/name")) {
        let id = PodId::new(space, name).ok()?;
        names.insert(record.header.stream.id.clone(), id);
    }
    names.get(&record.header.stream.id).cloned()
}

/// The columns of a list of pods.
struct Columns {
    table: Table,
    output: Output,
    namespaces: bool,
}

impl Columns {
    fn new(get: &Get) -> Columns {
        let mut headings = vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
        if get.all_namespaces {
            headings.insert(0, "NAMESPACE");
        }
        if get.output == Output::Wide {
            headings.extend(["RUNTIME", "RUN", "UID"]);
        }
        Columns { table: Table::new(&headings), output: get.output, namespaces: get.all_namespaces }
    }

    fn print(&mut self, pods: &[PodView]) -> Result<(), Failure> {
        for pod in pods {
            if self.output == Output::Name {
                line(&format!("pod/{}", pod.metadata.name))?;
            } else {
                let cells = self.cells(pod);
                self.table.row(cells);
            }
        }
        if self.output == Output::Name { Ok(()) } else { self.table.print() }
    }

    fn cells(&self, pod: &PodView) -> Vec<String> {
        let containers = &pod.status.container_statuses;
        let all = || pod.status.init_container_statuses.iter().chain(containers);
        let ready = containers.iter().filter(|container| container.ready).count();
        let restarts: u32 = all().map(|container| container.restart_count).sum();
        let mut cells = vec![
            pod.metadata.name.clone(),
            format!("{ready}/{}", containers.len()),
            status_word(pod),
            restarts.to_string(),
            age(pod.metadata.creation_timestamp),
        ];
        if self.namespaces {
            cells.insert(0, pod.metadata.namespace.clone());
        }
        if self.output == Output::Wide {
            let facts = &pod.status.purser;
            cells.extend([facts.runtime.clone(), facts.run.to_string(), pod.metadata.uid.clone()]);
        }
        cells
    }
}

/// The word for how a pod stands: that of a container in trouble, if one is; that nobody looks after it comes first.
pub(super) fn status_word(pod: &PodView) -> String {
    if pod.status.reason.as_deref() == Some(RUNTIME_MISSING) {
        return RUNTIME_MISSING.to_owned();
    }
    let troubled =
        |container: &&ContainerStatus| !matches!(&*container.word, "Running" | "Waiting" | "Completed");
    match &*pod.status.phase {
        "Running" | "Provisioning" => {
            let mut all = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
            let word = all.find(troubled).map(|container| container.word.clone());
            word.or_else(|| pod.status.reason.clone()).unwrap_or_else(|| pod.status.phase.clone())
        }
        "Stopped" => match pod.status.reason.as_deref() {
            Some(reason @ ("Completed" | "Preempted" | "Evicted")) => reason.to_owned(),
            _ => "Stopped".to_owned(),
        },
        phase => phase.to_owned(),
    }
}

async fn workers(client: &Client, namespace: Option<&str>, get: &Get) -> Result<u8, Failure> {
    let items = match &get.name {
        Some(text) => {
            let id = name::parse(text, namespace)?;
            vec![client.read::<PodView>(&Call::get(name::path(&id, ""))).await?]
        }
        None => list(client, namespace, get).await?.items,
    };
    let mut table = Table::new(&["POD", "CONTAINER", "STATE", "PID", "RESTARTS", "ID"]);
    let mut rows = Vec::new();
    for pod in &items {
        let status = &pod.status;
        for container in status.init_container_statuses.iter().chain(&status.container_statuses) {
            let (Some(pid), Some(id)) = (container.host_pid, &container.container_id) else { continue };
            let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            table.row(vec![
                name,
                container.name.clone(),
                container.word.clone(),
                pid.to_string(),
                container.restart_count.to_string(),
                id.clone(),
            ]);
            rows.push(WorkerRow {
                namespace: &pod.metadata.namespace,
                pod: &pod.metadata.name,
                pod_uid: &pod.metadata.uid,
                container,
            });
        }
    }
    if get.output == Output::Name {
        for uid in rows.iter().filter_map(|row| row.container.worker_uid.as_deref()) {
            line(&format!("worker/{uid}"))?;
        }
    } else if !structured(&rows, get.output)? {
        table.print()?;
    }
    Ok(0)
}

/// A worker as programs read it: its container's status and whose it is.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkerRow<'a> {
    namespace: &'a str,
    pod: &'a str,
    #[serde(rename = "podUID")]
    pod_uid: &'a str,
    #[serde(flatten)]
    container: &'a ContainerStatus,
}
