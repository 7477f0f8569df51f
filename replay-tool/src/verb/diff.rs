//! `diff`: what of the world differs between two moments, field by field.

use purser_events::Timestamp;
use serde_json::{Value, json};

use crate::cli::{DiffArgs, Output};
use crate::entity::Entity;
use crate::failure::{Exit, Failure};
use crate::fields::{self, Fields};
use crate::fold::Folded;
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(
    args: &DiffArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let (from, to) = worlds(args, place, now, console)?;
    let changes = changes(&fields_of(args, &from), &fields_of(args, &to));
    match args.output {
        Output::Text => {
            console.line(format_args!("from record {}{}", from.world.head, from.time_text()))?;
            console.line(format_args!("to   record {}{}", to.world.head, to.time_text()))?;
            changes.iter().try_for_each(|change| console.line(format_args!("{}", change.line())))?;
        }
        Output::Json => {
            let changes: Vec<Value> = changes.iter().map(Change::json).collect();
            let value = json!({ "from": from.place(), "to": to.place(), "changes": changes });
            console.line(format_args!("{}", render::pretty(&value)))?;
        }
    }
    let found = if changes.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    Ok(found.or_worse(from.exit).or_worse(to.exit))
}

/// The worlds at the two moments, from one reading.
fn worlds(
    args: &DiffArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(Folded, Folded), Failure> {
    let from = args.from.seen_from(now);
    let to = args.to.map(|to| to.seen_from(now));
    let mut reading = Reading::whole(place)?;
    let (mut at_from, mut at_to, mut folded) = (None, None, Folded::default());
    while let Some(stored) = reading.next() {
        if at_from.is_none() && from.is_before(&stored.header) {
            at_from = Some(folded.clone());
        }
        if at_to.is_none() && to.is_some_and(|to| to.is_before(&stored.header)) {
            at_to = Some(folded.clone());
        }
        if at_from.is_some() && at_to.is_some() {
            break;
        }
        folded.apply(stored, console);
    }
    if at_from.is_none() || at_to.is_none() {
        // One of the moments is the end: it must be there, and it must be sound.
        let last = (at_from.is_none().then_some(from), at_to.is_none().then_some(to).flatten());
        reading.end(Exit::Ok, console)?;
        folded.reaches(last.0)?;
        folded.reaches(last.1)?;
    }
    Ok((at_from.unwrap_or_else(|| folded.clone()), at_to.unwrap_or(folded)))
}

fn fields_of(args: &DiffArgs, folded: &Folded) -> Fields {
    let world = &folded.world;
    let entity = match (&args.stream, &args.pod) {
        (None, None) => {
            let mut fields = fields::of(&json!(world));
            // That a moment is another one goes without saying.
            fields.remove("head");
            return fields;
        }
        (Some(stream), _) => Entity::of_stream(world, stream.0),
        (None, Some(pod)) => Entity::of_pod(world, pod),
    };
    entity.map(|entity| fields::of(&entity.state)).unwrap_or_default()
}

/// A field that differs.
struct Change {
    path: String,
    before: Option<Value>,
    after: Option<Value>,
}

fn changes(from: &Fields, to: &Fields) -> Vec<Change> {
    let gone = from.iter().filter(|(path, _)| !to.contains_key(*path));
    let gone = gone.map(|(path, before)| (path, Some(before), None));
    let other = to.iter().filter_map(|(path, after)| match from.get(path) {
        Some(before) if before == after => None,
        before => Some((path, before, Some(after))),
    });
    let mut changes: Vec<Change> = gone
        .chain(other)
        .map(|(path, before, after)| Change {
            path: path.clone(),
            before: before.cloned(),
            after: after.cloned(),
        })
        .collect();
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    changes
}

impl Change {
    fn line(&self) -> String {
        let path = &self.path;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                format!("~ {path}: {} -> {}", render::compact(before), render::compact(after))
            }
            (None, Some(after)) => format!("+ {path}: {}", render::compact(after)),
            (Some(before), None) => format!("- {path}: {}", render::compact(before)),
            (None, None) => String::new(),
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({ "path": self.path });
        if let Some(before) = &self.before {
            value["before"] = before.clone();
        }
        if let Some(after) = &self.after {
            value["after"] = after.clone();
        }
        value
    }
}
