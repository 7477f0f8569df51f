//! Decisions that are made again: all of a life are as recorded, what was changed is found, and other rules lead to what a
//! simple queue would have done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use purser_events::event::LAYOUTS;
use purser_events::{Event, PodUid};
use purser_replay::Exit;
use serde_json::{Value, json};

use crate::answers::Lived;
use crate::life::{self, Step};
use crate::support::{event, golden, tool};

#[test]
fn every_decision_of_a_life_is_reproduced() {
    for seed in 0..8 {
        let lived = Lived::new(seed, 150);
        let told = lived.tool(&["replay-check", "-o", "json"]);
        assert_eq!(told.exit, Exit::Ok, "seed {seed}: {}{}", told.out, told.notes);
        let told: Value = serde_json::from_str(&told.out).unwrap();
        let sum = |name: &str| -> u64 {
            told["kinds"].as_object().unwrap().values().map(|kind| kind[name].as_u64().unwrap()).sum()
        };
        assert_eq!(sum("records"), lived.steps.len() as u64, "seed {seed}: {told}");
        assert_eq!([sum("other"), sum("older"), sum("untold"), sum("seen")], [0; 4], "seed {seed}");
    }
    let lived = Lived::new(3, 60);
    golden("replay-check.txt", &lived.tool(&["replay-check"]));
}

/// A journal of steps of which one payload says something else.
fn changed(steps: &[Step], at: usize, change: impl Fn(&mut Value)) -> (tempfile::TempDir, String) {
    let steps: Vec<Step> = steps
        .iter()
        .enumerate()
        .map(|(number, step)| {
            let mut payload = step.event.payload_json();
            if number == at {
                change(&mut payload);
            }
            let event = event(step.event.layout().name, &payload);
            Step { stream: step.stream, event, origin: step.origin.clone(), time: step.time }
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    life::write(&steps, &path);
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn a_record_that_no_decision_leads_to_is_found() {
    let hour_later = |value: &mut Value| {
        let at: purser_events::Timestamp = value.as_str().unwrap().parse().unwrap();
        *value = json!(purser_events::Timestamp(at.0 + 3_600_000_000));
    };
    let one_more = |value: &mut Value| *value = json!(value.as_u64().unwrap() + 1);
    type Change<'a> = &'a dyn Fn(&mut Value);
    let decided: [(&str, &str, Change<'_>); 8] = [
        ("pod.restart-scheduled", "/until", &hour_later),
        ("pod.restart-scheduled", "/step", &one_more),
        ("pod.setup-failed", "/retryAt", &hour_later),
        ("pod.container-stop-requested", "/deadline", &hour_later),
        ("ledger.allocated", "/grant/memory", &one_more),
        ("pool.task-assigned", "/slot/slot", &one_more),
        ("pool.scaled", "/verdict/wanted", &one_more),
        ("pool.task-planned", "/expiresAt", &hour_later),
    ];
    let mut found = BTreeSet::new();
    for seed in 0..6 {
        let lived = Lived::new(seed, 120);
        for (name, field, change) in decided {
            let Some(at) = lived.steps.iter().position(|step| step.event.layout().name == name) else {
                continue;
            };
            let (_dir, journal) =
                changed(&lived.steps, at, |payload| change(payload.pointer_mut(field).unwrap()));
            let told = tool(&["replay-check", "--first", "-o", "json", "--dir", &journal]);
            assert_eq!(
                told.exit,
                Exit::Determinism,
                "seed {seed}: {name}{field}: {}{}",
                told.out,
                told.notes
            );
            let told: Value = serde_json::from_str(&told.out).unwrap();
            let first = usize::try_from(told["differences"][0]["seq"].as_u64().unwrap()).unwrap();
            // The decision began with this record, or with one before it of the same stream.
            assert!(first <= at + 1, "seed {seed}: {name}{field}: {first} for {}", at + 1);
            assert!(lived.steps[first - 1..=at].iter().all(|step| step.stream == lived.steps[at].stream));
            found.insert((name, field));
        }
    }
    assert_eq!(found.len(), decided.len(), "{found:?}");
    let known = |name: &str| LAYOUTS.iter().any(|layout| layout.name == name);
    assert!(decided.iter().all(|(name, ..)| known(name)));
}

#[test]
fn the_same_rules_lead_to_the_same() {
    for seed in 0..4 {
        let lived = Lived::new(seed, 120);
        let policy = lived.path("none.toml");
        fs::write(&policy, "").unwrap();
        let told = lived.tool(&["whatif", "--policy", &policy]);
        assert_eq!(told.exit, Exit::NothingMatched, "seed {seed}: {}{}", told.out, told.notes);
        assert!(told.out.contains("0 added, 0 removed, 0 changed"), "seed {seed}: {}", told.out);
    }
}

/// What a queue leads to in which pods of 8 bytes wait for one of two places, in their order.
fn two_places(steps: &[Step]) -> BTreeMap<&'static str, BTreeSet<(String, usize)>> {
    let (mut held, mut queue): (BTreeSet<PodUid>, VecDeque<PodUid>) = <_>::default();
    let mut led: BTreeMap<&str, BTreeSet<(String, usize)>> = BTreeMap::new();
    for (step, seq) in steps.iter().zip(1..) {
        let mut put =
            |name: &'static str, pod: PodUid| led.entry(name).or_default().insert((pod.to_string(), seq));
        let Event::Ledger(event) = &step.event else { continue };
        let pods = event.pods();
        let Some(pod) = pods.first().copied() else { continue };
        match step.event.layout().name {
            "ledger.allocated" if queue.is_empty() && held.len() < 2 => {
                held.insert(pod);
                put("ledger.allocated", pod);
            }
            "ledger.allocated" => {
                queue.push_back(pod);
                put("ledger.queued", pod);
            }
            "ledger.released" if held.remove(&pod) => {
                put("ledger.released", pod);
                if let Some(next) = queue.pop_front() {
                    held.insert(next);
                    put("ledger.allocated", next);
                }
            }
            "ledger.released" => {
                queue.retain(|other| *other != pod);
                put("ledger.withdrawn", pod);
            }
            name => panic!("a life has no {name}"),
        }
    }
    led
}

#[test]
fn other_rules_lead_to_what_a_simple_queue_does() {
    let mut changed = 0;
    for seed in 0..6 {
        let lived = Lived::new(seed, 200);
        let policy = lived.path("tight.toml");
        fs::write(&policy, "[policy.limits.memory]\nhard = 16\n").unwrap();
        let told = lived.json(&["whatif", "--policy", &policy]);
        // The other row of decisions: the recorded one, with the differences applied.
        let mut led: BTreeMap<String, BTreeSet<(String, usize)>> = BTreeMap::new();
        for (step, seq) in lived.steps.iter().zip(1..) {
            if let Event::Ledger(event) = &step.event
                && let Some(pod) = event.pods().first()
            {
                led.entry(step.event.layout().name.to_owned()).or_default().insert((pod.to_string(), seq));
            }
        }
        for row in told["differences"].as_array().unwrap() {
            let (name, of) =
                (row["type"].as_str().unwrap().to_owned(), row["of"].as_str().unwrap().to_owned());
            let seq = |side: &str| row[side]["seq"].as_u64().map(|seq| usize::try_from(seq).unwrap());
            let rows = led.entry(name).or_default();
            if let Some(seq) = seq("recorded") {
                assert!(rows.remove(&(of.clone(), seq)), "seed {seed}: {row}");
            }
            if let Some(seq) = seq("other") {
                rows.insert((of, seq));
            }
            changed += 1;
        }
        led.retain(|_, rows| !rows.is_empty());
        let led: BTreeMap<&str, _> = led.iter().map(|(name, rows)| (name.as_str(), rows.clone())).collect();
        assert_eq!(led, two_places(&lived.steps), "seed {seed}");
    }
    assert!(changed > 10, "{changed}");
    let lived = Lived::new(3, 120);
    let policy = lived.path("tight.toml");
    fs::write(&policy, "[policy.limits.memory]\nhard = 16\n").unwrap();
    golden("whatif.txt", &lived.tool(&["whatif", "--policy", &policy]));
}

#[test]
fn a_preset_and_yaml_are_other_rules_too() {
    let lived = Lived::new(3, 120);
    let (toml, yaml) = (lived.path("tight.toml"), lived.path("tight.yaml"));
    fs::write(&toml, "[policy.limits.memory]\nhard = 16\n").unwrap();
    fs::write(&yaml, "policy:\n  limits:\n    memory:\n      hard: 16\n").unwrap();
    let whatif = |args: &[&str]| lived.tool(&[&["whatif"], args].concat());
    let tight = whatif(&["--policy", &yaml]);
    assert_eq!((tight.exit, &tight.out), (Exit::Ok, &whatif(&["--policy", &toml]).out), "{}", tight.notes);
    // Of 64 bytes 10 % are kept, and never more than 4 pods of 8 are there.
    assert_eq!(whatif(&["--preset", "conservative"]).exit, Exit::NothingMatched);
    // What the file says stands above what the preset says, and 10 % of that are kept: one pod fits.
    let both = whatif(&["--preset", "conservative", "--policy", &yaml]);
    assert!(both.exit == Exit::Ok && both.out != tight.out, "{}", both.out);
    assert_eq!(whatif(&[]).exit, Exit::Usage);
    assert_eq!(whatif(&["--preset", "generous"]).exit, Exit::Usage);
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let lived = Lived::new(3, 20);
    let policy = lived.path("policy.toml");
    for (text, wanted) in [
        ("[policy]\nrefuse = true", "there is no field `policy.refuse`"),
        ("[policy.limits.memory]\nhard = 65", "the node would have refused it"),
        ("[policy", "TOML parse error"),
    ] {
        fs::write(&policy, text).unwrap();
        let told = lived.tool(&["whatif", "--policy", &policy]);
        assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{text}: {}", told.notes);
        assert!(told.notes.contains(wanted), "{text}: {}", told.notes);
    }
    assert_eq!(lived.tool(&["whatif", "--policy", "/nonexistent"]).exit, Exit::Io);
}
