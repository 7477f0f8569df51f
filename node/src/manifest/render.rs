//! A spec back to a manifest: applying it again changes nothing.

use std::fmt;

use purser_events::pod::spec::{
    ContainerSpec, HostPathKind, PodSpec, Probe, ProbeCheck, PullPolicy, Resources, RestartPolicy, User,
    VolumeSource,
};
use purser_events::{Bytes, MilliCpu};
use serde_json::{Map, Value, json};

use super::container::protocol_word;
use super::resources::{DISK, GPU};

/// The `v1` Pod manifest of a spec, with every default written out.
#[must_use]
pub fn to_manifest(spec: &PodSpec) -> Value {
    let volumes: Vec<Value> = spec
        .volumes
        .iter()
        .map(|volume| match &volume.source {
            VolumeSource::EmptyDir => json!({ "name": volume.name, "emptyDir": {} }),
            VolumeSource::HostPath { path, kind } => {
                json!({ "name": volume.name, "hostPath": { "path": path, "type": host_path_word(*kind) } })
            }
        })
        .collect();
    // Whole GPUs are the pod's: which of its containers asked for them makes no difference.
    let gpus = spec.claims.gpu.as_ref().filter(|gpu| gpu.is_whole()).map(|gpu| gpu.count);
    let containers = spec.containers.iter().enumerate();
    compact(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.id.name(),
            "namespace": spec.id.namespace(),
            "labels": spec.labels,
            "annotations": spec.annotations,
        },
        "spec": {
            "runtimeClassName": spec.runtime.word(),
            "restartPolicy": restart_word(spec.restart_policy),
            "priority": spec.claims.priority,
            "terminationGracePeriodSeconds": spec.termination_grace_s,
            "securityContext": { "fsGroup": spec.fs_group },
            "volumes": volumes,
            "initContainers": spec.init_containers.iter().map(|it| container(it, None)).collect::<Vec<_>>(),
            "containers": containers
                .map(|(index, it)| container(it, gpus.filter(|_| index == 0)))
                .collect::<Vec<_>>(),
        },
    }))
}

fn container(spec: &ContainerSpec, gpus: Option<u32>) -> Value {
    let env: Vec<Value> =
        spec.env.iter().map(|var| json!({ "name": var.name, "value": var.value })).collect();
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|port| {
            json!({ "name": port.name, "containerPort": port.port, "protocol": protocol_word(port.protocol) })
        })
        .collect();
    let mounts: Vec<Value> = spec
        .mounts
        .iter()
        .map(|mount| json!({ "name": mount.volume, "mountPath": mount.path, "readOnly": mount.read_only }))
        .collect();
    json!({
        "name": spec.name,
        "image": spec.image,
        "imagePullPolicy": pull_word(spec.image_pull_policy),
        "command": spec.command,
        "args": spec.args,
        "workingDir": spec.working_dir,
        "env": env,
        "resources": resources(&spec.resources, gpus),
        "ports": ports,
        "volumeMounts": mounts,
        "livenessProbe": spec.liveness.as_ref().map(probe),
        "readinessProbe": spec.readiness.as_ref().map(probe),
        "startupProbe": spec.startup.as_ref().map(probe),
        "securityContext": security_context(&spec.user),
    })
}

fn resources(resources: &Resources, gpus: Option<u32>) -> Value {
    let text = |amount: Option<&dyn fmt::Display>| Value::from(amount.map(ToString::to_string));
    let list = |cpu: &Option<MilliCpu>, memory: &Option<Bytes>, disk: &Option<Bytes>| {
        let counted = resources.custom.iter().map(|(name, count)| (name.as_str(), Some(count as _)));
        let known = [
            ("cpu", cpu.as_ref().map(|amount| amount as _)),
            ("memory", memory.as_ref().map(|amount| amount as _)),
            (DISK, disk.as_ref().map(|amount| amount as _)),
            (GPU, gpus.as_ref().map(|count| count as _)),
        ];
        let all = known.into_iter().chain(counted);
        Value::Object(all.map(|(name, amount)| (name.to_owned(), text(amount))).collect())
    };
    json!({
        "limits": list(&resources.cpu_limit, &resources.memory_limit, &resources.disk_limit),
        "requests": list(&resources.cpu_request, &resources.memory_request, &resources.disk_request),
    })
}

fn probe(probe: &Probe) -> Value {
    let (name, check) = match &probe.check {
        ProbeCheck::Exec { command } => ("exec", json!({ "command": command })),
        ProbeCheck::HttpGet { host, port, path, headers } => {
            let header = |(name, value): &(String, String)| json!({ "name": name, "value": value });
            let headers: Vec<Value> = headers.iter().map(header).collect();
            (
                "httpGet",
                json!({ "host": host, "port": port, "path": path, "scheme": "HTTP", "httpHeaders": headers }),
            )
        }
        ProbeCheck::TcpSocket { host, port } => ("tcpSocket", json!({ "host": host, "port": port })),
    };
    json!({
        name: check,
        "initialDelaySeconds": probe.initial_delay_s,
        "periodSeconds": probe.period_s,
        "timeoutSeconds": probe.timeout_s,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    })
}

fn security_context(user: &User) -> Value {
    json!({
        "runAsUser": user.uid,
        "runAsGroup": user.gid,
        "runAsNonRoot": user.non_root.then_some(true),
        "allowPrivilegeEscalation": user.no_new_privileges.then_some(false),
    })
}

/// Without what says nothing: nulls, and the empty maps and lists that are left. Of text, nothing is empty.
pub(super) fn compact(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(name, field)| {
                // An `emptyDir` is said by being there.
                let field = if name == "emptyDir" { field } else { compact(field) };
                (name, field)
            });
            Value::Object(
                kept.filter(|(name, field)| name == "emptyDir" || !says_nothing(field))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(values) => Value::Array(values.into_iter().map(compact).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn restart_word(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Always => "Always",
        RestartPolicy::OnFailure => "OnFailure",
        RestartPolicy::Never => "Never",
    }
}

fn pull_word(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}

fn host_path_word(kind: HostPathKind) -> &'static str {
    match kind {
        HostPathKind::Any => "",
        HostPathKind::DirectoryOrCreate => "DirectoryOrCreate",
        HostPathKind::Directory => "Directory",
        HostPathKind::FileOrCreate => "FileOrCreate",
        HostPathKind::File => "File",
    }
}
