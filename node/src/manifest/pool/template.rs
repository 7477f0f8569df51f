//! What a pool's pods are made from: the manifest of a pod, without what the pool itself says of each.

use purser_actors::port::FieldError;
use purser_events::pod::PodSpec;
use serde_json::{Map, Value, json};

use super::super::error::FieldErrors;
use super::super::{Defaults, ManifestError, path, pod_spec};

/// Labels under this prefix say which pool a pod is of: the node sets them.
const OWN_PREFIX: &str = "purser.dev/pool";
/// Where the template stands.
const AT: &str = "spec.template";

/// What the template says of every pod, checked as the manifest of a pod called `name`.
pub(super) fn read(
    template: Option<Value>,
    name: &str,
    defaults: &Defaults,
    errors: &mut FieldErrors,
) -> Option<PodSpec> {
    let Some(Value::Object(fields)) = template else {
        let message = match template {
            None | Some(Value::Null) => "is required",
            Some(_) => "must be a map with metadata and spec",
        };
        errors.add(AT, message);
        return None;
    };
    let document = pod(fields, name, errors);
    let wrong = match pod_spec(document, defaults) {
        Ok(spec) => return checked(spec, errors),
        Err(ManifestError::Fields(wrong)) => wrong,
        // The document has been read before its parts are.
        Err(other) => vec![FieldError { path: String::new(), message: other.to_string() }],
    };
    for error in wrong {
        errors.add(&at(&error.path), error.message);
    }
    None
}

/// The path of a pod's field within the pool's manifest.
fn at(path: &str) -> String {
    if path.is_empty() { AT.to_owned() } else { format!("{AT}.{path}") }
}

/// The manifest of a pod as the template has it.
fn pod(fields: Map<String, Value>, name: &str, errors: &mut FieldErrors) -> Value {
    let mut metadata = Map::from_iter([("name".to_owned(), json!(name))]);
    let mut spec = Value::Null;
    for (key, value) in fields {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("spec", value) => spec = value,
            ("metadata", Value::Object(given)) => {
                for (key, value) in given {
                    match key.as_str() {
                        "labels" | "annotations" => {
                            metadata.insert(key, value);
                        }
                        _ if value.is_null() => {}
                        "name" | "generateName" => errors.add(
                            &at(&format!("metadata.{key}")),
                            "must be left out: pods are named after their pool",
                        ),
                        "namespace" => {
                            errors.add(
                                &at("metadata.namespace"),
                                "must be left out: metadata.namespace says it for all pods",
                            );
                        }
                        _ => errors.add(&at(&format!("metadata.{}", path::key(&key))), "unknown field"),
                    }
                }
            }
            ("metadata", _) => errors.add(&at("metadata"), "must be a map"),
            _ => errors.add(&at(&path::key(&key)), "unknown field: a template has metadata and spec"),
        }
    }
    let mut document = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata });
    if let (Value::Object(document), false) = (&mut document, spec.is_null()) {
        document.insert("spec".to_owned(), spec);
    }
    document
}

/// Refuses what only one pod can have.
fn checked(spec: PodSpec, errors: &mut FieldErrors) -> Option<PodSpec> {
    let before = errors.len();
    if spec.claims.reservation.is_some() {
        errors.add(
            &at("metadata.annotations[purser.dev/reservation]"),
            "must be left out: a reservation is taken up by one pod",
        );
    }
    for (map, keys) in [("labels", &spec.labels), ("annotations", &spec.annotations)] {
        for key in keys.keys().filter(|key| key.starts_with(OWN_PREFIX)) {
            errors.add(
                &at(&format!("metadata.{map}[{}]", path::key(key))),
                "must be left out: the node sets it",
            );
        }
    }
    (errors.len() == before).then_some(spec)
}
