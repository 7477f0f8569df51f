//! What led to what, drawn beside one line a record: a lane for each record that still leads to something.

use std::collections::VecDeque;

use purser_events::{Cause, Header, Seq};

/// Lanes that are drawn; what goes on beyond them is not.
const LANES_MAX: usize = 40;

/// The record that a cause names, if it names one.
pub(crate) fn cause_of(cause: Cause) -> Option<Seq> {
    match cause {
        Cause::Record(seq) | Cause::Timer(seq) | Cause::Observation(seq) => Some(seq),
        Cause::Command(_) | Cause::Node => None,
    }
}

/// First told of every record that is to be shown, then asked to draw each.
pub(crate) struct Graph {
    lines_max: usize,
    /// The records that are shown in order, with the last that each leads to, or 0: 16 bytes a record.
    planned: VecDeque<(Seq, Seq)>,
    /// What each lane waits for to lead to something.
    lanes: Vec<Option<Seq>>,
}

impl Graph {
    /// A graph of the last records alone, so many.
    pub(crate) fn new(lines_max: usize) -> Graph {
        Graph { lines_max, planned: VecDeque::new(), lanes: Vec::new() }
    }

    /// Takes notice of a record that is to be drawn.
    pub(crate) fn plan(&mut self, header: &Header) {
        if self.lines_max == 0 {
            return;
        }
        if self.planned.len() == self.lines_max {
            self.planned.pop_front();
        }
        if let Some(at) = cause_of(header.origin.cause).and_then(|cause| self.find(cause))
            && let Some((_, last_effect)) = self.planned.get_mut(at)
        {
            *last_effect = header.seq;
        }
        self.planned.push_back((header.seq, Seq::ZERO));
    }

    fn find(&self, seq: Seq) -> Option<usize> {
        self.planned.binary_search_by_key(&seq, |(planned, _)| *planned).ok()
    }

    /// The last record that a planned one leads to.
    fn last_effect(&self, seq: Seq) -> Option<Seq> {
        self.find(seq).and_then(|at| self.planned.get(at)).map(|(_, last_effect)| *last_effect)
    }

    /// The lanes at a record; none if it was not planned.
    pub(crate) fn lanes(&mut self, header: &Header) -> Option<String> {
        let seq = header.seq;
        let leads_on = self.last_effect(seq)? > seq;
        let cause = cause_of(header.origin.cause).filter(|cause| self.find(*cause).is_some());
        let from = self.lanes.iter().position(|lane| lane.is_some() && *lane == cause);
        let is_last = cause.is_none_or(|cause| self.last_effect(cause) == Some(seq));
        let own = match from {
            Some(lane) if is_last => lane,
            _ => self.lanes.iter().position(Option::is_none).unwrap_or(self.lanes.len()),
        };
        let sign = if cause.is_some() { '*' } else { 'o' };
        let text = self.draw(own, sign, from.filter(|lane| *lane != own));
        if own == self.lanes.len() {
            self.lanes.push(None);
        }
        if let Some(lane) = self.lanes.get_mut(own) {
            *lane = leads_on.then_some(seq);
        }
        while self.lanes.last().is_some_and(Option::is_none) {
            self.lanes.pop();
        }
        Some(text)
    }

    /// One line: `*` is the record, or `o` if nothing that is shown led to it, `|` goes on, and `+--*` branches off.
    fn draw(&self, own: usize, record: char, from: Option<usize>) -> String {
        let branch = from.map(|from| from.min(own)..=from.max(own));
        let is_branch = |lane: usize| branch.as_ref().is_some_and(|branch| branch.contains(&lane));
        let mut text = String::new();
        for lane in 0..self.lanes.len().max(own + 1).min(LANES_MAX) {
            let goes_on = self.lanes.get(lane).is_some_and(Option::is_some);
            let sign = match (lane == own, Some(lane) == from, goes_on, is_branch(lane)) {
                (true, _, _, _) => record,
                (false, true, _, _) => '+',
                (false, false, true, _) => '|',
                (false, false, false, true) => '-',
                (false, false, false, false) => ' ',
            };
            text.push(sign);
            text.push(if is_branch(lane) && is_branch(lane + 1) { '-' } else { ' ' });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use purser_events::{NodeUid, Origin, Principal, StreamVersion, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn header(seq: u64, cause: u64) -> Header {
        let cause = if cause == 0 { Cause::Node } else { Cause::Record(Seq(cause)) };
        let origin = Origin { cause, correlation: Uuid::nil(), principal: Principal::node() };
        let stream = NodeUid(Uuid::nil()).stream();
        Header { seq: Seq(seq), stream, version: StreamVersion(seq), time: Timestamp(0), epoch: 1, origin }
    }

    /// What is drawn for records that were each led to by another, or by none.
    fn drawn(lines_max: usize, causes: &[u64]) -> Vec<String> {
        let headers: Vec<Header> = causes.iter().zip(1..).map(|(cause, seq)| header(seq, *cause)).collect();
        let mut graph = Graph::new(lines_max);
        headers.iter().for_each(|header| graph.plan(header));
        headers.iter().filter_map(|header| graph.lanes(header)).collect()
    }

    #[test]
    fn effects_branch_off_and_the_last_goes_on() {
        let lines = ["o ", "+-* ", "+-|-* ", "| * | ", "*   | ", "    * ", "o   "];
        let drawn = drawn(usize::MAX, &[0, 1, 1, 2, 1, 3, 0]);
        let trimmed = |line: &str| line.trim_end().to_owned();
        assert_eq!(
            drawn.iter().map(|line| trimmed(line)).collect::<Vec<_>>(),
            lines.map(trimmed),
            "{}",
            drawn.join("\n")
        );
    }

    #[test]
    fn what_led_to_it_may_not_be_shown() {
        assert_eq!(drawn(2, &[0, 1, 2, 2]), ["o ", "o "]);
        assert_eq!(drawn(0, &[0, 1]), [""; 0]);
    }
}
