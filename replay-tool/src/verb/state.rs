//! `state`: what was true at a moment, folded from the journal by the same logic as the node's.

use clap::ValueEnum;
use purser_events::Timestamp;
use purser_events::view::Entry;
use serde_json::json;

use crate::cli::{Output, StateArgs, View};
use crate::entity::Entity;
use crate::failure::{Exit, Failure};
use crate::fold::{Folded, Until, fold};
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(
    args: &StateArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let at = args.at.map(|at| at.seen_from(now));
    let mut folded = fold(at, place, console)?;
    folded.seen_at = match at {
        Some(Until::Time(at)) => Some(at),
        Some(Until::Seq(_)) => None,
        None => place.is_live().then_some(now),
    };
    let world = &folded.world;
    if args.digest {
        console.line(format_args!("{} {}", world.head, render::hex(&world.digest())))?;
        return Ok(folded.exit);
    }
    if let Some(view) = args.view {
        tell_view(view, &folded, args.output, console)?;
        return Ok(folded.exit);
    }
    let entity = match (&args.stream, &args.pod) {
        (None, None) => None,
        (Some(name), _) => Some(Entity::of_stream(world, name.0)),
        (None, Some(pod)) => Some(Entity::of_pod(world, pod)),
    };
    match (entity, args.output) {
        (None, Output::Text) => tell_world(&folded, console)?,
        (None, Output::Json) => {
            let value = json!({
                "at": folded.place(), "digest": render::hex(&world.digest()), "world": world,
            });
            console.line(format_args!("{}", render::pretty(&value)))?;
        }
        (Some(None), Output::Text | Output::Json) => {
            console.note(format_args!("nothing is known of it at record {}", world.head));
            return Ok(folded.exit.or_worse(Exit::NothingMatched));
        }
        (Some(Some(entity)), Output::Text) => {
            console.line(format_args!("{} at record {}{}", entity.title, world.head, folded.time_text()))?;
            console.line(format_args!("{}", render::pretty(&entity.state)))?;
        }
        (Some(Some(entity)), Output::Json) => {
            let value = json!({ "at": folded.place(), "entity": entity.title, "state": entity.state });
            console.line(format_args!("{}", render::pretty(&value)))?;
        }
    }
    Ok(folded.exit)
}

/// The world from one side.
fn tell_view(view: View, folded: &Folded, output: Output, console: &mut Console<'_>) -> Result<(), Failure> {
    let name = view.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    match output {
        Output::Text => {
            let lines = view.lines(folded);
            let (count, head) = (lines.len(), folded.world.head);
            console.line(format_args!("{name} at record {head}{}: {count}", folded.time_text()))?;
            lines.iter().try_for_each(|line| console.line(format_args!("  {line}")))
        }
        Output::Json => {
            let value = json!({ "at": folded.place(), "view": name, "items": view.items(folded) });
            console.line(format_args!("{}", render::pretty(&value)))
        }
    }
}

/// Each pool with its pods, slots and tasks, and which rule has said how many pods there are to be.
fn tell_pools(folded: &Folded, console: &mut Console<'_>) -> Result<(), Failure> {
    for (name, pool) in &folded.world.pools {
        let load = pool.load();
        let rule = pool.scaling.verdict().map_or("no rule yet", |verdict| verdict.rule.sentence());
        console.line(format_args!(
            "pool     {name} {}, {} of {} pods, {} of {} slots used, {} tasks wait: {rule}",
            pool.word(),
            load.members,
            pool.scaling.wanted,
            load.used,
            load.slots,
            pool.queue.waiting,
        ))?;
        for task in pool.tasks.keys() {
            if let Some(wait) = folded.now().and_then(|now| pool.why_waits(*task, now)) {
                console.line(format_args!("  task {task} waits: {}", render::safe(&wait.to_string())))?;
            }
        }
    }
    Ok(())
}

fn tell_world(folded: &Folded, console: &mut Console<'_>) -> Result<(), Failure> {
    let world = &folded.world;
    console.line(format_args!("record   {}{}", world.head, folded.time_text()))?;
    console.line(format_args!("digest   {}", render::hex(&world.digest())))?;
    match world.node_uid {
        Some(uid) => console.line(format_args!("node     {uid} {}", world.node.word()))?,
        None => console.line(format_args!("node     never started"))?,
    }
    console.line(format_args!(
        "workers  {} of {} ever registered",
        world.workers.len(),
        world.workers_registered
    ))?;
    for (uuid, gpu) in &world.gpus {
        let Some(known) = gpu.known() else { continue };
        let detail = known.health.detail().map_or_else(String::new, |detail| render::safe(&detail));
        console.line(format_args!("gpu      {uuid} {} since {} {detail}", known.word(), known.since))?;
    }
    tell_pools(folded, console)?;
    let registry = &world.registry;
    console.line(format_args!(
        "pods     {} of {} ever admitted",
        registry.entries.len(),
        registry.admitted
    ))?;
    let width = registry.entries.keys().map(|id| id.to_string().len()).max().unwrap_or_default();
    for (id, entry) in &registry.entries {
        let Entry { uid, phase, ready, containers, restarts, admitted_at: _, admitted_by: _, last } = entry;
        let id = id.to_string();
        console.line(format_args!(
            "  {id:width$}  {phase:12}  {ready}/{containers} ready, {restarts} restarts, last record {last}, uid {uid}"
        ))?;
    }
    for uid in &world.withheld {
        console
            .line(format_args!("  withheld: a pod whose payloads were redacted or are sealed, uid {uid}"))?;
    }
    for (stream, quarantine) in &world.quarantined {
        let reason = render::safe(&quarantine.reason);
        console.line(format_args!("not folded from record {} on: {stream} ({reason})", quarantine.seq))?;
    }
    Ok(())
}
