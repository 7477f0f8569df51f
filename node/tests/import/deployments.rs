//! Deployments as pools: what is taken over, what is left out and named, and what has to be seen to.

use proptest::prelude::*;
use purser_node::import::deployment::{Becomes, Converted, Wish, convert};
use purser_node::manifest::{Defaults, Limits, documents, pool_spec};
use serde_json::{Value, json};

const PLAIN: &str = include_str!("deployments/plain.yaml");
const CLUSTER: &str = include_str!("deployments/cluster.yaml");

fn read(text: &str) -> Vec<Value> {
    documents(text.as_bytes(), &Limits::default()).expect("YAML")
}

#[track_caller]
fn only(text: &str, wish: &Wish) -> Converted {
    let mut found = convert(read(text), wish).pools;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// The fields of a kind of note, in the order of their paths.
fn fields(pool: &Converted, becomes: Becomes) -> Vec<&str> {
    let of_kind = pool.notes.iter().filter(|note| note.becomes == becomes);
    let mut fields: Vec<&str> = of_kind.map(|note| note.field.as_str()).collect();
    fields.sort_unstable();
    fields
}

#[test]
fn what_was_written_by_hand_is_taken_over_whole() {
    let pool = only(PLAIN, &Wish::default());
    assert_eq!(pool.open().next(), None);
    let (name, spec) = pool_spec(pool.manifest.clone(), &Defaults::default()).expect("a pool");
    assert_eq!((name.as_str(), &*spec.namespace), ("iac-agents", "infra"));
    // As the autoscaler had it, not as many as there were just then.
    assert_eq!(
        (spec.scaling.min_replicas, spec.scaling.max_replicas, spec.scaling.max_unavailable),
        (2, 12, 6)
    );
    let container = &spec.template.containers[0];
    assert_eq!(container.image.as_deref(), Some("registry.example.com/iac/agent:2.1"));
    assert_eq!((container.env[0].name.as_str(), container.mounts[0].path.as_str()), ("LOG_LEVEL", "/work"));
    assert_eq!(spec.template.runtime.word(), "containerd");
    assert_eq!(spec.template.labels["app"], "iac-agents");
    assert_eq!(
        fields(&pool, Becomes::LeftOut),
        ["HorizontalPodAutoscaler iac-agents", "spec.selector", "spec.strategy.rollingUpdate.maxSurge"]
    );
}

#[test]
fn what_a_cluster_shows_is_taken_over_and_the_rest_is_named() {
    let found = convert(read(CLUSTER), &Wish::default());
    assert_eq!(found.others, ["Service runner (v1)"]);
    let pool = &found.pools[0];
    assert_eq!(
        fields(pool, Becomes::Open),
        [
            "spec.template.spec.containers[0].envFrom[0]",
            "spec.template.spec.containers[0].env[0]",
            "spec.template.spec.containers[0].env[1]",
            "spec.template.spec.containers[0].env[2]",
            "spec.template.spec.volumes[1]",
            "spec.template.spec.volumes[2]",
        ]
    );
    let container = "spec.template.spec.containers[0]";
    let expected = [
        "metadata.annotations".to_owned(),
        "metadata.labels".to_owned(),
        "spec.progressDeadlineSeconds".to_owned(),
        "spec.revisionHistoryLimit".to_owned(),
        "spec.selector".to_owned(),
        "spec.strategy.rollingUpdate.maxSurge".to_owned(),
        "spec.template.spec.affinity".to_owned(),
        format!("{container}.ports"),
        format!("{container}.securityContext.capabilities"),
        format!("{container}.securityContext.readOnlyRootFilesystem"),
        "spec.template.spec.imagePullSecrets".to_owned(),
        "spec.template.spec.serviceAccount".to_owned(),
        "spec.template.spec.serviceAccountName".to_owned(),
        "spec.template.spec.tolerations".to_owned(),
        "spec.template.spec.volumes[0].emptyDir.sizeLimit".to_owned(),
    ];
    assert_eq!(fields(pool, Becomes::LeftOut), expected);
    // What is left is a pool all the same, with what it read before named for its rebuilds.
    let (_, spec) = pool_spec(pool.manifest.clone(), &Defaults::default()).expect("a pool");
    let names: Vec<&str> = spec.references.iter().map(|reference| reference.name.as_str()).collect();
    assert_eq!(names, ["cloud", "runner-token", "proxy"]);
    let container = &spec.template.containers[0];
    assert_eq!(container.env.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["HOME"]);
    assert_eq!(container.mounts.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["/work"]);
    assert_eq!((spec.scaling.min_replicas, spec.scaling.max_replicas), (2, 2));
    // No value of the Deployment is in a note, be it a secret or not.
    assert!(pool.notes.iter().all(|note| !note.note.contains("/home/runner")));
}

#[test]
fn a_wish_wins_over_the_deployment() {
    let wish = Wish { name: Some("agents".to_owned()), min: Some(0), max: Some(4) };
    let pool = only(PLAIN, &wish);
    let (name, spec) = pool_spec(pool.manifest.clone(), &Defaults::default()).expect("a pool");
    assert_eq!((name.as_str(), spec.scaling.min_replicas, spec.scaling.max_replicas), ("agents", 0, 4));
    assert_eq!(pool.deployment, "iac-agents");
}

#[test]
fn what_no_pool_can_be_has_to_be_seen_to() {
    let too_long = "a".repeat(41);
    let wish = Wish { name: Some(too_long), ..Wish::default() };
    let pool = only(PLAIN, &wish);
    assert_eq!(fields(&pool, Becomes::Open), ["metadata.name"]);
    let wish = Wish { min: Some(9), max: Some(2), ..Wish::default() };
    assert_eq!(fields(&only(PLAIN, &wish), Becomes::Open), ["spec.replicas.min"]);
    let nothing = json!({ "apiVersion": "apps/v1", "kind": "Deployment" });
    let pool = convert(vec![nothing], &Wish::default()).pools.remove(0);
    assert_eq!(fields(&pool, Becomes::Open), ["metadata.name", "spec.template.spec.containers"]);
    let paused = PLAIN.replacen("replicas: 3", "replicas: 0\n  paused: true", 1);
    assert_eq!(fields(&only(&paused, &Wish::default()), Becomes::Open), ["spec.paused"]);
}

proptest! {
    /// Whatever stands in a Deployment, it is turned into a pool, or what is wrong with it is named.
    #[test]
    fn nothing_in_a_deployment_is_too_odd(place in 0_usize..40, value in anything()) {
        let mut document = read(CLUSTER).remove(0);
        let paths = [
            "/metadata", "/metadata/name", "/metadata/namespace", "/spec", "/spec/replicas", "/spec/strategy",
            "/spec/strategy/rollingUpdate", "/spec/strategy/rollingUpdate/maxUnavailable", "/spec/template",
            "/spec/template/metadata", "/spec/template/metadata/labels", "/spec/template/spec",
            "/spec/template/spec/volumes", "/spec/template/spec/volumes/1", "/spec/template/spec/volumes/1/secret",
            "/spec/template/spec/containers", "/spec/template/spec/containers/0",
            "/spec/template/spec/containers/0/env", "/spec/template/spec/containers/0/env/0",
            "/spec/template/spec/containers/0/env/0/valueFrom", "/spec/template/spec/containers/0/envFrom",
            "/spec/template/spec/containers/0/ports", "/spec/template/spec/containers/0/volumeMounts",
            "/spec/template/spec/containers/0/resources", "/spec/template/spec/runtimeClassName",
        ];
        let path = paths[place % paths.len()];
        if let Some(target) = document.pointer_mut(path) {
            *target = value;
        }
        let pool = convert(vec![document], &Wish::default()).pools.remove(0);
        let is_a_pool = pool_spec(pool.manifest.clone(), &Defaults::default()).is_ok();
        prop_assert!(is_a_pool || pool.open().next().is_some(), "{path}: {pool:?}");
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[0-9]{1,3}%".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,6}", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
