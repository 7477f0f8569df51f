//! What a manifest asks of the node: GPUs, disk, ports and the rest, what contradicts itself, and sums.

use std::collections::BTreeSet;

use proptest::prelude::*;
use purser_events::ledger::{Claims, CustomName, Demand, GpuClaim, GpuPick, GpuUuid, Qos, WhenFull};
use purser_events::{Bytes, ContainerName, MilliCpu};
use purser_node::manifest::to_manifest;
use serde_json::{Map, Value, json};

use crate::sample::{full, read, refused_paths, sharing, small, with};

fn annotated(annotations: Value) -> Value {
    with(small(), "/metadata/annotations", annotations)
}

/// The small manifest with containers that have these resources.
fn asking(containers: &[Value]) -> Value {
    let container =
        |(index, resources): (usize, &Value)| json!({ "name": format!("c{index}"), "resources": resources });
    let containers: Vec<Value> = containers.iter().enumerate().map(container).collect();
    with(small(), "/spec/containers", json!(containers))
}

fn gpus(count: u64) -> Value {
    json!({ "limits": { "nvidia.com/gpu": count } })
}

fn container(name: &str) -> ContainerName {
    ContainerName::new(name).expect("a name")
}

fn at(name: &str) -> String {
    format!("metadata.annotations[purser.dev/{name}]")
}

#[test]
fn what_is_asked_for_is_what_is_claimed() {
    let spec = read(full()).expect("the full sample");
    let uuids = ["GPU-a", "GPU-b"].map(|uuid| GpuUuid::new(uuid).expect("a name"));
    let claims = Claims {
        priority: -7,
        exclusive_cpus: false,
        gpu: Some(GpuClaim {
            count: 2,
            share: None,
            memory: Some(Bytes(40 << 30)),
            uuids: uuids.clone().into(),
            tflops: None,
        }),
        ports: 2,
        subnet: true,
        when_full: WhenFull::Wait,
        reservation: spec.claims.reservation,
        qos: Qos::Critical,
        container_gpus: [
            (container("first"), [GpuPick::Named(uuids[1].clone())].into()),
            (container("main"), uuids.clone().map(GpuPick::Named).into()),
        ]
        .into(),
    };
    assert_eq!(spec.claims, claims);
    let reservation = spec.claims.reservation.expect("it takes one up");
    let written = "0190b5d0-0000-7000-8000-000000000001";
    assert_eq!((reservation.id.to_string().as_str(), reservation.token), (written, 7));
    let resources = &spec.containers[0].resources;
    assert_eq!(
        (resources.disk_limit, resources.disk_request),
        (Some(Bytes(1 << 30)), Some(Bytes(500_000_000)))
    );
    let dongle = CustomName::new("example.com/dongle").expect("a name");
    assert_eq!(resources.custom, [(dongle, 3)].into());

    let shared = read(sharing()).expect("the sample with shares");
    let gpu = GpuClaim {
        count: 2,
        share: Some(50),
        memory: Some(Bytes(10 << 30)),
        uuids: BTreeSet::new(),
        tflops: None,
    };
    assert_eq!(shared.claims, Claims { gpu: Some(gpu), exclusive_cpus: true, ..Claims::default() });
    assert_eq!(Demand::of(&shared).expect("it can be counted").cpu, MilliCpu(2_000));
    assert_eq!(read(small()).expect("the small sample").claims, Claims::default());
    let disk =
        read(asking(&[json!({ "limits": { "ephemeral-storage": "1500e-3" } })])).expect("a limit alone");
    let resources = &disk.containers[0].resources;
    assert_eq!((resources.disk_limit, resources.disk_request), (Some(Bytes(2)), Some(Bytes(2))));
}

#[test]
fn gpus_of_containers_are_summed_as_kubernetes_does() {
    for (init, app, count) in [(0, vec![1, 2], 3), (5, vec![1, 2], 5), (2, vec![2, 2], 4), (1, vec![0], 1)] {
        let ask = |count: &u64| if *count == 0 { json!({}) } else { gpus(*count) };
        let manifest = asking(&app.iter().map(ask).collect::<Vec<_>>());
        let init = json!([{ "name": "init", "resources": ask(&init) }]);
        let spec = read(with(manifest, "/spec/initContainers", init)).expect("it can be given");
        let claim = spec.claims.gpu.as_ref().expect("it asks for GPUs");
        assert_eq!((claim.count, claim.share), (count, None));
        assert_eq!(read(to_manifest(&spec)).as_ref(), Ok(&spec));
    }
}

#[test]
fn contradictions_are_refused_where_they_are() {
    let with_gpu = |annotations: Value| with(annotated(annotations), "/spec/containers/0/resources", gpus(2));
    for (manifest, names) in [
        (with_gpu(json!({ "purser.dev/gpu-share": "50" })), vec!["gpu-share"]),
        (with_gpu(json!({ "purser.dev/gpu-count": "2" })), vec!["gpu-count"]),
        (with_gpu(json!({ "purser.dev/gpu-uuids": "GPU-a" })), vec!["gpu-uuids"]),
        (annotated(json!({ "purser.dev/gpu-count": "1" })), vec!["gpu-count"]),
        (annotated(json!({ "purser.dev/gpu-memory": "1Gi" })), vec!["gpu-memory"]),
        (annotated(json!({ "purser.dev/gpu-uuids": "GPU-a" })), vec!["gpu-uuids"]),
        (
            annotated(json!({ "purser.dev/gpu-memory": "1Gi", "purser.dev/gpu-count": "2" })),
            vec!["gpu-count", "gpu-memory"],
        ),
        (annotated(json!({ "purser.dev/gpu-share": "0", "purser.dev/gpu-count": "1" })), vec!["gpu-share"]),
        (annotated(json!({ "purser.dev/exclusive-cpus": "true" })), vec!["exclusive-cpus"]),
        (
            with(sharing(), "/spec/containers/0/resources", json!({ "limits": { "cpu": "1500m" } })),
            vec!["exclusive-cpus"],
        ),
        (
            annotated(json!({
                "purser.dev/gpu-share": "1", "purser.dev/gpu-count": "4000000000", "purser.dev/gpu-memory": "7Ei",
            })),
            vec!["gpu-memory"],
        ),
        (annotated(json!({ "purser.dev/gpu": "1" })), vec!["gpu"]),
        (annotated(json!({ "purser.dev/GPU-share": "1" })), vec!["GPU-share"]),
    ] {
        let paths: Vec<String> = names.into_iter().map(at).collect();
        assert_eq!(refused_paths(manifest.clone()), paths, "{manifest}");
    }
    let misspelt = read(annotated(json!({ "Purser.dev/ports": "1" }))).expect_err("another key").to_string();
    assert!(
        misspelt.contains("purser.dev/ports") && misspelt.contains("purser.dev/reservation"),
        "{misspelt}"
    );
    let halves = json!({ "requests": { "cpu": "500m" } });
    let whole = with(
        asking(&[halves.clone(), halves]),
        "/metadata/annotations",
        json!({ "purser.dev/exclusive-cpus": "true" }),
    );
    assert!(read(whole).expect("two halves are a whole").claims.exclusive_cpus);
    read(annotated(json!({ "example.purser.dev/about": "x", "purser.dev": "x" }))).expect("keys of others");
}

#[test]
fn what_is_counted_is_asked_for_in_whole_and_within_limits() {
    let limits = "spec.containers[0].resources.limits";
    let requests = "spec.containers[0].resources.requests";
    for (resources, path) in [
        (json!({ "requests": { "nvidia.com/gpu": 1 } }), format!("{requests}[nvidia.com/gpu]")),
        (
            json!({ "limits": { "nvidia.com/gpu": 2 }, "requests": { "nvidia.com/gpu": 1 } }),
            format!("{requests}[nvidia.com/gpu]"),
        ),
        (json!({ "requests": { "example.com/x": 1 } }), format!("{requests}[example.com/x]")),
        (json!({ "limits": { "example.com/x": "1Gi" } }), format!("{limits}[example.com/x]")),
        (json!({ "limits": { "example.com/": 1 } }), format!("{limits}[example.com/]")),
        (json!({ "limits": { "a b/x": 1 } }), format!("{limits}[a b/x]")),
        (json!({ "limits": { "DOMAIN/NAME": 1 } }), format!("{limits}[DOMAIN/NAME]")),
        (json!({ "limits": { "gpu": 1 } }), format!("{limits}.gpu")),
        (json!({ "limits": { "hugepages-2Mi": 1 } }), format!("{limits}.hugepages-2Mi")),
        (json!({ "limits": { "ephemeral-storage": 0 } }), format!("{limits}.ephemeral-storage")),
        (
            json!({ "limits": { "ephemeral-storage": 1 }, "requests": { "ephemeral-storage": 2 } }),
            format!("{requests}.ephemeral-storage"),
        ),
    ] {
        assert_eq!(refused_paths(asking(std::slice::from_ref(&resources))), [path], "{resources}");
    }
}

#[test]
fn sums_that_cannot_be_counted_are_refused() {
    let most = i64::MAX;
    let cores = "9223372036854775";
    for resources in [
        json!({ "requests": { "memory": most } }),
        json!({ "limits": { "ephemeral-storage": most } }),
        json!({ "limits": { "cpu": cores } }),
        json!({ "limits": { "example.com/dongle": most } }),
    ] {
        let containers = |count: usize| asking(&vec![resources.clone(); count]);
        read(containers(2)).unwrap_or_else(|error| panic!("{resources}: {error}"));
        assert_eq!(refused_paths(containers(3)), ["spec.containers"], "{resources}");
    }
    let half = gpus(1 << 31);
    read(asking(std::slice::from_ref(&half))).expect("it can be counted");
    assert_eq!(refused_paths(asking(&[half.clone(), half])), ["spec.containers"]);
    assert_eq!(refused_paths(asking(&[gpus(i64::MAX.unsigned_abs()), gpus(1)])), ["spec.containers"]);
}

#[test]
fn another_claim_is_named() {
    let spec = |manifest| read(manifest).expect("it is accepted");
    let named = |ours: Value, theirs: Value| spec(ours).first_difference(&spec(theirs));
    assert_eq!(named(small(), with(small(), "/spec/priority", json!(1))).as_deref(), Some("spec.priority"));
    let ports = annotated(json!({ "purser.dev/ports": "1" }));
    assert_eq!(named(small(), ports).as_deref(), Some("metadata.annotations"));
    let more = named(asking(&[gpus(1)]), asking(&[gpus(2)]));
    assert_eq!(more.as_deref(), Some("spec.containers[].resources.limits[nvidia.com/gpu]"));
    assert_eq!(named(asking(&[gpus(1)]), asking(&[gpus(1)])), None);
}

/// Annotations that may each be right or wrong, alone or together.
fn some_annotations() -> impl Strategy<Value = Map<String, Value>> {
    let one = prop_oneof![
        (Just("gpu-share"), "[0-9]{1,3}%?"),
        (Just("gpu-count"), "[0-9]{1,2}"),
        (Just("gpu-memory"), "[0-9]{1,4}(Gi|M)?"),
        (Just("gpu-uuids"), "GPU-[a-c](, ?GPU-[a-c]){0,2}"),
        (Just("exclusive-cpus"), "true|false"),
        (Just("gpu-tflops"), "[0-9]{1,4}m?"),
        (Just("container-gpus"), "(main|c[0-2])=[0-2](,[0-2])?(;c[12]=[0-2])?"),
        (Just("qos"), "low|medium|high|critical|none"),
        (Just("ports"), "[0-9]{1,4}"),
        (Just("subnet"), "true|false"),
        (Just("when-full"), "wait|refuse"),
        (Just("reservation"), "0190b5d0-0000-7000-8000-00000000000[0-9]:[0-9]{1,3}"),
    ];
    let key = |(name, value): (&str, String)| (format!("purser.dev/{name}"), Value::from(value));
    prop::collection::vec(one.prop_map(key), 0..5).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_claimed_comes_back(
        annotations in some_annotations(),
        priority in -2_147_483_648_i64..=1_000_000_000,
        amounts in prop::collection::vec((0_u64..3, 0_u64..3, 0_u64..4, 1_u64..1 << 40), 1..4),
    ) {
        let resources = |(gpus, dongles, halves, disk): &(u64, u64, u64, u64)| {
            let mut limits = json!({ "ephemeral-storage": disk });
            for (name, count) in [("nvidia.com/gpu", gpus), ("example.com/dongle", dongles)] {
                if *count != 0 {
                    limits[name] = json!(count);
                }
            }
            json!({ "limits": limits, "requests": { "cpu": format!("{}m", halves * 500) } })
        };
        let manifest = asking(&amounts.iter().map(resources).collect::<Vec<_>>());
        let manifest = with(manifest, "/metadata/annotations", Value::Object(annotations));
        match read(with(manifest, "/spec/priority", json!(priority))) {
            Ok(spec) => {
                prop_assert_eq!(i64::from(spec.claims.priority), priority);
                let demand = Demand::of(&spec).expect("it was counted");
                prop_assert!(!spec.claims.exclusive_cpus || demand.cpu.0.is_multiple_of(1_000));
                prop_assert_eq!(read(to_manifest(&spec)), Ok(spec));
            }
            Err(error) => {
                let is_about_claims = |path: &str| path.starts_with("metadata.annotations[purser.dev/");
                prop_assert!(error.fields().iter().all(|field| is_about_claims(&field.path)), "{error}");
            }
        }
    }
}
