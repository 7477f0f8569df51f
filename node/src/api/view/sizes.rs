//! What a pod and its containers may use: asked for, given, and held to.

use std::collections::BTreeMap;

use purser_actors::port::LimitsInForce;
use purser_events::pod::resize::Progress;
use purser_events::pod::spec::Resources;
use purser_events::pod::{ContainerSize, PodState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Condition;

/// Limits and requests of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SizesView {
    /// Limits that the kernel holds it to now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// Requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
}

/// The change of sizes that a pod saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResizeView {
    /// The generation that it made, or was to make.
    pub generation: u32,
    /// `InProgress`, `Completed` or `Failed`; all is as before then.
    pub state: String,
    /// The tier by whose name it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// What it was about, as in `main: cpu 500m to 1, memory 64Mi to 128Mi`.
    pub changes: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ResizeView {
    /// The last change of a pod's sizes, if there was one.
    #[must_use]
    pub fn of(pod: &PodState) -> Option<ResizeView> {
        let resize = pod.resize.as_ref()?;
        let (state, message) = match &resize.progress {
            Progress::Requested => ("InProgress", None),
            Progress::Done => ("Completed", None),
            Progress::Failed { container, message } => {
                ("Failed", Some(format!("container `{container}`: {message}")))
            }
        };
        Some(ResizeView {
            generation: resize.generation,
            state: state.to_owned(),
            tier: resize.tier.clone(),
            changes: resize.from.iter().zip(&resize.to).map(|(from, to)| change(from, to)).collect(),
            message,
        })
    }

    /// The condition of a pod whose containers are being given other limits.
    #[must_use]
    pub fn condition(pod: &PodState) -> Option<Condition> {
        pod.open_resize().map(|_| Condition {
            kind: "PodResizeInProgress".to_owned(),
            status: "True".to_owned(),
            reason: None,
            message: None,
        })
    }
}

fn change(from: &ContainerSize, to: &ContainerSize) -> String {
    let word = |amount: &Option<String>| amount.clone().unwrap_or_else(|| "none".to_owned());
    let parts = [
        ("cpu", text(from.cpu_limit), text(to.cpu_limit)),
        ("cpu request", text(from.cpu_request), text(to.cpu_request)),
        ("memory", text(from.memory_limit), text(to.memory_limit)),
        ("memory request", text(from.memory_request), text(to.memory_request)),
    ];
    let changed = parts.iter().filter(|(_, from, to)| from != to);
    let told: Vec<String> =
        changed.map(|(name, from, to)| format!("{name} {} to {}", word(from), word(to))).collect();
    format!("{}: {}", to.container, told.join(", "))
}

fn text(amount: Option<impl ToString>) -> Option<String> {
    amount.map(|amount| amount.to_string())
}

/// Requests as the ledger has them for a container.
#[must_use]
pub fn allocated(resources: &Resources) -> BTreeMap<String, String> {
    list(text(resources.cpu_request), text(resources.memory_request))
}

/// What the kernel holds a container to, and what it is weighed by.
#[must_use]
pub fn in_force(resources: &Resources, limits: LimitsInForce) -> SizesView {
    SizesView { limits: list(text(limits.cpu), text(limits.memory)), requests: allocated(resources) }
}

fn list(cpu: Option<String>, memory: Option<String>) -> BTreeMap<String, String> {
    let both = [("cpu", cpu), ("memory", memory)];
    both.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount?))).collect()
}
