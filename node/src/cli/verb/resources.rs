//! `purser get resources`, `purser set limits`, `purser set preset` and `purser resources`.

use purser_events::ledger::ResourceKind;
use purser_events::ledger::event::Drift;
use serde_json::json;

use crate::api::ledger::LedgerAccepted;
use crate::api::ledger::limits::LimitsRequest;
use crate::api::ledger::resources::{ManagerView, ResourceView, ResourcesView};
use crate::cli::arguments::ledger::{Resources, ResourcesVerb, SetLimits, SetPreset};
use crate::cli::arguments::{Get, Output};
use crate::cli::client::{Call, Client, encoded};
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, Wanted};
use crate::cli::show::{Table, line, structured};

/// What stands for no limit.
const NONE: &str = "none";

/// Lists what the node gives out.
pub(super) async fn get(client: &Client, only: Option<&str>, get: &Get) -> Result<u8, Failure> {
    let output = get.output;
    // Opened before it is read: what happens in between is in one of them.
    let feed = match get.watch {
        true => Some(Feed::open(client, &Wanted { follow: true, ..Wanted::default() }).await?),
        false => None,
    };
    let mut last = read(client, only).await?;
    if structured(&last, output)? {
        return Ok(0);
    }
    let mut table = table(output);
    print(&last, &mut table, output)?;
    let Some(mut feed) = feed else { return Ok(0) };
    while let Some(record) = feed.record().await? {
        if record.header.stream.kind != "ledger" {
            continue;
        }
        let next = read(client, only).await?;
        let has_changed =
            |row: &ResourceView| last.resource(&row.kind).is_none_or(|before| !is_alike(before, row));
        print_rows(&next, &mut table, output, has_changed)?;
        last = next;
    }
    Err(Failure::Broken("it has stopped".to_owned()))
}

/// Whether a resource is given out as before; what is really used of it changes all the time.
fn is_alike(one: &ResourceView, other: &ResourceView) -> bool {
    let of = |row: &ResourceView| {
        (
            row.capacity,
            row.allocatable,
            row.allocated,
            row.reserved,
            row.free,
            row.limits,
            row.holders.clone(),
        )
    };
    of(one) == of(other)
}

async fn read(client: &Client, only: Option<&str>) -> Result<ResourcesView, Failure> {
    let mut resources: ResourcesView = client.read(&Call::get("/v1/resources")).await?;
    if let Some(only) = only {
        for manager in &mut resources.managers {
            manager.resources.retain(|resource| resource.kind == only);
        }
        resources.managers.retain(|manager| !manager.resources.is_empty());
        if resources.managers.is_empty() {
            return Err(Failure::Unknown(format!("the node has no resource `{only}`")));
        }
    }
    Ok(resources)
}

fn table(output: Output) -> Table {
    if output == Output::Name {
        return Table::without_headings();
    }
    let mut headings =
        vec!["RESOURCE", "CAPACITY", "ALLOCATABLE", "ALLOCATED", "RESERVED", "FREE", "USED", "HEALTH"];
    if output == Output::Wide {
        headings.extend(["ON MACHINE", "LIMITS", "FRAGMENTED", "HELD BY"]);
    }
    Table::new(&headings)
}

/// Prints the rows that are wanted.
fn print_rows(
    view: &ResourcesView,
    table: &mut Table,
    output: Output,
    is_wanted: impl Fn(&ResourceView) -> bool,
) -> Result<(), Failure> {
    for manager in &view.managers {
        for resource in manager.resources.iter().filter(|resource| is_wanted(resource)) {
            table.row(match output {
                Output::Name => vec![format!("resource/{}", resource.kind)],
                _ => cells(manager, resource, output),
            });
        }
    }
    table.print()
}

fn print(view: &ResourcesView, table: &mut Table, output: Output) -> Result<(), Failure> {
    print_rows(view, table, output, |_| true)?;
    if output == Output::Name {
        return Ok(());
    }
    for manager in view.managers.iter().filter(|manager| manager.reason.is_some()) {
        line(&format!("{}: {}", manager.name, manager.reason.as_deref().unwrap_or_default()))?;
    }
    for drift in &view.drifts {
        line(&format!("drift: {} {} ({})", drift.kind, drift.subject, meaning(&drift.kind)))?;
    }
    for alert in &view.alerts {
        line(&format!("alert: tenant {} nears its bound of {}", alert.tenant, alert.resource))?;
    }
    match view.waiting {
        0 => Ok(()),
        1 => line("1 pod waits for resources"),
        more => line(&format!("{more} pods wait for resources")),
    }
}

/// What a kind of drift says.
fn meaning(drift: &str) -> &'static str {
    match drift {
        Drift::STRAY_CGROUP => "a control group of a pod that is gone",
        Drift::RUNS_WITHOUT_GRANT => "containers run of a pod that was given nothing",
        Drift::FOREIGN_LISTENER => "a process that is none of the holder's listens on it",
        Drift::STRAY_INTERFACE => "a network interface of a pod that is gone",
        Drift::WRONG_CPUS => "a container runs on other processors than it was given",
        _ => "see docs/resources.md",
    }
}

fn cells(manager: &ManagerView, resource: &ResourceView, output: Output) -> Vec<String> {
    let shown = |amount: u64| shown(&resource.kind, amount);
    let percent = |percent: Option<u64>| percent.map_or(String::new(), |percent| format!(" ({percent}%)"));
    let dash = || "-".to_owned();
    let used = resource.used_by_pods.map(|used| format!("{}{}", shown(used), percent(resource.used_percent)));
    let mut cells = vec![
        resource.kind.clone(),
        shown(resource.capacity),
        shown(resource.allocatable),
        format!("{}{}", shown(resource.allocated), percent(resource.allocated_percent)),
        shown(resource.reserved),
        shown(resource.free),
        used.unwrap_or_else(dash),
        manager.health.clone(),
    ];
    if output == Output::Wide {
        cells.push(resource.used_by_machine.map_or_else(dash, shown));
        let limits = &resource.limits;
        let bound = |amount: Option<u64>| amount.map_or_else(|| NONE.to_owned(), shown);
        cells.push(format!(
            "hard {}, soft {}, overcommit {}%, reserve {}%",
            bound(limits.hard),
            bound(limits.soft),
            limits.overcommit_percent,
            limits.reserve_percent
        ));
        let fragmented = resource.fragmentation_percent;
        cells.push(fragmented.map_or_else(dash, |percent| format!("{percent}%")));
        cells.push(if resource.holders.is_empty() { dash() } else { resource.holders.join(", ") });
    }
    cells
}

/// An amount of a resource as people write it.
pub(super) fn shown(kind: &str, amount: u64) -> String {
    kind.parse::<ResourceKind>().map_or_else(|_| amount.to_string(), |kind| kind.show(amount))
}

/// Puts limits in force; those that are not named stay as they are.
pub(in crate::cli) async fn set_limits(client: &Client, set: SetLimits) -> Result<u8, Failure> {
    let amounts = set.hard.is_some() || set.soft.is_some();
    if !amounts && set.soft_percent.is_none() && set.overcommit.is_none() && set.reserve.is_none() {
        let message = "name at least one of --hard, --soft, --soft-percent, --overcommit and --reserve";
        return Err(Failure::Usage(message.to_owned()));
    }
    let resources: ResourcesView = client.read(&Call::get("/v1/resources")).await?;
    // One that is not there is refused by the service, with the names of those that are.
    let limits = resources.resource(&set.kind).map(|resource| resource.limits).unwrap_or_default();
    let amount = |wanted: Option<String>, present: Option<u64>| match wanted {
        Some(text) => Some(text).filter(|text| text != NONE),
        None => present.map(|amount| shown(&set.kind, amount)),
    };
    // Of the two ways to say it, the new one holds; what follows from percent is none that stays.
    let soft_percent = set.soft_percent.or(limits.soft_percent.filter(|_| set.soft.is_none()));
    let soft = limits.soft.filter(|_| soft_percent.is_none());
    let request = LimitsRequest {
        hard: amount(set.hard, limits.hard),
        soft: amount(set.soft, soft),
        soft_percent,
        overcommit_percent: Some(set.overcommit.unwrap_or(limits.overcommit_percent)),
        reserve_percent: Some(set.reserve.unwrap_or(limits.reserve_percent)),
    };
    let call = Call::put(format!("/v1/resources/{}/limits", encoded(&set.kind)));
    let done: LedgerAccepted = client.change(&call.json(&json!(request))).await?;
    accepted(&done, set.output, &format!("limits of {}", set.kind))
}

/// Puts a named set of limits in force.
pub(in crate::cli) async fn set_preset(client: &Client, set: SetPreset) -> Result<u8, Failure> {
    let call = Call::put("/v1/policy/resources/preset".to_owned());
    let done: LedgerAccepted = client.change(&call.json(&json!({ "preset": set.name }))).await?;
    accepted(&done, set.output, &format!("preset {}", set.name))
}

/// Says what became of a change.
pub(super) fn accepted(done: &LedgerAccepted, output: Output, what: &str) -> Result<u8, Failure> {
    if !structured(done, output)? {
        line(&format!("{what} {}", if done.changed { "set" } else { "unchanged" }))?;
    }
    Ok(0)
}

/// Stops a resource, or starts it again.
pub(in crate::cli) async fn run(client: &Client, resources: Resources) -> Result<u8, Failure> {
    let (kind, call, word) = match resources.verb {
        ResourcesVerb::Stop { kind, reason } => {
            let call = Call::post(format!("/v1/resources/{}/stop", encoded(&kind)));
            (kind, call.json(&json!({ "reason": reason })), "is not given out any more")
        }
        ResourcesVerb::Start { kind } => {
            let call = Call::post(format!("/v1/resources/{}/start", encoded(&kind)));
            (kind, call, "is given out")
        }
    };
    let done: LedgerAccepted = client.change(&call).await?;
    if !structured(&done, resources.output)? {
        line(&format!("resource/{kind} {word}"))?;
    }
    Ok(0)
}
