//! `purser status`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::projections::detail;
use crate::api::node::StatusView;
use crate::cli::arguments::{Output, Status};
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::show::{age, coloured, field, line, structured};

/// Wait before a service that is not there yet is asked again: nothing tells when a socket comes to be.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Says how the node stands.
pub(in crate::cli) async fn run(client: &Client, status: Status) -> Result<u8, Failure> {
    if status.wait {
        wait(client, Instant::now() + status.timeout).await?;
    }
    print(client, status.output).await?;
    Ok(0)
}

async fn wait(client: &Client, deadline: Instant) -> Result<(), Failure> {
    loop {
        match client.open(&Call::get("/readyz")).await {
            Ok(_) => return Ok(()),
            Err(failure) if !failure.is_passing() => return Err(failure),
            Err(failure) if deadline <= Instant::now() => {
                return Err(Failure::TimedOut(failure.sentence()));
            }
            Err(_) => sleep(ASK_AGAIN).await,
        }
    }
}

/// How the journal and what follows it stand.
fn print_journal(node: &StatusView) -> Result<(), Failure> {
    field("Journal", &format!("record {}, epoch {}, {} bytes", node.seq, node.epoch, node.journal_bytes))?;
    if node.journal_first > 1 {
        field("History", &format!("from record {} on", node.journal_first))?;
    }
    if let Some(upto) = node.assumed_upto {
        let told = "as read of another release's snapshot; the archive has its records";
        field("Assumed", &format!("state up to record {upto}: {told}"))?;
    }
    if !node.damaged_segments.is_empty() {
        let firsts: Vec<String> = node.damaged_segments.iter().map(u64::to_string).collect();
        let told =
            "stop the service, see `purser-replay verify`, put a sound copy of these files in their place";
        field("Damaged", &format!("segments from records {}: {told}", firsts.join(", ")))?;
    }
    if node.segments_to_archive > 0 {
        let why = node.archive_failure.as_ref().map_or(String::new(), |failure| format!(": {failure}"));
        field("To archive", &format!("{} segments{why}", node.segments_to_archive))?;
    }
    for projection in &node.projections {
        let detail = detail(projection);
        let detail = if detail.is_empty() { detail } else { format!(" ({detail})") };
        let rows = projection.answering.as_ref();
        let rows = rows.map_or_else(String::new, |rows| {
            format!(", generation {}, record {}", rows.generation, rows.cursor)
        });
        let (name, state, lag) = (&projection.name, &projection.state, projection.lag);
        field("Projection", &format!("{name}: {state}{rows}, {lag} behind{detail}"))?;
    }
    let sealing = &node.sealing;
    let reason = sealing.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let sealed = if sealing.state == "on" {
        format!("record {}, period {}{reason}", sealing.sealed_seq, sealing.period)
    } else {
        format!("{}{reason}", sealing.state)
    };
    field("Sealed", &sealed)
}

/// Prints the node's state.
pub(super) async fn print(client: &Client, output: Output) -> Result<(), Failure> {
    let node: StatusView = client.read(&Call::get("/v1/status")).await?;
    if structured(&node, output)? {
        return Ok(());
    }
    let none = || "unknown".to_owned();
    if output == Output::Name {
        return line(&format!("node/{}", node.hostname.unwrap_or_else(none)));
    }
    field("Node", &node.hostname.clone().unwrap_or_else(none))?;
    field("Uid", &node.node.clone().unwrap_or_else(none))?;
    field("Version", &node.version)?;
    field("Ready", if node.ready { "yes" } else { "no" })?;
    field("Up", &node.started_at.map_or_else(none, age))?;
    field("Starts", &format!("{} ({} without an orderly stop before)", node.starts, node.unclean_starts))?;
    if let Some(reason) = &node.cordoned {
        field("Cordoned", reason)?;
    }
    if let Some(pressure) = &node.disk_pressure {
        let what = if pressure == "Full" { "new pods are refused" } else { "observations are not recorded" };
        field("Disk", &format!("{pressure} ({what})"))?;
    }
    print_journal(&node)?;
    field("World digest", &node.world_digest)?;
    for (name, runtime) in &node.runtimes {
        let word = coloured(if runtime.up { "Up" } else { "Down" });
        let default = if *name == node.default_runtime { ", default" } else { "" };
        field("Runtime", &format!("{name}{default}: {word} ({})", runtime.detail))?;
    }
    let pods: Vec<String> = node.pods.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    field("Pods", &if pods.is_empty() { "none".to_owned() } else { pods.join(", ") })?;
    if !node.unmanaged_pods.is_empty() {
        field("Unmanaged", &format!("{} (see `purser describe`)", node.unmanaged_pods.join(", ")))?;
    }
    field("Workers", &node.workers.to_string())?;
    if node.unreadable_records > 0 {
        field("Unreadable", &format!("{} records; see `purser-replay verify`", node.unreadable_records))?;
    }
    for inconsistency in &node.inconsistencies {
        field("Inconsistency", &format!("{inconsistency} (please report this)"))?;
    }
    Ok(())
}
