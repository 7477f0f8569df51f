//! Many callers and one thing.

use std::sync::Barrier;

use serde_json::{Value, json};

use super::{apply, get, manifest, node, resource, shortages};

/// Callers at once.
const CALLERS: usize = 64;

/// What they race for: enough is left for one of them.
const RESOURCE: &str = "gpu-share";

/// A pod that needs more than half of the node's only GPU.
fn greedy(name: &str) -> String {
    let plain = manifest("default", name, "1m", "1Mi");
    let mut manifest: Value = serde_json::from_str(&plain).expect("a manifest is JSON");
    manifest["metadata"]["annotations"] = json!({ "purser.dev/gpu-share": "60" });
    manifest.to_string()
}

#[test]
fn of_64_callers_who_race_for_the_last_of_a_resource_exactly_one_gets_it() {
    let purserd = node("256Mi", "refuse");
    let start = Barrier::new(CALLERS);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let (purserd, start) = (&purserd, &start);
        let caller = |number| {
            scope.spawn(move || {
                let manifest = greedy(&format!("racer-{number}"));
                start.wait();
                apply(purserd, &manifest)
            })
        };
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller does not panic")).collect()
    });
    let winners: Vec<&Value> =
        answers.iter().filter(|answer| answer.status == 201).map(|answer| &answer.body["name"]).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    let winner = format!("default/{}", winners[0].as_str().unwrap());
    let won = answers.iter().find(|answer| answer.status == 201).map(|answer| &answer.body["uid"]);
    let unnamed = format!("pod/{}", won.and_then(Value::as_str).unwrap_or_default());
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        let short = shortages(refused);
        let (_, _, holders) = short.iter().find(|(kind, ..)| kind == RESOURCE).expect("it is named");
        // Between the grant and its admission the winner has no name yet.
        let is_winner = |holder: &String| *holder == winner || *holder == unnamed;
        assert!(holders.len() == 1 && holders.iter().all(is_winner), "{holders:?}");
    }
    assert_eq!(resource(&purserd, RESOURCE)["holders"], json!([winner]));
    assert_eq!(get(&purserd, "/v1/pods")["items"].as_array().map(Vec::len), Some(1));
    let counted = format!("purser_admissions_refused_total{{resource=\"{RESOURCE}\"}} {}\n", CALLERS - 1);
    assert!(purserd.metrics().contains(&counted), "{}", purserd.metrics());
}
