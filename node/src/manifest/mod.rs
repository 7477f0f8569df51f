//! Kubernetes `v1` Pod manifests: text to documents, documents to specs, and specs back to documents.
//!
//! What Purser supports is one table ([`supported_fields`]). A field outside it is refused with its path,
//! never ignored.

mod annotation;
mod claims;
mod container;
mod division;
mod documents;
mod error;
mod metadata;
mod path;
mod pool;
mod probe;
pub(crate) mod quantity;
mod render;
mod resources;
mod shape;
mod table;
mod tensor_fusion;
mod volume;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as k8s;
use purser_actors::port::FieldError;
use purser_events::ContainerName;
use purser_events::pod::spec::{PodSpec, RestartPolicy, RuntimeClass};
use serde_json::Value;

pub use documents::{Limits, documents};
pub use error::{FIELD_ERRORS_MAX, ManifestError};
pub(crate) use path::key as shown_key;
pub use pool::{API_VERSION, KIND, is_pool, pool_fields, pool_manifest, pool_spec};
pub use render::to_manifest;
pub use table::{SupportedField, supported_fields};

use error::FieldErrors;

/// Most containers of a pod, init containers included.
pub const CONTAINERS_MAX: usize = 32;
/// Most volumes of a pod.
pub const VOLUMES_MAX: usize = 64;
/// Most bytes of names and values of all environment variables of a pod.
pub const ENV_BYTES_MAX: usize = 32 * 1024;
/// Most bytes of a spec as JSON: what is admitted is kept in one event, and events are bounded.
pub const SPEC_BYTES_MAX: usize = 56 * 1024;
/// Seconds from SIGTERM to SIGKILL if a manifest doesn't say.
const TERMINATION_GRACE_S: i64 = 30;

/// What holds where a manifest says nothing and Kubernetes leaves it to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Namespace of pods that name none.
    pub namespace: String,
    /// Runtime of pods that name none.
    pub runtime: RuntimeClass,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults { namespace: "default".into(), runtime: RuntimeClass::Process }
    }
}

/// Turns one document into a checked spec.
///
/// # Errors
/// Every wrong field with its path, up to [`FIELD_ERRORS_MAX`].
pub fn pod_spec(document: Value, defaults: &Defaults) -> Result<PodSpec, ManifestError> {
    check_kind(&document)?;
    let mut errors = FieldErrors::default();
    let document = shape::check(document, &mut errors);
    let pod: k8s::Pod = match serde_path_to_error::deserialize(document) {
        Ok(pod) => pod,
        Err(error) => {
            // Without its text, which may quote a value.
            errors.add(&error.path().to_string(), "is not what Kubernetes has here");
            return Err(errors.into_error());
        }
    };
    let Some(spec) = convert(pod, defaults, &mut errors) else { return Err(errors.into_error()) };
    let bytes = encoded_len(&spec);
    if bytes > SPEC_BYTES_MAX {
        errors.add("", format!("the pod has {bytes} bytes as JSON, at most {SPEC_BYTES_MAX} are kept"));
    }
    errors.into_result(spec)
}

/// What of a `v1` Pod's manifest Purser supports, and each field that it does not, as far as their shape tells.
#[must_use]
pub fn supported_part(document: Value) -> (Value, Vec<FieldError>) {
    let mut errors = FieldErrors::default();
    let part = shape::check(document, &mut errors);
    let refused = match errors.into_result(()) {
        Ok(()) => vec![],
        Err(error) => error.fields().to_vec(),
    };
    (part, refused)
}

fn encoded_len(spec: &PodSpec) -> usize {
    serde_json::to_vec(spec).expect("a spec has text keys and no failing serializers").len()
}

/// Looks at what the document is before any field of it: those of another kind are not worth a list.
fn check_kind(document: &Value) -> Result<(), ManifestError> {
    let mut errors = FieldErrors::default();
    if !document.is_object() {
        errors.add("", "must be a v1 Pod: a map with apiVersion, kind, metadata and spec");
        return errors.into_result(());
    }
    for (name, supported) in [("apiVersion", "v1"), ("kind", "Pod")] {
        match document.get(name) {
            Some(Value::String(given)) if given == supported => {}
            Some(Value::String(given)) => {
                let given = path::key(given);
                errors.add(name, format!("must be {supported}, is {given}: Purser runs v1 Pods"));
            }
            None | Some(Value::Null) => errors.add(name, format!("is required: must be {supported}")),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                errors.add(name, format!("must be the string {supported}"));
            }
        }
    }
    errors.into_result(())
}

/// What Kubernetes' type means to Purser; none if something is wrong with it.
fn convert(pod: k8s::Pod, defaults: &Defaults, errors: &mut FieldErrors) -> Option<PodSpec> {
    let id = metadata::id(&pod.metadata, &defaults.namespace, errors);
    let labels = pod.metadata.labels.unwrap_or_default();
    let annotations = pod.metadata.annotations.unwrap_or_default();
    metadata::check_labels(&labels, &annotations, errors);
    let spec = pod.spec.unwrap_or_default();
    let security = spec.security_context.unwrap_or_default();
    let (volumes, declared) = volume::volumes(spec.volumes.unwrap_or_default(), errors);
    let all_containers = container::Containers::new(&security, &declared);
    let gpus = resources::gpus(spec.init_containers.as_deref().unwrap_or_default(), &spec.containers);
    let (init_containers, containers) =
        all_containers.convert(spec.init_containers.unwrap_or_default(), spec.containers, errors);
    let grace_s = spec.termination_grace_period_seconds.unwrap_or(TERMINATION_GRACE_S);
    let names = init_containers.iter().chain(&containers).map(|container| container.name.clone()).collect();
    let asking = claims::Asking { priority: spec.priority.unwrap_or(0), gpus, containers: names };
    let claims = claims::claims(&annotations, asking, errors);
    let mut spec = PodSpec {
        id: id?,
        labels,
        annotations,
        runtime: runtime(spec.runtime_class_name.as_deref(), defaults),
        restart_policy: restart_policy(spec.restart_policy.as_deref()),
        termination_grace_s: checked_u32(grace_s),
        fs_group: security.fs_group.map(checked_u32),
        volumes,
        init_containers,
        containers,
        claims,
    };
    if errors.is_empty() {
        claims::check_sums(&mut spec, errors);
    }
    errors.is_empty().then_some(spec)
}

fn runtime(word: Option<&str>, defaults: &Defaults) -> RuntimeClass {
    match word {
        Some("process") => RuntimeClass::Process,
        Some("containerd") => RuntimeClass::Containerd,
        // The table has no other word.
        Some(_) | None => defaults.runtime,
    }
}

fn restart_policy(word: Option<&str>) -> RestartPolicy {
    match word {
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        // `Always` is Kubernetes' default, and the table has no other word.
        Some(_) | None => RestartPolicy::Always,
    }
}

/// A number that the table bounds by 0 and the largest signed 32-bit number.
fn checked_u32(number: impl TryInto<u32>) -> u32 {
    number.try_into().ok().expect("the table bounds every number")
}

/// A name that must be a DNS label and, among those of its kind, be given once.
fn unique_name(
    name: &str,
    path: &str,
    taken: &mut BTreeSet<String>,
    errors: &mut FieldErrors,
) -> Option<ContainerName> {
    if name.is_empty() {
        errors.add(path, "is required");
        return None;
    }
    let checked = ContainerName::new(name).map_err(|error| errors.add(path, error.to_string())).ok()?;
    if !taken.insert(name.to_owned()) {
        errors.add(path, format!("{name} is given more than once"));
    }
    Some(checked)
}
