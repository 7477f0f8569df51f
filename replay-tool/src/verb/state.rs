//! `state`: what was true at a moment, folded from the journal by the same logic as the node's.

use purser_events::view::{Entry, World};
use purser_events::{PodUid, Record, Seq, StreamId, StreamKind, Timestamp, WorkerUid};
use serde_json::{Value, json};

use crate::cli::{Moment, Output, PodName, StateArgs};
use crate::failure::{Exit, Failure};
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(args: &StateArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let folded = fold(args.at, place, console)?;
    let world = &folded.world;
    if args.digest {
        console.line(format_args!("{} {}", world.head, render::hex(&world.digest())))?;
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

/// A world, and how it came about.
struct Folded {
    world: World,
    /// When its last record was written.
    time: Option<Timestamp>,
    exit: Exit,
}

impl Folded {
    fn place(&self) -> Value {
        json!({ "seq": self.world.head, "time": self.time })
    }

    fn time_text(&self) -> String {
        self.time.map_or_else(String::new, |time| format!(" of {time}"))
    }
}

fn fold(at: Option<Moment>, place: &Place, console: &mut Console<'_>) -> Result<Folded, Failure> {
    let mut source = place.open(Seq(1))?;
    let before = source.before().seq;
    if before > Seq::ZERO {
        return Err(Failure::Partial { before });
    }
    let mut folded = Folded { world: World::default(), time: None, exit: Exit::Ok };
    for stored in source.by_ref() {
        let stored = stored?;
        let (seq, stream, time) = (stored.header.seq, stored.header.stream, stored.header.time);
        let past = match at {
            Some(Moment::Seq(last)) => seq > last,
            Some(Moment::Time(last)) => time > last,
            None => false,
        };
        if past {
            return Ok(folded);
        }
        match stored.event() {
            Ok(event) => {
                let record = Record { header: stored.header, event };
                if let Err(illegal) = folded.world.apply(&record) {
                    console.note(format_args!(
                        "record {seq} of {stream}: {illegal}; the stream is no longer folded"
                    ));
                }
            }
            Err(error) if error.is_withheld() => {
                folded.world.apply_withheld(&stored.header, stored.layout_number);
            }
            Err(error) => {
                folded.exit = folded.exit.or_worse(Exit::of_payload(&error));
                let reason = render::payload_error(&error);
                console
                    .note(format_args!("record {seq} of {stream}: {reason}; the stream is no longer folded"));
                folded.world.quarantine(stream, seq, reason);
            }
        }
        folded.time = Some(time);
    }
    match at {
        Some(Moment::Seq(asked)) if asked > folded.world.head => {
            Err(Failure::NoRecord { first: Seq(1), last: folded.world.head, asked })
        }
        Some(Moment::Seq(_) | Moment::Time(_)) | None => Ok(folded),
    }
}

/// One entity, ready to be shown.
struct Entity {
    title: String,
    state: Value,
}

impl Entity {
    fn of_stream(world: &World, stream: StreamId) -> Option<Entity> {
        let state = match stream.kind {
            StreamKind::Node => world.node_uid.filter(|uid| uid.0 == stream.id).map(|_| json!(world.node)),
            StreamKind::Pod => {
                let uid = PodUid(stream.id);
                let withheld = || world.withheld.contains(&uid).then(|| json!({ "withheld": true }));
                world.pods.get(&uid).map(|pod| json!(pod)).or_else(withheld)
            }
            StreamKind::Ledger => {
                world.node_uid.filter(|uid| uid.0 == stream.id).map(|_| json!(world.ledger))
            }
            StreamKind::Worker => world.workers.get(&WorkerUid(stream.id)).map(|worker| json!(worker)),
        };
        state.map(|state| Entity { title: stream.to_string(), state })
    }

    fn of_pod(world: &World, pod: &PodName) -> Option<Entity> {
        let uid = match pod {
            PodName::Incarnation(uid) => Some(*uid),
            PodName::Name(id) => world.registry.entries.get(id).map(|entry| entry.uid),
        };
        Entity::of_stream(world, uid?.stream())
    }
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
