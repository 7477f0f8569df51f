//! `purser history`.

use purser_actors::port::Clock;
use purser_events::Timestamp;

use crate::adapter::clock::SystemClock;
use crate::api::history::{HistoryItem, HistoryList, LIMIT_MAX};
use crate::cli::arguments::Output;
use crate::cli::arguments::history::History;
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::name::{self, DEFAULT_NAMESPACE};
use crate::cli::show::{Table, age, age_of, line, structured};

/// Shows what became of pods.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    history: History,
) -> Result<u8, Failure> {
    let id = history.name.as_deref().map(|text| name::parse(text, namespace)).transpose()?;
    let space = match &id {
        Some(id) => Some(id.namespace().to_owned()),
        None if history.all_namespaces => None,
        None => Some(namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned()),
    };
    let now = SystemClock.now();
    let limit_left = |shown: usize| if history.limit == 0 { LIMIT_MAX } else { history.limit - shown };
    let mut all: Option<HistoryList> = None;
    let mut token = history.token.clone();
    loop {
        let shown = all.as_ref().map_or(0, |all| all.items.len());
        let parameters = [
            ("namespace", space.clone()),
            ("name", id.as_ref().map(|id| id.name().to_owned())),
            ("principal", history.principal.clone()),
            ("since", history.since.map(|since| since.by(now).to_string())),
            ("until", history.until.map(|until| until.by(now).to_string())),
            ("limit", Some(limit_left(shown).min(LIMIT_MAX).to_string())),
            ("continue", token.take()),
            // What this user has just done is to be seen.
            ("atLeast", Some("head".to_owned())),
        ];
        let page: HistoryList = client.read(&Call::get(with_query("/v1/history", &parameters))).await?;
        token.clone_from(&page.token);
        let list = match all.take() {
            Some(mut list) => {
                list.items.extend(page.items);
                HistoryList { token: page.token, ..list }
            }
            None => page,
        };
        let is_enough = history.limit != 0 && list.items.len() >= history.limit;
        if is_enough || token.is_none() {
            print(&list, &history)?;
            return Ok(0);
        }
        all = Some(list);
    }
}

fn print(list: &HistoryList, history: &History) -> Result<(), Failure> {
    if structured(list, history.output)? {
        return Ok(());
    }
    let name = |pod: &HistoryItem| pod.name.clone().unwrap_or_else(|| "<unknown>".to_owned());
    if history.output == Output::Name {
        list.items.iter().try_for_each(|pod| line(&format!("pod/{}", name(pod))))?;
    } else if list.items.is_empty() {
        eprintln!("no pods; the history begins with record {}", list.first);
    } else {
        let mut headings = vec!["NAME", "STATUS", "RESULT", "EXIT", "RESTARTS", "ADMITTED", "RAN", "BY"];
        if history.all_namespaces {
            headings.insert(0, "NAMESPACE");
        }
        if history.output == Output::Wide {
            headings.extend(["UID", "ENDED BY", "RUNS", "CONTAINERS"]);
        }
        let mut table = Table::new(&headings);
        list.items.iter().for_each(|pod| table.row(cells(pod, &name(pod), history)));
        table.print()?;
    }
    if let Some(token) = &list.token {
        eprintln!("there may be more: --continue {token}");
    }
    Ok(())
}

fn cells(pod: &HistoryItem, name: &str, history: &History) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let exit = pod.exit_code.zip(pod.exit_reason.as_ref());
    let mut cells = vec![
        name.to_owned(),
        pod.phase.clone(),
        or_dash(pod.result.clone()),
        or_dash(exit.map(|(code, reason)| format!("{code} {reason}"))),
        pod.restarts.to_string(),
        or_dash(pod.admitted_at.map(age)),
        or_dash(pod.started_at.map(|started| ran(started, pod.ended_at))),
        or_dash(pod.admitted_by.clone()),
    ];
    if history.all_namespaces {
        cells.insert(0, or_dash(pod.namespace.clone()));
    }
    if history.output == Output::Wide {
        let containers = pod.containers.iter().map(|container| {
            let what = container.image.as_ref().or(container.program.as_ref());
            format!("{}={}", container.name, what.map_or("-", |what| what.as_str()))
        });
        let containers: Vec<String> = containers.collect();
        let ended_by = or_dash(pod.ended_by.clone());
        cells.extend([pod.uid.clone(), ended_by, pod.runs.to_string(), containers.join(",")]);
    }
    cells
}

/// How long a pod ran, or has run so far.
fn ran(started: Timestamp, ended: Option<Timestamp>) -> String {
    ended.map_or_else(|| age(started), |ended| age_of(ended.ms_since(started) / 1_000))
}
