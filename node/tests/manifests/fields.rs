//! Each supported field once as it may be and once as it may not, and the rules between fields.

use serde_json::{Value, json};

use crate::sample::{by_tflops, full, read, refused_paths, sharing, small, tensor_fusion, with};

const MAIN: &str = "spec.containers[0]";

/// Values that the field at a path may not hold, and that are refused at that very path.
fn wrong(path: &str) -> Vec<Value> {
    let field = path.rsplit('.').next().expect("a path has a last part");
    let mut wrong = vec![json!([1]), json!({ "x": { "y": 1 } })];
    wrong.extend(match field {
        _ if path.contains("purser.dev/") || path.contains("tensor-fusion.ai/") => wrong_annotation(path),
        _ if path.contains("resources.") && path.ends_with(']') => {
            vec![json!(0), json!(-1), json!(1.5), json!("1k"), json!(""), json!(true), json!(1_u64 << 63)]
        }
        "priority" => vec![json!(1_000_000_001), json!(-2_147_483_649_i64), json!(0.5), json!("high")],
        "apiVersion" => vec![json!("v2"), json!(1)],
        "kind" => vec![json!("Deployment"), json!(true)],
        "namespace" => vec![json!("Team"), json!("a.b"), json!("../x"), json!(5)],
        "restartPolicy" => vec![json!("always"), json!("")],
        "runtimeClassName" => vec![json!("runc"), json!("gvisor"), json!("")],
        "imagePullPolicy" => vec![json!("always")],
        "protocol" => vec![json!("SCTP"), json!("tcp")],
        "scheme" => vec![json!("HTTPS")],
        "type" => vec![json!("Socket"), json!("BlockDevice"), json!("CharDevice")],
        "dnsPolicy" => vec![json!("ClusterFirstWithHostNet"), json!("None")],
        "hostNetwork" => vec![json!(false), json!("true")],
        "enableServiceLinks" | "automountServiceAccountToken" => vec![json!(true)],
        "runAsUser" | "runAsGroup" | "fsGroup" => {
            vec![json!(-1), json!(2_147_483_648_u64), json!(1.5), json!("0")]
        }
        "containerPort" => vec![json!(0), json!(65_536), json!(-1), json!("80")],
        "hostPort" => vec![json!(0), json!(81), json!(65_536)],
        "port" => vec![json!(0), json!(65_536), json!("nobody"), json!(1.5), json!("80")],
        "cpu" | "memory" | "ephemeral-storage" => {
            vec![json!(-1), json!("-1Mi"), json!("1Zi"), json!("lots"), json!(""), json!("1e99"), json!(true)]
        }
        "mountPath" => {
            vec![json!("relative"), json!("/a/../b"), json!("/a:b"), json!("/"), json!(""), json!("//.")]
        }
        "path" if path.contains("hostPath") => vec![json!("relative"), json!("/srv/../etc"), json!("")],
        "path" => vec![json!("/a b"), json!("/a\r\nX: y")],
        "workingDir" => vec![json!("relative"), json!("/a/../b"), json!("")],
        "image" => vec![json!(""), json!("a b"), json!("x\ny"), json!(7)],
        "host" => vec![json!("a b"), json!("x/y"), json!("h\r\n")],
        "readOnly" | "runAsNonRoot" | "allowPrivilegeEscalation" => {
            vec![json!("true"), json!(1), json!("yes")]
        }
        "name" if path.contains("httpHeaders") => vec![json!(""), json!("a b"), json!("X:"), json!("a\n")],
        "name" if path.contains("env[") => vec![json!(""), json!("A=B"), json!("\u{e9}"), json!("a\tb")],
        "name" if path.contains("ports[") => {
            vec![json!(""), json!("8080"), json!("Web"), json!("a--b"), json!("sixteencharacter")]
        }
        "name" if path == "spec.os.name" => vec![json!("windows"), json!("")],
        "name" => vec![
            json!(""),
            json!("UP"),
            json!("a/b"),
            json!("../x"),
            json!("-a"),
            json!("a".repeat(254)),
            json!(9),
        ],
        "value" if path.contains("httpHeaders") => vec![json!("a\r\nb"), json!(1)],
        "initialDelaySeconds"
        | "periodSeconds"
        | "timeoutSeconds"
        | "successThreshold"
        | "failureThreshold"
        | "terminationGracePeriodSeconds" => vec![json!(-1), json!(1.5), json!("1"), json!(1_u64 << 40)],
        _ => vec![json!(true)],
    });
    wrong
}

/// Values that an annotation for the node may not hold.
fn wrong_annotation(path: &str) -> Vec<Value> {
    let texts: &[&str] = match path.trim_end_matches(']').rsplit('/').next().expect("a path has a last part")
    {
        "gpu-share" => &["0", "101", "50.5", "half", "-1", "50 %", "%"],
        "gpu-count" => &["0", "-1", "1.5", "4294967296", "2 "],
        "gpu-memory" => &["0", "-1Gi", "lots", "1GB", "9E99", "8Ei"],
        "gpu-uuids" => &[",", "GPU-a,", "GPU-a,GPU-a", "GPU a,GPU-b", "GPU-a"],
        "gpu-tflops" | "tflops-request" | "tflops-limit" => &["0", "-1", "1Gi", "1e3", "fast", "10K", "1T"],
        "vram-request" | "vram-limit" => &["0", "-1Gi", "lots", "1GB", "8Ei"],
        "gpu-ids" => &[",", "GPU-a,", "GPU-a,GPU-a", "GPU a,GPU-b"],
        "container-gpus" => &["main", "main=GPU-a;", "{", "{\"main\": 1}", "main=0;main=0", "other=0"],
        "inject-container" => &["other", "main,main", "main,", "Main"],
        "qos" => &["urgent", "High", "3"],
        "isolation" => &["soft", "hard", "partitioned", "Shared"],
        "workload" => &["a b", "-a"],
        "exclusive-cpus" | "subnet" => &["yes", "True", "1", " true"],
        "ports" => &["0", "1001", "-1", "2.5", "many"],
        "when-full" => &["as-policy", "Wait", "never"],
        "reservation" => &[
            "7",
            ":7",
            "0190b5d0-0000-7000-8000-000000000001",
            "0190b5d0-0000-7000-8000-000000000001:",
            "0190b5d0-0000-7000-8000-000000000001:-7",
            "0190b5d0000070008000000000000001:7",
            "0190b5d0-0000-7000-8000-000000000001:18446744073709551616",
        ],
        other => panic!("{other} has no wrong values"),
    };
    let empty = ["", "\u{0}", "\u{e9}", "\n"];
    texts.iter().chain(&empty).map(|text| json!(text)).chain([json!(1), json!(true)]).collect()
}

/// Every scalar of a manifest, as a JSON pointer and as a path.
fn scalars(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                let step = if plain { format!(".{key}") } else { format!("[{key}]") };
                let path = format!("{path}{step}").trim_start_matches('.').to_owned();
                scalars(value, &format!("{pointer}/{}", key.replace('/', "~1")), &path, found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                scalars(value, &format!("{pointer}/{index}"), &format!("{path}[{index}]"), found);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push((pointer.into(), path.into())),
    }
}

#[test]
fn every_field_is_accepted_and_its_wrong_values_are_refused_at_its_path() {
    for sample in [full(), sharing(), by_tflops(), tensor_fusion()] {
        read(sample.clone()).unwrap_or_else(|error| panic!("{error}"));
        let mut places = Vec::new();
        scalars(&sample, "", "", &mut places);
        assert!(places.len() > 8, "only {} fields were found", places.len());
        for (pointer, path) in places {
            for value in wrong(&path) {
                let shown = value.to_string();
                let error = read(with(sample.clone(), &pointer, value))
                    .expect_err(&format!("{path}: {shown} was accepted"));
                let is_here = |error: &purser_actors::port::FieldError| error.path == path;
                assert!(error.fields().iter().any(is_here), "{path}: {shown} was refused as\n{error}");
            }
        }
    }
}

#[test]
fn every_supported_field_is_in_the_full_sample() {
    let pattern = |path: &str| -> String {
        let mut kept = String::new();
        let mut in_index = false;
        for c in path.chars() {
            in_index = (in_index || c == '[') && c != ']';
            if !in_index || c == '[' {
                kept.push(c);
            }
        }
        kept
    };
    let mut places = Vec::new();
    scalars(&full(), "", "", &mut places);
    for sample in [sharing(), by_tflops(), tensor_fusion()] {
        scalars(&sample, "", "", &mut places);
    }
    assert!(places.len() > 80, "only {} fields were found", places.len());
    let any_domain = |path: &str| path.replace("[example.com/dongle]", ".DOMAIN/NAME");
    let written = |path: &String| [pattern(path), pattern(&any_domain(path)), path.clone()];
    let given: Vec<String> = places.iter().flat_map(|(_, path)| written(path)).collect();
    for field in purser_node::manifest::supported_fields() {
        // One handler per probe: all kinds are given, on different probes.
        let wanted = ["livenessProbe", "readinessProbe", "startupProbe"]
            .iter()
            .fold(field.path.clone(), |path, probe| path.replace(probe, "*"));
        let is_given = given.iter().any(|path| {
            let path = path
                .replace("livenessProbe", "*")
                .replace("readinessProbe", "*")
                .replace("startupProbe", "*");
            path == wanted
                || path.starts_with(&format!("{wanted}["))
                || path.starts_with(&format!("{wanted}."))
        });
        let has_no_scalar = field.holds == "`{}`";
        assert!(is_given || has_no_scalar, "{} is not in the sample", field.path);
    }
}

#[test]
fn unknown_and_unsupported_fields_are_told_apart() {
    for (pointer, path, message) in [
        ("/spec/containers/0/comand", "spec.containers[0].comand", "unknown field"),
        ("/spec/restartpolicy", "spec.restartpolicy", "unknown field"),
        ("/metadata/nmae", "metadata.nmae", "unknown field"),
        ("/extra", "extra", "unknown field"),
        ("/spec/containers/0/env/0/valeu", "spec.containers[0].env[0].valeu", "unknown field"),
        ("/spec/affinity", "spec.affinity", "is not supported by Purser"),
        ("/spec/hostPID", "spec.hostPID", "is not supported by Purser"),
        (
            "/spec/priorityClassName",
            "spec.priorityClassName",
            "is not supported by Purser: there are no classes",
        ),
        ("/spec/ephemeralContainers", "spec.ephemeralContainers", "is not supported by Purser"),
        ("/metadata/uid", "metadata.uid", "is not supported by Purser"),
        ("/metadata/finalizers", "metadata.finalizers", "is not supported by Purser"),
        ("/metadata/generateName", "metadata.generateName", "is not supported by Purser: give a name"),
        ("/spec/containers/0/tty", "spec.containers[0].tty", "is not supported by Purser"),
        (
            "/spec/volumes/0/emptyDir/medium",
            "spec.volumes[0].emptyDir.medium",
            "is not supported by Purser: an",
        ),
        ("/spec/volumes/0/emptyDir/madium", "spec.volumes[0].emptyDir.madium", "unknown field"),
        (
            "/spec/initContainers/0/livenessProbe",
            "spec.initContainers[0].livenessProbe",
            "is not supported by Purser: init",
        ),
        ("/status/phase", "status.phase", "is not supported by Purser"),
    ] {
        for value in [json!("x"), json!({}), json!([]), json!(1), json!({ "deep": [{ "er": 1 }] })] {
            let error = read(with(full(), pointer, value.clone())).expect_err(path);
            let fields = error.fields();
            assert_eq!(fields.len(), 1, "{path} = {value}: {error}");
            assert_eq!(fields[0].path, path);
            assert!(fields[0].message.starts_with(message), "{path}: {}", fields[0].message);
        }
    }
}

#[test]
fn a_secret_is_refused_with_the_reason() {
    let env = json!([{ "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }]);
    let error = read(with(small(), "/spec/containers/0/env", env)).expect_err("a secret");
    assert_eq!(error.fields()[0].path, "spec.containers[0].env[0].valueFrom");
    assert!(error.to_string().contains("never put in the journal"), "{error}");
}

#[test]
fn no_error_shows_a_value_of_the_environment_or_an_argument() {
    let mut manifest = small();
    for (pointer, value) in [
        (
            "/spec/containers/0/env",
            json!([{ "name": "A", "value": "hush\0" }, { "name": "hush=", "value": "hush" }]),
        ),
        ("/spec/containers/0/args", json!(["hush\0", { "hush": 1 }])),
        ("/metadata/annotations", json!({ "a": "hush\0" })),
    ] {
        manifest = with(manifest, pointer, value);
    }
    let error = read(manifest).expect_err("NUL characters").to_string();
    assert!(!error.replace("args[1]", "").contains("hush"), "{error}");
}

#[test]
fn all_errors_come_at_once() {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "Bad", "namespace": "a_b" },
        "spec": {
            "nodeName": "n", "restartPolicy": 5,
            "containers": [
                { "name": "a", "image": 5, "ports": [{ "containerPort": "x" }] },
                7,
                { "name": "a", "resources": { "limits": { "cpu": "0" } }, "volumeMounts": [{ "name": "v" }] },
            ],
        },
    });
    let expected = [
        "metadata.name",
        "metadata.namespace",
        "spec.containers[0].image",
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[1]",
        "spec.containers[2].name",
        "spec.containers[2].resources.limits.cpu",
        "spec.containers[2].volumeMounts[0].mountPath",
        "spec.containers[2].volumeMounts[0].name",
        "spec.nodeName",
        "spec.restartPolicy",
    ];
    assert_eq!(refused_paths(manifest), expected);
}

#[test]
fn what_is_required_is_asked_for() {
    for (given, paths) in [
        (json!({ "apiVersion": "v1", "kind": "Pod" }), vec!["metadata.name", "spec.containers"]),
        (json!({ "apiVersion": "v1" }), vec!["kind"]),
        (json!({}), vec!["apiVersion", "kind"]),
        (json!({ "apiVersion": "apps/v1", "kind": "Deployment" }), vec!["apiVersion", "kind"]),
        (with(small(), "/spec/containers", json!([])), vec!["spec.containers"]),
        (with(small(), "/spec/containers", json!([{}])), vec!["spec.containers[0].name"]),
        (with(small(), "/spec/containers/0/env", json!([{}])), vec!["spec.containers[0].env[0].name"]),
        (
            with(small(), "/spec/containers/0/ports", json!([{}])),
            vec!["spec.containers[0].ports[0].containerPort"],
        ),
        (
            with(small(), "/spec/containers/0/livenessProbe", json!({})),
            vec!["spec.containers[0].livenessProbe"],
        ),
        (
            with(small(), "/spec/containers/0/livenessProbe", json!({ "exec": {} })),
            vec!["spec.containers[0].livenessProbe.exec.command"],
        ),
        (
            with(small(), "/spec/containers/0/livenessProbe", json!({ "tcpSocket": {} })),
            vec!["spec.containers[0].livenessProbe.tcpSocket.port"],
        ),
        (with(small(), "/spec/volumes", json!([{ "name": "v" }])), vec!["spec.volumes[0]"]),
        (
            with(small(), "/spec/volumes", json!([{ "name": "v", "hostPath": {} }])),
            vec!["spec.volumes[0].hostPath.path"],
        ),
    ] {
        assert_eq!(refused_paths(given.clone()), paths, "{given}");
    }
    for document in [json!(null), json!([]), json!("x"), json!(1)] {
        assert_eq!(refused_paths(document), [""]);
    }
}

#[test]
fn what_must_be_unique_is() {
    let two = |field: &str, first: Value, second: Value| {
        with(small(), &format!("/spec/containers/0/{field}"), json!([first, second]))
    };
    let volumes = |manifest| with(manifest, "/spec/volumes", json!([{ "name": "v", "emptyDir": {} }]));
    let mount = |path: &str| json!({ "name": "v", "mountPath": path });
    for (manifest, path) in [
        (two("env", json!({ "name": "A" }), json!({ "name": "A" })), format!("{MAIN}.env[1].name")),
        (
            two(
                "ports",
                json!({ "containerPort": 1, "name": "a" }),
                json!({ "containerPort": 2, "name": "a" }),
            ),
            format!("{MAIN}.ports[1].name"),
        ),
        (
            two("ports", json!({ "containerPort": 1 }), json!({ "containerPort": 1 })),
            format!("{MAIN}.ports[1].containerPort"),
        ),
        (volumes(two("volumeMounts", mount("/a"), mount("/a"))), format!("{MAIN}.volumeMounts[1].mountPath")),
        (
            volumes(two("volumeMounts", mount("/a/b"), mount("/a//./b/"))),
            format!("{MAIN}.volumeMounts[1].mountPath"),
        ),
        (
            with(
                small(),
                "/spec/volumes",
                json!([{ "name": "v", "emptyDir": {} }, { "name": "v", "emptyDir": {} }]),
            ),
            "spec.volumes[1].name".into(),
        ),
        (with(small(), "/spec/initContainers", json!([{ "name": "main" }])), format!("{MAIN}.name")),
        (
            with(
                with(small(), "/spec/containers/0/ports", json!([{ "containerPort": 1 }])),
                "/spec/containers/1",
                json!({ "name": "other", "ports": [{ "containerPort": 1 }] }),
            ),
            "spec.containers[1].ports[0].containerPort".into(),
        ),
    ] {
        assert_eq!(refused_paths(manifest.clone()), [path], "{manifest}");
    }
    let udp = two("ports", json!({ "containerPort": 1 }), json!({ "containerPort": 1, "protocol": "UDP" }));
    read(udp).expect("a number is free for each protocol");
    let init = json!([{ "name": "i", "ports": [{ "containerPort": 1 }] }, { "name": "j", "ports": [{ "containerPort": 1 }] }]);
    let both = with(
        with(small(), "/spec/initContainers", init),
        "/spec/containers/0/ports",
        json!([{ "containerPort": 1 }]),
    );
    read(both).expect("init containers are over before the others begin");
}
