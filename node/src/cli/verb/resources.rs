//! `purser get resources`, `purser set limits` and `purser resources`.

use purser_events::ledger::ResourceKind;
use serde_json::json;

use crate::api::ledger::LedgerAccepted;
use crate::api::ledger::limits::LimitsRequest;
use crate::api::ledger::resources::{ManagerView, ResourceView, ResourcesView};
use crate::cli::arguments::Output;
use crate::cli::arguments::ledger::{Resources, ResourcesVerb, SetLimits};
use crate::cli::client::{Call, Client, encoded};
use crate::cli::failure::Failure;
use crate::cli::show::{Table, line, structured};

/// What stands for no limit.
const NONE: &str = "none";

/// Lists what the node gives out.
pub(super) async fn get(client: &Client, only: Option<&str>, output: Output) -> Result<u8, Failure> {
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
    if !structured(&resources, output)? {
        print(&resources, output)?;
    }
    Ok(0)
}

fn print(view: &ResourcesView, output: Output) -> Result<(), Failure> {
    let rows = view
        .managers
        .iter()
        .flat_map(|manager| manager.resources.iter().map(move |resource| (manager, resource)));
    if output == Output::Name {
        return rows.into_iter().try_for_each(|(_, row)| line(&format!("resource/{}", row.kind)));
    }
    let mut headings =
        vec!["RESOURCE", "CAPACITY", "ALLOCATABLE", "ALLOCATED", "RESERVED", "FREE", "USED", "HEALTH"];
    if output == Output::Wide {
        headings.extend(["ON MACHINE", "LIMITS", "FRAGMENTED", "HELD BY"]);
    }
    let mut table = Table::new(&headings);
    for (manager, resource) in rows {
        table.row(cells(manager, resource, output));
    }
    table.print()?;
    for manager in view.managers.iter().filter(|manager| manager.reason.is_some()) {
        line(&format!("{}: {}", manager.name, manager.reason.as_deref().unwrap_or_default()))?;
    }
    for drift in &view.drifts {
        line(&format!("drift: {} {}", drift.kind, drift.subject))?;
    }
    for alert in &view.alerts {
        line(&format!("alert: tenant {} nears its bound of {}", alert.tenant, alert.resource))?;
    }
    if view.waiting > 0 {
        line(&format!("{} pods wait for resources", view.waiting))?;
    }
    Ok(())
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
