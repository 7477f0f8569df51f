//! `purser resize`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::wait::until;
use crate::api::pods::AcceptedView;
use crate::api::resize::{ContainerPatch, ResizeBody, ResourcesPatch, SpecPatch};
use crate::api::view::PodView;
use crate::cli::arguments::Goal;
use crate::cli::arguments::resize::Resize;
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::name;
use crate::cli::show::line;

/// What is typed for no limit, or for nothing that is asked for.
const NONE: &str = "none";

/// Gives a container other limits; unless told otherwise, returns once it is held to them.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    resize: Resize,
) -> Result<u8, Failure> {
    let deadline = Instant::now() + resize.timeout;
    let id = name::parse(&resize.name, namespace)?;
    let call = Call::patch(name::path(&id, "/resize")).json(&json!(body(&resize)));
    let accepted: AcceptedView = client.change(&call).await?;
    if accepted.outcome == "unchanged" {
        line(&format!("pod/{} unchanged", id.name()))?;
        return Ok(0);
    }
    if !resize.wait {
        line(&format!("pod/{} is being resized", id.name()))?;
        return Ok(0);
    }
    until(client, &id, &Goal::Resized, deadline).await?;
    let pod: PodView = client.read(&Call::get(name::path(&id, ""))).await?;
    let last = pod.status.purser.resize;
    for change in last.iter().flat_map(|last| &last.changes) {
        line(&format!("pod/{} {change}", id.name()))?;
    }
    match last.filter(|last| last.state == "Failed") {
        Some(failed) => {
            let why = failed.message.unwrap_or_default();
            eprintln!("pod/{} was not resized and is as before: {why}", id.name());
            Err(Failure::Some)
        }
        None => {
            line(&format!("pod/{} resized", id.name()))?;
            Ok(0)
        }
    }
}

fn body(resize: &Resize) -> ResizeBody {
    let container = resize.container.clone();
    if let Some(tier) = resize.tier.clone() {
        return ResizeBody { tier: Some(tier), container, spec: None };
    }
    let amounts = |cpu: Option<&String>, memory: Option<&String>| -> BTreeMap<String, Value> {
        let value = |text: &String| if text == NONE { Value::Null } else { Value::from(text.clone()) };
        let both = [("cpu", cpu), ("memory", memory)];
        both.into_iter().filter_map(|(name, text)| Some((name.to_owned(), value(text?)))).collect()
    };
    // As in a manifest: a limit alone asks for all that it allows.
    let (cpu_request, memory_request) = (
        resize.cpu_request.as_ref().or(resize.cpu.as_ref()),
        resize.memory_request.as_ref().or(resize.memory.as_ref()),
    );
    let resources = ResourcesPatch {
        limits: amounts(resize.cpu.as_ref(), resize.memory.as_ref()),
        requests: amounts(cpu_request, memory_request),
    };
    let containers = vec![ContainerPatch { name: container, resources }];
    ResizeBody { spec: Some(SpecPatch { containers, init_containers: vec![] }), ..ResizeBody::default() }
}
