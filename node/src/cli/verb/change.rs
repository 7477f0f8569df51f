//! `purser stop`, `start`, `cordon` and `uncordon`.

use serde_json::json;

use crate::api::node::NodeAccepted;
use crate::api::pods::AcceptedView;
use crate::cli::arguments::{End, Start};
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::name;
use crate::cli::show::line;

/// Stops pods.
pub(in crate::cli) async fn stop(client: &Client, namespace: Option<&str>, end: End) -> Result<u8, Failure> {
    let grace = [("gracePeriodSeconds", end.grace_period.map(|seconds| seconds.to_string()))];
    let target = |path: &str| Call::post(with_query(path, &grace));
    each(client, namespace, &end.names, "/stop", "stopping", "is stopped", target).await
}

/// Starts pods.
pub(in crate::cli) async fn start(
    client: &Client,
    namespace: Option<&str>,
    start: Start,
) -> Result<u8, Failure> {
    each(client, namespace, &start.names, "/start", "starting", "runs already", |path| Call::post(path)).await
}

async fn each(
    client: &Client,
    namespace: Option<&str>,
    names: &[String],
    rest: &str,
    begun: &str,
    already: &str,
    call: impl Fn(&str) -> Call,
) -> Result<u8, Failure> {
    let ids = names.iter().map(|text| name::parse(text, namespace)).collect::<Result<Vec<_>, _>>()?;
    let mut refused = false;
    for id in ids {
        match client.change::<AcceptedView>(&call(&name::path(&id, rest))).await {
            Ok(accepted) if accepted.outcome == "unchanged" => line(&format!("pod/{} {already}", id.name()))?,
            Ok(_) => line(&format!("pod/{} {begun}", id.name()))?,
            Err(failure @ Failure::Refused(_)) => {
                refused = true;
                eprintln!("{}", failure.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    if refused { Err(Failure::Some) } else { Ok(0) }
}

/// Makes the node refuse new pods.
pub(in crate::cli) async fn cordon(client: &Client, reason: String) -> Result<u8, Failure> {
    let call = Call::post("/v1/node/cordon").json(&json!({ "reason": reason }));
    client.change::<NodeAccepted>(&call).await?;
    line("node cordoned; pods that run go on")?;
    Ok(0)
}

/// Makes the node take new pods again.
pub(in crate::cli) async fn uncordon(client: &Client) -> Result<u8, Failure> {
    client.change::<NodeAccepted>(&Call::post("/v1/node/uncordon")).await?;
    line("node uncordoned")?;
    Ok(0)
}
