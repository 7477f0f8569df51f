//! Seeded lives of a pool: whatever is submitted, whoever crashes, whatever is lost or told by a liar. The real decider
//! decides, an onlooker who knows the events alone sees that nothing happens that must not.
//!
//! `PURSER_POOL_SEEDS` sets which seeds: a count, or a range as in `100..200`. A seed that fails is printed.

mod agents;

use std::collections::BTreeMap;
use std::ops::Range;

use purser_events::decider::Decider;
use purser_events::pool::{
    self, Digest, FreezeWindow, MemberPhase, OnEnd, Pool, PoolCommand, PoolEvent, PoolSpec, Reference,
    ReferenceKind, SlotRule, TaskId, TaskKind, Token, Weekday, Workspace,
};
use purser_events::{Context, PodUid, Policy, Timestamp};
use uuid::Uuid;

use super::dice::Dice;
use super::model::Model;
use super::past;
use super::support::{NOON, set, spec, task, utc};

/// Seeds if nobody says otherwise.
const SEEDS: u64 = 1_000;
/// Steps of one life before it is brought to its end.
const STEPS: u64 = 220;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("PURSER_POOL_SEEDS") else { return 0..SEEDS };
    let number = |text: &str| text.trim().parse::<u64>().expect("PURSER_POOL_SEEDS is a count or a range");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    let (mut assigned, mut lost, mut given_up) = (0, 0, 0);
    for seed in seeds() {
        match Life::new(seed).live() {
            Ok((model, heard_given_up)) => {
                assigned += model.assigned;
                lost += model.lost;
                given_up += heard_given_up;
            }
            Err(why) => panic!("seed {seed}: {why}\n    repeat with PURSER_POOL_SEEDS={seed}..{}", seed + 1),
        }
    }
    println!(
        "{assigned} tasks were given slots, {lost} lost them; {given_up} words of members that were given up"
    );
    assert!(0 < given_up, "nobody spoke who was given up");
    assert!(lost < assigned && 0 < lost, "the lives are too quiet: {assigned} given, {lost} lost");
}

/// An agent in its pod.
#[derive(Debug, Clone)]
struct SimAgent {
    session: Uuid,
    fresh: bool,
    /// What it has, and whether its process runs.
    has: BTreeMap<(TaskId, Token), bool>,
}

fn is_lost(member: &pool::Member) -> bool {
    matches!(member.phase, MemberPhase::Lost { .. })
}

struct Life {
    dice: Dice,
    /// Chooses what is told again: what happens does not depend on it.
    past: Dice,
    pool: Pool,
    now: Timestamp,
    model: Model,
    events: Vec<PoolEvent>,
    agents: BTreeMap<u64, SimAgent>,
    /// What agents once had.
    old: Vec<(u64, TaskId, Token)>,
    spec: PoolSpec,
    tasks: u64,
    sessions: u64,
    /// How often the agent of a member that was given up did something.
    heard_given_up: u64,
}

type Lived = Result<(), String>;

impl Life {
    fn new(seed: u64) -> Life {
        let mut dice = Dice(seed);
        let rules = [SlotRule::Seed, SlotRule::Exclusive, SlotRule::Flexible];
        let rule = dice.pick(&rules).unwrap();
        let count = u8::try_from(1 + dice.below(4)).unwrap();
        let mut spec = spec(rule, count);
        spec.scaling.max_replicas = u32::try_from(1 + dice.below(5)).unwrap();
        spec.scaling.up_stable_ms = dice.below(20_000);
        spec.scaling.down_stable_ms = dice.below(60_000);
        spec.tasks.attempts_max = 50;
        spec.tasks.kept_max = u32::try_from(dice.below(20)).unwrap();
        spec.tasks.queue_max = 30;
        spec.tasks.timeout_s = 600;
        let reference = Reference { kind: ReferenceKind::Secret, name: "key".to_owned() };
        spec.references = vec![reference];
        Life {
            dice,
            past: Dice(!seed),
            pool: Pool::default(),
            now: NOON,
            model: Model::default(),
            events: vec![],
            agents: BTreeMap::new(),
            old: vec![],
            spec,
            tasks: 0,
            sessions: 0,
            heard_given_up: 0,
        }
    }

    fn live(mut self) -> Result<(Model, u64), String> {
        let spec = self.spec.clone();
        self.must(set(spec))?;
        for _ in 0..STEPS {
            self.step()?;
        }
        self.come_to_an_end()?;
        let mut again = Pool::default();
        self.events
            .iter()
            .try_for_each(|event| again.follow(event))
            .map_err(|illegal| illegal.to_string())?;
        if again != self.pool {
            return Err("folding again gives another pool".to_owned());
        }
        let json = serde_json::to_vec(&self.pool).unwrap();
        if serde_json::from_slice::<Pool>(&json).unwrap() != self.pool {
            return Err("a snapshot gives another pool".to_owned());
        }
        Ok((self.model, self.heard_given_up))
    }

    /// Asks, and follows what comes of it; a refusal is none of our business.
    fn ask(&mut self, command: &PoolCommand) -> Result<bool, String> {
        let context = Context { now: self.now, policy: Policy::default(), cordoned: None };
        let decided = self.pool.decide_next(command, &context);
        let mut ahead = self.pool.clone();
        let same = ahead.decide_ahead(command, &context).map(|events| (events, ahead.clone()));
        if same != decided || (same.is_err() && ahead != self.pool) {
            return Err(format!("{command:?} is decided in two ways"));
        }
        let Ok((events, next)) = decided else { return Ok(false) };
        if self.pool.decide(command, &context).as_ref() != Ok(&events) {
            return Err(format!("{command:?} is decided in two ways"));
        }
        for event in &events {
            self.pool = self.pool.evolve(event).map_err(|illegal| illegal.to_string())?;
            self.model.note(event, command)?;
            if let Some(broken) = pool::check(&self.pool).first() {
                return Err(format!("{broken}, after {event:?} of {command:?}"));
            }
        }
        if next != self.pool {
            return Err(format!("{command:?} leads elsewhere than its events: {events:?}"));
        }
        let is_refused = Pool::refusal(&events).is_some();
        self.events.extend(events);
        self.refuse_the_past()?;
        Ok(!is_refused)
    }

    fn refuse_the_past(&mut self) -> Lived {
        let count = self.events.len() as u64;
        let at = usize::try_from(self.past.below(count)).unwrap();
        let Some(past) = self.events.get(at) else { return Ok(()) };
        past::refused(&self.pool, past)
    }

    fn must(&mut self, command: PoolCommand) -> Lived {
        if self.ask(&command)? { Ok(()) } else { Err(format!("refused: {command:?}")) }
    }

    fn tick(&mut self, ms: u64) -> Lived {
        self.now = self.now.plus_ms(ms);
        let local = utc(self.now);
        self.ask(&PoolCommand::Tick { local }).map(|_| ())
    }

    fn step(&mut self) -> Lived {
        match self.dice.below(100) {
            0..18 => self.submit(),
            18..26 => self.speak(),
            26..46 => self.pods(),
            46..74 => self.agent(),
            74..77 => self.lie(),
            77..79 => self.lose_pod(),
            79..81 => self.fall_silent(),
            81..82 => {
                // The service was killed: nobody is connected, and everybody comes back.
                self.ask(&PoolCommand::AgentsAway).map(|_| ())
            }
            82..84 => self.change(),
            84..85 if self.dice.hits(15) => self.leave(),
            85..87 => self.tick(60_000 * 30),
            87..88 if self.dice.hits(10) => self.tick(86_400_000),
            _ => {
                let ms = self.dice.below(20_000);
                self.tick(ms)
            }
        }
    }

    fn submit(&mut self) -> Lived {
        self.tasks += 1;
        let kind = self.dice.pick(&TaskKind::ALL).unwrap();
        let mut spec = task(self.tasks, kind);
        spec.priority = i32::try_from(self.dice.below(3)).unwrap();
        let name = format!("w{}", self.dice.below(4));
        spec.workspace = self.dice.hits(70).then(|| Workspace::new(&name).unwrap());
        self.ask(&PoolCommand::Submit { spec: Box::new(spec) }).map(|_| ())
    }

    /// Somebody confirms, discards or cancels.
    fn speak(&mut self) -> Lived {
        let task = TaskId(Uuid::from_u128(u128::from(1 + self.dice.below(self.tasks))));
        let reserved: Vec<TaskId> = self.pool.reserved.iter().copied().collect();
        let task = self.dice.pick(&reserved).filter(|_| self.dice.hits(80)).unwrap_or(task);
        let command = match self.dice.below(6) {
            0..3 => PoolCommand::Confirm { task },
            3 => PoolCommand::Discard { task },
            _ => PoolCommand::Cancel { task },
        };
        self.ask(&command).map(|_| ())
    }

    /// What the node does about pods.
    fn pods(&mut self) -> Lived {
        let intents: Vec<(u64, bool)> = self
            .pool
            .intents()
            .map(|member| (member.member, member.phase == MemberPhase::Requested))
            .collect();
        let Some((member, is_requested)) = self.dice.pick(&intents) else { return Ok(()) };
        if !is_requested {
            self.agents.remove(&member);
            return self.must(PoolCommand::ReportRemoved { member });
        }
        if self.dice.hits(10) {
            let reason = "no such thing".to_owned();
            let command = match self.dice.hits(50) {
                true => PoolCommand::ReportRequestFailed { member, reason },
                false => PoolCommand::ReportNoRoom { member, reason },
            };
            return self.must(command);
        }
        let pod = PodUid(Uuid::from_u128(u128::from(member)));
        self.must(PoolCommand::ReportAdmitted { member, pod })
    }

    fn lose_pod(&mut self) -> Lived {
        let Some(member) = self.up() else { return Ok(()) };
        self.agents.remove(&member);
        self.must(PoolCommand::ReportPodEnded { member, detail: "killed".to_owned() })
    }

    fn fall_silent(&mut self) -> Lived {
        let Some(member) = self.up() else { return Ok(()) };
        let silent_ms = self.dice.below(1_000_000);
        // What runs in it goes on until its pod is gone.
        self.ask(&PoolCommand::ReportSilent { member, silent_ms }).map(|_| ())
    }

    fn change(&mut self) -> Lived {
        match self.dice.below(7) {
            0 => {
                let rules = [SlotRule::Seed, SlotRule::Exclusive, SlotRule::Flexible];
                // What runs by another rule is let to its end: the table holds for what one rule alone has given out.
                if self.pool.members.values().all(|member| member.is_idle()) {
                    self.spec.slots.rule = self.dice.pick(&rules).unwrap();
                }
            }
            1 => self.spec.slots.count = u8::try_from(1 + self.dice.below(4)).unwrap(),
            2 => {
                let mut template = (*self.spec.template).clone();
                template.labels.insert("revision".to_owned(), self.dice.below(1_000).to_string());
                self.spec.template = template.into();
            }
            3 => self.spec.scaling.max_replicas = u32::try_from(1 + self.dice.below(5)).unwrap(),
            4 => {
                let window = FreezeWindow {
                    days: vec![Weekday::Mon, Weekday::Tue],
                    from_minute: 1_200,
                    to_minute: 300,
                };
                self.spec.scaling.freezes = if self.dice.hits(50) { vec![window] } else { vec![] };
            }
            5 => {
                self.spec.tasks.on_lost = if self.dice.hits(30) { OnEnd::Fail } else { OnEnd::Retry };
                self.spec.tasks.on_failed = if self.dice.hits(50) { OnEnd::Fail } else { OnEnd::Retry };
            }
            _ => {
                let (reference, digest) = (self.spec.references[0].clone(), self.dice.below(3).to_string());
                let digests = vec![Digest { reference, digest }];
                return self.ask(&PoolCommand::ReportReferences { digests }).map(|_| ());
            }
        }
        let spec = self.spec.clone();
        self.ask(&set(spec)).map(|_| ())
    }

    /// The pool goes, and perhaps comes again.
    fn leave(&mut self) -> Lived {
        let delete = PoolCommand::Delete { force: self.dice.hits(50) };
        self.ask(&delete).map(|_| ())
    }

    /// Everybody does his part from now on: every task comes to its end.
    fn come_to_an_end(&mut self) -> Lived {
        self.spec.scaling.freezes.clear();
        self.spec.scaling.min_replicas = 1;
        self.spec.tasks.on_failed = OnEnd::Fail;
        for _ in 0..600 {
            let spec = self.spec.clone();
            self.ask(&set(spec))?;
            self.tick(30_000)?;
            for member in self.pool.intents().map(|it| it.member).collect::<Vec<_>>() {
                let pod = PodUid(Uuid::from_u128(u128::from(member)));
                self.ask(&PoolCommand::ReportAdmitted { member, pod })?;
                self.ask(&PoolCommand::ReportRemoved { member })?;
                if self.pool.member(member).is_none() {
                    self.agents.remove(&member);
                }
            }
            let up = self.pool.members.values().filter(|member| member.phase == MemberPhase::Up);
            for member in up.map(|member| member.member).collect::<Vec<_>>() {
                self.sessions += 1;
                let session = Uuid::from_u128(self.sessions.into());
                let new = SimAgent { session, fresh: true, has: BTreeMap::new() };
                self.agents.entry(member).or_insert(new);
                if !self.is_connected(member) {
                    self.connect(member)?;
                }
                self.take_orders(member)?;
                self.work(member)?;
            }
            for task in self.pool.reserved.iter().copied().collect::<Vec<_>>() {
                self.ask(&PoolCommand::Confirm { task })?;
            }
            let stays = self.pool.exists() && self.pool.leaving.is_none();
            if stays && self.pool.tasks.values().all(|it| it.is_over()) {
                return Ok(());
            }
        }
        let left = self.pool.tasks.values().filter(|task| !task.is_over());
        Err(format!("these never end: {:?}", left.collect::<Vec<_>>()))
    }
}
