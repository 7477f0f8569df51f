//! Lets everything come to rest without faults, and compares what the machine holds with what is on record.

use std::collections::BTreeSet;
use std::time::Duration;

use purser_actors::port::{Clock, ContainerKey};
use purser_events::ledger::HolderId;
use purser_events::pod::event::ExitReason;
use purser_events::pod::{Container, ContainerState, Phase, Pod, PodState};
use purser_events::{CpuSet, PodId, PodUid};

use super::machine::Held;
use super::node::Node;
use super::requests::{Ask, Wish};
use super::run::{Broken, Simulation};
use super::turns::Fate;

/// How much time passes until everything must be at rest: longer than any wait for a retry, and than it takes until
/// somebody looks for what is left over.
const REST: Duration = Duration::from_secs(900);
/// Time between two moments at which agents and people go on, in seconds: less than any agent may be silent.
const PACE_S: u64 = 5;
/// Rounds in which that must have come about.
const ROUNDS_MAX: u32 = 10_000;

impl Simulation {
    /// Comes to rest twice: with the pods that there are, and once all are deleted.
    pub(super) fn settle(&mut self) -> Result<(), Broken> {
        self.ground.disk.cut(None);
        self.ground.turns.put_out();
        if self.node.is_none() {
            self.start(false)?;
        }
        if self.ground.machine.is_down() {
            self.ground.machine.set_down(false, true);
        }
        self.heal_gpus();
        self.rest()?;
        self.agree()?;
        self.leave_pools();
        self.rest()?;
        self.pools_are_gone()?;
        self.delete_all()?;
        self.rest()?;
        self.agree()?;
        self.keep_house(false)?;
        self.audit()?;
        let ledger = &self.shadow.world.ledger;
        if !ledger.holdings.is_empty() || !ledger.waiting.is_empty() {
            return Err(format!("all pods were deleted, and the ledger has {:?}", ledger.holdings));
        }
        let (pods, folders) = (self.shadow.world.pods.len(), self.ground.machine.folders());
        if pods > 0 || !folders.is_empty() || !self.ground.machine.containers().is_empty() {
            return Err(format!("all pods were deleted, {pods} are left, and folders of {folders:?}"));
        }
        Ok(())
    }

    fn delete_all(&mut self) -> Result<(), Broken> {
        let Some(service) = self.node.as_ref().and_then(Node::service) else {
            return Err("the node has not started".to_owned());
        };
        let ids: Vec<PodId> = self.shadow.world.registry.entries.keys().cloned().collect();
        for id in ids {
            let ask = Ask::new(Wish::Delete(id), &mut self.random);
            self.ask(ask, service.clone(), None);
        }
        self.poll();
        self.look()
    }

    fn rest(&mut self) -> Result<(), Broken> {
        let mut passed = Duration::ZERO;
        for _ in 0..ROUNDS_MAX {
            if self.node.is_none() {
                // A crash that was under way already.
                self.start(false)?;
            }
            if self.move_on()? {
                continue;
            }
            if passed > REST && self.is_at_rest() && self.pools_rest() {
                return Ok(());
            }
            let next = self.ground.clock.next_timer().unwrap_or(REST);
            let paces = passed.as_secs() / PACE_S;
            passed += next;
            if let Some(node) = &mut self.node {
                node.advance(next);
            }
            self.poll();
            self.look()?;
            self.hear_agents()?;
            if paces < passed.as_secs() / PACE_S {
                self.pools_go_on();
            }
        }
        let live = self.shadow.world.pods.values().filter_map(Pod::live);
        let moving: Vec<String> = live
            .map(|pod| {
                let of = |it: &Container| format!("{} {:?} garbage {:?}", it.name, it.state, it.garbage);
                let containers: Vec<String> = pod.containers.iter().map(of).collect();
                format!("{} {:?}: {}", pod.spec.id, pod.phase, containers.join(", "))
            })
            .collect();
        let (turns, now, pools) = (self.ground.turns.waiting(), self.ground.clock.now(), self.pools_told());
        Err(format!("it does not come to rest by {now:?}: {moving:?}; pools: {pools:?}; {turns:?} wait"))
    }

    /// Whether anything happened without time passing.
    fn move_on(&mut self) -> Result<bool, Broken> {
        let before = self.shadow.world.head;
        let turns = self.open_turns();
        for (number, _) in &turns {
            self.ground.turns.give(*number, Fate::Well);
        }
        self.poll();
        self.write_group();
        self.poll();
        self.look()?;
        let mut ended = false;
        for (key, held) in self.ground.machine.containers() {
            if held.exit.is_none() && (held.is_init || held.asked_to_end) {
                self.ground.machine.exit(&key, 0, ExitReason::Completed);
                ended = true;
            }
        }
        Ok(ended || !turns.is_empty() || before < self.shadow.world.head)
    }

    fn is_at_rest(&self) -> bool {
        self.shadow.world.pods.values().filter_map(Pod::live).all(|pod| {
            let phase = matches!(pod.phase, Phase::Running | Phase::Stopped(_) | Phase::Failed(_))
                || pod.awaits_resources;
            let containers = pod.containers.iter().all(|container| {
                let moving = match container.state {
                    ContainerState::Creating { .. } | ContainerState::Stopping { .. } => true,
                    // One of a pod that is not to run waits for nothing.
                    ContainerState::BackOff { .. } => matches!(pod.phase, Phase::Running),
                    ContainerState::Waiting
                    | ContainerState::CreateFailed { .. }
                    | ContainerState::Running { .. }
                    | ContainerState::Exited { .. } => false,
                };
                !moving && container.garbage.is_empty()
            });
            phase && containers
        })
    }

    /// The machine holds exactly what is on record, and the ledger has put down exactly the pods that are to have
    /// something.
    fn agree(&self) -> Result<(), Broken> {
        self.gpus_agree()?;
        let ledger = &self.shadow.world.ledger;
        for (uid, pod) in self.shadow.world.pods.iter().filter_map(|(uid, pod)| Some((*uid, pod.live()?))) {
            let (holds, waits) = (ledger.grant(uid).is_some(), ledger.waits(uid).is_some());
            if (holds, waits) != (pod.holds_resources(), pod.awaits_resources) {
                let phase = &pod.phase;
                return Err(format!("{uid} is {phase:?} and holds: {holds}, waits: {waits}"));
            }
        }
        let wanted = |uid: &PodUid| {
            self.shadow.world.pods.get(uid).and_then(Pod::live).is_some_and(PodState::is_wanted)
        };
        for (holder, holding) in &ledger.holdings {
            if let (HolderId::Pod(uid), Some(preemptor)) = (holder, holding.leaves_for)
                && wanted(uid)
            {
                return Err(format!("{uid} is to make way for {preemptor}, and was not told"));
            }
        }
        // A node that takes no pods begins none that wait.
        let is_cordoned = self.shadow.world.node.known().is_some_and(|node| node.cordoned.is_some());
        if let (Some(first), false) = (ledger.waiting.values().next(), is_cordoned)
            && ledger.reason(first.pod).is_none()
        {
            return Err(format!("{} waits for nothing", first.pod));
        }
        let pods = || self.shadow.world.pods.iter().filter_map(|(uid, pod)| Some((*uid, pod.live()?)));
        let recorded: BTreeSet<ContainerKey> =
            pods().flat_map(|(_, state)| ContainerKey::running(state).collect::<Vec<_>>()).collect();
        let held: BTreeSet<ContainerKey> = self.ground.machine.containers().into_keys().collect();
        if held != recorded {
            let differing: Vec<String> =
                held.symmetric_difference(&recorded).map(ToString::to_string).collect();
            return Err(format!("held by the runtime or on record, not both: {}", differing.join(", ")));
        }
        let stuck = |held: &Held| held.cpus.as_ref().is_some_and(CpuSet::is_empty);
        if let Some((key, _)) = self.ground.machine.containers().into_iter().find(|(_, held)| stuck(held)) {
            return Err(format!("{key} was told to run on no processor"));
        }
        let known: BTreeSet<PodUid> = pods().map(|(uid, _)| uid).collect();
        let unknown: Vec<PodUid> = self.ground.machine.folders().difference(&known).copied().collect();
        if unknown.is_empty() { Ok(()) } else { Err(format!("folders of nobody are left: {unknown:?}")) }
    }
}
