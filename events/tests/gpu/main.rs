//! The GPU as an entity: what leads to what, and what must hold whatever a GPU does.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod laws;
mod steps;

use std::collections::BTreeSet;
use std::time::Duration;

use purser_events::gpu::{
    Degradation, Evidence, Gpu, GpuCommand, GpuEvent, GpuFacts, GpuRejection, Health, Seen, SeenFault,
    Standing, Watch,
};
use purser_events::ledger::GpuUuid;
use purser_events::{Bytes, Context, Decider, Policy, Principal, Timestamp};

/// A GPU that is looked at, as its actor does it.
struct Lived {
    gpu: Gpu,
    watch: Watch,
    policy: Policy,
    passed: Duration,
    events: Vec<(Duration, GpuEvent)>,
    faults: Vec<SeenFault>,
}

impl Lived {
    fn new() -> Lived {
        Lived {
            gpu: Gpu::Unknown,
            watch: Watch::default(),
            policy: Policy::default(),
            passed: Duration::from_secs(1_000),
            events: vec![],
            faults: vec![],
        }
    }

    fn context(&self) -> Context {
        let us = i64::try_from(self.passed.as_micros()).unwrap();
        Context { now: Timestamp(us), policy: self.policy.clone(), cordoned: None }
    }

    /// Asks, and lets what follows happen; says which events that were.
    fn ask(&mut self, command: &GpuCommand) -> Result<Vec<GpuEvent>, GpuRejection> {
        let events = self.gpu.decide(command, &self.context())?;
        for event in &events {
            self.gpu = self.gpu.evolve(event).unwrap();
            match event {
                GpuEvent::FaultNoted(noted) => self.watch.noted(noted.xid, noted.count),
                GpuEvent::Uncordoned(_) => self.watch.forgive(),
                _ => {}
            }
            self.events.push((self.passed, event.clone()));
        }
        Ok(events)
    }

    fn see(&mut self, seen: Seen) -> Vec<GpuEvent> {
        let look = self.watch.look(&self.gpu, seen, self.passed);
        self.ask(&GpuCommand::ReportLook(Box::new(look))).unwrap()
    }

    /// A look each second for so long, all of which see this; what happened meanwhile.
    fn see_for(&mut self, seconds: u64, seen: &Seen) -> Vec<GpuEvent> {
        let looks = (0..seconds).map(|_| {
            self.passed += Duration::from_secs(1);
            self.see(Seen { faults: self.faults.clone(), ..seen.clone() })
        });
        looks.collect::<Vec<_>>().concat()
    }

    /// The driver tells of a fault.
    fn fault(&mut self, xid: u32) {
        let number = self.faults.last().map_or(1, |fault| fault.number + 1);
        self.faults.push(SeenFault { number, xid, at: self.context().now });
        if 64 < self.faults.len() {
            self.faults.remove(0);
        }
    }

    fn word(&self) -> &'static str {
        self.gpu.word()
    }

    fn gives_out(&self) -> bool {
        self.gpu.to_give_out().is_some()
    }
}

fn uuid() -> GpuUuid {
    GpuUuid::new("GPU-1").unwrap()
}

/// A GPU that is fine.
fn fine() -> Seen {
    let facts = GpuFacts {
        uuid: uuid(),
        model: Some("H200".to_owned()),
        memory: Some(Bytes(141 << 30)),
        tflops: None,
        driver: Some("570".to_owned()),
        parent: None,
        is_divided: Some(false),
        ecc_uncorrected: Some(0),
    };
    let evidence = Evidence { ecc_uncorrected: Some(0), temperature_c: Some(40), ..Evidence::default() };
    let (standing, slowed) = (Some(Standing::Answers), Some(BTreeSet::new()));
    Seen { facts, standing, slowed, faults: vec![], evidence }
}

/// A GPU that stands so, and of which nothing can be read if it does not answer.
fn standing(standing: Standing) -> Seen {
    let facts = GpuFacts { model: None, memory: None, ecc_uncorrected: None, ..fine().facts };
    Seen { facts, standing: Some(standing), slowed: None, evidence: Evidence::default(), ..fine() }
}

fn lost() -> Seen {
    standing(Standing::Lost { reason: "it is not listed".to_owned() })
}

fn hung() -> Seen {
    standing(Standing::Unresponsive { call: "nvmlDeviceGetMemoryInfo".to_owned() })
}

fn slowed(by: Degradation) -> Seen {
    Seen { slowed: Some(BTreeSet::from([by])), ..fine() }
}

fn operator() -> Principal {
    Principal::new("uid:0")
}

fn uncordon() -> GpuCommand {
    GpuCommand::Uncordon { by: operator(), ecc_uncorrected: None }
}

fn cordon(reason: &str) -> GpuCommand {
    GpuCommand::Cordon { by: operator(), reason: reason.to_owned() }
}

fn drain(grace_s: Option<u32>) -> GpuCommand {
    GpuCommand::Drain { by: operator(), reason: "its fan".to_owned(), grace_s }
}

fn forget(holders: u64, is_seen: bool) -> GpuCommand {
    GpuCommand::Forget { by: operator(), holders, is_seen }
}

/// The words of the healths that followed each other.
fn healths(events: &[GpuEvent]) -> Vec<&'static str> {
    let word = |event: &GpuEvent| match event {
        GpuEvent::Found(found) => Some(found.health.word()),
        GpuEvent::HealthChanged(changed) => Some(Health::word(&changed.health)),
        _ => None,
    };
    events.iter().filter_map(word).collect()
}
