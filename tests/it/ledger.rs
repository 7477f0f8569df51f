//! The ledger over the real API: who is refused and why, who waits, what can be changed while the service runs, and that
//! nothing is given twice.

mod admissions;
mod adopted;
mod advice;
mod clock;
mod drift;
mod efficiency;
mod import;
mod kills;
mod leases;
mod limits;
mod preemption;
mod race;
mod requests;
mod reservations;
mod rounds;
mod ungranted;

use purser_tests::feed::Feed;
use purser_tests::http::{self, Answer};
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};

/// The only GPU of every node here; it is made up.
const GPU: &str = "GPU-8f6ad3c1-1f3f-4a5e-9c0e-0d6f3d6f2b11";

/// A service with so much memory to give out, and a GPU, that lets pods wait or refuses them.
fn node(memory: &str, when_full: &str) -> Purserd {
    configured(format!(
        "[resources]\ncustom = {{ \"example.com/dongle\" = 4 }}\n\n\
         [[resources.gpus]]\nuuid = {GPU:?}\nmodel = \"none\"\nmemory = \"80Gi\"\n\n\
         [policy.resources]\nwhen-full = {when_full:?}\n\n\
         [policy.resources.limits.memory]\nhard = {memory:?}\n"
    ))
}

/// A service with these tables in its config, which may be asked as often as one likes.
fn configured(more: String) -> Purserd {
    let api_more = "requests-per-second = 10000\nrequests-burst = 10000".to_owned();
    Purserd::start(&Setup { more, api_more, ..Setup::default() })
}

/// The manifest of a pod that sleeps until it is ended, and asks for so much.
fn manifest(namespace: &str, name: &str, cpu: &str, memory: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "runtimeClassName": "process",
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "command": ["/bin/sleep", "600"],
                "resources": { "requests": { "cpu": cpu, "memory": memory } },
            }],
        },
    })
    .to_string()
}

#[track_caller]
fn ask(purserd: &Purserd, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    http::request(&purserd.socket(), method, path, None, &body).expect("the service answers")
}

/// Asks for what must be granted.
#[track_caller]
fn fine(purserd: &Purserd, method: &str, path: &str, body: &Value) -> Value {
    let answer = ask(purserd, method, path, body);
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    answer.body
}

#[track_caller]
fn get(purserd: &Purserd, path: &str) -> Value {
    fine(purserd, "GET", path, &Value::Null)
}

/// Asks for a pod.
#[track_caller]
fn apply(purserd: &Purserd, manifest: &str) -> Answer {
    http::request(&purserd.socket(), "POST", "/v1/pods", None, manifest).expect("the service answers")
}

/// Asks for a pod that must be taken, to run or to wait.
#[track_caller]
fn taken(purserd: &Purserd, manifest: &str) {
    let answer = apply(purserd, manifest);
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// Waits until a pod is in a state; gives it back.
fn until_phase(purserd: &Purserd, name: &str, phase: &str) -> Value {
    // Subscribed before the first look: no change in between is missed.
    let mut feed = Feed::live(purserd);
    loop {
        let pod = get(purserd, &format!("/v1/namespaces/default/pods/{name}"));
        if pod["status"]["phase"] == phase {
            return pod;
        }
        feed.next_event();
    }
}

/// The shortages of a refusal: resource, bound and holders of each.
#[track_caller]
fn shortages(answer: &Answer) -> Vec<(String, String, Vec<String>)> {
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert_eq!(answer.body["code"], "insufficient-resources");
    read_shortages(&answer.body["shortages"])
}

fn read_shortages(list: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().expect("a word").to_owned();
    let each = list.as_array().expect("a list").iter().map(|shortage| {
        let holders = shortage["holders"].as_array().expect("a list").iter().map(text).collect();
        (text(&shortage["resource"]), text(&shortage["bound"]), holders)
    });
    each.collect()
}

/// A resource as the node shows it.
#[track_caller]
fn resource(purserd: &Purserd, kind: &str) -> Value {
    let resources = get(purserd, "/v1/resources");
    let managers = resources["managers"].as_array().expect("a list");
    let mut all = managers.iter().flat_map(|manager| manager["resources"].as_array().expect("a list"));
    all.find(|resource| resource["kind"] == kind).cloned().unwrap_or_default()
}
