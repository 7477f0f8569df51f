//! `purser describe gpu`, `purser cordon gpu` and `purser uncordon gpu`.

use purser_events::Bytes;
use serde_json::json;

use super::events::detail;
use super::gpus::{process, reading_rows};
use super::violations;
use crate::api::gpu::{BindingView, GpuDetailView};
use crate::api::gpus::GpusView;
use crate::api::node::NodeAccepted;
use crate::cli::client::{Call, Client, encoded};
use crate::cli::failure::Failure;
use crate::cli::feed::FeedRecord;
use crate::cli::show::{Table, age, coloured, field, line};

/// Shows everything about a GPU.
pub(super) async fn describe(client: &Client, wanted: &str) -> Result<u8, Failure> {
    let uuid = find(client, wanted).await?;
    let gpu: GpuDetailView = client.read(&Call::get(path(&uuid, ""))).await?;
    head(&gpu)?;
    health(&gpu)?;
    readings(&gpu)?;
    bindings(&gpu.bindings)?;
    violations::section(client, None, Some(uuid)).await?;
    events(&gpu)?;
    Ok(0)
}

/// Gives nothing of a GPU out from now on.
pub(super) async fn cordon(client: &Client, wanted: &str, reason: Option<String>) -> Result<u8, Failure> {
    let uuid = find(client, wanted).await?;
    let call = Call::post(path(&uuid, "/cordon")).json(&json!({ "reason": reason }));
    client.change::<NodeAccepted>(&call).await?;
    line(&format!("gpu/{uuid} cordoned; pods keep what they have of it"))?;
    Ok(0)
}

/// Gives a GPU out again, after its probation.
pub(super) async fn uncordon(client: &Client, wanted: &str) -> Result<u8, Failure> {
    let uuid = find(client, wanted).await?;
    client.change::<NodeAccepted>(&Call::post(path(&uuid, "/uncordon"))).await?;
    let gpu: GpuDetailView = client.read(&Call::get(path(&uuid, ""))).await?;
    line(&format!("gpu/{uuid} uncordoned; it is {}", gpu.health.word))?;
    Ok(0)
}

pub(super) fn path(uuid: &str, rest: &str) -> String {
    format!("/v1/gpus/{}{rest}", encoded(uuid))
}

/// The GPU that is meant: by its name, the beginning of one, or its number to the driver.
pub(super) async fn find(client: &Client, wanted: &str) -> Result<String, Failure> {
    let GpusView { gpus, .. } = client.read(&Call::get("/v1/gpus")).await?;
    if let Some(exact) = gpus.iter().find(|gpu| gpu.uuid == wanted) {
        return Ok(exact.uuid.clone());
    }
    let number: Option<u32> = wanted.parse().ok();
    if let Some(gpu) = gpus.iter().find(|gpu| number.is_some() && gpu.index == number) {
        return Ok(gpu.uuid.clone());
    }
    let begin: Vec<&str> =
        gpus.iter().map(|gpu| gpu.uuid.as_str()).filter(|uuid| uuid.starts_with(wanted)).collect();
    match begin.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Failure::Unknown(format!("the node has no GPU `{wanted}`; see `purser get gpus`"))),
        several => Err(Failure::Usage(format!("`{wanted}` may be {}", several.join(" or ")))),
    }
}

fn head(gpu: &GpuDetailView) -> Result<(), Failure> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    field("Uuid", &gpu.uuid)?;
    field("Model", &text(&gpu.facts.model))?;
    field(
        "Memory",
        &gpu.facts.memory_bytes.map_or_else(|| "unknown".to_owned(), |it| Bytes(it).to_string()),
    )?;
    field("Driver", &text(&gpu.facts.driver))?;
    if let Some(parent) = &gpu.facts.parent {
        field("Part of", parent)?;
    }
    let index = gpu.seen.as_ref().and_then(|seen| seen.index);
    index.map_or(Ok(()), |index| field("Index", &index.to_string()))
}

fn health(gpu: &GpuDetailView) -> Result<(), Failure> {
    let health = &gpu.health;
    let takes = if health.takes_pods { "takes pods" } else { "takes no pods" };
    field("Health", &format!("{} ({takes})", coloured(&health.word)))?;
    field("Since", &format!("{} ({} ago)", health.since, age(health.since)))?;
    if let Some(detail) = &health.detail {
        field("Because", detail)?;
    }
    if health.relapses > 0 {
        field("Relapses", &health.relapses.to_string())?;
    }
    if let Some(cordon) = &health.cordon {
        field("Cordoned", &format!("by {} {} ago: {}", cordon.by, age(cordon.at), cordon.reason))?;
    }
    if let Some(drain) = &health.drain {
        let grace = drain.grace_seconds.map_or_else(String::new, |seconds| format!(", {seconds} s each"));
        field("Draining", &format!("by {} for {}{grace}", drain.by, age(drain.at)))?;
    }
    for (xid, fault) in &gpu.faults {
        let (meaning, count) = (&fault.meaning, fault.count);
        field("Fault", &format!("Xid {xid} ({meaning}): {count} times, last {} ago", age(fault.last_at)))?;
    }
    Ok(())
}

fn readings(gpu: &GpuDetailView) -> Result<(), Failure> {
    let Some(readings) = gpu.seen.as_ref().and_then(|seen| seen.readings.as_ref()) else {
        return line("Readings: none");
    };
    line(&format!("Readings ({} ago):", age(readings.at)))?;
    for (name, value) in reading_rows(readings) {
        line(&format!("  {name:<16} {value}"))?;
    }
    readings.processes.iter().try_for_each(|it| line(&format!("  {:<16} {}", "process", process(it))))
}

fn bindings(bindings: &[BindingView]) -> Result<(), Failure> {
    if bindings.is_empty() {
        return line("Bindings: none");
    }
    line("Bindings:")?;
    let mut table = Table::new(&["  HOLDER", "COMPUTE", "MEMORY"]);
    for binding in bindings {
        let share = if binding.whole { "all".to_owned() } else { format!("{}%", binding.share_percent) };
        let memory = Bytes(binding.memory_bytes).to_string();
        table.row(vec![format!("  {}", binding.holder), share, memory]);
    }
    table.print()
}

fn events(gpu: &GpuDetailView) -> Result<(), Failure> {
    line("Events:")?;
    let mut table = Table::new(&["  SEQ", "AGE", "TYPE", "DETAIL"]);
    for event in &gpu.events {
        let record: FeedRecord =
            serde_json::from_value(event.clone()).map_err(|error| Failure::Senseless(error.to_string()))?;
        let seq = format!("  {}", record.header.seq);
        table.row(vec![seq, age(record.header.time), record.event.kind.clone(), detail(&record)]);
    }
    table.print()
}
