//! Manifests to change, and ways to change and read them.

use std::path::PathBuf;

use purser_events::pod::PodSpec;
use purser_node::manifest::{Defaults, Limits, ManifestError, documents, pod_spec};
use serde_json::{Value, json};

/// A manifest in which every supported field is given, some in one of several ways.
pub(crate) fn full() -> Value {
    let probe = json!({
        "httpGet": {
            "port": "web", "path": "/healthz", "host": "127.0.0.1", "scheme": "HTTP",
            "httpHeaders": [{ "name": "X-Probe", "value": "purser" }],
        },
        "initialDelaySeconds": 1, "periodSeconds": 2, "timeoutSeconds": 3, "successThreshold": 1,
        "failureThreshold": 4,
    });
    let security = json!({
        "runAsUser": 1000, "runAsGroup": 1001, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
    });
    let resources = json!({
        "limits": {
            "cpu": "1", "memory": "64Mi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": 2, "example.com/dongle": "3",
        },
        "requests": {
            "cpu": 0.5, "memory": "1e6", "ephemeral-storage": "500M", "nvidia.com/gpu": "2", "example.com/dongle": 3,
        },
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "full", "namespace": "team-a", "labels": { "app": "full" },
            "annotations": {
                "example.com/note": "any text", "purser.dev/gpu-memory": "40Gi", "purser.dev/gpu-uuids": "GPU-a, GPU-b",
                "purser.dev/container-gpus": "main=GPU-a,GPU-b; first=GPU-b", "purser.dev/qos": "critical",
                "purser.dev/ports": "2", "purser.dev/subnet": "true", "purser.dev/when-full": "wait",
                "purser.dev/reservation": "0190b5d0-0000-7000-8000-000000000001:7",
            },
            "creationTimestamp": null,
        },
        "spec": {
            "runtimeClassName": "containerd", "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 5,
            "priority": -7,
            "securityContext": { "runAsUser": 7, "runAsGroup": 8, "runAsNonRoot": true, "fsGroup": 9 },
            "hostNetwork": true, "dnsPolicy": "Default", "enableServiceLinks": false,
            "automountServiceAccountToken": false, "os": { "name": "linux" },
            "volumes": [
                { "name": "scratch", "emptyDir": {} },
                { "name": "host", "hostPath": { "path": "/srv/models", "type": "Directory" } },
            ],
            "initContainers": [{
                "name": "first", "image": "busybox:1", "imagePullPolicy": "Never", "command": ["sh"], "args": ["-c", "true"],
                "env": [{ "name": "A", "value": "1" }], "workingDir": "/work", "resources": resources,
                "ports": [{ "containerPort": 80, "hostPort": 80, "name": "web", "protocol": "TCP" }],
                "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch", "readOnly": true }],
                "securityContext": security,
            }],
            "containers": [{
                "name": "main", "image": "busybox:1", "imagePullPolicy": "Always", "command": ["sh"], "args": ["-c", "true"],
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "$(A)2" }], "workingDir": "/work",
                "resources": resources,
                "ports": [
                    { "containerPort": 80, "hostPort": 80, "name": "web", "protocol": "TCP" },
                    { "containerPort": 53, "protocol": "UDP", "name": "dns" },
                ],
                "volumeMounts": [
                    { "name": "scratch", "mountPath": "/scratch", "readOnly": true },
                    { "name": "host", "mountPath": "/models" },
                ],
                "livenessProbe": probe,
                "readinessProbe": { "tcpSocket": { "port": 80, "host": "localhost" }, "successThreshold": 2 },
                "startupProbe": { "exec": { "command": ["test", "-e", "/tmp/up"] } },
                "securityContext": security,
            }],
        },
        "status": {},
    })
}

/// A manifest with the annotations that cannot stand beside those of [`full`].
pub(crate) fn sharing() -> Value {
    let annotations = json!({
        "purser.dev/gpu-share": "50%", "purser.dev/gpu-count": "2", "purser.dev/gpu-memory": "10Gi",
        "purser.dev/exclusive-cpus": "true",
    });
    let resources = json!({ "requests": { "cpu": 2 } });
    with(with(small(), "/metadata/annotations", annotations), "/spec/containers/0/resources", resources)
}

/// A manifest with the annotations that cannot stand beside those of [`full`] and [`sharing`].
pub(crate) fn by_tflops() -> Value {
    let annotations = json!({
        "purser.dev/gpu-tflops": "62.5", "purser.dev/gpu-count": "2", "purser.dev/container-gpus": "main=0,1",
        "purser.dev/qos": "low",
    });
    with(small(), "/metadata/annotations", annotations)
}

/// A manifest with every annotation of TensorFusion that is read.
pub(crate) fn tensor_fusion() -> Value {
    let annotations = json!({
        "tensor-fusion.ai/tflops-request": "10", "tensor-fusion.ai/tflops-limit": "62.5",
        "tensor-fusion.ai/vram-request": "1Gi", "tensor-fusion.ai/vram-limit": "2Gi",
        "tensor-fusion.ai/gpu-ids": "GPU-a,GPU-b", "tensor-fusion.ai/container-gpus": "{\"main\": [\"GPU-a\", \"GPU-b\"]}",
        "tensor-fusion.ai/qos": "low", "tensor-fusion.ai/isolation": "shared", "tensor-fusion.ai/workload": "train",
        "tensor-fusion.ai/inject-container": "main",
    });
    with(small(), "/metadata/annotations", annotations)
}

/// The smallest manifest.
pub(crate) fn small() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "small" },
        "spec": { "containers": [{ "name": "main", "command": ["true"] }] },
    })
}

/// The manifest with one more field, given as a JSON pointer; what is missing on the way is made.
pub(crate) fn with(mut manifest: Value, pointer: &str, value: Value) -> Value {
    let mut place = &mut manifest;
    for step in pointer.split('/').skip(1) {
        let key = step.replace("~1", "/");
        place = match (place, key.parse::<usize>()) {
            (Value::Array(values), Ok(index)) => {
                values.resize(values.len().max(index + 1), json!({}));
                &mut values[index]
            }
            (other, _) => {
                if !other.is_object() {
                    *other = json!({});
                }
                other.as_object_mut().expect("it was made one").entry(key).or_insert(Value::Null)
            }
        };
    }
    *place = value;
    manifest
}

pub(crate) fn read(manifest: Value) -> Result<PodSpec, ManifestError> {
    pod_spec(manifest, &Defaults::default())
}

/// The one document of a text as a spec.
pub(crate) fn read_text(text: &str) -> Result<PodSpec, ManifestError> {
    let mut documents = documents(text.as_bytes(), &Limits::default())?;
    assert_eq!(documents.len(), 1, "one document is wanted");
    read(documents.remove(0))
}

/// The paths at which a manifest is refused, in order.
#[track_caller]
pub(crate) fn refused_paths(manifest: Value) -> Vec<String> {
    let error = read(manifest).expect_err("it was accepted");
    let mut paths: Vec<String> = error.fields().iter().map(|error| error.path.clone()).collect();
    assert!(!paths.is_empty(), "refused as a whole: {error}");
    paths.sort();
    paths
}

/// A folder or file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Every YAML file below a folder of the repository, with its text.
pub(crate) fn yaml_files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = repository(folder);
    let mut files = Vec::new();
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            files.push((path, text));
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no manifests in {}", folder.display());
    files
}
