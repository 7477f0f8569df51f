//! Agents in pools' pods: slow ones, some that lie, some that die or fall silent. What they run ends with their containers,
//! and nothing of it may run twice unless that is on record.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use purser_actors::Service;
use purser_actors::pool::{AgentOrders, AgentStanding, Called};
use purser_actors::port::{ContainerKey, MemberId};
use purser_actors::service::{AgentError, Request};
use purser_events::pod::Pod;
use purser_events::pool::{Order, Phase, PoolName, TaskExit, TaskId, TaskKind, TaskReport, Token};
use purser_events::{Principal, World};
use uuid::Uuid;

use super::machine::Held;
use super::run::{Broken, Simulation};
use super::turns::Asked;
use super::watch::Watch;
use crate::random::Random;

/// What shows that one has a slot.
type Grip = (TaskId, Token);

/// What an agent was told of what it runs.
#[derive(Debug, Clone)]
struct Run {
    phase: Phase,
    kind: TaskKind,
    /// Whether it was told that it may begin, and has.
    begun: bool,
    /// Whether it is to end.
    ends: bool,
    /// How it ended: told until that is answered.
    end: Option<TaskReport>,
}

/// One agent, and its process's life.
#[derive(Debug, Clone)]
struct Agent {
    id: MemberId,
    session: Uuid,
    fresh: bool,
    connected: bool,
    /// Whether an answer is on its way.
    waits: bool,
    /// Steps of its for which it says nothing.
    mute: u64,
    /// Whether it was told that it is nobody's any more.
    dismissed: bool,
    has: BTreeMap<Grip, Run>,
}

/// What an agent wants of the node.
#[derive(Debug, Clone)]
enum Call {
    Connect(Called),
    Beat(Vec<Grip>),
    Orders,
    Tell(Grip, TaskReport),
    /// It speaks for what another has.
    Lie(Grip, TaskReport),
    Leave,
}

/// What it was answered.
#[derive(Debug)]
enum Answer {
    Standing(AgentStanding),
    Orders(AgentOrders),
    Told(Grip, TaskReport),
    Believed(Grip),
    Left,
    /// The slot is not its own.
    Stale(Grip),
    Unknown,
    Dismissed,
    /// It is to be tried again.
    Nothing,
}

/// Answers that have come, with who is answered in which session.
type Heard = Rc<RefCell<Vec<(ContainerKey, Uuid, Answer)>>>;

/// All agents of the machine.
#[derive(Debug, Default)]
pub(super) struct Agents {
    agents: BTreeMap<ContainerKey, Agent>,
    heard: Heard,
    /// Phases of tasks that were begun, by which tokens.
    begun: BTreeMap<(TaskId, bool), Vec<Token>>,
    /// What anybody ever had.
    old: BTreeSet<Grip>,
    /// Phases of tasks that were run.
    pub(super) runs: u64,
}

impl Agents {
    /// The node died: whatever was asked of it has no answer.
    pub(super) fn forget_calls(&mut self) {
        self.heard = Heard::default();
        for agent in self.agents.values_mut() {
            (agent.waits, agent.connected) = (false, false);
        }
    }

    /// Agents come and go with their containers.
    fn follow(&mut self, running: &BTreeMap<ContainerKey, MemberId>, random: &mut Random) {
        self.agents.retain(|key, _| running.contains_key(key));
        for (key, id) in running {
            let (session, fresh) = (Uuid::from_u64_pair(random.number(), random.number()), true);
            self.agents.entry(key.clone()).or_insert_with(|| Agent {
                id: id.clone(),
                session,
                fresh,
                connected: false,
                waits: false,
                mute: 0,
                dismissed: false,
                has: BTreeMap::new(),
            });
        }
    }

    /// Acts on the answers that have come.
    fn hear(&mut self, world: &World, watch: &Watch) -> Result<(), Broken> {
        let heard = std::mem::take(&mut *self.heard.borrow_mut());
        for (key, session, answer) in heard {
            // Who was answered may have died meanwhile.
            let Some(agent) = self.agents.get_mut(&key).filter(|agent| agent.session == session) else {
                continue;
            };
            agent.waits = false;
            match answer {
                Answer::Standing(standing) => {
                    (agent.connected, agent.fresh) = (true, false);
                    agent.has.retain(|grip, _| !standing.drop.contains(grip));
                }
                Answer::Orders(orders) => agent.take(&orders.orders, &mut self.old),
                Answer::Told(grip, TaskReport::Started) => self.begin(&key, grip, watch)?,
                Answer::Told(grip, _) | Answer::Stale(grip) => drop(agent.has.remove(&grip)),
                Answer::Believed((task, token)) => {
                    let own = agent.id.member;
                    let pool = world.pools.get(&agent.id.pool);
                    let held = pool.and_then(|pool| pool.task(task)?.slot());
                    if let Some((slot, _)) = held.filter(|(slot, now)| *now == token && slot.member != own) {
                        return Err(format!(
                            "{} was believed of task {task} in slot {slot}",
                            agent.id.member
                        ));
                    }
                }
                Answer::Left => {
                    (agent.connected, agent.dismissed) = (false, true);
                }
                Answer::Unknown => agent.connected = false,
                Answer::Dismissed => (agent.connected, agent.dismissed) = (false, true),
                Answer::Nothing => {}
            }
        }
        Ok(())
    }

    /// A process is begun for what an agent may run.
    fn begin(&mut self, key: &ContainerKey, (task, token): Grip, watch: &Watch) -> Result<(), Broken> {
        let Some(run) = self.agents.get(key).and_then(|agent| agent.has.get(&(task, token))) else {
            return Ok(());
        };
        let (is_apply, begun) = (run.phase == Phase::Apply, run.begun);
        if begun {
            return Ok(());
        }
        let is_on = |grip: &Grip, run: &Run| grip.0 == task && run.begun && run.end.is_none();
        let runs = |agent: &Agent| agent.has.iter().any(|(grip, run)| is_on(grip, run));
        if let Some((other, _)) = self.agents.iter().find(|(_, agent)| runs(agent)) {
            return Err(format!("task {task} is begun in {key} while it runs in {other}"));
        }
        let before = self.begun.entry((task, is_apply)).or_default();
        if let Some(open) = before.iter().find(|before| **before != token && !watch.is_over(task, **before)) {
            return Err(format!(
                "task {task} runs by token {token} and again by {open}, which is not on record"
            ));
        }
        before.push(token);
        self.runs += 1;
        if let Some(run) = self.agents.get_mut(key).and_then(|agent| agent.has.get_mut(&(task, token))) {
            run.begun = true;
        }
        Ok(())
    }
}

impl Agent {
    fn take(&mut self, orders: &[Order], old: &mut BTreeSet<Grip>) {
        for order in orders {
            match order {
                Order::Run { task, token, phase, spec, .. } => {
                    old.insert((*task, *token));
                    self.has.entry((*task, *token)).or_insert(Run {
                        phase: *phase,
                        kind: spec.kind,
                        begun: false,
                        ends: false,
                        end: None,
                    });
                }
                Order::Cancel { task, token, .. } => {
                    if let Some(run) = self.has.get_mut(&(*task, *token)) {
                        run.ends = true;
                    }
                }
                Order::Drain => {}
            }
        }
    }

    /// What it does next if all goes well.
    fn next_call(&mut self, random: &mut Random) -> Call {
        if !self.connected {
            return self.connect();
        }
        let grips: Vec<Grip> = self.has.keys().copied().collect();
        if grips.is_empty() || random.percent(40) {
            return if random.percent(70) { Call::Orders } else { Call::Beat(grips) };
        }
        let grip = grips[random.index(grips.len())];
        let report = match self.has.get_mut(&grip) {
            Some(run) if run.begun => run.end(random),
            Some(_) | None => TaskReport::Started,
        };
        Call::Tell(grip, report)
    }

    fn connect(&self) -> Call {
        let has = self.has.keys().copied().collect();
        Call::Connect(Called {
            session: self.session,
            version: "simulated".to_owned(),
            fresh: self.fresh,
            has,
            keeps: vec![],
        })
    }
}

impl Run {
    /// How it ends, or has.
    fn end(&mut self, random: &mut Random) -> TaskReport {
        let end = self.end.take().unwrap_or_else(|| self.draw_end(random));
        self.end = Some(end.clone());
        end
    }

    fn draw_end(&self, random: &mut Random) -> TaskReport {
        let plans = self.phase == Phase::Plan || matches!(self.kind, TaskKind::Plan | TaskKind::DriftCheck);
        if self.ends {
            return ended(None, true);
        }
        if plans && random.percent(85) {
            return TaskReport::Planned { changes: random.percent(70), summary: "changes".to_owned() };
        }
        ended(Some(i32::from(random.percent(20))), false)
    }
}

fn ended(code: Option<i32>, cancelled: bool) -> TaskReport {
    TaskReport::Finished {
        exit: code.map(TaskExit::Code),
        message: String::new(),
        timed_out: false,
        cancelled,
    }
}

impl Simulation {
    /// Hears what agents were answered.
    pub(super) fn hear_agents(&mut self) -> Result<(), Broken> {
        let containers = self.ground.machine.containers();
        let running = members(&self.shadow.world, &containers);
        self.agents.follow(&running, &mut self.random);
        self.agents.hear(&self.shadow.world, &self.shadow.watch)
    }

    /// An agent does something, if there is one that can.
    pub(super) fn agent_acts(&mut self) {
        let Some(service) = self.node.as_ref().and_then(super::node::Node::service) else { return };
        let keys: Vec<ContainerKey> = self.agents.agents.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.random.index(keys.len())].clone();
        let random = &mut self.random;
        let Some(agent) = self.agents.agents.get_mut(&key) else { return };
        if agent.mute > 0 {
            agent.mute -= 1;
            return;
        }
        if agent.waits || agent.dismissed {
            return;
        }
        let call = match random.below(40) {
            // Its process dies with all that it runs; the next one finds its files, or nothing.
            0 => {
                agent.session = Uuid::from_u64_pair(random.number(), random.number());
                (agent.fresh, agent.connected) = (random.percent(50), false);
                agent.has.clear();
                return;
            }
            1 => {
                agent.mute = random.below(60);
                return;
            }
            2..=4 if agent.connected => {
                match self.agents.old.iter().nth(random.index(self.agents.old.len().max(1))) {
                    Some(grip) if !agent.has.contains_key(grip) => Call::Lie(*grip, ended(Some(0), false)),
                    _ => Call::Orders,
                }
            }
            5 if agent.connected && random.percent(20) => {
                // First all that it runs is ended.
                agent.has.clear();
                Call::Leave
            }
            _ => agent.next_call(random),
        };
        self.call(&key, service, call);
    }

    /// All agents that can go on as they should.
    pub(super) fn agents_go_on(&mut self) {
        let Some(service) = self.node.as_ref().and_then(super::node::Node::service) else { return };
        let keys: Vec<ContainerKey> = self.agents.agents.keys().cloned().collect();
        for key in keys {
            let Some(agent) = self.agents.agents.get_mut(&key) else { continue };
            agent.mute = 0;
            if agent.waits || agent.dismissed {
                continue;
            }
            let call = agent.next_call(&mut self.random);
            self.call(&key, service.clone(), call);
        }
    }

    fn call(&mut self, key: &ContainerKey, service: Service, call: Call) {
        let (Some(node), Some(agent)) = (&self.node, self.agents.agents.get_mut(key)) else { return };
        agent.waits = true;
        let (key, id, session) = (key.clone(), agent.id.clone(), agent.session);
        let (heard, turns) = (Rc::clone(&self.agents.heard), self.ground.turns.clone());
        let correlation = Uuid::from_u64_pair(self.random.number(), self.random.number());
        node.spawn(async move {
            let by = Request { principal: Principal::new("agent"), correlation, command: None };
            let answer = put(&service, &id, session, call, by).await;
            // On its way; it may never come.
            let _ = turns.take(Asked::Reply).await;
            heard.borrow_mut().push((key, session, answer));
        });
    }
}

async fn put(service: &Service, id: &MemberId, session: Uuid, call: Call, by: Request) -> Answer {
    let (answer, grip) = match call {
        Call::Connect(called) => (service.agent_connect(id, called, by).await.map(Answer::Standing), None),
        Call::Beat(has) => {
            (service.agent_beat(id, session, (&has, &[]), false, by).await.map(Answer::Standing), None)
        }
        Call::Orders => {
            let wait = std::time::Duration::ZERO;
            (service.agent_orders(id, session, 0, wait).await.map(Answer::Orders), None)
        }
        Call::Tell(grip, report) => {
            let told = service.agent_report(id, session, grip, report.clone(), by).await;
            (told.map(|()| Answer::Told(grip, report)), Some(grip))
        }
        Call::Lie(grip, report) => {
            (service.agent_report(id, session, grip, report, by).await.map(|()| Answer::Believed(grip)), None)
        }
        Call::Leave => (service.agent_leave(id, session, by).await.map(|()| Answer::Left), None),
    };
    match (answer, grip) {
        (Ok(answer), _) => answer,
        (Err(AgentError::StaleToken), Some(grip)) => Answer::Stale(grip),
        (Err(AgentError::SessionUnknown), _) => Answer::Unknown,
        (Err(AgentError::SessionReplaced | AgentError::NoMember), _) => Answer::Dismissed,
        (Err(AgentError::StaleToken | AgentError::TooOften | AgentError::Service(_)), _) => Answer::Nothing,
    }
}

/// The containers of pools' pods that run, with whose agents are in them.
fn members(world: &World, containers: &BTreeMap<ContainerKey, Held>) -> BTreeMap<ContainerKey, MemberId> {
    let running = containers.iter().filter(|(_, held)| held.exit.is_none());
    let of = |key: &ContainerKey| {
        let labels = &world.pod(key.pod).and_then(Pod::live)?.spec.labels;
        let pool = PoolName::new(labels.get("purser.dev/pool")?.as_str()).ok()?;
        let member = labels.get("purser.dev/pool-member")?.parse().ok()?;
        Some(MemberId { pool, member })
    };
    running.filter_map(|(key, _)| Some((key.clone(), of(key)?))).collect()
}
