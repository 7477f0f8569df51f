//! What is handed to others: a pod's black box, and a page that a browser shows.

use std::fs;
use std::path::Path;
use std::process::Command;

use purser_events::pod::PodEvent;
use purser_events::{Cause, Event, NodeUid, Origin, PodUid, Principal, StreamKind};
use purser_replay::Exit;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answers::Lived;
use crate::life::{self, Step};
use crate::support::{Fixture, NODE, POD, START, Told, event, golden, spec, started, tool};

/// The pods of a life that were admitted, with their names.
fn pods(lived: &Lived) -> Vec<(PodUid, String)> {
    let name = |step: &Step| match &step.event {
        Event::Pod(PodEvent::Admitted(part)) => Some((part.uid, part.spec.id.to_string())),
        _ => None,
    };
    lived.steps.iter().filter_map(name).collect()
}

#[test]
fn a_black_box_says_of_its_pod_what_the_journal_says() {
    for seed in 0..4 {
        let lived = Lived::new(seed, 100);
        for (number, (uid, _)) in pods(&lived).into_iter().enumerate().step_by(2) {
            let file = lived.path(&format!("box-{number}"));
            let uid = uid.to_string();
            let made = lived.json(&["blackbox", &uid, &file]);
            let boxed = |args: &[&str]| tool(&[args, &["--export", file.as_str()]].concat());
            let same = |args: &[&str]| {
                let (one, other) = (boxed(args), lived.tool(args));
                assert_eq!((one.exit, one.out), (other.exit, other.out), "seed {seed}: {args:?} of {uid}");
            };
            same(&["timeline", &uid]);
            same(&["log", "--pod", &uid, "-o", "jsonl"]);
            same(&["log", "-t", "node.", "-t", "ledger.", "-o", "jsonl"]);
            same(&["blame", &uid]);
            let last = made["last"].to_string();
            same(&["why", &last]);
            same(&["state", "--pod", &uid, "--at", &last]);
            let verdict = boxed(&["verify", "-o", "json"]);
            assert_eq!(verdict.exit, Exit::Ok, "seed {seed}: {}", verdict.out);
            let verdict: Value = serde_json::from_str(&verdict.out).unwrap();
            let whole = lived.json(&["verify"]);
            assert_eq!((&verdict["head"], &verdict["excerpt"]), (&whole["head"], &Value::Bool(true)));
            assert_eq!(verdict["payloads"]["redacted"], made["leftOut"], "seed {seed}");
            // An excerpt of an excerpt is one still.
            let again = format!("{file}-again");
            assert_eq!(boxed(&["export", &again]).exit, Exit::Ok);
            assert_eq!(fs::read(&file).unwrap(), fs::read(&again).unwrap());
        }
    }
}

#[test]
fn a_black_box_says_nothing_of_other_pods() {
    let mut left_out = 0;
    for seed in 0..6 {
        let lived = Lived::new(seed, 100);
        for (number, (uid, _)) in pods(&lived).into_iter().enumerate() {
            let file = lived.path(&format!("box-{number}"));
            let made = lived.json(&["blackbox", &uid.to_string(), &file]);
            left_out += made["leftOut"].as_u64().unwrap();
            let records = tool(&["log", "-o", "jsonl", "--export", &file]).out;
            for (line, record) in records.lines().zip(lived.records()) {
                let line: Value = serde_json::from_str(line).unwrap();
                let of_worker = matches!(record.header.stream.kind, StreamKind::Worker);
                let is_shown = line["event"].get("payload").is_some();
                let own = record.header.stream == uid.stream();
                assert!(is_shown || !own, "seed {seed}: {line}");
                if let Event::Pod(PodEvent::Admitted(part)) = &record.event {
                    assert_eq!(is_shown, part.uid == uid, "seed {seed}: {line}");
                }
                if let Event::Worker(purser_events::worker::WorkerEvent::Registered(part)) = &record.event {
                    assert!(of_worker && is_shown == (part.pod == uid), "seed {seed}: {line}");
                }
            }
        }
    }
    assert!(left_out > 100, "the lives have too few pods to show anything: {left_out}");
}

#[test]
fn a_black_box_is_never_taken_for_the_whole() {
    let fixture = Fixture::new();
    let file = fixture.path("web.purser");
    let made = fixture.tool(&["blackbox", "web", &file]);
    golden("blackbox.txt", &made);
    assert_eq!(fixture.tool(&["blackbox", "web", &file]).exit, Exit::Io, "nothing is overwritten");
    assert_eq!(fixture.tool(&["blackbox", "absent", &fixture.path("none")]).exit, Exit::NothingMatched);
    let said = |args: &[&str]| tool(&[args, &["--export", &file]].concat()).out;
    assert!(said(&["info"]).contains("\nexcerpt "), "{}", said(&["info"]));
    assert!(said(&["verify"]).contains("\nexcerpt "), "{}", said(&["verify"]));
    // A flag that is not known, or that was changed, is damage.
    let mut bytes = fs::read(&file).unwrap();
    bytes[10] = 0;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(tool(&["info", "--export", &file]).exit, Exit::Integrity);
}

pub(crate) fn chromium(page: &Path, args: &[&str]) -> String {
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,5000", "--hide-scrollbars"])
        .args(args)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium is needed: install the package `chromium`");
    assert!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn report(lived: &Lived) -> (String, Told) {
    let path = lived.path("report.html");
    let told = lived.tool(&["report", &path]);
    (fs::read_to_string(&path).unwrap(), told)
}

#[test]
fn a_browser_shows_every_chart_of_a_report() {
    let lived = Lived::new(9, 150);
    let (text, told) = report(&lived);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    assert!(!text.contains("<script") && !text.contains("src=") && !text.contains("@import"));
    let page = lived.path("report.html");
    let dom = chromium(Path::new(&page), &["--dump-dom"]);
    for (uid, name) in pods(&lived) {
        assert!(dom.contains(&uid.to_string()) && dom.contains(&name), "{name}");
    }
    let charts: Vec<&str> =
        text.split("<svg id=\"").skip(1).map(|part| part.split('"').next().unwrap()).collect();
    assert!(charts.contains(&"pods-chart") && charts.contains(&"gpus-chart"), "{charts:?}");
    assert!(charts.contains(&"slots-chart") && charts.contains(&"pool-0"), "{charts:?}");
    assert!(charts.iter().filter(|chart| chart.starts_with("use-")).count() >= 3, "{charts:?}");
    let seen = |style: &str| {
        let (page, image) = (lived.path("shown.html"), lived.path("shown.png"));
        fs::write(&page, text.replace("</style>", &format!("{style}</style>"))).unwrap();
        chromium(Path::new(&page), &[&format!("--screenshot={image}")]);
        let bytes = fs::read(&image).unwrap();
        assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "no picture");
        bytes
    };
    let whole = seen("");
    assert_eq!(whole, seen("/* as it is */"), "the same page looks the same");
    for chart in charts {
        // Without what is drawn in it, the page must look different.
        let hidden = seen(&format!("#{chart} rect, #{chart} path {{ visibility: hidden }}"));
        assert!(whole != hidden, "chart {chart} shows nothing");
    }
}

#[test]
fn what_others_wrote_is_text_in_a_report() {
    let fixture = Fixture::new();
    let file = fixture.path("report.html");
    let told = fixture.tool(&["report", &file]);
    assert_eq!((told.exit, told.out.as_str()), (Exit::Ok, ""), "{}", told.notes);
    let text = fs::read_to_string(&file).unwrap();
    // That its process failed is in no record of the pod.
    assert!(text.contains("default/web") && !text.contains("exit code 137: Error"));
    assert_eq!(fixture.tool(&["report", &file]).exit, Exit::Io, "nothing is overwritten");
    let dir = crowd(3, "<script>alert(\"it\")</script> & <b>'so'</b>");
    let told = tool(&["report", "-", "--dir", dir.path().join("journal").to_str().unwrap()]);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    let shown = "&lt;script&gt;alert(";
    assert!(told.out.contains(shown) && told.out.contains("&lt;/script&gt; &amp; &lt;b&gt;"), "{}", told.out);
    assert!(!told.out.contains("<script") && !told.out.contains("<b>&#39;so"), "{}", told.out);
}

/// A journal in which so many pods came and went, each with a failure that is told so.
fn crowd(pods: u128, message: &str) -> tempfile::TempDir {
    let origin = Origin { cause: Cause::Node, correlation: NODE, principal: Principal::node() };
    let mut steps = Vec::new();
    let mut push = |stream, event| {
        let time = START + i64::try_from(steps.len()).unwrap() * 1_000_000;
        steps.push(Step { stream, event, origin: origin.clone(), time });
    };
    push(NodeUid(NODE).stream(), event("node.started", &started()));
    for number in 0..pods {
        let uid = PodUid(Uuid::from_u128(POD.as_u128() + (number << 32)));
        let at = "2026-03-01T12:00:05.500000Z";
        let spec = spec("default", &format!("pod-{number}"));
        let failed = json!({ "attempt": 1, "class": "ImagePull", "message": message, "retryAt": at });
        for (name, payload) in [
            ("pod.admitted", json!({ "uid": uid, "spec": spec, "supersedes": null })),
            ("pod.provisioning-started", json!({ "run": 1 })),
            ("pod.setup-requested", json!({ "attempt": 1 })),
            ("pod.setup-failed", failed),
            ("pod.termination-requested", json!({ "graceS": 1 })),
            ("pod.cleanup-requested", json!({})),
            ("pod.terminated", json!({ "at": at })),
        ] {
            push(uid.stream(), event(name, &payload));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    life::write(&steps, &dir.path().join("journal"));
    dir
}

#[test]
fn a_report_is_bounded_whatever_the_journal() {
    let len = |pods: u128| {
        let dir = crowd(pods, "no route");
        let told = tool(&["report", "-", "--dir", dir.path().join("journal").to_str().unwrap()]);
        assert_eq!((told.exit, told.notes.as_str()), (Exit::Ok, ""));
        assert!(
            told.out.contains(&format!("default/pod-{}", pods - 1))
                && told.out.contains("setup: ErrImagePull")
        );
        told.out.len()
    };
    let (short, long) = (len(250), len(1_000));
    assert!(long < short + short / 50, "{short} bytes of 250 pods, {long} of 1000");
}
