//! Pools of a run: who hands tasks in and speaks of them, and how all of it comes to its end.

use std::sync::Arc;

use purser_actors::service::{Request, ServiceError};
use purser_events::pod::spec::RestartPolicy;
use purser_events::pool::{
    Pool, PoolName, PoolSpec, Reference, ReferenceKind, SlotRule, TaskId, TaskKind, TaskSpec, Workspace,
};
use purser_events::{BackOffPolicy, Principal};
use uuid::Uuid;

use super::node::Node;
use super::requests::{Ask, Wish};
use super::run::{Broken, Simulation};
use super::turns::Asked;
use crate::random::Random;
use crate::{pools, specs};

/// Turns that are given at once.
const TURNS: u32 = 6;
/// Tasks that anybody speaks of, the newest.
const SPOKEN_OF: u64 = 12;

/// The pools of a run.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    name: PoolName,
    spec: PoolSpec,
    /// Tasks that were handed in, or might have been.
    tasks: u64,
    seed: u64,
}

/// Something that is wanted of a pool.
#[derive(Debug, Clone)]
enum Want {
    Set(Box<PoolSpec>),
    Task(Box<TaskSpec>),
    Confirm(TaskId),
    Discard(TaskId),
    Cancel(TaskId),
    Delete { force: bool },
}

impl Pools {
    /// One pool, as the seed says.
    pub(super) fn new(seed: u64) -> Pools {
        let mut random = Random(!seed);
        let mut spec = pools::spec(1, 1);
        let rules = [SlotRule::Seed, SlotRule::Exclusive, SlotRule::Flexible];
        spec.slots.rule = rules[random.index(rules.len())];
        spec.slots.count = u8::try_from(1 + random.below(3)).expect("a small number");
        let mut template = specs::pod("template", vec![specs::container("agent", &["/bin/agent"])]);
        (template.restart_policy, template.termination_grace_s) = (RestartPolicy::Never, 5);
        template.claims.priority = 100;
        spec.template = Arc::new(template);
        spec.scaling.min_replicas = u32::try_from(random.below(2)).expect("a small number");
        spec.scaling.max_replicas = 1 + u32::try_from(random.below(3)).expect("a small number");
        (spec.scaling.up_stable_ms, spec.scaling.down_stable_ms) =
            (random.below(5_000), random.below(20_000));
        spec.tasks.attempts_max = 50;
        spec.tasks.back_off = BackOffPolicy { first_ms: 1_000, max_ms: 10_000, reset_after_ms: 600_000 };
        spec.tasks.timeout_s = 120;
        spec.tasks.reservation_ttl_s = 300;
        (spec.agents.offline_after_ms, spec.agents.start_within_ms) = (30_000, 60_000);
        spec.agents.cancel_grace_s = 5;
        spec.references = vec![Reference { kind: ReferenceKind::Secret, name: "key".to_owned() }];
        Pools { name: PoolName::new("ci").expect("a label"), spec, tasks: 0, seed }
    }

    fn id(&self, number: u64) -> TaskId {
        TaskId(Uuid::from_u64_pair((1 << 62) | self.seed, number))
    }

    fn task(&mut self, random: &mut Random) -> TaskSpec {
        // Now and then the same again.
        if self.tasks == 0 || random.percent(90) {
            self.tasks += 1;
        }
        let kind =
            TaskKind::ALL[usize::try_from(self.tasks % TaskKind::ALL.len() as u64).unwrap_or_default()];
        let mut spec = pools::work(self.id(self.tasks));
        spec.kind = kind;
        spec.apply_argv = if kind == TaskKind::PlanAndApply { vec!["true".to_owned()] } else { vec![] };
        spec.workspace = (!self.tasks.is_multiple_of(5))
            .then(|| Workspace::new(&format!("w{}", self.tasks % 3)).expect("a label"));
        spec
    }

    fn want(&mut self, random: &mut Random) -> Want {
        let back = random.below(SPOKEN_OF.min(self.tasks.max(1)));
        let task = self.id(self.tasks.saturating_sub(back));
        match random.below(30) {
            0..=14 => Want::Task(Box::new(self.task(random))),
            15..=20 => Want::Confirm(task),
            21 => Want::Discard(task),
            22..=24 => Want::Cancel(task),
            25..=28 => {
                let max = 1 + u32::try_from(random.below(3)).expect("a small number");
                self.spec.scaling.max_replicas = max;
                self.spec.scaling.min_replicas = self.spec.scaling.min_replicas.min(max);
                Want::Set(Box::new(self.spec.clone()))
            }
            _ => Want::Delete { force: random.percent(50) },
        }
    }
}

impl Simulation {
    /// Something that has to do with pools, in a run that has some.
    pub(super) fn pool_step(&mut self) {
        match self.random.below(100) {
            0..=44 => self.agent_acts(),
            // Between what is wanted and a task that runs are many dealings with the outside.
            45..=69 => {
                for _ in 0..TURNS {
                    self.give_turn();
                    self.poll();
                }
                self.write_group();
            }
            70..=71 => self.ground.host.change_references(),
            _ => {
                let Some(mut pools) = self.pools.take() else { return };
                let known = self.shadow.world.pools.get(&pools.name).is_some_and(Pool::exists);
                let want = if known {
                    pools.want(&mut self.random)
                } else {
                    Want::Set(Box::new(pools.spec.clone()))
                };
                self.pools = Some(pools);
                self.want(want);
            }
        }
    }

    fn want(&mut self, want: Want) {
        let (Some(node), Some(pools)) = (&self.node, &self.pools) else { return };
        let Some(service) = node.service() else { return };
        let (name, replies, turns) = (pools.name.clone(), self.replies.clone(), self.ground.turns.clone());
        let correlation = Uuid::from_u64_pair(self.random.number(), self.random.number());
        node.spawn(async move {
            let by = Request { principal: Principal::new("uid:1000"), correlation, command: None };
            let told = format!("{want:?}");
            let answer = match want {
                Want::Set(spec) => service.apply_pool(&name, *spec, by).await.map(|it| it.seq),
                Want::Task(spec) => service.submit_task(&name, *spec, by).await.map(|it| it.of.seq),
                Want::Confirm(task) => service.confirm_task(task, by).await.map(|it| it.of.seq),
                Want::Discard(task) => service.discard_task(task, by).await.map(|it| it.of.seq),
                Want::Cancel(task) => service.cancel_task(task, by).await.map(|it| it.of.seq),
                Want::Delete { force } => service.delete_pool(&name, force, by).await.map(|it| it.seq),
            };
            let _ = turns.take(Asked::Reply).await;
            match answer {
                Ok(seq) => replies.note(seq),
                Err(ServiceError::Pool(_) | ServiceError::Busy { .. } | ServiceError::Stopping) => {
                    replies.refuse();
                }
                Err(error) => replies.wonder(format!("{told}: {error}")),
            }
        });
    }

    /// What people and agents do meanwhile so that tasks come to their end.
    pub(super) fn pools_go_on(&mut self) {
        let Some(pools) = self.pools.clone() else { return };
        let world = &self.shadow.world;
        let is_cordoned = world.node.known().is_some_and(|node| node.cordoned.is_some());
        let pool = world.pools.get(&pools.name).filter(|pool| pool.exists());
        let gave_up = pool.is_some_and(|pool| pool.scaling.gave_up);
        let reserved = pool.and_then(|pool| pool.reserved.first().copied());
        if let (true, Some(service)) = (is_cordoned, self.node.as_ref().and_then(Node::service)) {
            let ask = Ask::new(Wish::Uncordon, &mut self.random);
            self.ask(ask, service, None);
        }
        if gave_up {
            // Only that has pods tried again.
            self.want(Want::Set(Box::new(pools.spec)));
        }
        if let Some(task) = reserved {
            self.want(Want::Confirm(task));
        }
        self.agents_go_on();
    }

    /// Whether all tasks are over, and there are as many pods as there are to be, all with their agents.
    pub(super) fn pools_rest(&self) -> bool {
        self.shadow.world.pools.values().all(|pool| {
            let is_over = pool.tasks.values().all(|task| task.is_over());
            let are_there = pool.members.values().all(|member| member.is_connected());
            let wanted = usize::try_from(pool.scaling.wanted).unwrap_or(usize::MAX);
            is_over && (!pool.exists() || are_there && pool.members.size() == wanted)
        })
    }

    /// What a pool still waits for, in words.
    pub(super) fn pools_told(&self) -> Vec<String> {
        let of = |pool: &Pool| {
            let open = pool.tasks.values().filter(|task| !task.is_over());
            let open: Vec<String> = open.map(|task| format!("{} {:?}", task.spec.id, task.state)).collect();
            format!("{:?}, {:?}, open: {open:?}", pool.scaling, pool.members)
        };
        self.shadow.world.pools.values().map(of).collect()
    }

    /// Removes the pools that there are.
    pub(super) fn leave_pools(&mut self) {
        let there = |pools: &Pools| self.shadow.world.pools.get(&pools.name).is_some_and(Pool::exists);
        if self.pools.as_ref().is_some_and(there) {
            self.want(Want::Delete { force: true });
        }
    }

    /// Nothing of a pool is left.
    pub(super) fn pools_are_gone(&self) -> Result<(), Broken> {
        let left = self.shadow.world.pools.iter().find(|(_, pool)| pool.exists());
        // Of a pod that was refused its folder may stay until the next start.
        let refused = &self.shadow.watch.refused;
        let folders: Vec<String> = self.ground.host.folders().difference(refused).cloned().collect();
        match left {
            Some((name, pool)) => Err(format!("pool {name} was removed, and is {}", pool.word())),
            None if folders.is_empty() => Ok(()),
            None => Err(format!("folders of agents are left: {folders:?}")),
        }
    }
}
