//! The verbs that answer questions: their texts on one life, and what they find on many against brute force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use purser_events::{
    Header, PodUid, Record, Seq, StreamId, StreamKind, StreamVersion, Timestamp, WorkerUid, World,
};
use purser_replay::Exit;
use serde_json::{Value, json};

use crate::life::{self, Step};
use crate::support::{NODE, Told, golden, tool};

/// A life, and a folder with its journal.
pub(crate) struct Lived {
    pub(crate) steps: Vec<Step>,
    dir: tempfile::TempDir,
}

impl Lived {
    pub(crate) fn new(seed: u64, turns: usize) -> Lived {
        Lived::of(life::life(seed, turns))
    }

    /// A life that was lived like this.
    pub(crate) fn of(steps: Vec<Step>) -> Lived {
        let dir = tempfile::tempdir().unwrap();
        life::write(&steps, &dir.path().join("journal"));
        Lived { steps, dir }
    }

    /// The same life, on a node whose clock is ahead.
    pub(crate) fn later(seed: u64, turns: usize, us: i64) -> Lived {
        let mut steps = life::life(seed, turns);
        steps.iter_mut().for_each(|step| step.time += us);
        Lived::of(steps)
    }

    pub(crate) fn tool(&self, args: &[&str]) -> Told {
        let dir = self.dir.path().join("journal");
        // Before the verb: what follows `run` is a command of its own.
        tool(&[&["--dir", dir.to_str().unwrap()], args].concat())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// What a verb says to programs.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let told = self.tool(&[args, &["-o", "json"]].concat());
        assert!(told.exit == Exit::Ok || told.exit == Exit::NothingMatched, "{args:?}: {}", told.notes);
        serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", told.out))
    }

    /// Every record, as it was written.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut versions: BTreeMap<StreamId, u64> = BTreeMap::new();
        let record = |(step, seq): (&Step, u64)| {
            let version = versions.entry(step.stream).or_default();
            *version += 1;
            let (stream, origin, time) = (step.stream, step.origin.clone(), Timestamp(step.time));
            let header =
                Header { seq: Seq(seq), stream, version: StreamVersion(*version), time, epoch: 1, origin };
            Record { header, event: step.event.clone() }
        };
        self.steps.iter().zip(1..).map(record).collect()
    }

    /// The world after every record, the one before the first in front.
    pub(crate) fn worlds(&self) -> Vec<World> {
        let mut worlds = vec![World::default()];
        for record in self.records() {
            let mut world = worlds.last().unwrap().clone();
            world.apply(&record).unwrap();
            worlds.push(world);
        }
        worlds
    }

    pub(crate) fn pods(&self) -> BTreeSet<PodUid> {
        let pods = self.steps.iter().filter(|step| step.stream.kind == StreamKind::Pod);
        pods.map(|step| PodUid(step.stream.id)).collect()
    }
}

#[test]
fn answers_are_as_on_file() {
    let lived = Lived::new(3, 60);
    golden("answers-log.txt", &lived.tool(&["log", "--graph"]));
    golden("timeline.txt", &lived.tool(&["timeline", "red/web-0"]));
    golden("timeline-json.txt", &lived.tool(&["timeline", "red/web-0", "-o", "json"]));
    golden("blame.txt", &lived.tool(&["blame", "red/web-0"]));
    golden("blame-json.txt", &lived.tool(&["blame", "red/web-0", "--field", "phase", "-o", "json"]));
    golden("diff.txt", &lived.tool(&["diff", "10", "20"]));
    golden("diff-json.txt", &lived.tool(&["diff", "26", "28", "--pod", "red/web-0", "-o", "json"]));
}

#[test]
fn who_holds_what_can_be_asked_for() {
    for seed in 0..4 {
        let lived = Lived::new(seed, 120);
        let listed = |args: &[&str]| {
            let told = lived.tool(&[&["log", "-o", "jsonl"], args].concat());
            let seq =
                |line: &str| serde_json::from_str::<Value>(line).unwrap()["header"]["seq"].as_u64().unwrap();
            told.out.lines().map(seq).collect::<Vec<u64>>()
        };
        let mut tenants: BTreeMap<PodUid, String> = BTreeMap::new();
        let mut gpus: BTreeMap<PodUid, BTreeSet<String>> = BTreeMap::new();
        let mut workers: BTreeMap<WorkerUid, PodUid> = BTreeMap::new();
        let (mut red, mut gpu) = (Vec::new(), Vec::new());
        for (step, seq) in lived.steps.iter().zip(1..) {
            let payload = step.event.payload_json();
            let pod = payload["pod"].as_str().map(|pod| PodUid(pod.parse().unwrap()));
            let about = match (step.stream.kind, pod) {
                (StreamKind::Pod, _) => Some(PodUid(step.stream.id)),
                (StreamKind::Worker, Some(pod)) => {
                    workers.insert(WorkerUid(step.stream.id), pod);
                    Some(pod)
                }
                (StreamKind::Worker, None) => workers.get(&WorkerUid(step.stream.id)).copied(),
                (_, pod) => pod,
            };
            let holds = about.is_some_and(|pod| gpus.get(&pod).is_some_and(|held| held.contains("GPU-0")));
            match (step.event.layout().name, pod) {
                ("ledger.allocated", Some(pod)) => {
                    tenants.insert(pod, payload["tenant"].as_str().unwrap().to_owned());
                    let held = payload["grant"]["gpus"].as_array().unwrap().iter();
                    gpus.insert(pod, held.map(|gpu| gpu["uuid"].as_str().unwrap().to_owned()).collect());
                }
                ("ledger.released", Some(pod)) => {
                    gpus.remove(&pod);
                }
                _ => {}
            }
            if about.is_some_and(|pod| tenants.get(&pod).is_some_and(|tenant| tenant == "red")) {
                red.push(seq);
            }
            if holds || payload.to_string().contains("\"GPU-0\"") {
                gpu.push(seq);
            }
        }
        assert_eq!(listed(&["--tenant", "red"]), red, "seed {seed}");
        assert_eq!(listed(&["--gpu", "GPU-0"]), gpu, "seed {seed}");
        assert!(!red.is_empty() && red.len() < lived.steps.len(), "seed {seed}");
    }
}

/// Every value of a state by its place; lists by number.
fn leaves(place: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let empty = value.as_object().is_some_and(serde_json::Map::is_empty) || *value == json!([]);
    if let (Some(fields), false) = (value.as_object(), empty) {
        fields.iter().for_each(|(name, value)| leaves(&format!("{place}.{name}"), value, into));
    } else if let (Some(items), false) = (value.as_array(), empty) {
        items.iter().enumerate().for_each(|(at, value)| leaves(&format!("{place}[{at}]"), value, into));
    } else {
        into.insert(place.to_owned(), value.clone());
    }
}

fn all_leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    leaves("", value, &mut found);
    found
}

#[test]
fn differences_are_those_of_worlds_that_are_compared_whole() {
    for seed in 0..6 {
        let lived = Lived::new(seed, 80);
        let worlds = lived.worlds();
        let last = worlds.len() - 1;
        for (from, to) in [(0, last), (last / 3, last / 2), (last / 2, last / 3), (5, 6), (last, last)] {
            let told = lived.json(&["diff", &from.to_string(), &to.to_string()]);
            let text = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
            let is_of = |change: &Value, part: &str| change["path"].as_str().unwrap().starts_with(part);
            let is_listed = |change: &&Value| !is_of(change, "ledger") && !is_of(change, "pools");
            let changes = told["changes"].as_array().unwrap().iter();
            let mut found: Vec<(String, String)> = changes
                .clone()
                .filter(is_listed)
                .map(|change| (text(change.get("before")), text(change.get("after"))))
                .collect();
            let wanted_of = |world: &World| {
                let mut state = json!(world);
                let fields = state.as_object_mut().unwrap();
                // Of the ledger and of pools, lists are compared by key: only whether anything differs is compared here.
                let keyed = [fields.shift_remove("ledger"), fields.shift_remove("pools")];
                fields.shift_remove("head");
                (all_leaves(&state), keyed)
            };
            let ((before, keyed_before), (after, keyed_after)) =
                (wanted_of(&worlds[from]), wanted_of(&worlds[to]));
            let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let mut wanted: Vec<(String, String)> = places
                .into_iter()
                .filter(|place| before.get(*place) != after.get(*place))
                .map(|place| (text(before.get(place)), text(after.get(place))))
                .collect();
            found.sort();
            wanted.sort();
            assert_eq!(found, wanted, "seed {seed}: {from} to {to}");
            for (number, part) in ["ledger", "pools"].into_iter().enumerate() {
                let differs = changes.clone().any(|change| is_of(change, part));
                let wanted = keyed_before[number] != keyed_after[number];
                assert_eq!(differs, wanted, "seed {seed}: {part} {from} to {to}");
            }
        }
    }
}

/// A path of the tool as a place here: every list with names has one item in these lives.
fn place_of(path: &str) -> String {
    let mut place = format!(".{path}");
    while let Some(start) = place.find("[\"") {
        let end = start + place[start..].find("\"]").unwrap() + 2;
        place.replace_range(start..end, "[0]");
    }
    place
}

#[test]
fn blame_falls_on_the_record_that_made_the_last_difference() {
    for seed in 0..6 {
        let lived = Lived::new(seed, 80);
        let (records, worlds) = (lived.records(), lived.worlds());
        // The ledger is known to nobody but by its node.
        let ledger = lived.json(&["blame", &format!("ledger/{NODE}"), "--field", "capacity.memory"]);
        assert_eq!(ledger["fields"][0]["by"]["type"], "ledger.capacity-set", "seed {seed}");
        for pod in lived.pods() {
            let states: Vec<(u64, Value)> = records
                .iter()
                .filter(|record| record.header.stream == pod.stream())
                .map(|record| record.header.seq.0)
                .filter_map(|seq| Some((seq, json!(worlds[usize::try_from(seq).unwrap()].pods.get(&pod)?))))
                .collect();
            let mut wanted: BTreeMap<String, (Value, u64)> = BTreeMap::new();
            let last = all_leaves(&states.last().unwrap().1);
            for (place, value) in &last {
                let unchanged =
                    states.iter().rev().take_while(|(_, state)| all_leaves(state).get(place) == Some(value));
                wanted.insert(place.clone(), (value.clone(), unchanged.last().unwrap().0));
            }
            let told = lived.json(&["blame", &pod.to_string()]);
            let fields = told["fields"].as_array().unwrap().iter();
            let found: BTreeMap<String, (Value, u64)> = fields
                .map(|field| {
                    let seq = field["by"]["seq"].as_u64().unwrap();
                    (place_of(field["path"].as_str().unwrap()), (field["value"].clone(), seq))
                })
                .collect();
            assert_eq!(found, wanted, "seed {seed}: {pod}");
            let is_gone = !worlds.last().unwrap().pods.contains_key(&pod);
            assert_eq!(told["gone"].is_object(), is_gone, "seed {seed}: {pod}");
        }
    }
}

/// What is before the damage is shown, and that it is not all is told.
#[test]
fn answers_from_a_damaged_journal_say_so() {
    let lived = Lived::new(3, 60);
    let export = lived.path("export");
    assert_eq!(lived.tool(&["export", &export]).exit, Exit::Ok);
    let mut bytes = std::fs::read(&export).unwrap();
    let late = bytes.len() * 9 / 10;
    bytes[late] ^= 1;
    std::fs::write(&export, bytes).unwrap();
    for (verb, shown) in [
        (&["info"][..], "records   1 to "),
        (&["streams"], "pod/"),
        (&["stats"], "type pod.admitted"),
        (&["timeline", "red/web-0"], "pod.admitted"),
        (&["blame", "red/web-0"], "phase"),
        (&["why", "red/web-0"], "by uid:1000"),
        (&["why", "11", "--down"], "pod.container-create-requested"),
        (&["intents"], "-requested"),
        (&["log", "--where", "attempt = 1"], "attempt: 1"),
    ] {
        let told = tool(&[verb, &["--export", &export]].concat());
        assert_eq!(told.exit, Exit::Integrity, "{verb:?}: {}", told.notes);
        assert!(told.out.contains(shown), "{verb:?}: {}", told.out);
        assert!(told.notes.contains("is damaged"), "{verb:?}: {}", told.notes);
    }
    for verb in [
        &["log", "-b", "0"],
        &["diff", "10"][..],
        &["bisect", "--monotone", "--where", "workersRegistered > 9"],
    ] {
        let told = tool(&[verb, &["--export", &export]].concat());
        assert_eq!(
            (told.exit, told.out.as_str()),
            (Exit::Integrity, ""),
            "what the end is, nobody knows: {verb:?}"
        );
    }
    // What is before the damage is sound.
    let sound = tool(&["diff", "10", "20", "--export", &export]);
    assert_eq!((sound.exit, sound.out), (Exit::Ok, lived.tool(&["diff", "10", "20"]).out));
    assert_eq!(tool(&["why", "11", "--export", &export]).exit, Exit::Ok);
}

#[test]
fn what_is_not_there_and_what_makes_no_sense_have_codes_of_their_own() {
    let lived = Lived::new(3, 20);
    for args in [
        &["timeline", "red/absent"][..],
        &["blame", "red/absent"],
        &["blame", "worker/00000000-0000-0000-0000-000000000001"],
        &["why", "red/absent"],
        &["why", "99999"],
        &["why", "99999", "--down"],
        &["trace", "00000000-0000-0000-0000-000000000001"],
        &["diff", "5", "5"],
        &["stats", "-t", "pod.failed"],
        &["intents", "--at", "1"],
        &["bisect", "--where", "workersRegistered > 1000"],
    ] {
        let told = lived.tool(args);
        assert_eq!(told.exit, Exit::NothingMatched, "{args:?}: {}{}", told.out, told.notes);
    }
    for args in [
        &["timeline"][..],
        &["why", "0"],
        &["why", "-1"],
        &["trace", "web"],
        &["diff"],
        &["diff", "noon"],
        &["streams", "--kind", "cloud"],
        &["schema", "-t", "pod.exploded"],
        &["intents", "--older-than", "long"],
        &["bisect", "--where", "pods ="],
        &["bisect", "run"],
        &["bisect", "--where", "pods", "run", "true"],
        &["why", "1", "--dot", "-o", "json"],
    ] {
        let told = lived.tool(args);
        assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{args:?}: {}", told.notes);
        assert!(!told.notes.is_empty());
    }
    // What reads a journal more than once keeps standard input, which is no whole export here.
    for args in [
        &["why", "3"][..],
        &["log", "--graph"],
        &["log", "-b", "0"],
        &["timeline", "web"],
        &["bisect", "--monotone", "--where", "pods"],
    ] {
        let told = tool(&[args, &["--export", "-"]].concat());
        assert_eq!(told.exit, Exit::Integrity, "{args:?}: {}", told.notes);
    }
}

#[test]
fn of_what_is_sealed_only_type_and_place_are_told() {
    let lived = Lived::new(3, 60);
    let (sealed, keys) = (lived.path("sealed"), lived.path("keys"));
    life::write_sealed(&lived.steps, Path::new(&sealed), Path::new(&keys));
    let pods = lived.pods();
    let pod = pods.iter().next().unwrap().to_string();
    let requests = ["diff", "5"];
    for verb in
        [&["timeline", &pod][..], &["blame", &pod], &requests, &["intents"], &["stats"], &["trace", &pod]]
    {
        let with_keys = tool(&[verb, &["--dir", &sealed, "--subject-keys", &keys]].concat());
        let open = lived.tool(verb);
        // Sealed payloads are larger.
        if verb != ["stats"] {
            assert_eq!((with_keys.exit, with_keys.out), (open.exit, open.out), "{verb:?}");
        }
    }
    let blind = |verb: &[&str]| tool(&[verb, &["--dir", &sealed]].concat());
    let timeline = blind(&["timeline", &pod]);
    assert_eq!(timeline.exit, Exit::Ok, "{}", timeline.notes);
    assert!(timeline.out.contains(" pod.container-create-requested  Unknown"), "{}", timeline.out);
    assert!(timeline.notes.contains("payloads are redacted or sealed"), "{}", timeline.notes);
    let blame = blind(&["blame", &pod]);
    assert!(blame.out.ends_with("pod.admitted  withheld = true\n"), "{}", blame.out);
    let names = |told: &Told| {
        let line = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
        told.out.lines().map(line).collect::<BTreeSet<String>>()
    };
    assert_eq!(
        names(&blind(&["intents"])),
        names(&lived.tool(&["intents"])),
        "they are paired by their types"
    );
    assert!(!blind(&["log", "--where", "attempt = 1", "-o", "oneline"]).out.contains(" pod/"));
    assert!(blind(&["log", "--where", "@type = 'pod.admitted'", "-o", "oneline"]).out.contains(" pod/"));
}

/// Behind the damage the pod may have been admitted: nobody knows that it never was.
#[test]
fn of_a_pod_that_is_not_on_record_before_the_damage_nobody_says_that_there_is_none() {
    let lived = Lived::new(3, 60);
    let export = lived.path("export");
    assert_eq!(lived.tool(&["export", &export]).exit, Exit::Ok);
    let mut bytes = std::fs::read(&export).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&export, bytes).unwrap();
    for verb in [
        &["blame", "red/web-0"][..],
        &["timeline", "red/web-0"],
        &["why", "red/web-0"],
        &["log", "--pod", "red/web-0"],
        &["blackbox", "red/web-0", "-"],
    ] {
        let told = tool(&[verb, &["--export", &export]].concat());
        assert_eq!(told.exit, Exit::Integrity, "{verb:?}: {}", told.notes);
        assert!(told.notes.contains("is damaged"), "{verb:?}: {}", told.notes);
        assert!(!told.notes.contains("there is no pod"), "{verb:?}: {}", told.notes);
    }
}
