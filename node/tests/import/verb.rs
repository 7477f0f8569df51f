//! The verb against a stand-in for the service.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use purser_events::ledger::Tenant;
use serde_json::{Value, json};

use crate::convert::{quota, sample};
use crate::service::Service;

fn purser(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purser"));
    command.arg("--socket").arg(socket).args(["import", "quotas"]).args(arguments);
    command
}

#[track_caller]
fn run(service: &Service, arguments: &[&str], code: i32) -> (String, String) {
    ended(&purser(&service.socket(), arguments).output().expect("purser starts"), code)
}

#[track_caller]
fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is text");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    (out, err)
}

fn path(name: &str) -> String {
    sample(name).display().to_string()
}

/// A row of the table as its cells.
fn row<'a>(table: &'a str, tenant: &str, field: &str) -> Vec<&'a str> {
    let cells = |line: &'a str| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let mut rows =
        table.lines().map(cells).filter(|row: &Vec<&str>| row.len() > 2 && row[..2] == [tenant, field]);
    rows.next().unwrap_or_else(|| panic!("no row of {tenant} {field}: {table}"))
}

#[test]
fn tenants_are_sent_once_and_kept_as_they_were_given() {
    let service = Service::start();
    let (out, _) = run(&service, &[&path("legacy.json")], 0);
    assert_eq!(
        row(&out, "team-a", "vm_limits.max_memory_mb")[2..],
        ["changed", "131072", "128Gi", "created"]
    );
    let pods = row(&out, "team-b", "vm_limits.max_vms");
    assert_eq!(pods[2..6], ["changed", "50 (default)", "25", "created"]);
    assert!(out.ends_with("tenant/team-a created\ntenant/team-b created\ntenant/lab created\n"), "{out}");
    let sent = ["GET team-a", "PUT team-a", "GET team-b", "PUT team-b", "GET lab", "PUT lab"];
    assert_eq!(service.requests(), sent);
    let kept = service.tenants();
    let team: Tenant = serde_json::from_value(kept["team-a"].clone()).expect("a tenant was sent");
    assert_eq!(team.quota, quota([10, 64_000, 128 << 30, 500 << 30]));
    assert_eq!(
        kept["team-a"]["requests"]["rates"]["change"],
        json!({ "count": 5, "per": "hour", "burst": null })
    );
    assert_eq!(kept["lab"]["quota"], json!({}));

    // The same in another form, and again: there is nothing to send.
    for name in ["legacy.csv", "legacy.yaml"] {
        let (out, _) = run(&service, &[&path(name)], 0);
        let expected = "tenant/team-a unchanged\ntenant/team-b unchanged\ntenant/lab unchanged\n";
        let ends: Vec<&str> = out.lines().filter(|line| line.starts_with("tenant/")).collect();
        assert_eq!(ends.len(), 3);
        assert!(expected.lines().all(|line| ends.contains(&line)), "{out}");
        let requests = service.requests();
        assert!(requests.len() == 3 && requests.iter().all(|it| it.starts_with("GET ")), "{requests:?}");
    }
    service.edit("team-a", "alertPercent", json!(90));
    service.edit("team-b", "quota", json!({ "gpus": 1, "pods": 1 }));
    let (out, _) = run(&service, &[&path("legacy.json")], 0);
    assert!(out.ends_with("tenant/team-a unchanged\ntenant/team-b changed\ntenant/lab unchanged\n"), "{out}");
    let kept = service.tenants();
    assert_eq!((&kept["team-a"]["alertPercent"], &kept["team-b"]["quota"]["gpus"]), (&json!(90), &json!(1)));
    assert_eq!(kept["team-b"]["quota"]["pods"], 25);
}

#[test]
fn a_dry_run_compares_with_what_the_service_has_and_sends_nothing() {
    let service = Service::start();
    let (out, _) = run(&service, &[&path("legacy.yaml"), "--dry-run"], 0);
    assert!(out.contains("tenant/team-a created (dry run)\n"), "{out}");
    run(&service, &[&path("legacy.yaml")], 0);
    service.requests();
    service.edit("team-a", "quota", json!({ "pods": 21, "memory": 128_u64 << 30, "gpus": 1 }));
    service.edit("lab", "quota", json!({ "pods": 3 }));
    let (out, _) = run(&service, &[&path("legacy.yaml"), "--dry-run", "--json"], 0);
    let report: Value = serde_json::from_str(&out).expect("the report is JSON");
    let told = |tenant: &str| {
        let tenants = report["tenants"].as_array().expect("a list of tenants");
        tenants.iter().find(|it| it["tenant"] == tenant).expect("it is told of").clone()
    };
    let field = |tenant: &str, path: &str| {
        let fields = told(tenant)["fields"].as_array().expect("a list of fields").clone();
        fields.into_iter().find(|it| it["field"] == path).expect("it is told of")["compared"].clone()
    };
    let outcomes = ["team-a", "team-b", "lab"].map(|tenant| told(tenant)["outcome"].clone());
    assert_eq!(outcomes, ["changed", "unchanged", "changed"]);
    assert_eq!(field("team-a", "vm_limits.max_vms"), json!({ "change": "changed", "held": "21" }));
    assert_eq!(field("team-a", "vm_limits.max_memory_mb"), json!({ "change": "unchanged", "held": "128Gi" }));
    assert_eq!(field("team-a", "vm_limits.max_disk_gb"), json!({ "change": "created", "held": null }));
    assert_eq!(field("lab", "vm_limits.max_vms"), json!({ "change": "removed", "held": "3" }));
    assert_eq!(field("team-b", "vm_limits.priority"), Value::Null);
    let rate = field("team-b", "api_limits.operation_limits.config_change_per_hour");
    assert_eq!(rate, json!({ "change": "unchanged", "held": "change 10 per hour" }));
    assert!(service.requests().iter().all(|it| it.starts_with("GET ")));
    let (out, _) = run(&service, &[&path("legacy.yaml"), "--dry-run"], 0);
    let cells = row(&out, "team-a", "vm_limits.max_vms");
    assert_eq!(cells[2..6], ["changed", "20", "10", "changed from 21"]);
    assert_eq!(cells[6], "vm_limits.max_vms_per_node is the tighter bound");
}

#[test]
fn a_run_without_a_service_says_that_it_does_not_know() {
    let nobody = Path::new("/nonexistent/socket");
    let output =
        purser(nobody, &[&path("legacy.yaml"), "--dry-run", "--json"]).output().expect("purser starts");
    let report: Value = serde_json::from_str(&ended(&output, 3).0).expect("the report is JSON");
    assert_eq!((&report["dryRun"], &report["tenants"][0]["outcome"]), (&json!(true), &json!("checked")));
    assert_eq!(report["tenants"][0]["fields"][0]["compared"], Value::Null);
    let output = purser(nobody, &[&path("legacy.yaml")]).output().expect("purser starts");
    let (out, err) = ended(&output, 3);
    assert!(
        out.contains("tenant/team-a not sent\n") && err.contains("there is no such socket"),
        "{out}{err}"
    );
}

#[test]
fn a_rate_that_counts_other_requests_now_is_told_of() {
    let service = Service::start();
    let (out, _) = run(&service, &[&path("legacy.json"), "--dry-run"], 0);
    let cells = row(&out, "team-b", "api_limits.operation_limits.config_change_per_hour");
    assert_eq!(cells[2], "changed");
    assert!(cells[6].contains("counts stops and starts of pods and commands in them now"), "{cells:?}");
}

#[test]
fn what_is_refused_does_not_hold_up_the_others() {
    let service = Service::start();
    let (out, err) = run(&service, &[&path("wrong.yaml"), "--json"], 1);
    let report: Value = serde_json::from_str(&out).expect("the report is JSON");
    let outcome = |tenant: &str| {
        let tenants = report["tenants"].as_array().expect("a list of tenants");
        tenants.iter().find(|it| it["tenant"] == tenant).expect("it is told of")["outcome"].clone()
    };
    for refused in ["Team_A", "negative", "part", "units", "beyond", "none", "list", "-"] {
        assert_eq!(outcome(refused), "refused", "{refused}");
    }
    assert_eq!((outcome("fine"), outcome("large")), (json!("created"), json!("created")));
    assert!(err.contains("see above"), "{err}");
    assert_eq!(service.tenants().into_keys().collect::<Vec<_>>(), ["fine", "large"]);
    assert_eq!(service.tenants()["fine"]["quota"]["pods"], 0, "0 is a bound");

    let file = service.socket().with_file_name("some.csv");
    std::fs::write(&file, "tenant_id,max_vms\nno-one,1\nyes,1\n").expect("a file can be written");
    let (out, _) = run(&service, &[&file.display().to_string()], 1);
    assert!(out.contains("tenant/no-one refused: purser: this tenant is not welcome\n"), "{out}");
    assert!(out.contains("tenant/yes created\n"), "{out}");
}

#[test]
fn standard_input_and_broken_files_are_as_for_other_verbs() {
    let service = Service::start();
    let mut command = purser(&service.socket(), &["-", "--format", "csv"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("purser starts");
    let csv = std::fs::read(sample("legacy.csv")).expect("the sample can be read");
    child.stdin.take().expect("it is piped").write_all(&csv).expect("it is read");
    let (out, _) = ended(&child.wait_with_output().expect("it ends"), 0);
    assert!(out.contains("tenant/team-a created\n"), "{out}");
    let (_, err) = run(&service, &["/no/such/file.csv"], 1);
    assert!(err.contains("failed to read /no/such/file.csv"), "{err}");
    let (_, err) = run(&service, &[&path("legacy.csv"), "--format", "yaml"], 1);
    assert!(err.contains("legacy.csv: "), "{err}");
}

#[test]
fn a_service_that_goes_away_is_told_of_beside_what_was_done() {
    let service = Service::start();
    let file = service.socket().with_file_name("some.csv");
    std::fs::write(&file, "tenant_id\nfirst\ngone\nlast\n").expect("a file can be written");
    let (out, err) = run(&service, &[&file.display().to_string()], 3);
    assert!(out.ends_with("tenant/first created\ntenant/gone not sent\ntenant/last not sent\n"), "{out}");
    assert!(err.contains("purserd went away"), "{err}");
    assert_eq!(service.requests(), ["GET first", "PUT first", "GET gone"]);
}
