//! `purser get pools`, `describe pool`, `delete pool`, `unfreeze` and what `apply` does with pools.

use std::collections::BTreeMap;
use std::fmt::Write;

use purser_events::pool::PoolName;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::pools::PoolAccepted;
use crate::api::pools::scaling::ScaledView;
use crate::api::pools::view::{MemberView, PoolList, PoolStatus, PoolView, SlotView};
use crate::cli::arguments::pool::Unfreeze;
use crate::cli::arguments::{Delete, Output};
use crate::cli::client::{Call, Client, encoded, with_query};
use crate::cli::failure::Failure;
use crate::cli::files::Document;
use crate::cli::show::{Table, age, coloured, field, line, structured};

/// How often a pool that is to go is looked at.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

fn path(name: &str, rest: &str) -> String {
    format!("/v1/pools/{}{rest}", encoded(name))
}

/// Sets the pool of a document, and says what became of it.
pub(super) async fn apply(
    client: &Client,
    namespace: Option<&str>,
    document: &Value,
    dry_run: bool,
) -> Result<(), Failure> {
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    // What is no pool's name is no path; the service says so, with whatever else is wrong.
    let name = PoolName::new(name).map_or_else(|_| "unnamed".to_owned(), |name| name.to_string());
    let parameters =
        [("namespace", namespace.map(str::to_owned)), ("dryRun", dry_run.then(|| "true".to_owned()))];
    let call = Call::put(with_query(&path(&name, ""), &parameters)).json(document);
    let accepted: PoolAccepted = client.change(&call).await?;
    let suffix = if dry_run { " (dry run)" } else { "" };
    line(&format!("pool/{} {}{suffix}", accepted.pool, accepted.outcome))
}

/// Lists pools, or shows one; with JSON or YAML one is a manifest that can be applied again.
pub(super) async fn get(client: &Client, only: Option<&str>, output: Output) -> Result<u8, Failure> {
    if let Some(name) = only {
        let pool: PoolView = client.read(&Call::get(path(name, ""))).await?;
        if !structured(&pool, output)? {
            print(&[pool], output)?;
        }
        return Ok(0);
    }
    let list: PoolList = client.read(&Call::get("/v1/pools")).await?;
    if structured(&list, output)? {
        return Ok(0);
    }
    if list.items.is_empty() {
        eprintln!("no pools");
        return Ok(0);
    }
    print(&list.items, output)?;
    Ok(0)
}

fn print(pools: &[PoolView], output: Output) -> Result<(), Failure> {
    if output == Output::Name {
        return pools.iter().try_for_each(|pool| line(&format!("pool/{}", pool.metadata.name)));
    }
    let mut headings = vec![
        "NAME", "STATE", "PODS", "WANTED", "MIN-MAX", "SLOTS", "RUNNING", "PLANNED", "WAITING", "OLDEST",
    ];
    if output == Output::Wide {
        headings.extend(["NAMESPACE", "POLICY", "REVISION", "OUTDATED"]);
    }
    let mut table = Table::new(&headings);
    for pool in pools {
        let status = &pool.status;
        let of = |counts: &BTreeMap<String, u32>, word: &str| counts.get(word).copied().unwrap_or(0);
        let slots: u32 = status.slots_by_state.values().sum();
        let used = of(&status.slots_by_state, "running") + of(&status.slots_by_state, "reserved");
        let connected = of(&status.members_by_state, "connected");
        let number = |at: &str| pool.spec.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        let mut cells = vec![
            pool.metadata.name.clone(),
            status.state.clone(),
            format!("{connected}/{}", status.members_by_state.values().sum::<u32>()),
            status.wanted.to_string(),
            format!("{}-{}", number("/replicas/min"), number("/replicas/max")),
            format!("{used}/{slots}"),
            of(&status.tasks_by_state, "running").to_string(),
            of(&status.tasks_by_state, "apply_pending").to_string(),
            of(&status.tasks_by_state, "pending").to_string(),
            status.waiting_since.map_or_else(|| "-".to_owned(), age),
        ];
        if output == Output::Wide {
            let policy = pool.spec.pointer("/slots/policy").and_then(Value::as_str).unwrap_or("-");
            cells.extend([
                pool.metadata.namespace.clone(),
                format!("{policy}/{}", number("/slots/count")),
                status.revision.to_string(),
                status.outdated.to_string(),
            ]);
        }
        table.row(cells);
    }
    table.print()
}

/// Shows everything about a pool.
pub(super) async fn describe(client: &Client, name: &str) -> Result<u8, Failure> {
    let pool: PoolView = client.read(&Call::get(path(name, ""))).await?;
    head(&pool)?;
    members(&pool.status.members)?;
    waiting(&pool.status)?;
    decisions(&pool.status)?;
    Ok(0)
}

fn head(pool: &PoolView) -> Result<(), Failure> {
    let status = &pool.status;
    let text = |at: &str| {
        pool.spec.pointer(at).map_or_else(
            || "-".to_owned(),
            |value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        )
    };
    field("Name", &pool.metadata.name)?;
    field("Namespace", &format!("{} (of its pods)", pool.metadata.namespace))?;
    field("State", &coloured(&status.state))?;
    if let Some(message) = &status.message {
        field("Message", message)?;
    }
    let (min, max) = (text("/replicas/min"), text("/replicas/max"));
    field("Pods", &format!("{} wanted, {min} at least, {max} at most", status.wanted))?;
    field("Slots", &format!("{} of each pod, policy {}", text("/slots/count"), text("/slots/policy")))?;
    let (up, down) = (text("/scaling/upAbovePercent"), text("/scaling/downBelowPercent"));
    let (up_s, down_s) =
        (text("/scaling/stabilizationSeconds/up"), text("/scaling/stabilizationSeconds/down"));
    field("Scaling", &format!("up above {up} % for {up_s} s, down below {down} % for {down_s} s"))?;
    for window in pool.spec.pointer("/freezeWindows").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| window.get(key).and_then(Value::as_str).unwrap_or_default();
        let days = window.get("days").and_then(Value::as_array).into_iter().flatten();
        let days: Vec<&str> = days.filter_map(Value::as_str).collect();
        let zone = text("/timeZone");
        field("Freeze", &format!("{} from {} to {} ({zone})", days.join(","), of("from"), of("to")))?;
    }
    if let Some(until) = status.unfrozen_until {
        field("Unfrozen", &format!("until {until}"))?;
    }
    field("Revision", &format!("{}; {} pods of older ones", status.revision, status.outdated))?;
    for (name, counts) in [("Slots now", &status.slots_by_state), ("Tasks", &status.tasks_by_state)] {
        field(name, &told(counts))?;
    }
    Ok(())
}

fn told(counts: &BTreeMap<String, u32>) -> String {
    let told: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

fn members(members: &[MemberView]) -> Result<(), Failure> {
    if members.is_empty() {
        return line("Members: none");
    }
    line("Members:")?;
    let mut table = Table::new(&["  POD", "STATE", "FOR", "REVISION", "AGENT", "SLOTS"]);
    for member in members {
        table.row(vec![
            format!("  {}", member.pod),
            member.state.clone(),
            age(member.since),
            member.revision.to_string(),
            member.agent.clone().unwrap_or_else(|| "-".to_owned()),
            member.slots.iter().map(slot).collect::<Vec<_>>().join(" "),
        ]);
    }
    table.print()?;
    let reasons = members.iter().filter_map(|member| Some((member, member.reason.as_ref()?)));
    reasons.into_iter().try_for_each(|(member, reason)| line(&format!("  {}: {reason}", member.pod)))
}

/// As in `0:idle` or `1:running(plan)`.
fn slot(slot: &SlotView) -> String {
    let kind = slot.kind.as_ref().map_or_else(String::new, |kind| format!("({kind})"));
    format!("{}:{}{kind}", slot.slot, slot.state)
}

fn waiting(status: &PoolStatus) -> Result<(), Failure> {
    if status.waiting.is_empty() {
        return line("Queue: nobody waits");
    }
    let all = status.tasks_by_state.get("pending").copied().unwrap_or(0);
    line(&format!("Queue ({all} wait):"))?;
    let mut table = Table::new(&["  TASK", "KIND", "WORKSPACE", "PRIORITY", "FOR", "WHY"]);
    for task in &status.waiting {
        table.row(vec![
            format!("  {}", task.id),
            task.kind.clone(),
            task.workspace.clone().unwrap_or_else(|| "-".to_owned()),
            task.priority.to_string(),
            age(task.since),
            task.waits_because.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.print()
}

fn decisions(status: &PoolStatus) -> Result<(), Failure> {
    if status.decisions.is_empty() {
        line("Decisions: none yet")?;
    } else {
        line("Decisions (the last ten):")?;
    }
    for decision in &status.decisions {
        line(&format!("  {} ({} ago) {}", decision.at, age(decision.at), sentence(decision)))?;
    }
    if status.not_scaled_because.is_empty() {
        return Ok(());
    }
    line(&format!("Why {} pods now:", status.wanted))?;
    status.not_scaled_because.iter().try_for_each(|reason| line(&format!("  {reason}")))
}

/// A decision with its inputs, on one line.
pub(super) fn sentence(decision: &ScaledView) -> String {
    let inputs = &decision.inputs;
    let change = if decision.from == decision.to {
        format!("stay at {}", decision.to)
    } else {
        format!("{} to {}", decision.from, decision.to)
    };
    let mut text = format!(
        "{change}, {}: {}; {}/{} slots used ({} %), {} pods, {} idle, {} away",
        decision.rule,
        decision.reason,
        inputs.used,
        inputs.slots,
        inputs.used_percent,
        inputs.members,
        inputs.idle_members,
        inputs.away,
    );
    for (count, what) in [
        (inputs.reserved, "reserved"),
        (inputs.ready, "tasks ready"),
        (inputs.ready_applies, "of them applies"),
        (inputs.held, "held back"),
    ] {
        if count > 0 {
            // A string takes everything that is written to it.
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

/// Removes pools.
pub(super) async fn delete(client: &Client, names: &[String], delete: &Delete) -> Result<u8, Failure> {
    let deadline = Instant::now() + delete.timeout;
    let mut refused = false;
    for name in names {
        let force = [("force", delete.force.then(|| "true".to_owned()))];
        let call = Call::delete(with_query(&path(name, ""), &force));
        match client.change::<PoolAccepted>(&call).await {
            Ok(_) if delete.wait => {
                until_gone(client, name, deadline).await?;
                line(&format!("pool/{name} deleted"))?;
            }
            Ok(_) => line(&format!("pool/{name} is being deleted"))?,
            Err(failure @ Failure::Refused(_)) => {
                refused = true;
                eprintln!("{}", failure.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    if refused { Err(Failure::Some) } else { Ok(0) }
}

async fn until_gone(client: &Client, name: &str, deadline: Instant) -> Result<(), Failure> {
    loop {
        let pool: PoolView = match client.read(&Call::get(path(name, ""))).await {
            Err(Failure::Refused(problem)) if &*problem.code == "no-such-pool" => return Ok(()),
            answer => answer?,
        };
        if deadline <= Instant::now() {
            let tasks = told(&pool.status.tasks_by_state);
            let message = format!("timed out: pool `{name}` is {}; tasks: {tasks}", pool.status.state);
            return Err(Failure::TimedOut(message));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The name of the pool that a document is about, if it is about one.
pub(super) fn named(document: &Document) -> Option<Result<String, Failure>> {
    if !crate::manifest::is_pool(&document.value) {
        return None;
    }
    let name = document.value.pointer("/metadata/name").and_then(Value::as_str);
    let missing = || Failure::Manifest {
        place: document.place.clone(),
        message: "metadata.name: is missing".to_owned(),
    };
    Some(name.map(str::to_owned).ok_or_else(missing))
}

/// Lifts a pool's freeze for a while.
pub(in crate::cli) async fn unfreeze(client: &Client, unfreeze: Unfreeze) -> Result<u8, Failure> {
    let ms = u64::try_from(unfreeze.time.as_millis()).unwrap_or(u64::MAX);
    let call = Call::post(path(&unfreeze.pool, "/unfreeze")).json(&json!({ "forMs": ms }));
    let accepted: PoolAccepted = client.change(&call).await?;
    line(&format!("pool/{} is unfrozen for {} min", accepted.pool, ms.div_ceil(60_000)))?;
    Ok(0)
}
