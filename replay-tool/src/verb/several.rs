//! `log`, `timeline` and `stats` of several nodes.

use std::collections::VecDeque;

use purser_events::Timestamp;
use purser_storage::StoredRecord;
use serde_json::json;

use super::log::Listing;
use super::stats::Stats;
use super::timeline::Timeline;
use crate::cli::{LogArgs, Output, StatsArgs, TimelineArgs};
use crate::failure::{Exit, Failure};
use crate::filter::Filter;
use crate::nodes::{Merge, Node};
use crate::pairs::Pending;
use crate::rows::Rows;
use crate::{Console, render};

/// The filter of every node, in their order.
fn filters<'a>(
    args: &'a crate::cli::FilterArgs,
    nodes: &[Node],
    now: Timestamp,
) -> Result<Vec<Filter<'a>>, Failure> {
    nodes.iter().map(|node| Filter::new(args, &node.place, now)).collect()
}

/// What the journals say about the clocks, beside the data.
fn tell_skew(merge: &Merge, console: &mut Console<'_>) {
    for line in merge.skew.words() {
        console.note(format_args!("{line}"));
    }
}

pub(crate) fn log(
    args: &LogArgs,
    nodes: &[Node],
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    if args.graph || args.show_cursor || args.after_cursor.is_some() || args.cursor_file.is_some() {
        return Err(Failure::OneNodeOnly { what: "--graph and cursors are" });
    }
    let mut filters = filters(&args.filter, nodes, now)?;
    let mut merge = Merge::open(nodes)?;
    let mut listing = Listing::of(args)?;
    let holds = args.reverse || args.lines.is_some();
    let lines_max = args.lines.unwrap_or(usize::MAX);
    let mut held: VecDeque<(usize, StoredRecord)> = VecDeque::new();
    while let Some((node, stored)) = merge.next() {
        let Some(filter) = filters.get_mut(node) else { continue };
        let event = stored.event();
        let wanted = filter.wants(&stored, &event);
        if filter.is_past(stored.header.seq) {
            merge.leave(node);
        } else if wanted && !holds {
            listing.show(Some(merge.name(node)), &stored, &event, console)?;
        } else if wanted && lines_max > 0 {
            if held.len() == lines_max {
                held.pop_front();
            }
            held.push_back((node, stored));
        }
    }
    if args.reverse {
        held.make_contiguous().reverse();
    }
    for (node, stored) in held {
        listing.show(Some(merge.name(node)), &stored, &stored.event(), console)?;
    }
    listing.end(console)?;
    if let Some(pod) = filters.first().and_then(Filter::unknown_pod)
        && merge.is_sound()
        && filters.iter().all(|filter| filter.unknown_pod().is_some())
    {
        console.note(format_args!("purser-replay: no node has a pod `{pod}`"));
    }
    tell_skew(&merge, console);
    merge.end(listing.exit(), console)
}

pub(crate) fn timeline(
    args: &TimelineArgs,
    nodes: &[Node],
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut lines: Vec<Option<Timeline>> = Vec::new();
    for node in nodes {
        lines.push(match Timeline::of(&args.pod, &node.place, Some(render::safe(&node.name))) {
            Ok(timeline) => Some(timeline),
            // It may have been on another node.
            Err(Failure::NoPod { .. }) => None,
            Err(failure) => return Err(failure),
        });
    }
    if lines.iter().all(Option::is_none) {
        return Err(Failure::NoPod { pod: args.pod.to_string() });
    }
    let mut merge = Merge::open(nodes)?;
    let mut rows = Rows::new(args.output);
    let mut last = None;
    while let Some((node, stored)) = merge.next() {
        let Some(Some(timeline)) = lines.get_mut(node) else { continue };
        let event = stored.event();
        let Some(pod) = timeline.pod_of(&stored, event.as_ref().ok()) else { continue };
        if let Some(reading) = merge.reading(node) {
            reading.note(&stored, &event);
        }
        if last.replace(node) != Some(node) {
            timeline.begins_anew();
        }
        timeline.show(pod, &stored, event.as_ref().ok(), &mut rows, console)?;
    }
    rows.end(console)?;
    if args.output == Output::Text {
        lines.iter().flatten().try_for_each(|timeline| timeline.tell_spans(console))?;
    }
    tell_skew(&merge, console);
    let found = if rows.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    let found = lines.iter().flatten().fold(found, |found, timeline| found.or_worse(timeline.exit));
    merge.end(found, console)
}

pub(crate) fn stats(
    args: &StatsArgs,
    nodes: &[Node],
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut filters = filters(&args.filter, nodes, now)?;
    let mut merge = Merge::open(nodes)?;
    let mut all = Stats::default();
    let mut each: Vec<(Stats, Pending)> = nodes.iter().map(|_| Default::default()).collect();
    while let Some((node, stored)) = merge.next() {
        let (Some(filter), Some((stats, pending))) = (filters.get_mut(node), each.get_mut(node)) else {
            continue;
        };
        let event = stored.event();
        let wanted = filter.wants(&stored, &event);
        if filter.is_past(stored.header.seq) {
            merge.leave(node);
            continue;
        }
        let ended = pending.note(&stored.header, &render::type_name(&stored), event.as_ref().ok());
        all.watch(stored.header.stream, event.as_ref().ok(), wanted);
        stats.watch(stored.header.stream, event.as_ref().ok(), wanted);
        stats.watch_slots(&stored.header, event.as_ref().ok(), wanted);
        if !wanted {
            continue;
        }
        if let Some(reading) = merge.reading(node) {
            reading.note(&stored, &event);
        }
        all.note(&stored, &ended);
        stats.note(&stored, &ended);
    }
    match args.output {
        Output::Text => {
            all.tell(console)?;
            for (node, (stats, _)) in each.iter().enumerate() {
                let name = merge.name(node);
                console.line(format_args!("node {name}  {}", stats.words()))?;
                let lines = stats.slot_lines();
                lines.iter().try_for_each(|line| console.line(format_args!("node {name}  {line}")))?;
            }
            merge.skew.words().iter().try_for_each(|line| console.line(format_args!("{line}")))?;
        }
        Output::Json => {
            let nodes: serde_json::Map<_, _> = each
                .iter()
                .enumerate()
                .map(|(node, (stats, _))| (merge.name(node).to_owned(), stats.json()))
                .collect();
            let value = json!({ "all": all.json(), "nodes": nodes, "clocks": merge.skew.json() });
            console.line(format_args!("{}", render::pretty(&value)))?;
        }
    }
    let found = if all.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    merge.end(found, console)
}
