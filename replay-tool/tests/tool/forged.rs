//! Journals that are whole, record by record and hash by hash, and of which nobody ever decided what they say: every verb
//! ends with a code, and none panics.
//!
//! `PURSER_FORGED=SEED:COUNT` says with what the forgeries begin and how many there are.

use std::panic::{AssertUnwindSafe, catch_unwind};

use purser_events::{Event, StreamKind};
use purser_replay::Exit;
use serde_json::{Value, json};

use crate::answers::Lived;
use crate::life::{self, Step};
use crate::support::{Json, POD, event, history, spec};
use crate::watched;

/// Journals that are forged if nothing else is said.
const FORGERIES: u64 = 24;

/// Longest payload of a record, as JSON: it must go into a frame.
const PAYLOAD_LEN_MAX: usize = 40_000;

struct Random(u64);

impl Random {
    fn of(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit.max(1)
    }

    /// Changes one thing in a value.
    fn forge(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                let at = self.below(fields.len());
                self.forge(fields.values_mut().nth(at).unwrap());
            }
            Value::Array(items) if !items.is_empty() => {
                let at = self.below(items.len());
                match self.below(5) {
                    0 => items.push(items[at].clone()),
                    1 => drop(items.remove(at)),
                    2 => *items = vec![items[at].clone(); 50],
                    _ => self.forge(&mut items[at]),
                }
            }
            Value::Number(_) => {
                let numbers =
                    [0, 1, 2, 99, 32_768, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX - 1, u64::MAX];
                *value = json!(numbers[self.below(numbers.len())]);
            }
            Value::Bool(is) => *is = !*is,
            Value::String(text) if text.parse::<purser_events::Timestamp>().is_ok() => {
                let moments = ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-03-01T12:00:00Z"];
                *value = json!(moments[self.below(moments.len())]);
            }
            Value::String(_) => *value = json!(["", "main", "red", "GPU-0"][self.below(4)]),
            Value::Null | Value::Object(_) | Value::Array(_) => *value = json!(1),
        }
    }
}

/// What a record says after a change, if its type can say that.
fn forged(step: &Step, random: &mut Random) -> Option<Event> {
    let mut payload = step.event.payload_json();
    random.forge(&mut payload);
    let layout = step.event.layout();
    if payload.to_string().len() > PAYLOAD_LEN_MAX {
        return None;
    }
    Event::decode(layout.number, layout.version, payload.to_string().as_bytes(), &Json).ok()
}

/// A life with something else said in a few of its records, some of them twice, and some left out.
fn forgery(seed: u64) -> Vec<Step> {
    let mut random = Random::of(seed);
    let mut steps = if seed.is_multiple_of(4) { watched::steps() } else { life::life(seed, 60) };
    // With fewer changes more of what follows is looked at, with more of them more happens at once.
    for _ in 0..=random.below(6) {
        let at = random.below(steps.len());
        let step = &steps[at];
        let (stream, origin, time) = (step.stream, step.origin.clone(), step.time);
        match random.below(20) {
            0 => drop(steps.remove(at)),
            1 => {
                let event = step.event.clone();
                steps.insert(at, Step { stream, event, origin, time });
            }
            _ => {
                // Most changes no type can say.
                if let Some(event) = (0..40).find_map(|_| forged(&steps[at], &mut random)) {
                    steps[at] = Step { stream, event, origin, time };
                }
            }
        }
    }
    steps
}

/// Every verb that looks into what records say.
fn verbs(lived: &Lived, seed: u64) -> Vec<Vec<String>> {
    let path = |name: &str| lived.path(&format!("{name}-{seed}"));
    let (prices, policy) = (path("prices.toml"), path("policy.toml"));
    std::fs::write(
        &prices,
        "currency = \"EUR\"\ndecimals = 2\n[allocated]\ncpu = \"0.031\"\nmemory = \"2\"\n",
    )
    .unwrap();
    std::fs::write(&policy, "[policy.limits.memory]\nhard = 16\n").unwrap();
    let pod = lived.pods().iter().next().map_or_else(|| POD.to_string(), ToString::to_string);
    let pool = lived.steps.iter().find(|step| step.stream.kind == StreamKind::Pool).map(|step| step.stream);
    let pool = pool.map_or_else(|| format!("pod/{pod}"), |pool| pool.to_string());
    let (page, traced) = (path("page.html"), path("trace"));
    let (parquet, boxed, to) = (path("parquet"), path("box"), path("salvaged"));
    let last = lived.steps.len().to_string();
    let request = lived.steps[lived.steps.len() / 2].origin.correlation.to_string();
    let all: [&[&str]; 30] = [
        &["verify"],
        &["info"],
        &["streams"],
        &["log", "--graph"],
        &["log", "--where", "attempt = 1"],
        &["log", "--pod", &pod],
        &["log", "--gpu", "GPU-0"],
        &["log", "--tenant", "red"],
        &["show", "3"],
        &["state"],
        &["state", "-o", "json"],
        &["state", "--view", "tasks"],
        &["diff", "3"],
        &["timeline", &pod],
        &["blame", &pod],
        &["blame", &pool],
        &["bisect", "--where", "workersRegistered > 2"],
        &["bisect", "--monotone", "--where", "workersRegistered > 2"],
        &["why", &last, "--down"],
        &["trace", &request],
        &["intents", "--all"],
        &["stats"],
        &["replay-check"],
        &["whatif", "--policy", &policy],
        &["whatif", "--preset", "aggressive"],
        &["bill", "--prices", &prices],
        &["metrics", "--step", "5m", "--since", "2026-03-01", "--until", "2026-03-02"],
        &["report", &page],
        &["blackbox", &pod, &boxed],
        &["salvage", "--to", &to],
    ];
    let formats = ["jsonl", "csv", "perfetto", "otlp", "parquet"];
    let exports = formats.map(|format| {
        let to = if format == "parquet" { parquet.clone() } else { format!("{traced}.{format}") };
        ["export", &to, "-f", format, "--redact"].map(str::to_owned).to_vec()
    });
    let all = all.iter().map(|verb| verb.iter().map(|word| (*word).to_owned()).collect());
    all.chain(exports).collect()
}

/// Runs every verb; gives those that panicked, and how each other ended.
fn run_all(steps: Vec<Step>, seed: u64) -> (Vec<String>, Vec<(String, Exit)>) {
    let lived = Lived::of(steps);
    let (mut panicked, mut ended) = (Vec::new(), Vec::new());
    for verb in verbs(&lived, seed) {
        let args: Vec<&str> = verb.iter().map(String::as_str).collect();
        match catch_unwind(AssertUnwindSafe(|| lived.tool(&args))) {
            Ok(told) => ended.push((verb[0].clone(), told.exit)),
            Err(_) => panicked.push(format!("PURSER_FORGED={seed}:1 {}", verb.join(" "))),
        }
    }
    (panicked, ended)
}

#[test]
fn no_verb_panics_on_what_nobody_decided() {
    let asked = std::env::var("PURSER_FORGED").unwrap_or_default();
    let (seed, count) = asked.split_once(':').unwrap_or((&asked, ""));
    let (seed, count) = (seed.parse().unwrap_or(1_u64), count.parse().unwrap_or(FORGERIES));
    let (mut panicked, mut differ, mut illegal) = (Vec::new(), 0, 0);
    for seed in seed..seed + count {
        let (panics, ended) = run_all(forgery(seed), seed);
        panicked.extend(panics);
        let ends = |verb: &str| ended.iter().find(|(name, _)| name == verb).map(|(_, exit)| *exit);
        differ += u32::from(ends("replay-check") == Some(Exit::Determinism));
        illegal += u32::from(ends("state") == Some(Exit::Integrity));
    }
    assert!(panicked.is_empty(), "{panicked:#?}");
    // They are told from what was decided, and some cannot even have happened.
    if count >= FORGERIES {
        assert!(differ > 2 && illegal > 2, "{differ} differ, {illegal} are impossible");
    }
}

/// What a manifest would never pass, as `pod.admitted`.
fn admitted_with(containers: &[String]) -> Vec<Step> {
    let of = |name: &String| {
        let mut container = spec("default", "web")["containers"][0].clone();
        container["name"] = json!(name);
        // So many must go into one record.
        (container["env"], container["command"]) = (json!([]), json!([]));
        container
    };
    let mut manifest = spec("default", "web");
    manifest["containers"] = containers.iter().map(of).collect();
    let admitted = event("pod.admitted", &json!({ "uid": POD, "spec": manifest, "supersedes": null }));
    let step = |(number, (stream, known)): (usize, _)| {
        let event: Event = if number == 1 { admitted.clone() } else { known };
        let origin = watched::steps()[0].origin.clone();
        Step { stream, event, origin, time: crate::support::START + i64::try_from(number).unwrap() * 1_000 }
    };
    history().into_iter().take(5).enumerate().map(step).collect()
}

#[test]
fn containers_of_one_name_and_more_than_any_manifest_has_are_no_reason_to_panic() {
    let twice = admitted_with(&["main".to_owned(), "main".to_owned()]);
    let (panicked, ended) = run_all(twice, 0);
    assert!(panicked.is_empty(), "{panicked:#?}");
    assert!(ended.contains(&("state".to_owned(), Exit::Integrity)), "{ended:?}");
    // As many as a payload may decode to.
    let many: Vec<String> = (0..90).map(|number| format!("c{number}")).collect();
    let (panicked, ended) = run_all(admitted_with(&many), 0);
    assert!(panicked.is_empty(), "{panicked:#?}");
    assert!(ended.contains(&("state".to_owned(), Exit::Ok)), "{ended:?}");
}

/// Each record is whole, and yet they are no history: whatever is told of it is told of something that was not.
#[test]
fn what_cannot_have_happened_is_not_passed_off_as_history() {
    let mut steps = life::life(3, 60);
    let at = steps.iter().position(|step| step.event.layout().name == "ledger.allocated").unwrap();
    let Step { stream, event, origin, time } = &steps[at];
    let twice = Step { stream: *stream, event: event.clone(), origin: origin.clone(), time: *time };
    steps.insert(at + 1, twice);
    let started = steps.iter().position(|step| step.event.layout().name == "pod.container-started").unwrap();
    let Step { stream, event, origin, time } = &steps[started];
    let again = Step { stream: *stream, event: event.clone(), origin: origin.clone(), time: *time };
    let pod = stream.id.to_string();
    steps.insert(started + 1, again);
    let lived = Lived::of(steps);
    let (prices, page) = (lived.path("prices.toml"), lived.path("page.html"));
    std::fs::write(&prices, "currency = \"EUR\"\ndecimals = 2\n[allocated]\nmemory = \"2\"\n").unwrap();
    for verb in [
        &["state"][..],
        &["state", "--pod", &pod],
        &["diff", "3"],
        &["bisect", "--where", "workersRegistered >= 2", "--good", "3"],
        &["bisect", "--where", "workersRegistered >= 99"],
        &["metrics", "--step", "1m"],
        &["report", &page],
        &["timeline", &pod],
        &["blame", &pod],
        &["bill", "--prices", &prices],
    ] {
        let told = lived.tool(verb);
        // What was asked for may be settled before it.
        let wanted =
            if verb.contains(&"--good") { [Exit::Ok, Exit::Integrity] } else { [Exit::Integrity; 2] };
        assert!(wanted.contains(&told.exit), "{verb:?}: {:?} {}", told.exit, told.notes);
        let quiet = lived.tool(&[&["-q"], verb].concat());
        let is_made = verb[0] == "report";
        assert!(is_made || quiet.exit == told.exit, "{verb:?} with -q: {:?}", quiet.exit);
    }
    let bill = lived.tool(&["bill", "--prices", &prices]);
    assert_eq!(bill.out, "");
    assert!(bill.notes.contains("does not follow from what is before it"), "{}", bill.notes);
}
