//! `purser get violations` and `purser set monitor`.

use purser_actors::port::Clock;
use serde_json::{Map, Value};

use crate::adapter::clock::SystemClock;
use crate::api::node::NodeAccepted;
use crate::api::violations::{EnforcementView, ViolationList, ViolationView, camel};
use crate::cli::arguments::ledger::SetMonitor;
use crate::cli::arguments::{Get, Output};
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::name;
use crate::cli::show::{Table, age, age_of, line, structured};

/// Lists violations.
pub(super) async fn get(client: &Client, namespace: Option<&str>, get: &Get) -> Result<u8, Failure> {
    let pod = get.pod.as_deref().map(|text| name::parse(text, namespace)).transpose()?;
    let since = get.since.map(|since| since.by(SystemClock.now()).to_string());
    let list = of(client, pod.map(|id| id.to_string()), get.gpu.clone(), since).await?;
    if structured(&list, get.output)? {
        return Ok(0);
    }
    if get.output == Output::Name {
        list.items.iter().try_for_each(|it| line(&format!("violation/{}", it.id)))?;
        return Ok(0);
    }
    if list.items.is_empty() {
        eprintln!("no violations");
        return Ok(0);
    }
    table(&list.items, get.output)?;
    Ok(0)
}

async fn of(
    client: &Client,
    pod: Option<String>,
    gpu: Option<String>,
    since: Option<String>,
) -> Result<ViolationList, Failure> {
    let limit = Some("1000".to_owned());
    let query = [("pod", pod), ("gpu", gpu), ("since", since), ("limit", limit)];
    client.read(&Call::get(with_query("/v1/violations", &query))).await
}

fn table(items: &[ViolationView], output: Output) -> Result<(), Failure> {
    let mut headings = vec!["SINCE", "KIND", "POD", "GPU", "LEVEL", "LASTED", "PEAK", "LIMIT"];
    if output == Output::Wide {
        headings.extend(["ID", "EVIDENCE"]);
    }
    let mut table = Table::new(&headings);
    for it in items {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let lasted = age_of(it.duration_ms / 1_000);
        let mut row = vec![
            age(it.since),
            it.kind.clone(),
            it.pod.clone().unwrap_or_else(|| or_none(&it.pod_uid)),
            or_none(&it.gpu),
            it.level.clone(),
            if it.until.is_none() { format!("{lasted}, open") } else { lasted },
            figure(it, it.peak),
            figure(it, it.limit),
        ];
        if output == Output::Wide {
            row.extend([it.id.clone(), it.evidence.clone()]);
        }
        table.row(row);
    }
    table.print()
}

fn figure(violation: &ViolationView, figure: u64) -> String {
    let kind = purser_events::violation::ViolationKind::from_word(&violation.kind);
    kind.map_or_else(|| figure.to_string(), |kind| kind.unit().show(figure))
}

/// The section of violations in what is told of a pod or a GPU; nothing if there were none.
pub(super) async fn section(
    client: &Client,
    pod: Option<String>,
    gpu: Option<String>,
) -> Result<(), Failure> {
    let list = of(client, pod, gpu, None).await?;
    if let Some(view) = &list.enforcement {
        enforcement(view)?;
    }
    for held in &list.held {
        let of = held.gpu.as_ref().map_or(String::new(), |gpu| format!(" of {gpu}"));
        line(&format!("Held back:      {}{of}: {}", held.what, held.limit))?;
    }
    if list.items.is_empty() {
        return Ok(());
    }
    line("Violations:")?;
    for it in &list.items {
        let end = if it.until.is_none() { "open" } else { "over" };
        let lasted = age_of(it.duration_ms / 1_000);
        line(&format!("  {} {} ({end} after {lasted}, {}): {}", it.since, it.kind, it.level, it.evidence))?;
        for step in &it.steps {
            let reason = if step.reason.is_empty() { String::new() } else { format!(": {}", step.reason) };
            line(&format!("    {} {} {}{reason}", step.at, step.level, step.what))?;
        }
    }
    Ok(())
}

/// How much of a pod's life its limits were checked.
fn enforcement(view: &EnforcementView) -> Result<(), Failure> {
    let percent =
        view.enforced_hundredths.map(|part| format!("{}.{:02} % of its life", part / 100, part % 100));
    let seconds = view.gaps_ms / 1_000;
    let part = percent.unwrap_or_else(|| "not all of its life".to_owned());
    line(&format!("Limits checked: {part}; {} gaps of {} in all", view.gaps, age_of(seconds)))?;
    for gap in &view.recent {
        let until = gap.until.map_or_else(|| "now".to_owned(), |until| until.to_string());
        line(&format!("  {} to {until}: {}", gap.since, gap.cause))?;
    }
    Ok(())
}

/// Changes numbers of the policy; what is not named stays as it is.
pub(in crate::cli) async fn set(client: &Client, set: SetMonitor) -> Result<u8, Failure> {
    let mut policy: Map<String, Value> = client.read(&Call::get("/v1/policy/monitor")).await?;
    for (name, text) in set.values {
        // What is no JSON is a word.
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        policy.insert(camel(&name), value);
    }
    let call = Call::put("/v1/policy/monitor").json(&Value::Object(policy));
    let done: NodeAccepted = client.change(&call).await?;
    if !structured(&done, set.output)? {
        line("monitor policy set; it holds until the config's changes")?;
    }
    Ok(0)
}
