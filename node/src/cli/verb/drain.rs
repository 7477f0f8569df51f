//! `purser drain gpu` and `purser forget gpu`.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::change::Cordoned;
use super::gpu::{find, path};
use crate::api::gpu::GpuDetailView;
use crate::api::node::NodeAccepted;
use crate::cli::arguments::node::Drain;
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::show::line;

/// Time between two looks at what is left.
const LOOK: Duration = Duration::from_millis(500);

/// Has the pods that have something of a GPU stopped; unless told otherwise, returns once none has.
pub(in crate::cli) async fn drain(client: &Client, drain: Drain) -> Result<u8, Failure> {
    let deadline = Instant::now() + drain.timeout;
    let uuid = find(client, gpu(&drain.what)?).await?;
    let body = json!({ "reason": drain.reason, "graceSeconds": drain.grace_period });
    client.change::<NodeAccepted>(&Call::post(path(&uuid, "/drain")).json(&body)).await?;
    if !drain.wait {
        line(&format!("gpu/{uuid} cordoned, and its pods are stopped"))?;
        return Ok(0);
    }
    let mut told = None;
    loop {
        let state = match client.read::<GpuDetailView>(&Call::get(path(&uuid, ""))).await {
            // A service that is started again goes on with it.
            Err(failure) if failure.is_passing() && Instant::now() < deadline => {
                sleep(LOOK).await;
                continue;
            }
            state => state?,
        };
        let left: Vec<&str> =
            state.bindings.iter().filter(|it| it.pod.is_some()).map(|it| it.holder.as_str()).collect();
        match (&state.health.drain, left.is_empty()) {
            (None, true) => {
                line(&format!("gpu/{uuid} drained; `purser uncordon gpu` has it take pods again"))?;
                return Ok(0);
            }
            (None, false) => {
                return Err(Failure::Unknown(format!("the drain of gpu/{uuid} was given up meanwhile")));
            }
            (Some(_), _) => {}
        }
        let progress = format!("gpu/{uuid}: {} pods left: {}", left.len(), left.join(", "));
        if told.as_ref() != Some(&progress) && !left.is_empty() {
            line(&progress)?;
        }
        told = Some(progress.clone());
        if deadline <= Instant::now() {
            return Err(Failure::TimedOut(format!("{progress}; the drain goes on")));
        }
        sleep(LOOK).await;
    }
}

/// Lets go of what is known of a GPU that is gone for good.
pub(in crate::cli) async fn forget(client: &Client, what: &[String]) -> Result<u8, Failure> {
    let uuid = find(client, gpu(what)?).await?;
    client.change::<NodeAccepted>(&Call::post(path(&uuid, "/forget"))).await?;
    line(&format!("gpu/{uuid} forgotten; its records stay in the journal"))?;
    Ok(0)
}

/// The GPU that is named.
fn gpu(what: &[String]) -> Result<&str, Failure> {
    match Cordoned::parse(what) {
        Ok(Cordoned::Gpu(gpu)) => Ok(gpu),
        Ok(Cordoned::Node) | Err(_) => Err(Failure::Usage("name one GPU as in `gpu UUID`".to_owned())),
    }
}
