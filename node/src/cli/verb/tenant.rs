//! `purser get tenants`, `purser describe tenant`, `purser set tenant` and `purser delete tenant`.

use std::collections::BTreeSet;

use purser_events::ledger::{Amounts, ResourceKind, Tenant};

use super::resources::accepted;
use crate::api::ledger::LedgerAccepted;
use crate::api::ledger::tenants::{PriorityView, RequestsView, TenantList, TenantView};
use crate::cli::arguments::Output;
use crate::cli::arguments::ledger::SetTenant;
use crate::cli::client::{Call, Client, encoded};
use crate::cli::failure::Failure;
use crate::cli::files;
use crate::cli::show::{Table, field, line, structured};

fn path(name: &str) -> String {
    format!("/v1/tenants/{}", encoded(name))
}

/// Lists tenants, or shows one.
pub(super) async fn get(client: &Client, only: Option<&str>, output: Output) -> Result<u8, Failure> {
    if let Some(name) = only {
        let tenant: TenantView = client.read(&Call::get(path(name))).await?;
        if !structured(&tenant, output)? {
            tell_unset(&tenant);
            print(&[tenant], output)?;
        }
        return Ok(0);
    }
    let list: TenantList = client.read(&Call::get("/v1/tenants")).await?;
    if !structured(&list, output)? {
        print(&list.items, output)?;
    }
    Ok(0)
}

/// Says of a tenant that nobody set that it is none but by its name.
fn tell_unset(tenant: &TenantView) {
    if tenant.tenant.is_none() {
        eprintln!("nothing was set for tenant `{}`: the node's default holds for it", tenant.id);
    }
}

fn print(tenants: &[TenantView], output: Output) -> Result<(), Failure> {
    if output == Output::Name {
        return tenants.iter().try_for_each(|tenant| line(&format!("tenant/{}", tenant.id)));
    }
    let mut headings = vec!["NAME", "QUOTA", "PODS", "CPU", "MEMORY", "GPU-SHARE", "ALERTS"];
    if output == Output::Wide {
        headings.push("REQUESTS");
    }
    let mut table = Table::new(&headings);
    for tenant in tenants {
        let of = |kind: ResourceKind| standing(tenant, &kind);
        let mut cells = vec![
            tenant.id.clone(),
            if tenant.is_default { "default" } else { "own" }.to_owned(),
            of(ResourceKind::Pods),
            of(ResourceKind::Cpu),
            of(ResourceKind::Memory),
            of(ResourceKind::GpuShare),
            if tenant.alerts.is_empty() { "-".to_owned() } else { tenant.alerts.join(",") },
        ];
        if output == Output::Wide {
            cells.push(requests(&tenant.requests));
        }
        table.row(cells);
    }
    table.print()
}

/// How much a tenant has of a resource, and of how much.
fn standing(tenant: &TenantView, kind: &ResourceKind) -> String {
    let used = kind.show(tenant.used.get(kind));
    tenant.quota.bound(kind).map_or_else(|| used.clone(), |most| format!("{used}/{}", kind.show(most)))
}

fn requests(requests: &RequestsView) -> String {
    let rates = requests.rates.iter().map(|(operation, rate)| {
        let period = match rate.per.ms() {
            1_000 => "s",
            60_000 => "min",
            _ => "h",
        };
        let burst = rate.burst.map_or_else(String::new, |burst| format!(" (burst {burst})"));
        format!("{} {}/{period}{burst}", operation.word(), rate.count)
    });
    let concurrent = requests.concurrent.map(|most| format!("{most} at once"));
    let all: Vec<String> = rates.chain(concurrent).collect();
    let said = if all.is_empty() { "unlimited".to_owned() } else { all.join(", ") };
    if requests.is_default { format!("{said} (default)") } else { said }
}

fn priority(priority: PriorityView) -> String {
    let said = priority.max.map_or_else(|| "any".to_owned(), |most| format!("up to {most}"));
    if priority.is_default { format!("{said} (default)") } else { said }
}

/// Shows everything about a tenant.
pub(super) async fn describe(client: &Client, name: &str) -> Result<u8, Failure> {
    let tenant: TenantView = client.read(&Call::get(path(name))).await?;
    tell_unset(&tenant);
    field("Name", &tenant.id)?;
    if let Some(set) = &tenant.tenant {
        let own = [tenant.id.clone()];
        let namespaces: Vec<String> = match set.namespaces.is_empty() {
            true => own.to_vec(),
            false => set.namespaces.iter().cloned().collect(),
        };
        field("Namespaces", &namespaces.join(", "))?;
    }
    let quota = if tenant.is_default { "the node's default" } else { "its own" };
    field("Quota", quota)?;
    let mut table = Table::new(&["  RESOURCE", "USED", "QUOTA", "POD MAX", "POD DEFAULT"]);
    let plain = Tenant::default();
    let set = tenant.tenant.as_ref().unwrap_or(&plain);
    let parts = [&tenant.used, &tenant.quota, &set.pod_max, &set.pod_default];
    let kinds: BTreeSet<&ResourceKind> =
        parts.iter().flat_map(|amounts| amounts.iter().map(|(kind, _)| kind)).collect();
    for kind in kinds {
        let bound = |amounts: &Amounts| {
            amounts.bound(kind).map_or_else(|| "-".to_owned(), |amount| kind.show(amount))
        };
        table.row(vec![
            format!("  {kind}"),
            kind.show(tenant.used.get(kind)),
            bound(&tenant.quota),
            bound(&set.pod_max),
            bound(&set.pod_default),
        ]);
    }
    table.print()?;
    field("Priority", &priority(tenant.priority))?;
    let alert = set.alert_percent.map_or_else(|| "none".to_owned(), |percent| format!("from {percent}% on"));
    let raised = if tenant.alerts.is_empty() {
        String::new()
    } else {
        format!("; raised for {}", tenant.alerts.join(", "))
    };
    field("Alert", &format!("{alert}{raised}"))?;
    field("Requests", &format!("{}; {} under way", requests(&tenant.requests), tenant.requests.open))?;
    Ok(0)
}

/// Says what a tenant may have.
pub(in crate::cli) async fn set(client: &Client, set: SetTenant) -> Result<u8, Failure> {
    let mut documents = files::read_each(std::slice::from_ref(&set.file));
    let document = match (documents.pop(), documents.len()) {
        (Some(only), 0) => only?,
        _ => {
            let message = "it must hold one document, the tenant".to_owned();
            return Err(Failure::Manifest { place: set.file.display().to_string(), message });
        }
    };
    let call = Call::put(path(&set.name)).json(&document.value);
    let done: LedgerAccepted = client.change(&call).await?;
    accepted(&done, set.output, &format!("tenant/{}", set.name))
}

/// Has the node's default hold for tenants again.
pub(super) async fn delete(client: &Client, names: &[String]) -> Result<u8, Failure> {
    let mut refused = false;
    for name in names {
        match client.change::<LedgerAccepted>(&Call::delete(path(name))).await {
            Ok(_) => line(&format!("tenant/{name} deleted: the node's default holds for it"))?,
            Err(failure @ Failure::Refused(_)) => {
                refused = true;
                eprintln!("{}", failure.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    if refused { Err(Failure::Some) } else { Ok(0) }
}
