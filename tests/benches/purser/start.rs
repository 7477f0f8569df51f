//! From `apply` to Running, against `ctr run` of the same image on the same containerd.

use std::time::Instant;

use purser_tests::bench::{Bound, Times, ratio};
use purser_tests::containerd::Containerd;
use purser_tests::feed::Feed;
use purser_tests::http;
use purser_tests::images::Images;
use purser_tests::purserd::{Purserd, Setup};

const ROUNDS: u32 = 40;
const IMAGE: &str = "localhost/bench:1";
/// Of our time to that of the reference.
const WANTED: Bound = Bound::AtMost(1.25);

pub(crate) fn run() {
    let containerd = Containerd::start();
    let archive = Images::made().archive.display().to_string();
    drop(containerd.ctr(&["images", "import", "--index-name", IMAGE, &archive]));
    let setup = Setup { containerd_socket: Some(containerd.socket()), ..Setup::default() };
    let purserd = Purserd::start(&setup);
    let (mut ctr, mut api, mut cli) = (Times::default(), Times::default(), Times::default());
    for round in 0..ROUNDS {
        ctr_run(&containerd, round, &mut ctr);
        over_the_api(&purserd, round, &mut api);
        over_the_cli(&purserd, round, &mut cli);
    }
    println!("start: image in containerd, one container, {ROUNDS} rounds in turn");
    println!("  ctr run -d                          {}", ctr.line());
    for (what, times) in [("apply to Running, over the API", &api), ("purser apply && purser wait", &cli)] {
        let ratio = ratio(times, &ctr);
        println!("  {what:<35} {}   {ratio:.2} x   {}", times.line(), WANTED.verdict(ratio, ""));
    }
}

fn ctr_run(containerd: &Containerd, round: u32, times: &mut Times) {
    let id = format!("ctr-{round}");
    let since = Instant::now();
    drop(containerd.ctr(&["run", "-d", IMAGE, &id, "sleep", "1000"]));
    times.add(since.elapsed());
    drop(containerd.ctr(&["task", "rm", "-f", &id]));
    drop(containerd.ctr(&["container", "rm", &id]));
}

fn manifest(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"runtimeClassName":"containerd",
        "terminationGracePeriodSeconds":0,"containers":[{{"name":"main","image":"{IMAGE}",
        "imagePullPolicy":"Never","command":["sleep","1000"]}}]}}}}"#
    )
}

fn over_the_api(purserd: &Purserd, round: u32, times: &mut Times) {
    let name = format!("api-{round}");
    let body = manifest(&name);
    let mut feed = Feed::live(purserd);
    let since = Instant::now();
    let answer = http::request(&purserd.socket(), "POST", "/v1/pods", None, &body).expect("purserd answers");
    assert_eq!(answer.status, 201, "{answer:?}");
    feed.until(|event| event.kind == "pod.started");
    times.add(since.elapsed());
    drop(purserd.purser_ok(["delete", &name, "--grace-period", "0", "--wait"]));
}

fn over_the_cli(purserd: &Purserd, round: u32, times: &mut Times) {
    let name = format!("cli-{round}");
    let path = purserd.folder().join("bench.json");
    std::fs::write(&path, manifest(&name)).expect("a manifest can be written");
    let path = path.display().to_string();
    let since = Instant::now();
    drop(purserd.purser_ok(["apply", "-f", &path]));
    drop(purserd.purser_ok(["wait", &name, "--for=phase=Running", "--timeout=60s"]));
    times.add(since.elapsed());
    drop(purserd.purser_ok(["delete", &name, "--grace-period", "0", "--wait"]));
}
