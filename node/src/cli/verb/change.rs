//! `purser stop`, `start`, `cordon` and `uncordon`.

use purser_events::PodId;
use serde_json::json;
use tokio::time::Instant;

use super::gpu;
use super::wait::until;
use crate::api::node::NodeAccepted;
use crate::api::pods::AcceptedView;
use crate::api::view::PodView;
use crate::cli::arguments::{End, Goal, Start};
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::name;
use crate::cli::show::line;

/// Stops pods; unless told otherwise, returns once they have stopped.
pub(in crate::cli) async fn stop(client: &Client, namespace: Option<&str>, end: End) -> Result<u8, Failure> {
    let deadline = Instant::now() + end.timeout;
    let grace = [("gracePeriodSeconds", end.grace_period.map(|seconds| seconds.to_string()))];
    let target = |path: &str| Call::post(with_query(path, &grace));
    let asked = each(client, namespace, &end.names, "/stop", target).await?;
    if !end.wait {
        for (id, _) in &asked.done {
            let pod: PodView = client.read(&Call::get(name::path(id, ""))).await?;
            line(&format!("pod/{} {}", id.name(), stands(&pod.status.phase)))?;
        }
        return asked.code();
    }
    for (id, _) in &asked.done {
        until(client, id, &Goal::Ended, deadline).await?;
        line(&format!("pod/{} stopped", id.name()))?;
    }
    asked.code()
}

/// What is true of a pod that was asked to stop.
fn stands(phase: &str) -> &'static str {
    if matches!(phase, "Stopped" | "Failed") { "has stopped" } else { "is stopping" }
}

/// Starts pods.
pub(in crate::cli) async fn start(
    client: &Client,
    namespace: Option<&str>,
    start: Start,
) -> Result<u8, Failure> {
    let asked = each(client, namespace, &start.names, "/start", |path| Call::post(path)).await?;
    for (id, outcome) in &asked.done {
        let word = if outcome == UNCHANGED { "was started already" } else { "is starting" };
        line(&format!("pod/{} {word}", id.name()))?;
    }
    asked.code()
}

/// The word of the service for what was so already.
const UNCHANGED: &str = "unchanged";

/// What became of the pods that were named.
struct Asked {
    /// Those that agreed, each with the service's word for it.
    done: Vec<(PodId, String)>,
    /// Whether one refused, which has been told.
    refused: bool,
}

impl Asked {
    fn code(&self) -> Result<u8, Failure> {
        if self.refused { Err(Failure::Some) } else { Ok(0) }
    }
}

/// Asks the same of every pod; one that refuses does not hold up the others.
async fn each(
    client: &Client,
    namespace: Option<&str>,
    names: &[String],
    rest: &str,
    call: impl Fn(&str) -> Call,
) -> Result<Asked, Failure> {
    let ids = names.iter().map(|text| name::parse(text, namespace)).collect::<Result<Vec<_>, _>>()?;
    let mut asked = Asked { done: Vec::new(), refused: false };
    for id in ids {
        match client.change::<AcceptedView>(&call(&name::path(&id, rest))).await {
            Ok(accepted) => asked.done.push((id, accepted.outcome)),
            Err(failure @ Failure::Refused(_)) => {
                asked.refused = true;
                eprintln!("{}", failure.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(asked)
}

/// What takes new pods, or none.
pub(super) enum Cordoned<'a> {
    Node,
    Gpu(&'a str),
}

impl Cordoned<'_> {
    pub(super) fn parse(what: &[String]) -> Result<Cordoned<'_>, Failure> {
        match what {
            [] => Ok(Cordoned::Node),
            [kind] if kind == "node" => Ok(Cordoned::Node),
            [kind, gpu] if matches!(&**kind, "gpu" | "gpus") => Ok(Cordoned::Gpu(gpu)),
            [both] => match both.split_once('/') {
                Some(("gpu", gpu)) => Ok(Cordoned::Gpu(gpu)),
                _ => Err(Cordoned::senseless()),
            },
            _ => Err(Cordoned::senseless()),
        }
    }

    fn senseless() -> Failure {
        Failure::Usage("name nothing for the node, or one GPU as in `gpu UUID`".to_owned())
    }
}

/// Makes the node, or a GPU, take no new pods.
pub(in crate::cli) async fn cordon(
    client: &Client,
    what: &[String],
    reason: Option<String>,
) -> Result<u8, Failure> {
    if let Cordoned::Gpu(gpu) = Cordoned::parse(what)? {
        return gpu::cordon(client, gpu, reason).await;
    }
    let call = Call::post("/v1/node/cordon").json(&json!({ "reason": reason }));
    client.change::<NodeAccepted>(&call).await?;
    line("node cordoned; pods that run go on")?;
    Ok(0)
}

/// Makes the node, or a GPU, take new pods again.
pub(in crate::cli) async fn uncordon(client: &Client, what: &[String]) -> Result<u8, Failure> {
    if let Cordoned::Gpu(gpu) = Cordoned::parse(what)? {
        return gpu::uncordon(client, gpu).await;
    }
    client.change::<NodeAccepted>(&Call::post("/v1/node/uncordon")).await?;
    line("node uncordoned")?;
    Ok(0)
}
