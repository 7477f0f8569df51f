//! One run: what happens next, step by step, drawn from the seed.

use std::path::Path;
use std::time::Duration;

use purser_actors::port::{ContainerKey, ContainerUse, Notice};
use purser_events::pod::PodEvent;
use purser_events::pod::event::ExitReason;
use purser_events::{Bytes, Event, Seq};
use purser_storage::{Hash, StoredRecord};
use tempfile::TempDir;

use super::agents::Agents;
use super::check::Shadow;
use super::disk::Cut;
use super::failure::Failure;
use super::gpus;
use super::machine::Held;
use super::node::{Ground, Node};
use super::panics;
use super::pools::Pools;
use super::requests::{Ask, Replies, Told};
use super::turns::{Asked, Fate};
use super::upkeep::{ARCHIVE, Sealed};
use crate::random::Random;

/// Answers that are asked for again after a crash: the latest are the ones in danger.
const ASKED_AGAIN: usize = 3;
/// Longest that time is moved on at once, in milliseconds.
const TIME_MS_MAX: u64 = 5_000;
/// Timers that time is moved past in one step at most where there are pools, whose upkeep has one each second.
const TIMERS_MAX: u64 = 40;

/// Something that is wrong on purpose, to see whether the simulator notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The disk says that it has synced, and has not.
    SyncsIgnored,
    /// The runtime says that it has removed a container, and has not.
    RemovalsForgotten,
    /// The archive says that it has a segment, and has not.
    ArchiveForgotten,
}

/// What a run is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Steps before everything is let come to rest.
    pub steps: u32,
    /// What is wrong on purpose.
    pub defect: Option<Defect>,
}

/// What a run was like. Two runs of one seed have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Records at the end, and the hash over all of them.
    pub records: u64,
    /// The hash of the last record: over all that there is in any of them.
    pub hash: Hash,
    /// Records of them that were lazy.
    pub lazy: u64,
    /// Requests that were answered with success.
    pub answered: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// First answers that were asked for again.
    pub asked_again: u64,
    /// Crashes with the power on.
    pub kills: u64,
    /// Crashes with a loss of power.
    pub power_cuts: u64,
    /// Crashes while the journal was being opened.
    pub in_opening: u64,
    /// Turns of the node with the outside.
    pub turns: u64,
    /// Times that the store was made again.
    pub stores_made_again: u64,
    /// Stops in order.
    pub stops: u64,
    /// Starts that a snapshot spared a part of the fold.
    pub restored: u64,
    /// Segments that were compressed.
    pub compressed: u64,
    /// Segments that were trimmed.
    pub trimmed: u64,
    /// Rounds of house-keeping that the disk ended.
    pub upkeep_failed: u64,
    /// Tasks of pools that were given slots.
    pub assigned: u64,
    /// Tasks of pools that lost theirs.
    pub requeued: u64,
    /// Phases of tasks that agents ran.
    pub runs: u64,
}

/// A run under way.
pub(super) struct Simulation {
    pub random: Random,
    pub ground: Ground,
    pub(super) dir: TempDir,
    pub node: Option<Node>,
    pub replies: Replies,
    sent: Vec<Ask>,
    told: Vec<Told>,
    again: Vec<Told>,
    pub shadow: Shadow,
    pub sealed: Sealed,
    pub(super) pools: Option<Pools>,
    pub(super) agents: Agents,
    pub report: Report,
}

/// What went wrong, in words.
pub(super) type Broken = String;

/// Lives through a seed.
///
/// # Errors
/// A promise was broken.
pub fn run(seed: u64, plan: &Plan) -> Result<Report, Failure> {
    panics::watch();
    let mut simulation = Simulation::new(seed, plan);
    // A task of a pool has a long way to go.
    let steps = if simulation.pools.is_some() { plan.steps * 3 } else { plan.steps };
    for step in 0..=steps {
        let done = if step < steps { simulation.step() } else { simulation.settle() };
        if let Err(what) = done {
            let records = std::mem::take(&mut simulation.shadow.records);
            simulation.abandon();
            return Err(Failure { seed, step, what, records });
        }
    }
    Ok(simulation.finish())
}

impl Simulation {
    fn new(seed: u64, plan: &Plan) -> Simulation {
        // Of half of the runs lazy appends gather until something else is synced.
        let lazy_ms_max = if seed.is_multiple_of(2) { 0 } else { u64::MAX };
        let gpus = if seed.is_multiple_of(3) { gpus::COUNT } else { 0 };
        let ground = Ground { lazy_ms_max, ..Ground::new(gpus) };
        match plan.defect {
            Some(Defect::SyncsIgnored) => ground.disk.ignore_syncs(),
            Some(Defect::RemovalsForgotten) => ground.machine.forget_removals(),
            Some(Defect::ArchiveForgotten) => ground.disk.forget(Path::new(ARCHIVE)),
            None => {}
        }
        Simulation {
            random: Random(seed),
            ground,
            dir: folder(),
            node: None,
            replies: Replies::default(),
            sent: Vec::new(),
            told: Vec::new(),
            again: Vec::new(),
            shadow: Shadow::default(),
            sealed: Sealed::default(),
            pools: (seed % 8 == 3).then(|| Pools::new(seed)),
            agents: Agents::default(),
            report: Report::default(),
        }
    }

    fn step(&mut self) -> Result<(), Broken> {
        if self.node.is_none() {
            let is_cut = self.random.percent(15);
            return self.start(is_cut);
        }
        let is_of_pools = self.pools.is_some() && self.random.percent(60);
        match self.random.below(100) {
            _ if is_of_pools => self.pool_step(),
            0..=39 => self.give_turn(),
            40..=64 => self.write_group(),
            65..=79 => self.request(),
            80..=89 => self.pass_time(),
            90..=93 => self.outside_event(),
            94..=95 => self.gpu_event(),
            96..=97 => return self.keep_house(true),
            98 => self.set_clock(),
            _ => match self.random.below(10) {
                0..=3 => self.begin_to_die(),
                4..=6 => return self.stop(),
                _ => return self.crash(),
            },
        }
        self.poll();
        self.look()?;
        self.hear_agents()
    }

    pub(super) fn poll(&mut self) {
        if let Some(node) = &mut self.node {
            node.poll();
        }
    }

    /// Checks everything that must hold now; a node that died meanwhile is gone afterwards.
    pub(super) fn look(&mut self) -> Result<(), Broken> {
        if let Some(panic) = panics::take() {
            return Err(panic);
        }
        let Some(node) = &self.node else { return Ok(()) };
        if self.ground.turns.is_dead() || node.has_failed() {
            return self.crash();
        }
        let seen = self.shadow.records.len();
        self.ground.disk.look(|| self.shadow.follow(node))?;
        if seen < self.shadow.records.len() && !self.ground.disk.is_off() {
            self.shadow.projected(node)?;
        }
        if let Some(refused) = node.refused() {
            return Err(format!("the node does not start: {refused}"));
        }
        if let Some(offence) = self.ground.machine.offences().first() {
            return Err(offence.clone());
        }
        self.hear()
    }

    /// Takes note of what callers were told.
    fn hear(&mut self) -> Result<(), Broken> {
        let strange = self.replies.strange();
        if let Some((_, told)) = strange.iter().find(|(seq, _)| !seq.is_some_and(|seq| self.is_trimmed(seq)))
        {
            return Err(told.clone());
        }
        let head = self.shadow.world.head;
        for seq in self.replies.take_seqs() {
            if head < seq {
                return Err(format!("somebody was told of record {seq}, the journal ends at {head}"));
            }
        }
        for told in self.replies.take_told() {
            let Told { ask, accepted, again } = &told;
            if head < accepted.seq {
                return Err(format!("{:?}: told of {}, the journal ends at {head}", ask.wish, accepted.seq));
            }
            match again {
                None => {
                    self.report.answered += 1;
                    self.told.push(told);
                }
                Some(second) => {
                    self.report.asked_again += 1;
                    let same = second.replayed
                        && (second.uid, second.seq, second.outcome)
                            == (accepted.uid, accepted.seq, accepted.outcome);
                    // A store that is made again has the answers of segments that are left.
                    if !same && !self.is_trimmed(accepted.seq) {
                        return Err(format!("{:?}: first {accepted:?}, then {second:?}", ask.wish));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the journal has given up a record.
    fn is_trimmed(&self, seq: Seq) -> bool {
        self.node.as_ref().is_some_and(|node| seq <= node.journal().before().seq)
    }

    /// Turns that can be given.
    pub(super) fn open_turns(&self) -> Vec<(u64, Asked)> {
        let is_open = |asked: &Asked| match asked {
            Asked::Ended(key) => self.ground.machine.has_ended(key),
            Asked::Begin(_) | Asked::End(_) | Asked::Reply => true,
        };
        self.ground.turns.waiting().into_iter().filter(|(_, asked)| is_open(asked)).collect()
    }

    pub(super) fn give_turn(&mut self) {
        let open = self.open_turns();
        if open.is_empty() {
            return;
        }
        let (number, _) = open[self.random.index(open.len())];
        let fate = if self.random.percent(88) { Fate::Well } else { Fate::Badly };
        self.ground.turns.give(number, fate);
    }

    /// Lets the journal write what waits; also gives those a turn who wait for nothing but an answer.
    pub(super) fn write_group(&mut self) {
        let Some(node) = &self.node else { return };
        node.write_group();
    }

    fn request(&mut self) {
        let Some(service) = self.node.as_ref().and_then(Node::service) else { return };
        let (ask, first) = match self.random.below(10) {
            0..=3 if !self.again.is_empty() => {
                let Told { ask, accepted, .. } = self.again.swap_remove(self.random.index(self.again.len()));
                (ask, Some(accepted))
            }
            // Somebody who never got an answer, or does not believe it.
            4 if !self.sent.is_empty() => (self.sent[self.random.index(self.sent.len())].clone(), None),
            _ => (Ask::any(&mut self.random), None),
        };
        self.sent.push(ask.clone());
        self.ask(ask, service, first);
    }

    pub(super) fn ask(
        &self,
        ask: Ask,
        service: purser_actors::Service,
        first: Option<purser_actors::service::Accepted>,
    ) {
        let Some(node) = &self.node else { return };
        node.spawn(ask.put(service, first, self.ground.turns.clone(), self.replies.clone()));
    }

    fn pass_time(&mut self) {
        if self.pools.is_some() && self.random.percent(30) {
            for _ in 0..self.random.below(TIMERS_MAX) {
                let next = self.ground.clock.next_timer().unwrap_or_default();
                if let Some(node) = &mut self.node {
                    node.advance(next);
                }
                self.poll();
            }
            return;
        }
        let some = Duration::from_millis(self.random.below(TIME_MS_MAX));
        let next = self.ground.clock.next_timer().unwrap_or(some);
        let time = if self.random.percent(60) { next } else { some.min(next) };
        if let Some(node) = &mut self.node {
            node.advance(time);
        }
    }

    fn set_clock(&mut self) {
        let ms = i64::try_from(self.random.below(60_000)).unwrap_or_default() - 20_000;
        self.ground.clock.set_by(ms);
    }

    fn outside_event(&mut self) {
        let machine = &self.ground.machine;
        let running: Vec<(ContainerKey, Held)> =
            machine.containers().into_iter().filter(|(_, held)| held.exit.is_none()).collect();
        match self.random.below(10) {
            0 => {
                let is_told = self.random.percent(70);
                machine.set_down(!machine.is_down(), is_told);
            }
            1 if machine.is_down() => machine.set_down(false, true),
            _ if running.is_empty() => {}
            number => {
                let (key, held) = &running[self.random.index(running.len())];
                let expected = held.is_init || held.asked_to_end;
                match number {
                    1 if !expected => {
                        machine.exit(key, 137, ExitReason::OomKilled);
                        if self.random.percent(60) {
                            machine.notice(Notice::OutOfMemory(key.clone()));
                        }
                    }
                    2..=3 => machine.exit(key, 1, ExitReason::Error),
                    _ if expected || number == 4 => machine.exit(key, 0, ExitReason::Completed),
                    // It works on: its figures grow.
                    more => {
                        let memory = Bytes(more << 20);
                        let cpu_us = held.used.cpu_us + more * 1_000;
                        machine.set_use(key, ContainerUse { cpu_us, memory, memory_peak: None });
                        machine.set_disk_use(key.pod, memory);
                    }
                }
            }
        }
    }

    /// The node is to die at one of its next dealings with the disk or the rest of the outside.
    fn begin_to_die(&mut self) {
        match self.random.below(3) {
            0 => self.ground.turns.light_fuse(self.random.below(6)),
            _ => {
                let cut = self.any_cut(8);
                self.ground.disk.cut(Some(cut));
            }
        }
    }

    pub(super) fn any_cut(&mut self, calls: u64) -> Cut {
        let random = &mut self.random;
        Cut { after: random.below(calls), late: random.percent(50), passing: random.percent(20) }
    }

    /// The node is gone where it stands, now and then with the power.
    pub(super) fn crash(&mut self) -> Result<(), Broken> {
        if let Some(node) = self.node.take() {
            // What was shown to anybody until now must last.
            let followed = self.ground.disk.look(|| self.shadow.follow(&node));
            followed.or_else(|broken| if node.has_failed() { Ok(()) } else { Err(broken) })?;
            self.ground.disk.stop();
            self.ground.stores.stop();
            node.end();
        }
        self.die()
    }

    /// The node's process is gone.
    pub(super) fn die(&mut self) -> Result<(), Broken> {
        let lost_power = self.random.percent(50);
        let random = &mut self.random;
        self.ground.disk.start(lost_power.then_some(&mut *random));
        self.ground.stores.crash(lost_power, random);
        if lost_power {
            self.ground.machine.reboot();
            self.report.power_cuts += 1;
        } else {
            self.report.kills += 1;
        }
        self.report.turns = self.ground.turns.taken();
        self.ground.turns.revive();
        self.ground.gpus.forget_faults();
        self.replies = Replies::default();
        self.agents.forget_calls();
        self.again = self.told.iter().rev().take(ASKED_AGAIN).cloned().collect();
        // A panic of the node's own thread while it dies says nothing.
        Ok(())
    }

    /// Starts the node on what is left, or dies on the way.
    pub(super) fn start(&mut self, is_cut: bool) -> Result<(), Broken> {
        let calls = self.ground.disk.calls();
        if is_cut {
            let cut = self.any_cut(10);
            self.ground.disk.cut(Some(cut));
        }
        match Node::start(&self.ground, &self.dir.path().join("journal")) {
            Ok(node) => {
                self.ground.disk.cut(None);
                let checked = self.shadow.reopened(&node);
                self.report.restored += u64::from(node.journal().found().snapshot.is_some());
                let checked = checked.and_then(|()| self.sealed.whole(node.journal(), &self.ground.disk));
                let checked = checked.and_then(|()| self.shadow.projected(&node));
                self.node = Some(node);
                checked
            }
            Err(_) if is_cut && calls < self.ground.disk.calls() => {
                self.report.in_opening += 1;
                self.crash()
            }
            Err(error) => {
                let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
                let told: Vec<String> = causes.map(ToString::to_string).collect();
                Err(format!("does not open: {}", told.join(": ")))
            }
        }
    }

    fn abandon(&mut self) {
        self.ground.disk.stop();
        self.ground.stores.stop();
        if let Some(node) = self.node.take() {
            node.end();
        }
    }

    fn finish(mut self) -> Report {
        let mut report = std::mem::take(&mut self.report);
        report.records = self.shadow.records.len() as u64;
        report.lazy = self.shadow.records.iter().filter(|stored| is_lazy(stored)).count() as u64;
        report.hash = self.shadow.records.last().map_or([0; 32], |last| last.hash);
        report.stores_made_again = self.ground.stores.set_aside_count();
        report.turns = self.ground.turns.taken();
        report.refused = self.replies.refused();
        report.assigned = self.shadow.watch.assigned;
        report.requeued = self.shadow.watch.requeued;
        report.runs = self.agents.runs;
        self.abandon();
        report
    }
}

/// Whether a record was answered before it was durable.
fn is_lazy(stored: &StoredRecord) -> bool {
    let event = stored.record().map(|record| record.event);
    matches!(event, Ok(Event::Pod(PodEvent::ReadinessChanged(_) | PodEvent::ProbeFailed(_))))
}

/// A folder for the few files that the journal keeps beside its disk; in memory if there is such a place.
pub(super) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder can be made")
}
