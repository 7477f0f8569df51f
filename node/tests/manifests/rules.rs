//! Rules between fields, sizes, names and defaults.

use serde_json::{Value, json};

use crate::sample::{read, refused_paths, small, with};

#[test]
fn rules_between_fields_hold() {
    for (pointer, value, path) in [
        (
            "/resources",
            json!({ "limits": { "cpu": "1" }, "requests": { "cpu": "1001m" } }),
            "resources.requests.cpu",
        ),
        (
            "/resources",
            json!({ "limits": { "memory": "1Mi" }, "requests": { "memory": "2M" } }),
            "resources.requests.memory",
        ),
        ("/resources", json!({ "limits": { "memory": 0 } }), "resources.limits.memory"),
        ("/securityContext", json!({ "runAsUser": 0, "runAsNonRoot": true }), "securityContext.runAsUser"),
        (
            "/livenessProbe",
            json!({ "tcpSocket": { "port": 1 }, "successThreshold": 2 }),
            "livenessProbe.successThreshold",
        ),
        (
            "/startupProbe",
            json!({ "tcpSocket": { "port": 1 }, "successThreshold": 2 }),
            "startupProbe.successThreshold",
        ),
        (
            "/livenessProbe",
            json!({ "tcpSocket": { "port": 1 }, "exec": { "command": ["x"] } }),
            "livenessProbe",
        ),
        ("/livenessProbe", json!({ "httpGet": { "port": "web" } }), "livenessProbe.httpGet.port"),
        ("/volumeMounts", json!([{ "name": "gone", "mountPath": "/x" }]), "volumeMounts[0].name"),
        ("/env", json!([{ "name": "A", "value": "x".repeat(33 << 10) }]), "env"),
    ] {
        let manifest = with(small(), &format!("/spec/containers/0{pointer}"), value);
        assert_eq!(refused_paths(manifest), [format!("spec.containers[0].{path}")]);
    }
    let both = json!([{ "name": "v", "emptyDir": {}, "hostPath": { "path": "/srv" } }]);
    assert_eq!(refused_paths(with(small(), "/spec/volumes", both)), ["spec.volumes[0]"]);
    let pod_user = with(small(), "/spec/securityContext", json!({ "runAsUser": 0, "runAsNonRoot": true }));
    assert_eq!(refused_paths(pod_user), ["spec.securityContext.runAsUser"]);
}

#[test]
fn sizes_are_bounded() {
    let many: Vec<Value> = (0..33).map(|n| json!({ "name": format!("c{n}") })).collect();
    assert_eq!(refused_paths(with(small(), "/spec/containers", json!(many))), ["spec.containers"]);
    let labels = |len: usize| with(small(), "/metadata/annotations", json!({ "note": "x".repeat(len) }));
    assert_eq!(refused_paths(labels(33 << 10)), ["metadata.annotations"]);
    read(labels(31 << 10)).expect("31 KiB of annotations");
    let long = with(small(), "/spec/containers/0/args", json!(["x".repeat(57 << 10)]));
    assert_eq!(refused_paths(long), [""]);
    let doubling: Vec<Value> = (0..40)
        .map(|n: usize| json!({ "name": format!("V{n}"), "value": n.checked_sub(1).map_or("x".into(), |n| format!("$(V{n})$(V{n})")) }))
        .collect();
    assert_eq!(
        refused_paths(with(small(), "/spec/containers/0/env", json!(doubling))),
        ["spec.containers[0].env"]
    );
}

#[test]
fn labels_and_annotations_are_those_of_kubernetes() {
    for key in ["a", "A.b_c-d", "example.com/x", "app.kubernetes.io/name"] {
        read(with(small(), "/metadata/labels", json!({ key: "V.1_x-2", "empty": "" })))
            .unwrap_or_else(|e| panic!("{key}: {e}"));
    }
    for key in ["", "a/", "/a", "a b", "-a", "a/b/c", "Ex_ample/x", &"a".repeat(64)] {
        let error = read(with(small(), "/metadata/labels", json!({ key: "v" }))).expect_err(key);
        assert!(error.fields()[0].path.starts_with("metadata.labels["), "{error}");
        read(with(small(), "/metadata/annotations", json!({ key: "v" }))).expect_err(key);
    }
    for value in ["a b", "-a", "a-", "é", &"a".repeat(64)] {
        assert_eq!(
            refused_paths(with(small(), "/metadata/labels", json!({ "k": value }))),
            ["metadata.labels[k]"]
        );
    }
}

#[test]
fn defaults_are_those_of_kubernetes() {
    use purser_events::pod::spec::{PullPolicy, RestartPolicy, RuntimeClass};
    let spec = read(with(
        small(),
        "/spec/containers/0/livenessProbe",
        json!({ "tcpSocket": { "port": 1 }, "periodSeconds": 0 }),
    ))
    .expect("it is accepted");
    assert_eq!(spec.id.to_string(), "default/small");
    assert_eq!((spec.restart_policy, spec.termination_grace_s), (RestartPolicy::Always, 30));
    assert_eq!(spec.runtime, RuntimeClass::Process);
    let probe = spec.containers[0].liveness.as_ref().expect("it is given");
    let numbers = (
        probe.initial_delay_s,
        probe.period_s,
        probe.timeout_s,
        probe.success_threshold,
        probe.failure_threshold,
    );
    assert_eq!(numbers, (0, 10, 1, 1, 3));
    for (image, policy) in [
        ("nginx", PullPolicy::Always),
        ("nginx:latest", PullPolicy::Always),
        ("nginx:1", PullPolicy::IfNotPresent),
        ("localhost:5000/nginx", PullPolicy::Always),
        ("localhost:5000/nginx:1", PullPolicy::IfNotPresent),
        ("nginx@sha256:0123", PullPolicy::IfNotPresent),
    ] {
        let spec = read(with(small(), "/spec/containers/0/image", json!(image))).expect(image);
        assert_eq!(spec.containers[0].image_pull_policy, policy, "{image}");
    }
    let limits = json!({ "limits": { "cpu": "100u", "memory": "1500e-3" } });
    let spec = read(with(small(), "/spec/containers/0/resources", limits)).expect("it is accepted");
    let resources = &spec.containers[0].resources;
    assert_eq!(resources.cpu_limit.map(|cpu| cpu.0), Some(1), "part of a thousandth counts as one");
    assert_eq!(resources.cpu_request, resources.cpu_limit, "a limit without a request asks for all of it");
    assert_eq!(resources.memory_limit.map(|memory| memory.0), Some(2));
}

#[test]
fn a_null_is_an_absent_field() {
    let manifest =
        with(with(small(), "/spec/affinity", Value::Null), "/metadata/creationTimestamp", Value::Null);
    assert_eq!(read(manifest), read(small()));
}
