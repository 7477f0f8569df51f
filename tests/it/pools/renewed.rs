//! Pods that are made anew, one after the other.

use std::collections::BTreeSet;

use purser_tests::bounded;
use purser_tests::feed::Feed;
use serde_json::json;

use super::stage::{Shape, Stage, waits};

const PODS: usize = 3;
const SHAPE: Shape = Shape { policy: "flexible", slots: 2, min: 3, max: 3 };

#[test]
fn of_three_pods_one_at_a_time_is_made_anew_and_the_busy_one_once_it_is_idle() {
    let stage = Stage::with(&SHAPE);
    bounded::until("all are there", || stage.members("connected").len() == PODS);
    let task = stage.submit("work", &waits("begun", "gate", 0));
    stage.await_file("begun");
    let busy = stage.await_state(&task, "running")["slot"]["member"].as_u64().unwrap();
    let mut feed = Feed::live(&stage.purserd);
    let mut manifest = Stage::manifest(&SHAPE);
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "NEWER", "value": "1" }]);
    stage.purserd.apply(&manifest.to_string());
    let (mut there, mut gone) = (BTreeSet::from([1, 2, 3]), BTreeSet::new());
    // Two of the three, and then the last.
    for rounds in [PODS - 1, PODS] {
        while gone.len() < rounds || there.len() < PODS {
            let event = feed.next_event();
            let member = event.record["event"]["payload"]["member"].as_u64();
            match (event.kind.as_str(), member) {
                ("pool.agent-connected", Some(member)) => drop(there.insert(member)),
                ("pool.member-removal-requested", Some(member)) => {
                    assert!(there.remove(&member), "{event:?}");
                    gone.insert(member);
                }
                ("pool.member-lost", _) => panic!("none is lost: {event:?}"),
                _ => {}
            }
            assert!(PODS - 1 <= there.len(), "more than one is missing: {there:?}, {event:?}");
        }
        if rounds < PODS {
            assert!(there.contains(&busy) && !gone.contains(&busy), "{gone:?}");
            assert_eq!(stage.task(&task)["state"], "running");
            stage.open("gate");
        }
    }
    assert_eq!(gone, [1, 2, 3].into());
    assert_eq!(stage.await_state(&task, "success")["attempts"], 1);
    assert_eq!(stage.pool()["status"]["outdated"], 0);
}
