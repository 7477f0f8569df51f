//! What agents do in a seeded life: those that are there, those that were given up, and those that lie.

use std::collections::BTreeMap;

use purser_events::pool::event::CancelReason;
use purser_events::pool::{
    MemberPhase, Order, Phase, PoolCommand, PoolEvent, TaskId, TaskReport, TaskState, Token,
};
use uuid::Uuid;

use super::super::support::finished;
use super::{Life, Lived, SimAgent, is_lost};

impl Life {
    pub(super) fn up(&mut self) -> Option<u64> {
        let up = self.pool.members.values().filter(|member| member.phase == MemberPhase::Up);
        let up: Vec<u64> = up.map(|member| member.member).collect();
        self.dice.pick(&up)
    }

    pub(super) fn is_connected(&self, member: u64) -> bool {
        let session = self.agents.get(&member).map(|agent| agent.session);
        let known = self.pool.member(member).filter(|member| member.is_connected());
        known.and_then(|member| member.agent.as_ref()).map(|agent| agent.session) == session
    }

    /// A member that was given up, and whose pod goes on until it is removed.
    fn given_up(&mut self) -> Option<u64> {
        let members = self.pool.members.values().filter(|member| is_lost(member));
        let speaks = members.map(|it| it.member).filter(|member| self.agents.contains_key(member));
        let speaks: Vec<u64> = speaks.collect();
        self.dice.pick(&speaks)
    }

    /// The agent of a member that was given up goes on: it may bring to its end what it has, and gets nothing more.
    fn agent_given_up(&mut self, member: u64) -> Lived {
        self.heard_given_up += 1;
        let SimAgent { session, fresh, has } = self.agents[&member].clone();
        let has: Vec<(TaskId, Token)> = has.keys().copied().collect();
        match self.dice.below(12) {
            0 => {
                let version = "1".to_owned();
                let comes = PoolCommand::Connect { member, session, version, fresh, has };
                if self.ask(&comes)? { Err(format!("member {member} came back")) } else { Ok(()) }
            }
            1 => {
                let before = self.events.len();
                self.ask(&PoolCommand::AgentLeaving { member, session, has })?;
                let leaves = |event: &PoolEvent| matches!(event, PoolEvent::AgentLeaving(_));
                let is_told = self.events[before..].iter().any(leaves);
                if is_told { Err(format!("member {member} leaves after it was given up")) } else { Ok(()) }
            }
            2 => {
                let left = self.dice.hits(50);
                if left {
                    self.agents.get_mut(&member).unwrap().has.clear();
                }
                self.ask(&PoolCommand::Disconnect { member, session, left }).map(|_| ())
            }
            3 => {
                self.agents.remove(&member);
                self.must(PoolCommand::ReportPodEnded { member, detail: "killed".to_owned() })
            }
            4..7 => self.take_orders(member),
            _ => self.work(member),
        }
    }

    /// One agent does something, or comes, or goes.
    pub(super) fn agent(&mut self) -> Lived {
        if self.dice.hits(25)
            && let Some(member) = self.given_up()
        {
            return self.agent_given_up(member);
        }
        let Some(member) = self.up() else { return Ok(()) };
        if !self.agents.contains_key(&member) {
            self.sessions += 1;
            let session = Uuid::from_u128(u128::from(self.sessions));
            self.agents.insert(member, SimAgent { session, fresh: true, has: BTreeMap::new() });
        }
        if !self.is_connected(member) {
            return self.connect(member);
        }
        match self.dice.below(20) {
            // The connection breaks; what it has goes on.
            0 => self.disconnect(member, false),
            1 if self.dice.hits(40) => self.say_that_it_leaves(member),
            1 if self.dice.hits(50) => {
                self.agents.get_mut(&member).unwrap().has.clear();
                self.disconnect(member, true)
            }
            2 => self.crash(member),
            3..7 => self.take_orders(member),
            _ => self.work(member),
        }
    }

    pub(super) fn connect(&mut self, member: u64) -> Lived {
        let agent = self.agents[&member].clone();
        let has: Vec<(TaskId, Token)> = agent.has.keys().copied().collect();
        let (session, fresh) = (agent.session, agent.fresh);
        let version = "1".to_owned();
        self.must(PoolCommand::Connect { member, session, version, fresh, has })?;
        let agent = self.agents.get_mut(&member).unwrap();
        agent.fresh = false;
        agent.has.retain(|(task, token), _| self.pool.holds(member, *task, *token));
        Ok(())
    }

    fn disconnect(&mut self, member: u64, left: bool) -> Lived {
        let session = self.agents[&member].session;
        self.must(PoolCommand::Disconnect { member, session, left })
    }

    /// It takes nothing more from now on; what it was given and has not taken waits again.
    fn say_that_it_leaves(&mut self, member: u64) -> Lived {
        let agent = &self.agents[&member];
        let (session, has) = (agent.session, agent.has.keys().copied().collect());
        self.must(PoolCommand::AgentLeaving { member, session, has })
    }

    /// The agent's process dies with all that it runs; the next has its folder, or nothing.
    fn crash(&mut self, member: u64) -> Lived {
        self.sessions += 1;
        let session = Uuid::from_u128(u128::from(self.sessions));
        let fresh = self.dice.hits(50);
        let old = self.agents.insert(member, SimAgent { session, fresh, has: BTreeMap::new() }).unwrap();
        self.old.extend(old.has.keys().map(|(task, token)| (member, *task, *token)));
        if self.dice.hits(50) { self.connect(member) } else { Ok(()) }
    }

    /// Takes what it is ordered and asks whether it may begin.
    pub(super) fn take_orders(&mut self, member: u64) -> Lived {
        for order in self.pool.orders(member) {
            let Order::Run { task, token, phase, .. } = order else { continue };
            let agent = self.agents.get_mut(&member).unwrap();
            if *agent.has.entry((task, token)).or_default() {
                continue;
            }
            let was_started =
                matches!(self.pool.task(task).unwrap().state, TaskState::Running { started, .. } if started);
            self.must(PoolCommand::Report { member, task, token, report: TaskReport::Started })?;
            let runs = |agent: &SimAgent| agent.has.iter().any(|((of, _), runs)| *of == task && *runs);
            if let Some((other, _)) = self.agents.iter().find(|(_, agent)| runs(agent)) {
                return Err(format!("task {task} begins in {member} while it runs in {other}"));
            }
            if !was_started {
                self.model.begin(task, phase == Phase::Apply)?;
            }
            self.agents.get_mut(&member).unwrap().has.insert((task, token), true);
        }
        Ok(())
    }

    /// Brings something to its end.
    pub(super) fn work(&mut self, member: u64) -> Lived {
        let running: Vec<(TaskId, Token)> =
            self.agents[&member].has.iter().filter(|(_, runs)| **runs).map(|(grip, _)| *grip).collect();
        let Some((task, token)) = self.dice.pick(&running) else { return self.take_orders(member) };
        if !self.pool.holds(member, task, token) {
            self.agents.get_mut(&member).unwrap().has.remove(&(task, token));
            return Ok(());
        }
        let held = self.pool.task(task).unwrap();
        let cancel = held.cancel.as_ref().map(|cancel| cancel.reason);
        let plans = matches!(held.state, TaskState::Running { phase: Phase::Plan, .. });
        let report = match (plans, cancel) {
            (_, Some(reason)) => TaskReport::Finished {
                exit: None,
                message: String::new(),
                timed_out: reason == CancelReason::TimedOut,
                cancelled: reason != CancelReason::TimedOut,
            },
            (true, None) if self.dice.hits(85) => {
                TaskReport::Planned { changes: self.dice.hits(70), summary: "changes".to_owned() }
            }
            (_, None) => finished(i32::from(self.dice.hits(20))),
        };
        let keeps = plans && matches!(report, TaskReport::Planned { changes: true, .. });
        let command = PoolCommand::Report { member, task, token, report };
        if keeps && self.pool.member(member).is_some_and(is_lost) {
            let is_kept = self.ask(&command)?;
            let why = format!("the plan of task {task} is kept at member {member}, which was given up");
            return if is_kept { Err(why) } else { Ok(()) };
        }
        self.must(command.clone())?;
        // Its answer was lost: told again it is so already.
        if self.dice.hits(20) && self.pool.task(task).is_some() {
            let before = self.events.len();
            self.must(command)?;
            if self.events.len() != before {
                return Err(format!("task {task} told twice led to something twice"));
            }
        }
        self.agents.get_mut(&member).unwrap().has.remove(&(task, token));
        self.old.push((member, task, token));
        Ok(())
    }

    /// Somebody speaks for what is not his.
    pub(super) fn lie(&mut self) -> Lived {
        let Some((member, task, token)) = self.dice.pick(&self.old.clone()) else { return Ok(()) };
        let stranger = self.dice.below(6);
        let member = if self.dice.hits(50) { member } else { stranger };
        // Before another life of an agent has come, nobody can tell the dead one's word from its own.
        if self.pool.holds(member, task, token) {
            return Ok(());
        }
        let before = self.events.len();
        self.ask(&PoolCommand::Report { member, task, token, report: finished(0) })?;
        let is_harmless =
            |event: &PoolEvent| matches!(event, PoolEvent::StaleTokenRefused(_) | PoolEvent::TaskAssigned(_));
        let is_refused = self.events[before..].iter().all(is_harmless);
        if is_refused { Ok(()) } else { Err(format!("a lie about task {task} was believed")) }
    }
}
