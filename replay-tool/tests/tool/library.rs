//! The library, by its example.

#[expect(dead_code, reason = "the example has a `main` of its own")]
#[path = "../../examples/exits.rs"]
mod exits;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use purser_events::{Event, Seq, pod::PodEvent};
use purser_replay::Exit;
use purser_replay::audit::Journal;

use crate::answers::Lived;

#[test]
fn an_audit_of_ones_own_counts_what_is_there() {
    for seed in 0..3 {
        let lived = Lived::new(seed, 120);
        let export = lived.path("export");
        assert_eq!(lived.tool(&["export", &export]).exit, Exit::Ok);
        let mut out = Vec::new();
        exits::report(&Journal::export(&export), &mut out).unwrap();
        let mut failed: BTreeMap<String, u64> = BTreeMap::new();
        for step in &lived.steps {
            if let Event::Pod(PodEvent::ContainerExited(exited)) = &step.event
                && exited.exit.code != 0
            {
                *failed.entry(step.stream.to_string()).or_default() += 1;
            }
        }
        let worlds = lived.worlds();
        let mut wanted = String::new();
        failed.iter().for_each(|(pod, times)| writeln!(wanted, "{pod} failed {times} times").unwrap());
        writeln!(wanted, "{} pods are there", worlds.last().unwrap().pods.len()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), wanted, "seed {seed}");
        let journal = Journal::folder(lived.path("journal"));
        assert_eq!(journal.world(Some(Seq(20))).unwrap(), worlds[20]);
        assert_eq!(journal.records().unwrap().count(), lived.steps.len());
    }
    // What could not be followed is told, and not only left out.
    let mut steps = crate::life::life(3, 60);
    let at = steps.iter().position(|step| step.event.layout().name == "pod.container-started").unwrap();
    let (stream, time) = (steps[at].stream, steps[at].time);
    let (event, origin) = (steps[at].event.clone(), steps[at].origin.clone());
    steps.insert(at + 1, crate::life::Step { stream, event, origin, time });
    let lived = Lived::of(steps);
    let forged = Journal::folder(lived.path("journal"));
    let state = forged.state(None).unwrap();
    assert_eq!((state.exit, state.untold.len()), (Exit::Integrity, 1), "{:?}", state.untold);
    assert_eq!(state.world.quarantined.len(), 1);
    let before = forged.state(Some(Seq(at as u64 + 1))).unwrap();
    assert_eq!((before.exit, before.untold), (Exit::Ok, vec![]));
    assert_eq!(forged.records_from(Seq(5)).unwrap().last().unwrap().unwrap().header.seq, state.world.head);
    let none = Journal::export("/nonexistent").records().err().unwrap();
    assert_eq!(none.exit(), Exit::Io);
}
