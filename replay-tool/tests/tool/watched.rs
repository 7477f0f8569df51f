//! A short life on a machine whose GPU is watched: what it violates, how its health changes, and a pod that fails.

use purser_events::gpu::event::{FaultNoted, Found, HealthChanged};
use purser_events::gpu::{Evidence, GpuEvent, GpuFacts, Health};
use purser_events::ledger::GpuUuid;
use purser_events::pod::PodEvent;
use purser_events::violation::event::{
    Detected, EnforcementEnded, EnforcementRequested, Escalated, Outcome, Resolved,
};
use purser_events::violation::{Level, ViolationEvent, ViolationKind};
use purser_events::{Bytes, Cause, Event, Origin, PodUid, Principal, Seq, StreamId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use purser_replay::Exit;

use crate::answers::Lived;
use crate::exports::checked_trace;
use crate::life::Step;
use crate::pages::chromium;
use crate::several::tool_of;
use crate::support::{COMMAND, POD, START, Told, event, golden, history};

/// The GPU's name.
pub(crate) const GPU: &str = "GPU-7f3a";

/// A second later for each record.
const STEP_US: i64 = 1_000_000;

fn at(number: usize) -> Timestamp {
    Timestamp(START + i64::try_from(number).unwrap() * STEP_US)
}

fn evidence() -> Evidence {
    Evidence { for_ms: 2_000, temperature_c: Some(61), ..Evidence::default() }
}

fn detected(id: u128, kind: ViolationKind, pod: Option<PodUid>, at: Timestamp) -> ViolationEvent {
    let evidence = "92 % of the GPU, 50 % was given".to_owned();
    let id = Uuid::from_u128(id);
    Detected { id, at, kind, pod, level: Level::Record, repeats: None, value: 92, limit: 50, evidence }.into()
}

fn escalated(id: u128, from: Level, to: Level) -> ViolationEvent {
    let reason = "it went on for 10 s".to_owned();
    Escalated { id: Uuid::from_u128(id), from, to, reason, peak: 97 }.into()
}

/// What happens to the GPU between the start of the pod and its end.
fn of_gpu(first: usize) -> Vec<Event> {
    let facts = GpuFacts {
        uuid: GpuUuid::new(GPU).unwrap(),
        model: Some("T1000".to_owned()),
        memory: Some(Bytes(4 << 30)),
        tflops: None,
        driver: Some("570.1".to_owned()),
        parent: None,
        is_divided: None,
        ecc_uncorrected: Some(0),
    };
    let (pod, id) = (Some(PodUid(POD)), Uuid::from_u128(11));
    let requested = EnforcementRequested { id, at: at(first + 4), level: Level::Throttle, grace_s: 0 };
    let reason = "the limiter holds it".to_owned();
    let ended = EnforcementEnded { id, level: Level::Throttle, outcome: Outcome::Completed, reason };
    let reason = "it kept to its share for 30 s".to_owned();
    let resolved = Resolved { id, at: at(first + 6), duration_ms: 5_000, peak: 97, area: Some(210), reason };
    let health = |health| HealthChanged { health, evidence: evidence(), at: at(first + 7) };
    let lost = Health::Unresponsive { call: "nvmlDeviceGetUtilizationRates".to_owned() };
    let violations = [
        detected(11, ViolationKind::GpuOverQuota, pod, at(first + 1)),
        escalated(11, Level::Record, Level::Warn),
        escalated(11, Level::Warn, Level::Throttle),
        requested.into(),
        ended.into(),
        resolved.into(),
    ];
    let found = Found { facts, health: Health::Healthy, evidence: evidence(), at: at(first) };
    let fault = FaultNoted { xid: 31, count: 2, last_at: at(first + 8), at: at(first + 8) };
    let after: [GpuEvent; 5] = [
        health(lost).into(),
        fault.into(),
        health(Health::Probation).into(),
        detected(12, ViolationKind::ThermalThrottle, None, at(first + 10)).into(),
        detected(13, ViolationKind::GpuMemoryOverQuota, pod, at(first + 11)).into(),
    ];
    let events = [GpuEvent::from(found)].into_iter().chain(violations.map(GpuEvent::from)).chain(after);
    events.map(Event::from).collect()
}

/// That life, as steps.
pub(crate) fn steps() -> Vec<Step> {
    let (mut steps, gpu) = (Vec::new(), GpuUuid::new(GPU).unwrap().stream());
    let (pod, short) = (PodUid(POD), history());
    let mut push = |stream: StreamId, event: Event| {
        let number = steps.len();
        let cause = if number == 0 { Cause::Node } else { Cause::Record(Seq(number as u64)) };
        let origin = Origin { cause, correlation: COMMAND, principal: Principal::new("uid:1000") };
        steps.push(Step { stream, event, origin, time: at(number).0 });
    };
    let (first, last) = short.split_at(9);
    first.iter().cloned().for_each(|(stream, event)| push(stream, event));
    of_gpu(first.len()).into_iter().for_each(|event| push(gpu, event));
    let memory = detected(14, ViolationKind::MemoryUsage, Some(pod), at(21));
    push(pod.stream(), Event::Pod(PodEvent::from(memory)));
    let killed = json!({ "container": "main", "attempt": 1 });
    push(pod.stream(), event("pod.out-of-memory", &killed));
    last.iter().cloned().for_each(|(stream, event)| push(stream, event));
    steps
}

/// That life, as a journal.
pub(crate) fn lived() -> Lived {
    Lived::of(steps())
}

#[test]
fn violations_are_counted_by_pod() {
    let lived = lived();
    golden("stats-violations.txt", &lived.tool(&["stats", "-t", "gpu.", "-t", "pod.violation-detected"]));
    let stats = lived.json(&["stats"]);
    let rows = stats["violations"].as_array().unwrap();
    let of =
        |kind: &str| rows.iter().find(|row| row["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {stats}"));
    let share = of("gpu_over_quota");
    assert_eq!((&share["pod"], &share["gpu"]), (&json!("default/web"), &json!(GPU)));
    assert_eq!((&share["count"], &share["escalations"]), (&json!(1), &json!(2)));
    assert_eq!((&share["highest"], &share["durationMs"]), (&json!("throttle"), &json!(5_000)));
    assert_eq!((&share["open"], &of("memory_usage")["open"]), (&json!(0), &json!(1)));
    assert_eq!(of("thermal_throttle")["pod"], json!(null), "nobody does it");
    assert_eq!(of("memory_usage")["gpu"], json!(null), "no GPU has to do with it");
    // What is filtered out is not counted, but what it says is known.
    let few = lived.json(&["stats", "--seq", "21.."]);
    let kinds: Vec<&str> =
        few["violations"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["memory_usage", "gpu_memory_over_quota"]);
    assert_eq!(few["violations"][0]["pod"], json!("default/web"));
}

#[test]
fn a_trace_has_violations_and_how_gpus_were() {
    let lived = lived();
    let events = checked_trace(&lived.tool(&["export", "-", "-f", "perfetto"]).out);
    let of = |category: &str, phase: &str| -> Vec<(&str, i64)> {
        let is = |event: &&Value| event["cat"] == category && event["ph"] == phase;
        let second = |event: &Value| (event["ts"].as_i64().unwrap() - START) / STEP_US;
        events.iter().filter(is).map(|event| (event["name"].as_str().unwrap(), second(event))).collect()
    };
    let share = "gpu_over_quota by default/web on GPU-7f3a";
    let begun = [
        (share, 10),
        ("thermal_throttle on GPU-7f3a", 19),
        ("gpu_memory_over_quota by default/web on GPU-7f3a", 20),
        ("memory_usage by default/web", 21),
    ];
    assert_eq!(of("violation", "b"), begun);
    assert_eq!(of("violation", "n"), [("to warn", 11), ("to throttle", 12)]);
    assert_eq!(of("violation", "e")[0], (share, 15));
    assert_eq!(of("gpu", "B"), [("Healthy", 9), ("Unresponsive", 16), ("Probation", 18)]);
    let redacted = lived.tool(&["export", "-", "-f", "perfetto", "--redact"]).out;
    assert!(!redacted.contains(GPU) && !redacted.contains("default/web"));
    checked_trace(&redacted);
}

#[test]
fn a_report_shows_violations_and_how_gpus_were() {
    let lived = lived();
    let page = lived.path("report.html");
    let told = lived.tool(&["report", &page]);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    let text = std::fs::read_to_string(&page).unwrap();
    let out = text.replace(&lived.path("journal"), "FOLDER");
    golden("report.html", &Told { exit: told.exit, out, notes: told.notes });
    let seen = |name: &str, style: &str| {
        let (page, image) = (lived.path(&format!("{name}.html")), lived.path(&format!("{name}.png")));
        std::fs::write(&page, text.replace("</style>", &format!("{style}</style>"))).unwrap();
        chromium(std::path::Path::new(&page), &[&format!("--screenshot={image}")]);
        std::fs::read(&image).unwrap()
    };
    let whole = seen("whole", "");
    for chart in ["violations-chart", "health-chart"] {
        let hidden = seen(chart, &format!("#{chart} rect {{ visibility: hidden }}"));
        assert!(whole != hidden, "{chart} shows nothing");
    }
}

#[test]
fn several_journals_are_as_on_file() {
    let (east, west) = (lived(), Lived::new(3, 12));
    let lives = [("east", &east), ("west", &west)];
    golden("several-log.txt", &tool_of(&lives, &["log", "-o", "oneline", "--until", "2026-03-01T12:00:12Z"]));
    golden("several-stats.txt", &tool_of(&lives, &["stats"]));
    golden("several-timeline.txt", &tool_of(&lives, &["timeline", "web"]));
}

#[test]
fn violations_are_judged_by_another_policy_as_far_as_they_are_on_record() {
    let lived = lived();
    let policy = lived.path("other.toml");
    let judged = |text: &str| -> (Exit, Value) {
        std::fs::write(&policy, text).unwrap();
        let told = lived.tool(&["whatif", "-o", "json", "--policy", &policy]);
        let value: Value = serde_json::from_str(&told.out).unwrap();
        (told.exit, value["violations"].clone())
    };
    let fates = |text: &str| -> Vec<(String, String)> {
        let (exit, told) = judged(text);
        let rows = told["differences"].as_array().unwrap();
        assert_eq!(exit == Exit::Ok, !rows.is_empty(), "{told}");
        assert_eq!((told["judged"].as_u64(), told["same"].as_u64()), (Some(4), Some(4 - rows.len() as u64)));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(&row["kind"]), text(&row["fate"]))).collect()
    };
    let of = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        rows.iter().map(|(kind, fate)| ((*kind).to_owned(), (*fate).to_owned())).collect()
    };
    // What was in force by default, once more.
    assert_eq!(fates("[monitor]\nmemory-percent = 85"), []);
    // At most 92 thousandths were seen.
    assert_eq!(fates("[monitor]\nmemory-percent = 95"), of(&[("memory_usage", "below")]));
    assert_eq!(fates("[monitor]\nmemory-percent = 9\nraise-ms = 5000"), []);
    // It lasted 5 s, and what ended it had to last as long as what began it.
    assert_eq!(
        fates("[monitor]\nraise-ms = 60000"),
        of(&[("gpu_over_quota", "short"), ("memory_usage", "short")])
    );
    let lower = "[monitor.max-actions]\ngpu_over_quota = 'warn'";
    assert_eq!(fates(lower), of(&[("gpu_over_quota", "lower")]));
    assert_eq!(fates("[monitor]\nstrict = true"), of(&[("gpu_over_quota", "higher")]));
    std::fs::write(&policy, "[monitor]\nmemory-percent = 95").unwrap();
    let told = lived.tool(&["whatif", "--policy", &policy]);
    assert!(told.out.contains("would not have begun: at most 92 was seen, of 950"), "{}", told.out);
    // What needs samples is refused.
    std::fs::write(&policy, "[monitor]\nviolations-max = 9").unwrap();
    let told = lived.tool(&["whatif", "--policy", &policy]);
    assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{}", told.notes);
    assert!(told.notes.contains("cannot be asked about: samples are not on record"), "{}", told.notes);
}
