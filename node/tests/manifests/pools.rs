//! Manifests of pools: what is accepted, what is refused and where, and what survives being read and written.

use proptest::prelude::*;
use purser_events::pool::{FreezeWindow, OnEnd, PoolName, PoolSpec, ReferenceKind, SlotRule, Weekday};
use purser_node::manifest::{
    Defaults, Limits, ManifestError, documents, pool_fields, pool_manifest, pool_spec,
};
use serde_json::{Value, json};

use crate::document::check_list;
use crate::sample::{full as full_pod, small as small_pod, with, yaml_files};

fn read(document: Value) -> Result<(PoolName, PoolSpec), ManifestError> {
    pool_spec(document, &Defaults::default())
}

/// A pool that says no more than it must.
fn small() -> Value {
    json!({
        "apiVersion": "purser.dev/v1", "kind": "Pool", "metadata": { "name": "runners" },
        "spec": { "replicas": { "max": 4 }, "template": { "spec": small_pod()["spec"] } },
    })
}

/// A pool in which every field is given.
fn full() -> Value {
    let mut pod = full_pod();
    let annotations = pod["metadata"]["annotations"].as_object_mut().expect("annotations");
    annotations.remove("purser.dev/reservation");
    json!({
        "apiVersion": "purser.dev/v1", "kind": "Pool",
        "metadata": { "name": "full", "namespace": "team-a" },
        "spec": {
            "replicas": { "min": 2, "max": 9 },
            "slots": { "policy": "flexible", "count": 4 },
            "template": {
                "metadata": { "labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"] },
                "spec": pod["spec"],
            },
            "scaling": {
                "upAbovePercent": 70, "downBelowPercent": 10, "stabilizationSeconds": { "up": 30, "down": 600 },
                "maxUnavailable": 2,
            },
            "freezeWindows": [
                { "days": ["Sat", "Sun"], "from": "00:00", "to": "24:00" },
                { "from": "22:00", "to": "06:30" },
                { "days": ["Sun"], "from": "10:00", "to": "12:00" },
            ],
            "timeZone": "Europe/Berlin",
            "tasks": {
                "onLost": "fail", "onFailed": "retry", "attempts": 5, "backOffSeconds": { "first": 1, "max": 60 },
                "timeoutSeconds": 60, "reservationSeconds": 120, "queueMax": 7, "keptMax": 8,
            },
            "agents": { "offlineAfterSeconds": 90, "startWithinSeconds": 91, "cancelGraceSeconds": 5 },
            "secretRefs": [{ "name": "cloud" }], "configRefs": [{ "name": "proxy" }, { "name": "cloud" }],
        },
    })
}

/// The paths at which a document is refused, in order.
#[track_caller]
fn refused(document: Value) -> Vec<String> {
    match read(document) {
        Err(ManifestError::Fields(errors)) => errors.into_iter().map(|error| error.path).collect(),
        other => panic!("{other:?}"),
    }
}

/// The only thing that is wrong with a document, with its path.
#[track_caller]
fn complaint(document: Value) -> String {
    let error = read(document).expect_err("it is refused");
    assert_eq!(error.fields().len(), 1, "{error}");
    error.to_string()
}

#[test]
fn what_is_not_said_is_as_documented() {
    let (name, spec) = read(small()).expect("a pool");
    assert_eq!(
        (name.as_str(), &*spec.namespace, spec.template.id.namespace()),
        ("runners", "default", "default")
    );
    assert_eq!((spec.slots.rule, spec.slots.count), (SlotRule::Seed, 3));
    let scaling = &spec.scaling;
    assert_eq!((scaling.min_replicas, scaling.max_replicas, scaling.max_unavailable), (1, 4, 1));
    assert_eq!((scaling.up_above_permille, scaling.down_below_permille), (800, 200));
    assert_eq!((scaling.up_stable_ms, scaling.down_stable_ms), (10_000, 300_000));
    assert_eq!((scaling.freezes.len(), &*scaling.time_zone), (0, "UTC"));
    let tasks = &spec.tasks;
    assert_eq!((tasks.on_lost, tasks.on_failed, tasks.attempts_max), (OnEnd::Retry, OnEnd::Fail, 3));
    assert_eq!((tasks.back_off.first_ms, tasks.back_off.max_ms), (10_000, 300_000));
    assert_eq!((tasks.timeout_s, tasks.reservation_ttl_s), (3_600, 86_400));
    assert_eq!((tasks.queue_max, tasks.kept_max), (10_000, 1_000));
    let agents = &spec.agents;
    assert_eq!(
        (agents.offline_after_ms, agents.start_within_ms, agents.cancel_grace_s),
        (120_000, 600_000, 30)
    );
}

#[test]
fn every_field_is_taken_over() {
    let (_, spec) = read(full()).expect("a pool");
    assert_eq!((&*spec.namespace, spec.template.id.namespace()), ("team-a", "team-a"));
    assert_eq!(spec.template.labels["app"], "full");
    assert_eq!((spec.slots.rule, spec.slots.count), (SlotRule::Flexible, 4));
    assert_eq!((spec.scaling.up_above_permille, spec.scaling.down_below_permille), (700, 100));
    assert_eq!((spec.scaling.up_stable_ms, spec.scaling.down_stable_ms), (30_000, 600_000));
    let window = |days: &[Weekday], from_minute, to_minute| FreezeWindow {
        days: days.to_vec(),
        from_minute,
        to_minute,
    };
    let expected = [
        window(&[Weekday::Sat, Weekday::Sun], 0, 1_440),
        window(&Weekday::ALL, 1_320, 390),
        window(&[Weekday::Sun], 600, 720),
    ];
    assert_eq!(spec.scaling.freezes, expected);
    assert_eq!((spec.tasks.on_lost, spec.tasks.on_failed), (OnEnd::Fail, OnEnd::Retry));
    assert_eq!((spec.tasks.back_off.first_ms, spec.tasks.back_off.max_ms), (1_000, 60_000));
    assert_eq!((spec.agents.offline_after_ms, spec.agents.start_within_ms), (90_000, 91_000));
    let references: Vec<_> = spec.references.iter().map(|it| (it.kind, &*it.name)).collect();
    let (secret, config) = (ReferenceKind::Secret, ReferenceKind::Config);
    assert_eq!(references, [(secret, "cloud"), (config, "proxy"), (config, "cloud")]);
}

#[test]
fn applying_what_was_got_changes_nothing() {
    let mut all = vec![small(), full()];
    for (path, text) in yaml_files("examples/pools") {
        let mut found = documents(text.as_bytes(), &Limits::default()).expect("YAML");
        assert_eq!(found.len(), 1, "{}", path.display());
        all.append(&mut found);
    }
    assert!(all.len() > 2, "there are examples");
    for document in all {
        let read_once = read(document.clone()).unwrap_or_else(|error| panic!("{document}: {error}"));
        let written = pool_manifest(&read_once.0, &read_once.1);
        assert_eq!(read(written.clone()).as_ref(), Ok(&read_once), "{written}");
        let yaml = serde_saphyr::to_string(&written).expect("a manifest can be written");
        let mut again = documents(yaml.as_bytes(), &Limits::default()).expect("YAML");
        assert_eq!(read(again.remove(0)).as_ref(), Ok(&read_once), "{yaml}");
    }
}

#[test]
fn every_wrong_field_is_named_at_once_with_its_whole_path() {
    let document = json!({
        "apiVersion": "purser.dev/v1", "kind": "Pool",
        "metadata": { "name": "Runners", "namespace": "a.b", "labels": {} },
        "spec": {
            "replicas": { "min": 5, "max": 4 }, "size": 3,
            "slots": { "policy": "first", "count": 65 },
            "template": {
                "metadata": { "name": "x", "labels": { "purser.dev/pool": "x" } },
                "spec": { "nodeName": "n", "containers": [{ "name": "main", "image": 5 }] },
            },
            "scaling": { "upAbovePercent": 20, "downBelowPercent": 20 },
            "freezeWindows": [{ "days": ["Mon", "Mon"], "from": "6", "to": "07:00" }, { "from": "06:00", "to": "06:00" }],
            "timeZone": "Europe/Atlantis",
            "tasks": { "attempts": 0 },
            "secretRefs": [{ "name": "A" }, {}],
        },
    });
    let expected = [
        "metadata.labels",
        "spec.size",
        "spec.slots.count",
        "spec.slots.policy",
        "spec.tasks.attempts",
        "metadata.name",
        "metadata.namespace",
        "spec.template.metadata.name",
        "spec.template.spec.containers[0].image",
        "spec.template.spec.nodeName",
        "spec.scaling.downBelowPercent",
        "spec.replicas.min",
        "spec.freezeWindows[0].from",
        "spec.freezeWindows[1].to",
        "spec.timeZone",
        "spec.secretRefs[0].name",
        "spec.secretRefs[1].name",
    ];
    let (mut found, mut expected) = (refused(document), expected.map(str::to_owned).to_vec());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_contradicts_itself_is_refused_with_what_to_do() {
    for (path, value, wanted) in [
        (
            "/spec/replicas",
            json!({ "min": 5, "max": 4 }),
            "spec.replicas.min: is 5, more than the 4 of spec.replicas.max",
        ),
        ("/spec/replicas", json!({ "min": 1 }), "spec.replicas.max: is required"),
        ("/spec/replicas", json!(3), "spec.replicas: must be a map, is a number"),
        ("/spec/template", json!(null), "spec.template: is required"),
        ("/spec/template", json!([]), "spec.template: must be a map with metadata and spec"),
        ("/spec/template", json!({}), "spec.template.spec.containers: must have at least one container"),
        ("/spec/timeZone", json!("Etc/Unknown"), "spec.timeZone: is no time zone of this machine"),
        ("/spec/timeZone", json!("../../etc/passwd"), "spec.timeZone: is no time zone of this machine"),
        (
            "/spec/freezeWindows",
            json!([{ "from": "06:00", "to": "06:00" }]),
            "spec.freezeWindows[0].to: must differ",
        ),
        ("/spec/freezeWindows", json!([{ "from": "06:00" }]), "spec.freezeWindows[0].to: is required"),
        (
            "/spec/freezeWindows",
            json!([{ "from": 360, "to": "07:00" }]),
            "spec.freezeWindows[0].from: must be a string",
        ),
        (
            "/spec/freezeWindows",
            json!(vec![json!({ "from": "01:00", "to": "02:00" }); 65]),
            "spec.freezeWindows: there are 65",
        ),
        (
            "/spec/tasks",
            json!({ "backOffSeconds": { "first": 9, "max": 8 } }),
            "spec.tasks.backOffSeconds.max: is 8, less",
        ),
        (
            "/spec/secretRefs",
            json!([{ "name": "a" }, { "name": "a" }]),
            "spec.secretRefs[1].name: a is given more than once",
        ),
        ("/metadata/name", json!("a".repeat(41)), "metadata.name: must have at most 40 characters"),
        ("/apiVersion", json!("v1"), "apiVersion: must be purser.dev/v1, is v1"),
        ("/size", json!(3), "size: unknown field"),
    ] {
        let found = complaint(with(small(), path, value));
        assert!(found.starts_with(wanted), "{path}: {found}");
    }
}

#[test]
fn what_was_shown_is_applied_with_its_status() {
    let shown = with(small(), "/status", json!({ "state": "active", "members": [] }));
    assert_eq!(read(shown), read(small()));
}

#[test]
fn windows_may_overlap() {
    let windows =
        json!([{ "from": "22:00", "to": "06:00" }, { "days": ["Mon"], "from": "05:00", "to": "23:00" }]);
    let (_, spec) = read(with(small(), "/spec/freezeWindows", windows)).expect("a pool");
    assert_eq!(spec.scaling.freezes.len(), 2);
}

#[test]
fn what_only_one_pod_can_have_is_refused_in_a_template() {
    let mut document = full();
    document["spec"]["template"]["metadata"]["annotations"]["purser.dev/reservation"] =
        json!("0190b5d0-0000-7000-8000-000000000001:7");
    document["spec"]["template"]["metadata"]["labels"]["purser.dev/pool-member"] = json!("7");
    let expected = [
        "spec.template.metadata.annotations[purser.dev/reservation]",
        "spec.template.metadata.labels[purser.dev/pool-member]",
    ];
    assert_eq!(refused(document), expected);
}

#[test]
fn a_pool_that_no_record_could_hold_is_refused() {
    let env: Vec<Value> =
        (0..20).map(|n| json!({ "name": format!("V{n}"), "value": "\\".repeat(1_500) })).collect();
    let found = complaint(with(small(), "/spec/template/spec/containers/0/env", json!(env)));
    assert!(found.contains("at most 57344 are kept"), "{found}");
}

/// Run with `UPDATE_DOCS=1` to write the list anew.
#[test]
fn the_documented_fields_are_the_supported_ones() {
    let row = |field: &purser_node::manifest::SupportedField| {
        format!("| `{}` | {} | {} |", field.path, field.holds, field.note)
    };
    check_list("pools.md", "| field | holds | meaning |", pool_fields().iter().map(row));
}

/// Every place of a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, value)| places(value, &format!("{at}/{}", key.replace('/', "~1")), found));
        }
        Value::Array(values) => {
            values
                .iter()
                .enumerate()
                .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,20}".prop_map(Value::from),
        "[0-9]{0,3}:[0-9]{0,3}".prop_map(Value::from),
        "[A-Z][a-z]{2,8}/[A-Z][a-z]{2,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{0,8}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn anything_anywhere_is_read_or_refused_with_a_place(
        where_to in any::<prop::sample::Index>(), value in anything(),
    ) {
        let mut all = vec![];
        places(&full(), "", &mut all);
        let place = where_to.get(&all);
        let mut document = full();
        match document.pointer_mut(place) {
            Some(target) => *target = value,
            None => prop_assert!(false, "{place} is a place of the document"),
        }
        match read(document) {
            // What is read is written so that it is read again as the same.
            Ok((name, spec)) => prop_assert_eq!(read(pool_manifest(&name, &spec)), Ok((name, spec))),
            Err(error) => prop_assert!(!error.fields().is_empty(), "{error}"),
        }
    }
}
