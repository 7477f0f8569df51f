//! `purser events`.

use std::collections::BTreeMap;
use std::time::Duration;

use purser_events::event::LAYOUTS;
use purser_events::pool::PoolName;
use serde_json::Value;
use tokio::time::sleep;

use crate::api::pods::PodList;
use crate::api::pools::view::PoolList;
use crate::api::view::PodView;
use crate::cli::arguments::{Events, Output};
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, FeedRecord, Wanted};
use crate::cli::name;
use crate::cli::show::line;

/// Wait before a feed that broke off is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Tries to open a feed again before the service counts as gone.
const REOPEN_MAX: usize = 150;

/// Prints what happened.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    events: Events,
) -> Result<u8, Failure> {
    let pod = match &events.pod {
        // A uid stands for one incarnation.
        Some(text) if uuid::Uuid::try_parse(text).is_ok() => Some(text.clone()),
        Some(text) => Some(name::parse(text, namespace)?.to_string()),
        None => None,
    };
    if let Some(unknown) = events.kind.as_deref().and_then(unknown_type) {
        let known: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
        return Err(Failure::Usage(format!(
            "no event type is called `{unknown}`; there are {}",
            known.join(", ")
        )));
    }
    let mut subjects = Subjects::known(client).await?;
    let mut shown = false;
    let mut wanted = Wanted { pod, kind: events.kind.clone(), from: events.from, follow: events.follow };
    let mut failures = 0;
    loop {
        match copy(client, &mut wanted, events.output, &mut subjects, &mut shown).await {
            Ok(()) if !events.follow => return ended(&wanted, &events, shown),
            Ok(()) => failures = 0,
            // What was printed is not printed again: the feed goes on behind the last record.
            Err(failure) if wanted.follow && wanted.from != events.from && failure.is_passing() => {
                failures += 1;
                if failures > REOPEN_MAX {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
        sleep(REOPEN_PAUSE).await;
    }
}

/// Prints a feed to its end and notes in `wanted` where to go on.
async fn copy(
    client: &Client,
    wanted: &mut Wanted,
    output: Output,
    subjects: &mut Subjects,
    shown: &mut bool,
) -> Result<(), Failure> {
    let mut feed = Feed::open(client, wanted).await?;
    while let Some(message) = feed.next().await? {
        let record: FeedRecord =
            serde_json::from_str(&message.data).map_err(|error| Failure::Senseless(error.to_string()))?;
        if matches!(output, Output::Table | Output::Wide) && !*shown {
            line(&format!("{:>8}  {:<15}  {:<32}  {}", "SEQ", "TIME", "TYPE", "SUBJECT AND DETAIL"))?;
        }
        *shown = true;
        let subject = subjects.of(&record);
        match output {
            Output::Json | Output::Yaml => line(&message.data)?,
            Output::Table | Output::Wide | Output::Name => line(&row(&record, &subject))?,
        }
        wanted.from = Some(record.header.seq + 1);
    }
    Ok(())
}

/// The end of a feed that does not go on: that nothing was in it may mean that there is no such pod.
fn ended(wanted: &Wanted, events: &Events, shown: bool) -> Result<u8, Failure> {
    match &wanted.pod {
        Some(pod) if !shown && events.kind.is_none() && events.from.is_none() => {
            Err(Failure::Unknown(format!("nothing is known of pod `{pod}`")))
        }
        _ => Ok(0),
    }
}

/// The first of these types that does not exist: it would silently match nothing.
fn unknown_type(kinds: &str) -> Option<&str> {
    let exists = |kind: &str| {
        LAYOUTS
            .iter()
            .any(|layout| layout.name == kind || (kind.ends_with('.') && layout.name.starts_with(kind)))
    };
    kinds.split(',').map(str::trim).find(|kind| !kind.is_empty() && !exists(kind))
}

/// What streams are called by people: learned from the pods that there are, and from the records as they pass.
pub(super) struct Subjects {
    pods: BTreeMap<String, String>,
    pools: BTreeMap<String, String>,
    workers: BTreeMap<String, String>,
}

impl Subjects {
    pub(super) async fn known(client: &Client) -> Result<Subjects, Failure> {
        let list: PodList = client.read(&Call::get("/v1/pods")).await?;
        let name = |pod: &PodView| format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
        let pods = list.items.iter().map(|pod| (pod.metadata.uid.clone(), name(pod))).collect();
        let pools: PoolList = client.read(&Call::get("/v1/pools")).await?;
        let names = pools.items.iter().filter_map(|pool| PoolName::new(&*pool.metadata.name).ok());
        let pools = names.map(|name| (name.stream().id.to_string(), name.to_string())).collect();
        Ok(Subjects { pods, pools, workers: BTreeMap::new() })
    }

    /// What a pod is called; its uid if no name of it is known.
    pub(super) fn pod(&self, uid: &str) -> String {
        self.pods.get(uid).map_or(uid, String::as_str).to_owned()
    }

    /// What a record is about; a stream of which no name is known by its uid.
    fn of(&mut self, record: &FeedRecord) -> String {
        let text = |field| record.event.payload.pointer(field).and_then(Value::as_str);
        let id = &record.header.stream.id;
        if let (Some(space), Some(name)) = (text("/spec/id/namespace"), text("/spec/id/name")) {
            self.pods.insert(id.clone(), format!("{space}/{name}"));
        }
        if let ("worker.registered", Some(uid)) = (&*record.event.kind, text("/pod")) {
            let pod = self.pods.get(uid).cloned().unwrap_or_else(|| uid.to_owned());
            self.workers.insert(id.clone(), pod);
        }
        if let ("pool.spec-set", Some(name)) = (&*record.event.kind, text("/name")) {
            self.pools.insert(id.clone(), name.to_owned());
        }
        match &*record.header.stream.kind {
            "pool" => format!("pool/{}", self.pools.get(id).unwrap_or(id)),
            "pod" => format!("pod/{}", self.pod(id)),
            "worker" => {
                self.workers.get(id).map_or_else(|| format!("worker/{id}"), |pod| format!("worker of {pod}"))
            }
            kind => format!("{kind}/{id}"),
        }
    }
}

fn row(record: &FeedRecord, subject: &str) -> String {
    let header = &record.header;
    let time = header.time.to_string();
    // The time of day is enough to read along; the date is in the JSON.
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time.trim_end_matches('Z'));
    format!("{:>8}  {time:<15}  {:<32}  {subject} {}", header.seq, record.event.kind, detail(record))
}

/// What an event says, in short: its plain fields, without the specification and what it may hold.
pub(super) fn detail(record: &FeedRecord) -> String {
    if let Some(error) = &record.event.error {
        return error.clone();
    }
    let Value::Object(fields) = &record.event.payload else { return String::new() };
    let mut parts = Vec::new();
    for (name, value) in fields {
        match value {
            _ if name == "spec" => {
                let part = |field| value.pointer(field).and_then(Value::as_str);
                match (part("/id/namespace"), part("/id/name"), part("/id"), part("/kind")) {
                    (Some(space), Some(name), ..) => parts.push(format!("pod={space}/{name}")),
                    (_, _, Some(task), Some(kind)) => parts.push(format!("task={task} kind={kind}")),
                    _ => {}
                }
            }
            // What a decision was made from is in `purser describe pool`.
            Value::Object(verdict) if name == "verdict" => {
                let part = |field| verdict.get(field).map(ToString::to_string).unwrap_or_default();
                parts.push(format!("wanted={} rule={}", part("wanted"), part("rule")));
            }
            Value::Null => {}
            // What the ledger weighed is for programs, too.
            _ if ["demand", "grant", "shortages"].contains(&&**name) => {}
            // A process by its number; what makes it unmistakable is for programs.
            Value::Object(process) if process.contains_key("hostPid") => {
                parts.push(format!("hostPid={}", process["hostPid"]));
            }
            Value::String(text) => parts.push(format!("{name}={}", one_line(text))),
            other => parts.push(format!("{name}={other}")),
        }
    }
    parts.join(" ")
}

/// Text as it may stand in a line of a terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
