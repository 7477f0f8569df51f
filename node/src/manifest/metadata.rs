//! A pod's name, labels and annotations.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use purser_events::PodId;
use purser_events::names::{check_label, check_subdomain};

use super::error::FieldErrors;
use super::path;

/// Most bytes of keys and values of all labels and annotations.
const LABELS_BYTES_MAX: usize = 32 * 1024;
/// Most characters of a label's value, and of a key after its prefix.
const LABEL_LEN_MAX: usize = 63;

pub(super) fn id(metadata: &ObjectMeta, namespace: &str, errors: &mut FieldErrors) -> Option<PodId> {
    // An empty namespace is no namespace, as in Kubernetes.
    let namespace = metadata.namespace.as_deref().filter(|given| !given.is_empty()).unwrap_or(namespace);
    if let Err(error) = check_label(namespace) {
        errors.add("metadata.namespace", error.to_string());
    }
    match metadata.name.as_deref() {
        None | Some("") => errors.add("metadata.name", "is required"),
        Some(name) => {
            if let Err(error) = check_subdomain(name) {
                errors.add("metadata.name", error.to_string());
            }
        }
    }
    PodId::new(namespace, metadata.name.as_deref()?).ok()
}

pub(super) fn check_labels(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    errors: &mut FieldErrors,
) {
    for (key, value) in labels {
        let path = check_key("metadata.labels", key, key, errors);
        if !is_label_value(value) {
            errors.add(
                &path,
                "a label's value has at most 63 letters, digits, '-', '_' and '.', and begins and ends with a letter \
                 or digit",
            );
        }
    }
    for key in annotations.keys() {
        // Kubernetes reads keys of annotations without regard to case.
        check_key("metadata.annotations", key, &key.to_ascii_lowercase(), errors);
    }
    let bytes: usize = labels.iter().chain(annotations).map(|(key, value)| key.len() + value.len()).sum();
    if bytes > LABELS_BYTES_MAX {
        let message =
            format!("labels and annotations have {bytes} bytes, at most {LABELS_BYTES_MAX} are allowed");
        errors.add("metadata.annotations", message);
    }
}

/// Checks a key as written, whose prefix counts as in `folded`, and returns its path.
fn check_key(map: &str, key: &str, folded: &str, errors: &mut FieldErrors) -> String {
    let path = format!("{map}[{}]", path::key(key));
    let (prefix, name) = match folded.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, folded),
    };
    if prefix.is_some_and(|prefix| check_subdomain(prefix).is_err()) {
        errors.add(&path, "the part of a key before '/' must be a DNS subdomain");
    }
    if name.is_empty() || !is_label_value(name) {
        errors.add(
            &path,
            "a key, after its prefix and '/' if it has one, has 1 to 63 letters, digits, '-', '_' and '.', and begins \
             and ends with a letter or digit",
        );
    }
    path
}

fn is_label_value(value: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    value.len() <= LABEL_LEN_MAX
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && ends(value.bytes().next())
        && ends(value.bytes().last())
}
