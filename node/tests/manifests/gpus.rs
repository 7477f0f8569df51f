//! GPUs by their TFLOPS, divided among containers, and as TensorFusion's annotations ask for them.

use std::collections::BTreeSet;

use purser_events::ledger::{Claims, GpuClaim, GpuPick, GpuUuid, Qos};
use purser_events::{Bytes, ContainerName, MilliTflops};
use serde_json::{Value, json};

use crate::sample::{by_tflops, read, refused_paths, small, tensor_fusion, with};

fn annotated(annotations: Value) -> Value {
    with(small(), "/metadata/annotations", annotations)
}

/// The small manifest with one more container, and annotations.
fn two(annotations: Value) -> Value {
    with(annotated(annotations), "/spec/containers/1", json!({ "name": "side", "command": ["true"] }))
}

fn theirs(name: &str) -> String {
    format!("tensor-fusion.ai/{name}")
}

fn at(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

fn uuid(name: &str) -> GpuUuid {
    GpuUuid::new(name).expect("a name")
}

fn name(name: &str) -> ContainerName {
    ContainerName::new(name).expect("a name")
}

#[test]
fn tflops_are_claimed_as_they_are() {
    let claim = |count, milli| GpuClaim {
        count,
        share: None,
        memory: None,
        uuids: BTreeSet::new(),
        tflops: Some(MilliTflops(milli)),
    };
    let claims = read(by_tflops()).expect("the sample").claims;
    let container_gpus = [(name("main"), [GpuPick::Nth(0), GpuPick::Nth(1)].into())].into();
    let gpu = Some(claim(2, 62_500));
    assert_eq!(claims, Claims { gpu, qos: Qos::Low, container_gpus, ..Claims::default() });
    for (text, milli) in [("500m", 500), ("1k", 1_000_000), ("0.0001", 1)] {
        let spec = read(annotated(json!({ "purser.dev/gpu-tflops": text }))).expect(text);
        assert_eq!(spec.claims.gpu, Some(claim(1, milli)), "{text}");
    }
}

#[test]
fn what_tensor_fusion_asks_for_is_claimed() {
    let claims = read(tensor_fusion()).expect("the sample").claims;
    let (memory, tflops) = (Some(Bytes(2 << 30)), Some(MilliTflops(62_500)));
    let uuids: BTreeSet<GpuUuid> = [uuid("GPU-a"), uuid("GPU-b")].into();
    let picks = uuids.iter().cloned().map(GpuPick::Named).collect();
    let gpu = GpuClaim { count: 2, share: None, memory, uuids, tflops };
    let container_gpus = [(name("main"), picks)].into();
    assert_eq!(claims, Claims { gpu: Some(gpu), qos: Qos::Low, container_gpus, ..Claims::default() });
    let requests = json!({ "tensor-fusion.ai/tflops-request": "5", "tensor-fusion.ai/vram-request": "1Gi" });
    let gpu = read(annotated(requests)).expect("requests alone").claims.gpu.expect("GPUs");
    assert_eq!((gpu.count, gpu.tflops, gpu.memory), (1, Some(MilliTflops(5_000)), Some(Bytes(1 << 30))));
    let injected = json!({
        "purser.dev/gpu-share": "5", "purser.dev/gpu-count": "2", "tensor-fusion.ai/inject-container": "side",
    });
    let claims = read(two(injected)).expect("a container is named").claims;
    assert_eq!(claims.container_gpus, [(name("side"), [GpuPick::Nth(0), GpuPick::Nth(1)].into())].into());
}

#[test]
fn contradictions_are_refused_by_the_name_under_which_they_are() {
    let ours = |name: &str| format!("purser.dev/{name}");
    let with_gpu = |annotations: Value| {
        with(
            annotated(annotations),
            "/spec/containers/0/resources",
            json!({ "limits": { "nvidia.com/gpu": 1 } }),
        )
    };
    for (manifest, keys) in [
        (annotated(json!({ ours("gpu-tflops"): "1", ours("gpu-share"): "1" })), vec![ours("gpu-tflops")]),
        (annotated(json!({ ours("gpu-tflops"): "0" })), vec![ours("gpu-tflops")]),
        (annotated(json!({ ours("gpu-tflops"): "10Gi" })), vec![ours("gpu-tflops")]),
        (with_gpu(json!({ ours("gpu-tflops"): "1" })), vec![ours("gpu-tflops")]),
        (with_gpu(json!({ theirs("tflops-limit"): "1" })), vec![theirs("tflops-limit")]),
        (annotated(json!({ ours("qos"): "urgent" })), vec![ours("qos")]),
        (annotated(json!({ theirs("qos"): "low", ours("qos"): "low" })), vec![theirs("qos")]),
        (
            annotated(json!({ theirs("tflops-limit"): "1", ours("gpu-tflops"): "1" })),
            vec![theirs("tflops-limit")],
        ),
        (
            annotated(json!({ theirs("tflops-limit"): "1", ours("gpu-share"): "1" })),
            vec![theirs("tflops-limit")],
        ),
        (
            annotated(json!({ theirs("tflops-limit"): "1", theirs("tflops-request"): "2" })),
            vec![theirs("tflops-request")],
        ),
        (annotated(json!({ theirs("vram-limit"): "1Gi" })), vec![theirs("vram-limit")]),
        (
            annotated(json!({ theirs("tflops-limit"): "1", theirs("isolation"): "soft" })),
            vec![theirs("isolation")],
        ),
        (annotated(json!({ theirs("isolation"): "partitioned" })), vec![theirs("isolation")]),
        (annotated(json!({ theirs("isolation"): "none" })), vec![theirs("isolation")]),
        (annotated(json!({ theirs("workload"): "" })), vec![theirs("workload")]),
        (annotated(json!({ theirs("gpu-pool"): "x" })), vec![theirs("gpu-pool")]),
        (annotated(json!({ "Tensor-Fusion.ai/qos": "low" })), vec!["Tensor-Fusion.ai/qos".to_owned()]),
        (
            annotated(json!({ theirs("tflops-limit"): "1", theirs("container-gpus"): "main" })),
            vec![theirs("container-gpus")],
        ),
        (
            annotated(json!({ theirs("tflops-limit"): "1", theirs("inject-container"): "other" })),
            vec![theirs("inject-container")],
        ),
    ] {
        let paths: Vec<String> = keys.iter().map(|key| at(key)).collect();
        assert_eq!(refused_paths(manifest.clone()), paths, "{manifest}");
    }
}

#[test]
fn a_division_names_containers_and_gpus_that_there_are() {
    let divided = |count: u32, division: &str, uuids: Option<&str>| {
        let mut annotations = json!({
            "purser.dev/gpu-share": "5", "purser.dev/gpu-count": count.to_string(), "purser.dev/container-gpus": division,
        });
        if let Some(uuids) = uuids {
            annotations["purser.dev/gpu-uuids"] = json!(uuids);
        }
        two(annotations)
    };
    let picks = |of: &[u32]| of.iter().copied().map(GpuPick::Nth).collect::<BTreeSet<_>>();
    let claims = read(divided(3, "main=0; side=1,2", None)).expect("all are given").claims;
    assert_eq!(claims.container_gpus, [(name("main"), picks(&[0])), (name("side"), picks(&[1, 2]))].into());
    for (manifest, part) in [
        (divided(2, "main=0", None), "gives 1 of 2 GPUs"),
        (divided(2, "main=0,2", None), "names GPU 2, and 2 are asked for"),
        (divided(1, "other=0", None), "names other, which is no container"),
        (divided(1, "main", None), "part 1: must be a container"),
        (divided(1, "main=", None), "part 1"),
        (divided(1, "main=0;main=0", None), "part 2: names a container that was named before"),
        (divided(2, "main=0,0", None), "more than once"),
        (divided(2, "main=0,GPU-a", Some("GPU-a,GPU-b")), "all by number or all by name"),
        (divided(1, "main=GPU-a", Some("GPU-a,GPU-b")), "must name exactly the 1"),
        (divided(1, "main=GPU-a", None), "must name exactly the 1"),
        (divided(2, "main=GPU-a;side=GPU-c", Some("GPU-a,GPU-b")), "names GPU GPU-c"),
        (divided(65, "main=0", None), "divides at most 64 GPUs"),
    ] {
        assert_eq!(refused_paths(manifest.clone()), [at("purser.dev/container-gpus")], "{manifest}");
        let told = read(manifest).expect_err("it is refused").to_string();
        assert!(told.contains(part), "{part}: {told}");
    }
}
