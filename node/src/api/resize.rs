//! Other limits and requests for pods that run: the `resize` subresource of Kubernetes, and tiers by name.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use purser_events::pod::SizeChange;
use purser_events::{Bytes, ContainerName, MilliCpu};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ledger::shortage::told;
use super::pods::{AcceptedView, named};
use super::problem::{Problem, WrongField};
use super::state::{Api, Change, PodPath, container_name, json, media_type, unsupported};
use crate::manifest::quantity;

/// The media types of a patch that are taken: all mean the same here.
const MEDIA: [&str; 4] =
    ["", "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// What is to be changed of a pod's sizes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResizeBody {
    /// Containers by name, each with what is to be changed of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<SpecPatch>,
    /// The tier whose processor time and memory a container is to have, as limit and request; in place of `spec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The container that gets the tier; the pod's only one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// Containers of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpecPatch {
    /// Containers that run side by side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerPatch>,
    /// Init containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<ContainerPatch>,
}

/// What is to be changed of one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerPatch {
    /// Its name; the pod's only container if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its limits and requests; what is not named stays.
    pub resources: ResourcesPatch,
}

/// Limits and requests of `cpu` and `memory`; `null` takes one away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesPatch {
    /// Limits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub limits: BTreeMap<String, Value>,
    /// Requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub requests: BTreeMap<String, Value>,
}

/// Gives containers of a pod other limits and requests of `cpu` and `memory` while they run. The answer comes once that is
/// on disk; `status.purser.resize` and the feed say when the kernel holds them to it.
#[utoipa::path(
    patch, path = "/v1/namespaces/{namespace}/pods/{name}/resize", tag = "pods",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = ResizeBody,
    responses(
        (status = 202, description = "on its way, or so already", body = AcceptedView),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "refused", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "fields are wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resize(
    State(api): State<Api>,
    PodPath(id): PodPath,
    change: Change,
) -> Result<(StatusCode, Json<AcceptedView>), Problem> {
    let media = media_type(&change.headers);
    if !MEDIA.contains(&media.as_str()) {
        return Err(unsupported(&media, "application/strategic-merge-patch+json or application/json"));
    }
    let body: ResizeBody = json(&HeaderMap::new(), &change.body)?;
    let changes = changes(&api, &body)?;
    let accepted = api.service.resize(&id, changes, body.tier, change.by).await;
    let accepted = accepted.map_err(|error| named(&id, told(&api.service, error)))?;
    Ok((StatusCode::ACCEPTED, Json(accepted.into())))
}

fn changes(api: &Api, body: &ResizeBody) -> Result<Vec<SizeChange>, Problem> {
    let fault = |path: &str, message: &str| {
        Problem::invalid([WrongField { path: path.to_owned(), message: message.to_owned() }])
    };
    match (&body.tier, &body.spec) {
        (Some(_), Some(_)) => Err(fault("tier", "must not stand beside `spec`")),
        (None, None) => Err(fault("spec", "must name what is to be changed, or `tier` a tier")),
        (Some(tier), None) => {
            let container = container_name(body.container.clone())?;
            Ok(vec![of_tier(api, tier, container)?])
        }
        (None, Some(_)) if body.container.is_some() => Err(fault("container", "goes with `tier` alone")),
        (None, Some(spec)) => of_spec(spec),
    }
}

fn of_tier(api: &Api, tier: &str, container: Option<ContainerName>) -> Result<SizeChange, Problem> {
    let tiers = api.config.resources.tiers().unwrap_or_default();
    let Some(size) = tiers.get(tier) else {
        let known: Vec<&str> = tiers.keys().map(String::as_str).collect();
        let message = format!("must be one of {}", known.join(", "));
        return Err(Problem::invalid([WrongField { path: "tier".to_owned(), message }]));
    };
    let (cpu, memory) = (Some(Some(size.cpu)), Some(Some(size.memory)));
    Ok(SizeChange {
        container,
        cpu_limit: cpu,
        cpu_request: cpu,
        memory_limit: memory,
        memory_request: memory,
    })
}

fn of_spec(spec: &SpecPatch) -> Result<Vec<SizeChange>, Problem> {
    let lists = [("spec.initContainers", &spec.init_containers), ("spec.containers", &spec.containers)];
    let mut changes = vec![];
    let mut errors = vec![];
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let place = format!("{list}[{index}]");
            let mut change =
                SizeChange { container: container_name(container.name.clone())?, ..SizeChange::default() };
            let parts =
                [("limits", &container.resources.limits), ("requests", &container.resources.requests)];
            for (part, amounts) in parts {
                for (name, value) in amounts {
                    if let Err(message) = put(&mut change, part, name, value) {
                        errors.push(WrongField { path: format!("{place}.resources.{part}.{name}"), message });
                    }
                }
            }
            changes.push(change);
        }
    }
    if errors.is_empty() { Ok(changes) } else { Err(Problem::invalid(errors)) }
}

fn put(change: &mut SizeChange, part: &str, name: &str, value: &Value) -> Result<(), String> {
    let text = match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err("must be a quantity, or null".to_owned());
        }
    };
    let cpu = || -> Result<Option<MilliCpu>, String> {
        text.as_deref().map(quantity::milli_cpu).transpose().map_err(|error| error.to_string())
    };
    let memory = || -> Result<Option<Bytes>, String> {
        text.as_deref().map(quantity::bytes).transpose().map_err(|error| error.to_string())
    };
    match (part, name) {
        ("limits", "cpu") => change.cpu_limit = Some(cpu()?),
        ("requests", "cpu") => change.cpu_request = Some(cpu()?),
        ("limits", "memory") => change.memory_limit = Some(memory()?),
        ("requests", "memory") => change.memory_request = Some(memory()?),
        _ => return Err("cannot be changed in place: only cpu and memory can".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Vec<SizeChange>, Problem> {
        let spec: SpecPatch = serde_json::from_value(value).expect("a patch");
        of_spec(&spec)
    }

    #[test]
    fn what_is_named_is_changed_and_null_takes_away() {
        let read = read(json!({ "containers": [{
            "name": "main",
            "resources": { "limits": { "cpu": "1500m", "memory": null }, "requests": { "cpu": 1 } },
        }] }));
        let expected = SizeChange {
            container: Some(ContainerName::new("main").unwrap()),
            cpu_limit: Some(Some(MilliCpu(1_500))),
            cpu_request: Some(Some(MilliCpu(1_000))),
            memory_limit: Some(None),
            memory_request: None,
        };
        assert_eq!(read.unwrap(), [expected]);
    }

    #[test]
    fn what_cannot_be_changed_in_place_is_named() {
        let problem = read(json!({ "containers": [{ "resources": {
            "limits": { "nvidia.com/gpu": 1, "cpu": "1Gi" }, "requests": { "ephemeral-storage": "1Gi" },
        } }] }))
        .unwrap_err();
        let text = serde_json::to_string(&problem).unwrap();
        for path in ["limits.nvidia.com/gpu", "limits.cpu", "requests.ephemeral-storage"] {
            assert!(text.contains(&format!("spec.containers[0].resources.{path}")), "{path}: {text}");
        }
    }
}
