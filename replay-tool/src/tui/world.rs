//! The world at a moment, as lines: pods, workers, GPUs, pools, what is given out and what is violated.

use std::fmt::Write as _;

use purser_events::PodUid;
use purser_events::ledger::grant::HolderId;
use purser_events::view::{Entry, World};
use purser_events::worker::Worker;

use crate::fold::Folded;
use crate::render;

/// Most lines of one part of the world.
const PART_LINES_MAX: usize = 1_000;

/// What was true after the last record that is folded in.
pub(super) fn lines(folded: &Folded) -> Vec<String> {
    let world = &folded.world;
    let mut lines = vec![format!("after record {}{}", world.head, folded.time_text())];
    lines.push(match world.node_uid {
        Some(uid) => format!("node {} {uid}", world.node.word()),
        None => "node never started".to_owned(),
    });
    part(&mut lines, "pods", pods(world));
    part(&mut lines, "workers", workers(world));
    part(&mut lines, "gpus", gpus(world));
    part(&mut lines, "slots", slots(world));
    part(&mut lines, "tasks that wait", tasks_that_wait(world));
    part(&mut lines, "given out", uses(world));
    part(&mut lines, "waiting", waiting(world));
    part(&mut lines, "violations", violations(world));
    part(&mut lines, "not folded", unfolded(world));
    lines
}

/// A part with its heading, which says how many there are.
fn part(lines: &mut Vec<String>, title: &str, of: Vec<String>) {
    lines.push(format!("{title} {}", of.len()));
    let more = of.len().saturating_sub(PART_LINES_MAX);
    lines.extend(of.into_iter().take(PART_LINES_MAX).map(|line| format!("  {line}")));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
}

fn pods(world: &World) -> Vec<String> {
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

fn workers(world: &World) -> Vec<String> {
    let line = |worker: &Worker| match worker {
        Worker::Unknown => None,
        Worker::Running(of) | Worker::Exited { worker: of, .. } => {
            let (pod, pid) = (pod_name(world, of.pod), of.process.host_pid);
            Some(format!("{pod}/{} try {}  {}  pid {pid}", of.container, of.attempt, worker.word()))
        }
    };
    world.workers.values().filter_map(line).collect()
}

fn gpus(world: &World) -> Vec<String> {
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
fn slots(world: &World) -> Vec<String> {
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

fn tasks_that_wait(world: &World) -> Vec<String> {
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

fn uses(world: &World) -> Vec<String> {
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

fn waiting(world: &World) -> Vec<String> {
    let waiting = world.ledger.waiting.values();
    waiting.map(|waits| format!("{} of {}", pod_name(world, waits.pod), waits.tenant)).collect()
}

fn violations(world: &World) -> Vec<String> {
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

fn unfolded(world: &World) -> Vec<String> {
    let quarantined = world.quarantined.iter();
    quarantined
        .map(|(stream, why)| format!("{stream} from record {} on: {}", why.seq, render::safe(&why.reason)))
        .collect()
}
