//! Rounds of a pool's upkeep: time is told, what its pods refer to is looked at, and what is on record of its members is
//! brought together with the pods that there are. Whatever a stop has cut off, the next round finishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use purser_events::pod::event::{FailureReason, StopCause};
use purser_events::pod::{Phase, Pod};
use purser_events::pool::{
    Digest, LocalTime, Member, MemberPhase, Pool, PoolCommand, PoolName, PoolSpec, Reference, Weekday,
};
use purser_events::{Cause, PodUid, World};

use super::resize::{self, Wanted};
use super::{Board, PoolActor, member};
use crate::directory::Directory;
use crate::entity::{By, Execute, Refusal};
use crate::port::MemberId;
use crate::shell::Shell;

/// Longest time between two rounds.
const EVERY: Duration = Duration::from_secs(1);
/// Rounds between two looks at what the pods refer to.
const LOOK_EVERY: u64 = 10;
/// Silence after which an agent counts as away: three of its heartbeats.
const AWAY_AFTER: Duration = Duration::from_secs(30);
/// Pods that are asked for in one round: they are admitted one after the other anyway.
const ADMISSIONS_MAX: usize = 16;

/// One pool's upkeep.
struct Upkeep {
    name: PoolName,
    shell: Arc<Shell>,
    directory: Addr<Directory>,
    pool: Addr<PoolActor>,
    board: Arc<Board>,
    zone_is_told: bool,
    /// The revision when it was last looked at what the pool refers to.
    looked_at: Option<u64>,
}

/// Begins the rounds, for as long as the actors' thread lives.
pub(super) fn begin(
    name: PoolName,
    shell: Arc<Shell>,
    directory: Addr<Directory>,
    pool: Addr<PoolActor>,
    board: Arc<Board>,
) {
    let mut upkeep = Upkeep { name, shell, directory, pool, board, zone_is_told: false, looked_at: None };
    actix::spawn(async move {
        for round in 0_u64.. {
            if !upkeep.round(round).await {
                return;
            }
            if !upkeep.read(Pool::exists).unwrap_or(false) {
                // Gone, or not set yet: whoever makes it calls.
                upkeep.board.upkeep_called().await;
                continue;
            }
            let next = upkeep.shell.clock.sleep(EVERY);
            tokio::select! {
                // One after the other, so that a simulated life can be repeated.
                biased;
                () = next => {}
                () = upkeep.board.upkeep_called() => {}
            }
        }
    });
}

/// The sizes that a member's pod is to have, if that is under way.
fn resize_of(pool: &Pool, member: &Member) -> Option<Due> {
    let (number, revision) = (member.member, pool.revision);
    let pod = member.pod.filter(|_| member.is_resizing(revision))?;
    Some(Due::Resize(Wanted { member: number, revision, pod }))
}

/// What is to be done about a member.
enum Due {
    Admit,
    /// Its pod waits for room: nobody can come out of it yet, and that is nobody's failure.
    WaitForRoom,
    Remove(Option<PodUid>),
    Resize(Wanted),
    Tell(PoolCommand),
}

impl Upkeep {
    /// One round; says whether there is to be another.
    async fn round(&mut self, round: u64) -> bool {
        let Some((spec, revision)) = self.read(|pool| (pool.spec.clone(), pool.revision)) else {
            // Gone, or not set yet: its members are, too.
            return true;
        };
        let Some(spec) = spec else { return true };
        // Before the first pods of a revision are wanted, so that a change after that is one.
        if round.is_multiple_of(LOOK_EVERY) || self.looked_at != Some(revision) {
            self.look_at_references(&spec).await;
            self.looked_at = Some(revision);
        }
        let local = self.local_time(&spec);
        if !self.tell(PoolCommand::Tick { local }).await {
            return false;
        }
        let now = self.shell.clock.passed();
        let live =
            self.read(|pool| pool.members.keys().copied().collect::<BTreeSet<u64>>()).unwrap_or_default();
        self.board.note_round(&live, now);
        for (member, count) in self.board.refusals_due(now) {
            self.tell(PoolCommand::ReportRefusals { member, count }).await;
        }
        let mut admitted = 0;
        for (member, due) in self.due(&spec, now) {
            self.carry_out(member, due, &mut admitted).await;
        }
        if ADMISSIONS_MAX <= admitted {
            self.board.call_upkeep();
        }
        true
    }

    async fn carry_out(&self, member: u64, due: Due, admitted: &mut usize) {
        match due {
            Due::Admit if *admitted < ADMISSIONS_MAX => {
                *admitted += 1;
                self.admit(member).await;
            }
            Due::Admit => {}
            Due::WaitForRoom => self.board.heard(member, self.shell.clock.passed()),
            Due::Remove(pod) => self.remove(member, pod).await,
            Due::Resize(wanted) => self.resize(wanted).await,
            Due::Tell(command) => {
                self.tell(command).await;
            }
        }
    }

    fn read<R>(&self, read: impl FnOnce(&Pool) -> R) -> Option<R> {
        self.shell.live.read(|world| world.pools.get(&self.name).map(read))
    }

    /// The node's own doing.
    fn by(&self) -> By {
        let stream = self.name.stream();
        let head = self.shell.live.head(stream);
        let cause = head.map_or(Cause::Node, |head| Cause::Observation(head.seq));
        By::node(cause, head.map_or(stream.id, |head| head.correlation))
    }

    /// Tells the pool something; says whether there is a pool to be told more. What cannot be recorded now is told again
    /// in the next round.
    async fn tell(&self, command: PoolCommand) -> bool {
        match self.pool.send(Execute::<Pool> { command, by: self.by() }).await {
            Ok(Ok(_)) => true,
            Ok(Err(refusal @ Refusal::Rejected(_))) => {
                tracing::debug!(pool = %self.name, %refusal, "a report came too late");
                true
            }
            Ok(Err(Refusal::Fenced)) | Err(_) => false,
            Ok(Err(refusal)) => {
                tracing::debug!(pool = %self.name, %refusal, "a report was not recorded");
                true
            }
        }
    }

    /// What the clock on the wall says where the pool is.
    fn local_time(&mut self, spec: &PoolSpec) -> LocalTime {
        let (host, now) = (&self.shell.pools, self.shell.clock.now());
        let zone = spec.scaling.time_zone.as_str();
        if let Some(local) = host.local_time(zone, now) {
            return local;
        }
        if !self.zone_is_told {
            tracing::error!(pool = %self.name, zone, "this host knows the pool's time zone no longer; UTC is used in its place");
            self.zone_is_told = true;
        }
        host.local_time("UTC", now).unwrap_or(LocalTime { weekday: Weekday::Mon, minute: 0, offset_s: 0 })
    }

    /// Tells what the pool's pods refer to, as far as it is another than what is on record.
    async fn look_at_references(&self, spec: &PoolSpec) {
        let mut digests = Vec::new();
        for reference in &spec.references {
            match self.shell.pools.digest(reference).await {
                Ok(digest) => digests.push(Digest { reference: Reference::clone(reference), digest }),
                Err(error) => {
                    tracing::warn!(pool = %self.name, reference = reference.name, %error, "what a pool refers to cannot be read");
                }
            }
        }
        let known = self.read(|pool| pool.digests.clone()).unwrap_or_default();
        digests.retain(|digest| !known.values().any(|known| known == digest));
        if !digests.is_empty() {
            self.tell(PoolCommand::ReportReferences { digests }).await;
        }
    }

    /// What is to be done about the pool's members.
    fn due(&self, spec: &PoolSpec, now: Duration) -> Vec<(u64, Due)> {
        self.shell.live.read(|world| {
            let Some(pool) = world.pools.get(&self.name) else { return vec![] };
            let due = |member: &Member| Some((member.member, self.due_of(world, spec, member, now)?));
            pool.members.values().filter_map(|member| due(member)).collect()
        })
    }

    fn due_of(&self, world: &World, spec: &PoolSpec, member: &Member, now: Duration) -> Option<Due> {
        match &member.phase {
            MemberPhase::Requested => Some(Due::Admit),
            MemberPhase::Removing { .. } | MemberPhase::Lost { .. } => {
                let id = MemberId { pool: self.name.clone(), member: member.member };
                let by_name = || member::pod_of(world, &id);
                let pod =
                    member.pod.or_else(by_name).filter(|pod| world.pod(*pod).and_then(Pod::live).is_some());
                Some(Due::Remove(pod))
            }
            MemberPhase::Up if member.pod.is_some_and(|pod| world.ledger.waits(pod).is_some()) => {
                Some(Due::WaitForRoom)
            }
            MemberPhase::Up => {
                let command = match member.pod.and_then(|pod| ended(world, pod)) {
                    Some(detail) => Some(PoolCommand::ReportPodEnded { member: member.member, detail }),
                    None => self.silence(spec, member, now),
                };
                let resize = || resize_of(world.pools.get(&self.name)?, member);
                command.map(Due::Tell).or_else(resize)
            }
        }
    }

    /// What is to be said of an agent that says nothing.
    fn silence(&self, spec: &PoolSpec, member: &Member, now: Duration) -> Option<PoolCommand> {
        let silent = self.board.silence(member.member, now);
        let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        let number = member.member;
        let agent = member.agent.as_ref();
        let bound = agent.map_or(spec.agents.start_within_ms, |_| spec.agents.offline_after_ms);
        if bound <= silent_ms {
            return Some(PoolCommand::ReportSilent { member: number, silent_ms });
        }
        let agent = agent.filter(|agent| agent.connected && AWAY_AFTER <= silent)?;
        Some(PoolCommand::Disconnect { member: number, session: agent.session, left: false })
    }

    async fn resize(&self, wanted: Wanted) {
        let told = resize::resize(&self.shell, &self.directory, &self.name, wanted, self.by()).await;
        if let Some(command) = told {
            self.tell(command).await;
        }
    }

    async fn admit(&self, number: u64) {
        let command = member::admit(&self.shell, &self.directory, &self.name, number, self.by()).await;
        let Some(command) = command else { return };
        let is_refused =
            matches!(command, PoolCommand::ReportRequestFailed { .. } | PoolCommand::ReportNoRoom { .. });
        if self.tell(command).await && is_refused {
            let pod = self.name.pod_name(number);
            if let Err(error) = self.shell.pools.forget(&pod).await {
                tracing::warn!(pool = %self.name, member = number, %error, "failed to remove the folder of an agent that will not come; the next start does");
            }
        }
    }

    /// Has a member's pod removed; once there is none, its folder goes as well, and that is on record.
    async fn remove(&self, number: u64, pod: Option<PodUid>) {
        if let Some(pod) = pod {
            member::remove(&self.directory, pod, self.by()).await;
            return;
        }
        if let Err(error) = self.shell.pools.forget(&self.name.pod_name(number)).await {
            tracing::warn!(pool = %self.name, member = number, %error, "failed to remove an agent's folder; it is tried again");
            return;
        }
        self.tell(PoolCommand::ReportRemoved { member: number }).await;
    }
}

/// What became of a pod that does not run any more, and will not by itself.
fn ended(world: &World, pod: PodUid) -> Option<String> {
    if world.quarantined.contains_key(&pod.stream()) {
        // Nothing is certain about it.
        return None;
    }
    let Some(pod) = world.pod(pod).and_then(Pod::live) else { return Some("the pod is gone".to_owned()) };
    match &pod.phase {
        // What stops may still be at its tasks, and its agent has its grace to bring them to an end.
        Phase::Pending
        | Phase::Provisioning
        | Phase::Running
        | Phase::Stopping { .. }
        | Phase::Terminating { .. } => None,
        Phase::Stopped(StopCause::Requested) => Some("the pod was stopped".to_owned()),
        Phase::Stopped(StopCause::Completed) => Some("the agent has ended by itself".to_owned()),
        Phase::Failed(FailureReason::InitContainer { container, code }) => {
            Some(format!("init container {container} has failed with exit code {code}"))
        }
        Phase::Failed(FailureReason::Container { container, code, .. }) => {
            Some(format!("container {container} has failed with exit code {code}"))
        }
    }
}
