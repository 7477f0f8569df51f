//! A pod that runs and is not on the ledger is put down with what it has: about what runs, the machine is right.

use purser_events::Event;
use purser_events::PodUid;
use purser_events::ledger::LedgerEvent;
use purser_events::ledger::event::{ReleaseReason, Released};
use serde_json::{Value, json};

use super::advice::happened;
use super::{apply, get, manifest, node, resource, shortages, taken, until_phase};

#[test]
fn a_pod_that_runs_and_has_nothing_is_put_down_at_the_start() {
    let mut purserd = node("256Mi", "refuse");
    let mut pod: Value = serde_json::from_str(&manifest("default", "robbed", "10m", "100Mi")).unwrap();
    pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 20_123 }]);
    taken(&purserd, &pod.to_string());
    let before = until_phase(&purserd, "robbed", "Running");
    let uid = PodUid(before["metadata"]["uid"].as_str().unwrap().parse().unwrap());
    // As no service would write it: the ledger takes back what is in use.
    let released = LedgerEvent::from(Released { pod: uid, reason: ReleaseReason::Ended });
    happened(&mut purserd, vec![Event::Ledger(released)]);
    let after = get(&purserd, "/v1/namespaces/default/pods/robbed");
    let pid = |pod: &Value| pod["status"]["containerStatuses"][0]["hostPid"].clone();
    assert_eq!((pid(&after), &after["status"]["phase"]), (pid(&before), &json!("Running")));
    assert_eq!(resource(&purserd, "memory")["allocated"], 100 << 20);
    assert_eq!(after["status"]["purser"]["resources"]["fixedPorts"], json!(["20123/TCP"]));
    let short = shortages(&apply(&purserd, &manifest("default", "late", "10m", "200Mi")));
    assert_eq!(short[0].2, ["default/robbed"]);
    purserd.purser_ok(["delete", "robbed", "--wait"]);
    assert_eq!(resource(&purserd, "memory")["allocated"], 0);
}
