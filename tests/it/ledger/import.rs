//! Quotas of another system, taken over by a real service: in every form that the table may have, dry first, and again.

use std::path::PathBuf;

use purser_tests::http;
use purser_tests::purserd::Purserd;
use serde_json::{Value, json};

use super::{apply, manifest, node, shortages};

/// What the samples come to; amounts are in thousandths of a core and in bytes.
const TEAM_A: [u64; 4] = [10, 64_000, 128 << 30, 500 << 30];
const TEAM_B: [u64; 4] = [25, 200_000, 200 << 30, 2_048 << 30];

fn sample(form: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../node/tests/import");
    root.join(format!("legacy.{form}")).to_str().expect("the checkout's path is text").to_owned()
}

/// Imports a sample; gives what became of each tenant.
fn import(purserd: &Purserd, form: &str, more: &[&str]) -> Vec<(String, String)> {
    let sample = sample(form);
    let line = [&["import", "quotas", &sample, "--json"], more].concat();
    let report: Value = serde_json::from_str(&purserd.purser_ok(line)).expect("the report is JSON");
    let text = |value: &Value| value.as_str().expect("a word").to_owned();
    let tenants = report["tenants"].as_array().expect("a list").iter();
    tenants.map(|tenant| (text(&tenant["tenant"]), text(&tenant["outcome"]))).collect()
}

fn all(outcome: &str) -> Vec<(String, String)> {
    ["team-a", "team-b", "lab"].map(|tenant| (tenant.to_owned(), outcome.to_owned())).to_vec()
}

/// The tenants as the command line shows them, and how often policies were set. Other records, as of ports that others use,
/// come by themselves.
fn standing(purserd: &Purserd) -> (Value, usize) {
    let shown: Value = serde_json::from_str(&purserd.purser_ok(["get", "tenants", "-o", "json"])).unwrap();
    let records =
        http::text(&purserd.socket(), "/v1/events?from=0&type=ledger.tenant-set,ledger.policy-set").unwrap();
    (shown["items"].clone(), records.lines().filter(|line| line.starts_with("event:")).count())
}

fn quota(of: [u64; 4]) -> Value {
    let [pods, cpu, memory, disk] = of;
    json!({ "pods": pods, "cpu": cpu, "memory": memory, "disk": disk })
}

#[test]
fn quotas_are_taken_over_from_every_form_of_the_table() {
    for form in ["json", "yaml", "csv"] {
        let mut purserd = node("4Gi", "wait");
        let before = standing(&purserd);
        let dry = import(&purserd, form, &["--dry-run"]);
        assert!(dry.len() == 3 && dry.iter().all(|(_, outcome)| outcome != "refused"), "{form}: {dry:?}");
        assert_eq!(standing(&purserd), before, "a dry run changes nothing");

        assert_eq!(import(&purserd, form, &[]), all("created"), "{form}");
        let (tenants, policies) = standing(&purserd);
        assert!(before.1 < policies, "{form}");
        let told = |id: &str| {
            let mut items = tenants.as_array().expect("a list").iter();
            items.find(|tenant| tenant["id"] == id).cloned().unwrap_or_else(|| panic!("no {id}: {tenants}"))
        };
        assert_eq!((&told("team-a")["quota"], &told("team-b")["quota"]), (&quota(TEAM_A), &quota(TEAM_B)));
        assert_eq!((&told("lab")["quota"], &told("lab")["isDefault"]), (&json!({}), &json!(false)));
        let requests = &told("team-a")["requests"];
        assert_eq!(requests["concurrent"], 8);
        assert_eq!(requests["rates"]["create"], json!({ "count": 6, "per": "minute", "burst": null }));
        assert_eq!(requests["rates"]["any"], json!({ "count": 40, "per": "second", "burst": 80 }));
        let table = purserd.purser_ok(["get", "tenants"]);
        let shows = |line: &str| line.split_whitespace().take(4).eq(["team-a", "own", "0/10", "0/64"]);
        assert!(table.lines().any(shows), "{table}");

        assert_eq!(import(&purserd, form, &[]), all("unchanged"), "{form}");
        assert_eq!(standing(&purserd), (tenants.clone(), policies), "again, and nothing is recorded");
        purserd.kill9();
        purserd.restart();
        assert_eq!(standing(&purserd).0, tenants, "it is the policy from now on");
        let short = shortages(&apply(&purserd, &manifest("team-a", "greedy", "65", "1Mi")));
        let beyond = ("cpu".to_owned(), "quota".to_owned());
        assert!(short.into_iter().any(|(kind, bound, _)| (kind, bound) == beyond));
    }
}
