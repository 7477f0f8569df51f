//! What each sample file becomes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use purser_events::ledger::tenant::{Operation, Period, Rate, RequestLimits};
use purser_events::ledger::{Amounts, ResourceKind, Tenant};
use purser_node::import::{Finding, Format, Imported, Verdict, convert, read};

/// A sample file.
pub(crate) fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name)
}

pub(crate) fn imported(text: &[u8], format: Format) -> Vec<Imported> {
    convert(read(text, format).unwrap_or_else(|error| panic!("{error}")))
}

fn of_sample(name: &str) -> Vec<Imported> {
    let format = if name.ends_with(".csv") { Format::Csv } else { Format::Yaml };
    imported(&std::fs::read(sample(name)).expect("the sample can be read"), format)
}

pub(crate) fn quota(amounts: [u64; 4]) -> Option<Amounts> {
    let kinds = [ResourceKind::Pods, ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Disk];
    Some(Amounts(kinds.into_iter().zip(amounts).collect()))
}

fn requests(counts: [u32; 5], burst: u32, concurrent: u32) -> RequestLimits {
    let [any, create, delete, change, read] = counts;
    let rate = |count, per| Rate { count, per, burst: None };
    let rates = [
        (Operation::Any, Rate { burst: Some(burst), ..rate(any, Period::Second) }),
        (Operation::Create, rate(create, Period::Minute)),
        (Operation::Delete, rate(delete, Period::Minute)),
        (Operation::Change, rate(change, Period::Hour)),
        (Operation::Read, rate(read, Period::Second)),
    ];
    RequestLimits { rates: rates.into(), concurrent: Some(concurrent) }
}

fn tenants(imported: &[Imported]) -> BTreeMap<String, Tenant> {
    let tenant = |it: &Imported| it.tenant.clone().map(|(id, tenant)| (id.to_string(), tenant));
    imported.iter().filter_map(tenant).collect()
}

#[track_caller]
pub(crate) fn finding<'a>(imported: &'a [Imported], tenant: &str, field: &str) -> &'a Finding {
    let of_tenant = imported.iter().filter(|it| it.name == tenant).flat_map(|it| &it.findings);
    let mut found = of_tenant.filter(|finding| finding.field == field);
    found.next().unwrap_or_else(|| panic!("nothing is said of {field} of {tenant}"))
}

#[test]
fn every_form_of_a_file_means_the_same() {
    let expected = BTreeMap::from([
        (
            "team-a".to_owned(),
            Tenant {
                quota: quota([10, 64_000, 128 << 30, 500 << 30]),
                requests: requests([40, 6, 12, 5, 25], 80, 8),
                ..Tenant::default()
            },
        ),
        (
            "team-b".to_owned(),
            Tenant {
                quota: quota([25, 200_000, 200 << 30, 2_048 << 30]),
                requests: requests([100, 10, 20, 10, 50], 200, 50),
                ..Tenant::default()
            },
        ),
        // Without bounds, and not under the node's default ones either.
        ("lab".to_owned(), Tenant { quota: Some(Amounts::default()), ..Tenant::default() }),
    ]);
    for name in ["legacy.json", "legacy.yaml", "legacy.csv"] {
        let imported = of_sample(name);
        assert_eq!(tenants(&imported), expected, "{name}");
        assert!(expected.values().all(|tenant| tenant.check().is_ok()));
    }
}

#[test]
fn every_field_is_told_of_with_what_became_of_it() {
    let imported = of_sample("legacy.json");
    for (field, verdict, old, new) in [
        ("vm_limits.max_vms", Verdict::Changed, "20", Some("10")),
        ("vm_limits.max_vcpus", Verdict::Taken, "64", Some("64")),
        ("vm_limits.max_memory_mb", Verdict::Changed, "131072", Some("128Gi")),
        ("vm_limits.max_disk_gb", Verdict::Changed, "500", Some("500Gi")),
        ("vm_limits.max_vms_per_node", Verdict::Taken, "10", Some("10")),
        ("vm_limits.overcommit_ratio", Verdict::Refused, "1.5", None),
        ("vm_limits.priority", Verdict::Refused, "200", None),
        ("api_limits.requests_per_second", Verdict::Taken, "40", Some("any 40 per second")),
        ("api_limits.burst_capacity", Verdict::Taken, "80", Some("80")),
        (
            "api_limits.operation_limits.config_change_per_hour",
            Verdict::Changed,
            "5",
            Some("change 5 per hour"),
        ),
        ("api_limits.operation_limits.cluster_join_per_hour", Verdict::Refused, "5", None),
        ("storage_limits.max_iops", Verdict::Refused, "10000", None),
    ] {
        let found = finding(&imported, "team-a", field);
        assert_eq!(
            (found.verdict, found.old.replace('\\', "").as_str(), found.new.as_deref()),
            (verdict, old, new),
            "{field}"
        );
        assert!(found.verdict != Verdict::Refused || found.note.is_some(), "{field} has no reason");
        assert!(!found.is_default);
    }
    let made = finding(&imported, "team-a", "created_at");
    assert!(made.verdict == Verdict::Refused && made.old.contains("1735689600"), "{made:?}");
    let hourly = finding(&imported, "team-a", "api_limits.operation_limits.config_change_per_hour");
    assert!(hourly.note.as_ref().is_some_and(|note| note.contains("0 a minute")), "{hourly:?}");
    let default = finding(&imported, "team-b", "vm_limits.max_vms_per_node");
    assert!(default.is_default && default.old == "25" && default.verdict == Verdict::Taken, "{default:?}");
    let off = finding(&imported, "lab", "vm_limits.max_vms");
    assert!(off.verdict == Verdict::Refused && off.old == "3", "{off:?}");
    let fields = purser_node::import::legacy_fields();
    let told: Vec<&str> = imported[0].findings.iter().map(|finding| finding.field.as_str()).collect();
    assert_eq!(told, fields.iter().map(|field| field.path).collect::<Vec<_>>());
}

#[test]
fn of_two_bounds_of_pods_the_tighter_holds_and_the_other_says_so() {
    for (all, of_node, holds) in [(3, 9, 3), (9, 3, 3), (4, 4, 4), (30, 0, 0)] {
        let text = format!(
            "{{\"tenant_id\": \"a\", \"vm_limits\": {{\"max_vms\": {all}, \"max_vms_per_node\": {of_node}}}}}"
        );
        let imported = imported(text.as_bytes(), Format::Yaml);
        let tenant = &tenants(&imported)["a"];
        assert_eq!(tenant.quota.as_ref().and_then(|quota| quota.bound(&ResourceKind::Pods)), Some(holds));
        for (field, given) in [("vm_limits.max_vms", all), ("vm_limits.max_vms_per_node", of_node)] {
            let found = finding(&imported, "a", field);
            let is_it = given == holds;
            let verdict = if is_it { Verdict::Taken } else { Verdict::Changed };
            assert_eq!((found.verdict, found.new.clone()), (verdict, Some(holds.to_string())), "{field}");
            assert_eq!(found.note.is_none(), is_it, "{found:?}");
        }
    }
}

#[test]
fn a_tenant_with_a_wrong_value_is_refused_and_the_others_are_not() {
    let imported = of_sample("wrong.yaml");
    let names: Vec<String> = tenants(&imported).into_keys().collect();
    assert_eq!(names, ["fine", "large"]);
    for (tenant, field) in [
        ("Team_A", "tenant_id"),
        ("negative", "vm_limits.max_vms"),
        ("part", "vm_limits.max_vcpus"),
        ("units", "vm_limits.max_memory_mb"),
        ("beyond", "vm_limits.max_disk_gb"),
        ("none", "api_limits.operation_limits.vm_create_per_minute"),
        ("list", "vm_limits"),
        ("-", "tenant_id"),
    ] {
        let found = finding(&imported, tenant, field);
        assert!(found.verdict == Verdict::Refused && found.note.is_some(), "{found:?}");
    }
    let refused = imported.iter().filter(|it| it.tenant.is_none()).flat_map(|it| &it.findings);
    assert!(refused.clone().count() > 100 && refused.clone().all(|it| it.verdict == Verdict::Refused));
    for field in ["vm_limits.max_vmz", "colour"] {
        let note = finding(&imported, "fine", field).note.clone();
        assert_eq!(note.as_deref(), Some("is no field of a quota"));
    }
    let fine = &tenants(&imported)["fine"];
    assert_eq!(
        fine.quota.as_ref().and_then(|quota| quota.bound(&ResourceKind::Pods)),
        Some(0),
        "0 is a bound"
    );
    let large = finding(&imported, "large", "vm_limits.max_memory_mb");
    assert!(large.note.as_ref().is_some_and(|note| note.contains("1 PiB")), "{large:?}");
    assert_eq!(large.new.as_deref(), Some("204800Ti"));
}

#[test]
fn what_a_quota_does_not_speak_of_stays() {
    let imported = &tenants(&of_sample("legacy.json"))["team-a"];
    let mut held = Tenant {
        namespaces: ["a".to_owned(), "b".to_owned()].into(),
        alert_percent: Some(80),
        quota: quota([1, 1, 1, 1]),
        ..Tenant::default()
    };
    let gpus = (ResourceKind::Gpus, 2);
    held.quota.as_mut().expect("it was given").0.insert(gpus.0.clone(), gpus.1);
    let merged = Imported::onto(imported, Some(&held));
    assert_eq!((&merged.namespaces, merged.alert_percent), (&held.namespaces, Some(80)));
    let mut expected = quota([10, 64_000, 128 << 30, 500 << 30]).expect("it was given");
    expected.0.insert(gpus.0, gpus.1);
    assert_eq!(merged.quota, Some(expected));
    assert_eq!(merged.requests, imported.requests);
    assert_eq!(Imported::onto(imported, Some(&merged)), merged, "twice is once");
    assert_eq!(Imported::onto(imported, None), *imported);
}
