//! The world from one side: pods, slots, tenants and so on, as lines for people and as items for programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use purser_events::PodUid;
use purser_events::gpu::Gpu;
use purser_events::ledger::grant::HolderId;
use purser_events::ledger::state::Reservation;
use purser_events::ledger::{Amounts, GpuUuid, Ledger, TenantId};
use purser_events::pool::{Pool, PoolName};
use purser_events::view::{Entry, Tombstone, World};
use purser_events::worker::Worker;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::cli::View;
use crate::fold::Folded;
use crate::render;

impl View {
    /// What it shows of a world, a line each.
    pub(crate) fn lines(self, folded: &Folded) -> Vec<String> {
        let world = &folded.world;
        match self {
            View::Node => node(world),
            View::Pods => pods(world),
            View::Gone => gone(world),
            View::Workers => workers(world),
            View::Gpus => gpus(world),
            View::Pools => pools(world),
            View::Slots => slots(world),
            View::Tasks => tasks(folded),
            View::Resources => uses(world),
            View::Tenants => tenants(&world.ledger),
            View::Reservations => reservations(&world.ledger),
            View::Waiting => waiting(world),
            View::Violations => violations(world),
            View::Quarantined => unfolded(world),
        }
    }

    /// What it shows of a world, an item each.
    pub(crate) fn items(self, folded: &Folded) -> Vec<Value> {
        let world = &folded.world;
        let ledger = &world.ledger;
        match self {
            View::Node => world.node_uid.map(|uid| named("uid", &uid, &world.node)).into_iter().collect(),
            View::Pods => {
                let shown =
                    world.registry.entries.iter().map(|(id, entry)| named("name", &id.to_string(), entry));
                let withheld = world.withheld.iter().map(|uid| json!({ "uid": uid, "withheld": true }));
                shown.chain(withheld).collect()
            }
            View::Gone => world.registry.recent.iter().map(|gone| json!(gone)).collect(),
            View::Workers => world.workers.iter().map(|(uid, worker)| named("uid", uid, worker)).collect(),
            View::Gpus => world.gpus.iter().map(|(uuid, gpu)| gpu_item(world, uuid, gpu)).collect(),
            View::Pools => there(world).map(|(name, pool)| pool_item(name.as_str(), pool)).collect(),
            View::Slots => slot_items(world),
            View::Tasks => task_items(folded),
            View::Resources => {
                let usage = ledger.managers.usage(ledger.policy.strict);
                let used = usage.iter().filter(|(_, usage)| usage.capacity > 0);
                used.map(|(kind, usage)| named("resource", kind, usage)).collect()
            }
            View::Tenants => {
                let item = |tenant: &str| {
                    let used = ledger.used.iter().find(|(id, _)| id.as_str() == tenant).map(|(_, used)| used);
                    let own = ledger.tenants.iter().find(|(id, _)| id.as_str() == tenant).map(|(_, own)| own);
                    json!({ "tenant": tenant, "used": used, "bounds": own })
                };
                tenant_names(ledger).into_iter().map(item).collect()
            }
            View::Reservations => {
                ledger.reservations.iter().map(|(id, kept)| named("reservation", id, &**kept)).collect()
            }
            View::Waiting => ledger.waiting.values().map(|waits| json!(**waits)).collect(),
            View::Violations => {
                let history = &world.violations;
                let open = history.open.values().filter_map(|seq| history.episodes.get(seq)?.as_ref());
                open.map(|episode| json!(episode)).collect()
            }
            View::Quarantined => {
                let quarantined = world.quarantined.iter();
                quarantined.map(|(stream, why)| named("stream", &stream.to_string(), why)).collect()
            }
        }
    }
}

/// What something is, with its name in front; what is no object stands behind `state`.
fn named(key: &str, name: &impl Serialize, what: &impl Serialize) -> Value {
    let mut item = Map::new();
    item.insert(key.to_owned(), json!(name));
    match json!(what) {
        Value::Object(fields) => item.extend(fields),
        state => _ = item.insert("state".to_owned(), state),
    }
    Value::Object(item)
}

fn gpu_item(world: &World, uuid: &GpuUuid, gpu: &Gpu) -> Value {
    let mut item = named("uuid", uuid, gpu);
    let holders = world.holders_of(uuid).map(|holder| json!({
        "holder": holder.to_string(),
        "pod": match holder { HolderId::Pod(uid) => Some(pod_name(world, uid)), HolderId::Reservation(_) => None },
    }));
    item["holders"] = holders.collect();
    item
}

fn pool_item(name: &str, pool: &Pool) -> Value {
    let load = pool.load();
    json!({
        "pool": name, "state": pool.word(), "members": load.members, "wanted": pool.scaling.wanted,
        "slots": load.slots, "used": load.used, "waiting": pool.queue.waiting, "submitted": pool.submitted,
        "ended": pool.ended_count,
        "rule": pool.scaling.verdict().map(|verdict| verdict.rule.sentence()),
    })
}

fn slot_items(world: &World) -> Vec<Value> {
    let mut items = Vec::new();
    for (name, pool) in &world.pools {
        for member in pool.members.values() {
            items.extend(member.slots.iter().enumerate().map(|(number, slot)| {
                json!({
                    "pool": name, "member": member.member, "memberState": member.word(), "slot": number,
                    "state": slot.word(), "task": slot.task(),
                })
            }));
        }
    }
    items
}

fn task_items(folded: &Folded) -> Vec<Value> {
    let mut items = Vec::new();
    for (name, pool) in &folded.world.pools {
        items.extend(pool.tasks.values().map(|task| {
            let id = task.spec.id;
            let wait = folded.now().and_then(|now| pool.why_waits(id, now)).map(|wait| wait.to_string());
            json!({
                "pool": name, "task": id, "kind": task.spec.kind, "state": task.word(), "since": task.since,
                "attempts": task.attempts, "slot": task.slot().map(|(slot, _)| slot), "waitsBecause": wait,
            })
        }));
    }
    items
}

fn node(world: &World) -> Vec<String> {
    world.node_uid.map(|uid| format!("{uid}  {}", world.node.word())).into_iter().collect()
}

fn gone(world: &World) -> Vec<String> {
    let line = |gone: &Tombstone| {
        let name = gone.id.as_ref().map_or_else(|| "redacted".to_owned(), ToString::to_string);
        let Tombstone { uid, restarts, at, seq, .. } = gone;
        format!("{name}  {uid}  {restarts} restarts, gone at {at} by record {seq}")
    };
    world.registry.recent.iter().map(line).collect()
}

fn pools(world: &World) -> Vec<String> {
    let line = |(name, pool): (&PoolName, &Pool)| {
        let load = pool.load();
        let rule = pool.scaling.verdict().map_or("no rule yet", |verdict| verdict.rule.sentence());
        format!(
            "{name}  {}  {} of {} pods, {} of {} slots used, {} tasks wait: {rule}",
            pool.word(),
            load.members,
            pool.scaling.wanted,
            load.used,
            load.slots,
            pool.queue.waiting,
        )
    };
    there(world).map(line).collect()
}

/// The pools that are not gone.
fn there(world: &World) -> impl Iterator<Item = (&PoolName, &Pool)> {
    world.pools.iter().filter(|(_, pool)| pool.exists())
}

fn tasks(folded: &Folded) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, pool) in &folded.world.pools {
        lines.extend(pool.tasks.values().map(|task| {
            let (id, kind) = (task.spec.id, task.spec.kind);
            let mut line =
                format!("{name} {id}  {kind}  {} since {}, {} tries", task.word(), task.since, task.attempts);
            if let Some(wait) = folded.now().and_then(|now| pool.why_waits(id, now)) {
                let _ = write!(line, ": {}", render::safe(&wait.to_string()));
            }
            line
        }));
    }
    lines
}

/// Those that have something, and those with bounds of their own.
fn tenant_names(ledger: &Ledger) -> BTreeSet<&str> {
    ledger.used.keys().chain(ledger.tenants.keys()).map(TenantId::as_str).collect()
}

fn tenants(ledger: &Ledger) -> Vec<String> {
    let amounts = |amounts: &Amounts| {
        let shown: Vec<String> =
            amounts.iter().map(|(kind, amount)| format!("{kind} {}", kind.show(amount))).collect();
        if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
    };
    let line = |tenant: &str| {
        let used = ledger.used.iter().find(|(id, _)| id.as_str() == tenant);
        let used = used.map_or_else(|| "nothing".to_owned(), |(_, used)| amounts(used));
        let own = ledger.tenants.iter().find(|(id, _)| id.as_str() == tenant);
        let quota = own.and_then(|(_, own)| own.quota.as_ref());
        let quota = quota.map_or_else(String::new, |quota| format!("; at most {}", amounts(quota)));
        format!("{tenant}  has {used}{quota}")
    };
    tenant_names(ledger).into_iter().map(line).collect()
}

fn reservations(ledger: &Ledger) -> Vec<String> {
    let line = |(id, kept): (&Uuid, &Arc<Reservation>)| {
        format!("{id}  of {}  until {}", render::safe(&kept.owner), kept.expires_at)
    };
    ledger.reservations.iter().map(line).collect()
}

pub(crate) fn pods(world: &World) -> Vec<String> {
    let shown = world.registry.entries.iter().map(|(id, entry)| {
        let Entry { phase, ready, containers, restarts, last, .. } = entry;
        format!("{id}  {phase}  {ready}/{containers} ready, {restarts} restarts, last record {last}")
    });
    let withheld = world.withheld.iter().map(|uid| format!("{uid}  withheld"));
    shown.chain(withheld).collect()
}

/// What a pod is called, or its uid if that is not known.
fn pod_name(world: &World, uid: PodUid) -> String {
    let live = world.pods.get(&uid).and_then(|pod| pod.live());
    live.map_or_else(|| uid.to_string(), |pod| pod.spec.id.to_string())
}

pub(crate) fn workers(world: &World) -> Vec<String> {
    let line = |worker: &Worker| match worker {
        Worker::Unknown => None,
        Worker::Running(of) | Worker::Exited { worker: of, .. } => {
            let (pod, pid) = (pod_name(world, of.pod), of.process.host_pid);
            Some(format!("{pod}/{} try {}  {}  pid {pid}", of.container, of.attempt, worker.word()))
        }
    };
    world.workers.values().filter_map(line).collect()
}

pub(crate) fn gpus(world: &World) -> Vec<String> {
    let watched = world.gpus.iter().filter_map(|(uuid, gpu)| Some((uuid, gpu.known()?)));
    let mut lines: Vec<String> = watched
        .map(|(uuid, gpu)| {
            let detail = gpu.health.detail().map_or_else(String::new, |detail| render::safe(&detail));
            format!("{uuid}  {}  {detail}", gpu.word()).trim_end().to_owned()
        })
        .collect();
    for (holder, holding) in &world.ledger.holdings {
        for grant in &holding.grant.gpus {
            let name = match holder {
                HolderId::Pod(uid) => pod_name(world, *uid),
                HolderId::Reservation(_) => holder.to_string(),
            };
            lines.push(format!("{}  held by {name} of {}", grant.uuid, holding.tenant));
        }
    }
    lines.sort();
    lines
}

/// What is in each slot.
pub(crate) fn slots(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, pool) in &world.pools {
        for member in pool.members.values() {
            for (number, slot) in member.slots.iter().enumerate() {
                let task = slot.task().map_or_else(String::new, |task| format!("  {task}"));
                let (number, word) = (format!("{}/{number}", member.member), slot.word());
                lines.push(format!("{name} {number}  {}  {word}{task}", member.word()));
            }
        }
    }
    lines
}

pub(crate) fn tasks_that_wait(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, pool) in &world.pools {
        let waiting = pool.tasks.values().filter(|task| !task.is_over() && task.slot().is_none());
        lines.extend(waiting.map(|task| {
            let (id, kind) = (task.spec.id, task.spec.kind);
            format!("{name} {id}  {kind}  since {}, {} tries", task.since, task.attempts)
        }));
    }
    lines
}

pub(crate) fn uses(world: &World) -> Vec<String> {
    let ledger = &world.ledger;
    let usage = ledger.managers.usage(ledger.policy.strict);
    let used = usage.iter().filter(|(_, usage)| usage.capacity > 0);
    used.map(|(kind, usage)| {
        let (given, there) = (kind.show(usage.allocated), kind.show(usage.capacity));
        let percent = u128::from(usage.allocated) * 100 / u128::from(usage.capacity);
        format!("{kind}  {given} of {there}, {percent} %")
    })
    .collect()
}

pub(crate) fn waiting(world: &World) -> Vec<String> {
    let waiting = world.ledger.waiting.values();
    waiting.map(|waits| format!("{} of {}", pod_name(world, waits.pod), waits.tenant)).collect()
}

pub(crate) fn violations(world: &World) -> Vec<String> {
    let history = &world.violations;
    let open = history.open.values().filter_map(|seq| history.episodes.get(seq)?.as_ref());
    open.map(|episode| {
        let mut line = format!("{} {}", episode.kind, episode.level);
        if let Some(pod) = episode.pod {
            let _ = write!(line, "  by {}", pod_name(world, pod));
        }
        if let Some(gpu) = &episode.gpu {
            let _ = write!(line, "  on {gpu}");
        }
        let _ = write!(line, "  since {}  {}", episode.since, render::safe(&episode.evidence));
        line
    })
    .collect()
}

pub(crate) fn unfolded(world: &World) -> Vec<String> {
    let quarantined = world.quarantined.iter();
    quarantined
        .map(|(stream, why)| format!("{stream} from record {} on: {}", why.seq, render::safe(&why.reason)))
        .collect()
}
