//! `why`: the chain of causes of a record, down to where it began, or with `--down` everything that it led to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use purser_events::node::NodeEvent;
use purser_events::{Cause, CommandId, Event, Header, Seq};
use purser_storage::StoredRecord;
use purser_storage::offline::SourceError;
use serde_json::{Value, json};

use crate::asks::Asks;
use crate::cli::{Output, PodName, RecordOrPod, WhyArgs};
use crate::failure::{Exit, Failure};
use crate::graph::cause_of;
use crate::links::{Link, Links};
use crate::members::Members;
use crate::reading::Reading;
use crate::rows::Rows;
use crate::source::Place;
use crate::spans::signed_seconds;
use crate::{Console, render};

pub(crate) fn run(args: &WhyArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let (target, failure) = match &args.of {
        RecordOrPod::Record(seq) => (*seq, None),
        RecordOrPod::Pod(pod) => last_of(pod, place)?,
    };
    let exit = if args.down { down(args, target, place, console) } else { up(args, target, place, console) }?;
    // The pod's last record may be among what is damaged.
    failure.map_or(Ok(exit), |error| Err(error.into()))
}

/// The last record of a pod: what it is now is because of that. With it, why the journal could not be read to its end.
fn last_of(pod: &PodName, place: &Place) -> Result<(Seq, Option<SourceError>), Failure> {
    place.again()?;
    let mut reading = Reading::from(place, Seq(1))?;
    let (mut members, mut last) = (Members::of(pod), None);
    while let Some(stored) = reading.next() {
        if let Ok(event) = stored.event() {
            members.learn(stored.header.stream, &event);
        }
        if members.has(stored.header.stream) {
            last = Some(stored.header.seq);
        }
    }
    match (last, reading.into_failure()) {
        (Some(last), failure) => Ok((last, failure)),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(Failure::NoPod { pod: pod.to_string() }),
    }
}

/// One record of a chain, without what it says.
pub(crate) struct Ring {
    header: Header,
    kind: String,
    /// What had asked for the end that it tells of.
    asked_by: Option<Seq>,
}

impl Ring {
    pub(crate) fn of(stored: &StoredRecord) -> Ring {
        Ring { header: stored.header.clone(), kind: render::type_name(stored), asked_by: None }
    }

    fn line(&self) -> String {
        let Header { seq, time, stream, version, .. } = &self.header;
        format!("{seq} {time} {} {stream}@{version}", self.kind)
    }

    fn json(&self) -> Value {
        let Header { seq, time, stream, version, origin, .. } = &self.header;
        let mut value = json!({
            "seq": seq, "time": time, "type": self.kind, "stream": stream.to_string(), "version": version,
            "cause": origin.cause, "principal": origin.principal, "correlation": origin.correlation,
        });
        if let Some(ask) = self.asked_by {
            value["askedBy"] = json!(ask);
        }
        value
    }
}

/// From a record to what led to it, and so on.
fn up(args: &WhyArgs, target: Seq, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let links = Links::read(place, target)?;
    let depth = args.depth.unwrap_or(usize::MAX);
    let mut chain = vec![target];
    let mut outside = None;
    while chain.len() <= depth
        && let Some(cause) = chain.last().and_then(|seq| links.cause(*seq))
    {
        match cause {
            Link::To(seq) => chain.push(seq),
            Link::Outside(seq) => {
                outside = Some(seq);
                break;
            }
        }
    }
    let wanted: BTreeSet<Seq> = chain.iter().copied().collect();
    let mut reading = Reading::from(place, chain.last().copied().unwrap_or(target))?;
    let (mut rings, mut start) = (BTreeMap::new(), None);
    while let Some(stored) = reading.next() {
        let seq = stored.header.seq;
        if seq > target {
            break;
        }
        let root = chain.last().is_some_and(|root| seq <= *root);
        if root && let Ok(Event::Node(NodeEvent::Started(_))) = stored.event() {
            start = Some(seq);
        }
        if wanted.contains(&seq) {
            rings.insert(seq, Ring::of(&stored));
        }
    }
    ask(&chain, &mut rings);
    let chain: Vec<&Ring> = chain.iter().filter_map(|seq| rings.get(seq)).collect();
    match (args.dot, args.output) {
        (true, _) => dot(&chain, console)?,
        (false, Output::Text) => tell(&chain, outside, start, console)?,
        (false, Output::Json) => {
            let chain: Vec<Value> = chain.iter().map(|ring| ring.json()).collect();
            console
                .line(format_args!("{}", render::pretty(&json!({ "chain": chain, "outside": outside }))))?;
        }
    }
    reading.end(Exit::Ok, console)
}

/// Notes which of the records tell of ends that were asked for: their chain goes on with the request.
pub(crate) fn ask(chain: &[Seq], rings: &mut BTreeMap<Seq, Ring>) {
    for (seq, next) in chain.iter().zip(chain.iter().skip(1)) {
        if let Some(ring) = rings.get_mut(seq) {
            ring.asked_by = Some(*next).filter(|next| cause_of(ring.header.origin.cause) != Some(*next));
        }
    }
}

pub(crate) fn tell(
    chain: &[&Ring],
    outside: Option<Seq>,
    start: Option<Seq>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    for (ring, cause) in chain.iter().zip(chain.iter().skip(1).map(Some).chain([None])) {
        console.line(format_args!("{}", ring.line()))?;
        let origin = &ring.header.origin;
        let by = render::safe(origin.principal.as_str());
        let why = match origin.cause {
            Cause::Command(CommandId(id)) => format!("asked for by {by}, with command {id}"),
            Cause::Node => match start {
                Some(start) => format!("the node's own doing, in the start of record {start}"),
                None => "the node's own doing".to_owned(),
            },
            Cause::Record(seq) => format!("followed from record {seq}"),
            Cause::Timer(seq) => format!("a time came that record {seq} had set"),
            Cause::Observation(seq) => format!("was seen outside, of what record {seq} speaks of"),
        };
        let why = match ring.asked_by {
            Some(ask) => format!("{why}; record {ask} had asked for it"),
            None => why,
        };
        let after = cause.map(|cause| signed_seconds(ring.header.time.0.saturating_sub(cause.header.time.0)));
        let after = after.map_or_else(String::new, |after| format!(", {after} after it"));
        console.line(format_args!("    {why}{after}"))?;
    }
    match outside {
        Some(seq) => console.line(format_args!(
            "    record {seq} is not in the source: give an archive, or the whole journal"
        )),
        None => Ok(()),
    }
}

/// From a record to all that it led to.
fn down(args: &WhyArgs, target: Seq, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let depth_max = args.depth.unwrap_or(usize::MAX);
    // Who asked for an end is known from the records before.
    let (mut reading, mut asks) = (Reading::from(place, Seq(1))?, Asks::new());
    // How many steps each effect is away.
    let mut effects: BTreeMap<Seq, usize> = BTreeMap::new();
    let mut rings = Vec::new();
    let mut rows = Rows::new(args.output);
    while let Some(stored) = reading.next() {
        let seq = stored.header.seq;
        let ask = asks.note(&stored);
        let cause = ask.or_else(|| cause_of(stored.header.origin.cause));
        let depth = match cause.and_then(|cause| effects.get(&cause)) {
            _ if seq == target => 0,
            Some(depth) if seq > target && *depth < depth_max => depth + 1,
            Some(_) | None => continue,
        };
        effects.insert(seq, depth);
        let ring = Ring::of(&stored);
        let named = cause_of(ring.header.origin.cause);
        let ring = Ring { asked_by: ask.filter(|ask| seq != target && named != Some(*ask)), ..ring };
        if args.dot {
            rings.push(ring);
        } else {
            let line = format!("{:indent$}{}", "", ring.line(), indent = 2 * depth.min(40));
            let mut value = ring.json();
            value["depth"] = json!(depth);
            rows.show(&line, &value, console)?;
        }
    }
    let last = reading.head().seq;
    if effects.is_empty() && reading.is_sound() {
        return Err(Failure::NoRecord { first: reading.before().next(), last, asked: target });
    }
    if args.dot {
        dot(&rings.iter().collect::<Vec<_>>(), console)?;
    } else {
        rows.end(console)?;
    }
    reading.end(Exit::Ok, console)
}

/// Records and what led to them, for Graphviz.
fn dot(rings: &[&Ring], console: &mut Console<'_>) -> Result<(), Failure> {
    let shown: BTreeSet<Seq> = rings.iter().map(|ring| ring.header.seq).collect();
    let mut text = String::from("digraph why {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for ring in rings {
        let Header { seq, time, stream, origin, .. } = &ring.header;
        let _ = writeln!(text, "  r{seq} [label=\"{seq} {}\\n{stream}\\n{time}\"];", ring.kind);
        let (from, style) = match origin.cause {
            Cause::Record(seq) => (Some(seq), "solid"),
            Cause::Timer(seq) => (Some(seq), "dashed"),
            Cause::Observation(seq) => (Some(seq), "dotted"),
            Cause::Command(_) | Cause::Node => (None, "solid"),
        };
        if let Some(from) = ring.asked_by.or(from).filter(|from| shown.contains(from)) {
            let _ = writeln!(text, "  r{from} -> r{seq} [style={style}];");
        }
    }
    console.line(format_args!("{text}}}"))
}
