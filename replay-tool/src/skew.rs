//! What the journals of several nodes say about their clocks. What nothing compares is not estimated.

use std::collections::{BTreeMap, VecDeque};

use purser_events::{Cause, Header, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::spans::{seconds, signed_seconds};

/// Requests that are remembered, so that the same one is known again on another node.
const REQUESTS_MAX: usize = 100_000;

/// A request, where it was met first.
struct Met {
    /// When each node recorded it first, by the node's number.
    times: BTreeMap<usize, Timestamp>,
}

/// How far apart two nodes recorded the same requests.
#[derive(Debug, Clone, Copy)]
struct Apart {
    requests: u64,
    least_us: i64,
    most_us: i64,
}

/// How often and how far a clock went back.
#[derive(Debug, Clone, Copy, Default)]
struct Back {
    times: u64,
    most_us: u64,
}

/// What is known of the clocks, from records as they pass.
pub(crate) struct Skew {
    names: Vec<String>,
    latest: Vec<Option<Timestamp>>,
    back: Vec<Back>,
    requests: BTreeMap<Uuid, Met>,
    order: VecDeque<Uuid>,
    apart: BTreeMap<(usize, usize), Apart>,
}

impl Skew {
    pub(crate) fn of(names: Vec<String>) -> Skew {
        let (latest, back) = (vec![None; names.len()], vec![Back::default(); names.len()]);
        Skew {
            names,
            latest,
            back,
            requests: BTreeMap::new(),
            order: VecDeque::new(),
            apart: BTreeMap::new(),
        }
    }

    /// Takes notice of a record of a node.
    pub(crate) fn note(&mut self, node: usize, header: &Header) {
        if let (Some(latest), Some(back)) = (self.latest.get_mut(node), self.back.get_mut(node)) {
            let was = latest.unwrap_or(header.time);
            if header.time < was {
                back.times += 1;
                back.most_us = back.most_us.max(header.time.0.abs_diff(was.0));
            }
            *latest = Some(was.max(header.time));
        }
        if matches!(header.origin.cause, Cause::Command(_)) {
            self.note_request(node, header.origin.correlation, header.time);
        }
    }

    fn note_request(&mut self, node: usize, request: Uuid, time: Timestamp) {
        if !self.requests.contains_key(&request) {
            if self.order.len() == REQUESTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.requests.remove(&oldest);
            }
            self.order.push_back(request);
        }
        let met = self.requests.entry(request).or_insert_with(|| Met { times: BTreeMap::new() });
        if met.times.contains_key(&node) {
            return;
        }
        for (other, there) in &met.times {
            let (pair, us) = match *other < node {
                true => ((*other, node), time.0.saturating_sub(there.0)),
                false => ((node, *other), there.0.saturating_sub(time.0)),
            };
            let apart = self.apart.entry(pair).or_insert(Apart { requests: 0, least_us: us, most_us: us });
            apart.requests += 1;
            apart.least_us = apart.least_us.min(us);
            apart.most_us = apart.most_us.max(us);
        }
        met.times.insert(node, time);
    }

    fn pairs(&self) -> Vec<(&str, &str, Option<Apart>)> {
        let names = || self.names.iter().map(String::as_str).enumerate();
        let pairs = names().flat_map(|(one, first)| {
            names().skip(one + 1).map(move |(other, second)| (first, second, (one, other)))
        });
        pairs.map(|(first, second, pair)| (first, second, self.apart.get(&pair).copied())).collect()
    }

    /// For people, one line each.
    pub(crate) fn words(&self) -> Vec<String> {
        let back =
            self.names.iter().zip(&self.back).filter(|(_, back)| back.times > 0).map(|(name, back)| {
                format!(
                    "clock of {name}: went back {} times, by at most {}",
                    back.times,
                    seconds(back.most_us)
                )
            });
        let pairs = self.pairs().into_iter().map(|(one, other, apart)| match apart {
            Some(apart) => format!(
                "clocks of {one} and {other}: {other} recorded {} requests that both had {} to {} after {one}",
                apart.requests,
                signed_seconds(apart.least_us),
                signed_seconds(apart.most_us)
            ),
            None => format!("clocks of {one} and {other}: nothing in the journals compares them"),
        });
        back.chain(pairs).collect()
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let back = self.names.iter().zip(&self.back).filter(|(_, back)| back.times > 0);
        let back: Vec<Value> = back
            .map(|(name, back)| json!({ "node": name, "times": back.times, "mostUs": back.most_us }))
            .collect();
        let compared: Vec<Value> = self
            .pairs()
            .into_iter()
            .map(|(one, other, apart)| {
                json!({
                    "nodes": [one, other], "requests": apart.map_or(0, |apart| apart.requests),
                    "leastUs": apart.map(|apart| apart.least_us), "mostUs": apart.map(|apart| apart.most_us),
                })
            })
            .collect();
        json!({ "wentBack": back, "compared": compared })
    }
}
