//! What is requested and completed: which events begin something, and which end it.

use std::collections::BTreeMap;

use purser_events::{Event, Header, Seq, StreamId, Timestamp};
use serde_json::Value;

use crate::render;

/// A beginning and its ends. All of them are in one stream.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The type that begins it.
    pub(crate) begins: &'static str,
    /// The types that end it as it was meant to, or in failure.
    pub(crate) ends: &'static [&'static str],
    /// The types with which it is given up.
    pub(crate) gives_up: &'static [&'static str],
    /// The fields that say which of several of a kind is meant.
    by: &'static [&'static str],
    /// Whether something outside is being done meanwhile.
    pub(crate) is_intent: bool,
}

const POD_ENDS: &[&str] = &["pod.stopped", "pod.failed", "pod.terminated"];
const TERMINATED: &[&str] = &["pod.terminated"];

macro_rules! pairs {
    ($($kind:ident $begins:literal $by:tt => $ends:expr, $gives_up:expr;)*) => {
        /// Every pair.
        pub(crate) const PAIRS: &[Pair] = &[$(Pair {
            begins: $begins, ends: &$ends, gives_up: $gives_up, by: &$by, is_intent: pairs!(@ $kind),
        }),*];
    };
    (@ intent) => { true };
    (@ span) => { false };
}

pairs! {
    intent "pod.setup-requested" [] => ["pod.setup-completed", "pod.setup-failed"], POD_ENDS;
    intent "pod.container-create-requested" ["container", "attempt"]
        => ["pod.container-started", "pod.container-create-failed", "pod.container-exited"], POD_ENDS;
    intent "pod.container-stop-requested" ["container"] => ["pod.container-exited"], POD_ENDS;
    intent "pod.container-kill-requested" ["container"] => ["pod.container-exited"], POD_ENDS;
    intent "pod.container-exited" ["container", "attempt"] => ["pod.container-removed"], TERMINATED;
    intent "pod.exec-requested" ["exec"] => ["pod.exec-finished"], TERMINATED;
    intent "pod.stop-requested" [] => ["pod.stopped", "pod.failed"], TERMINATED;
    intent "pod.resize-requested" ["generation"] => ["pod.resized", "pod.resize-failed"], POD_ENDS;
    intent "pod.start-requested" [] => ["pod.started", "pod.failed"], &["pod.stopped", "pod.terminated"];
    intent "pod.termination-requested" [] => ["pod.terminated"], &[];
    intent "pod.cleanup-requested" [] => ["pod.terminated"], &[];
    intent "gpu.drain-requested" [] => ["gpu.drain-ended"], &[];
    intent "gpu.enforcement-requested" ["id", "level"] => ["gpu.enforcement-ended"], &[];
    intent "pod.enforcement-requested" ["id", "level"] => ["pod.enforcement-ended"], TERMINATED;
    intent "node.redaction-requested" ["redaction"] => ["node.redaction-completed"], &[];
    intent "ledger.preemption-requested" ["pod"]
        => ["ledger.allocated", "ledger.reservation-activated"], &["ledger.withdrawn"];
    intent "pool.removal-requested" [] => ["pool.removed"], &[];
    intent "pool.member-requested" ["member"]
        => ["pool.member-admitted", "pool.member-request-failed", "pool.member-no-room"], &["pool.member-lost"];
    intent "pool.member-resize-requested" ["member"]
        => ["pool.member-resized", "pool.member-resize-failed"], &["pool.member-lost", "pool.member-removal-requested"];
    intent "pool.member-removal-requested" ["member"] => ["pool.member-removed"], &[];
    intent "pool.member-lost" ["member"] => ["pool.member-removed"], &[];
    intent "pool.task-cancel-requested" ["task"] => ["pool.task-ended"], &[];
    span "pod.provisioning-started" [] => ["pod.started"], POD_ENDS;
    span "pod.resources-awaited" [] => ["pod.resources-granted"], POD_ENDS;
    span "pod.restart-scheduled" ["container"] => ["pod.container-create-requested"], POD_ENDS;
    span "gpu.violation-detected" ["id"] => ["gpu.violation-resolved"], &[];
    span "gpu.enforcement-gap-opened" [] => ["gpu.enforcement-gap-closed"], &[];
    span "pod.violation-detected" ["id"] => ["pod.violation-resolved"], TERMINATED;
    span "pod.enforcement-gap-opened" [] => ["pod.enforcement-gap-closed"], TERMINATED;
    span "ledger.queued" ["pod"] => ["ledger.allocated", "ledger.reservation-activated"], &["ledger.withdrawn"];
    span "ledger.resize-granted" ["pod"] => ["ledger.resize-settled"], &["ledger.released"];
    span "ledger.reserved" ["reservation"]
        => ["ledger.reservation-activated"], &["ledger.reservation-expired", "ledger.reservation-cancelled"];
    span "ledger.alert-raised" ["tenant", "kind"] => ["ledger.alert-cleared"], &[];
    span "ledger.drift-found" ["drift"] => ["ledger.drift-resolved"], &[];
    span "pool.task-submitted" ["task"] => ["pool.task-assigned"], &["pool.task-ended"];
    span "pool.task-requeued" ["task"] => ["pool.task-assigned"], &["pool.task-ended"];
    span "pool.task-assigned" ["task"] => ["pool.task-ended", "pool.task-planned"], &["pool.task-requeued"];
    span "pool.task-planned" ["task"] => ["pool.task-confirmed"], &["pool.task-ended", "pool.task-requeued"];
    span "pool.task-confirmed" ["task"] => ["pool.task-ended"], &["pool.task-requeued"];
    span "worker.registered" [] => ["worker.exited"], &[];
}

/// Something that has begun and not ended.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
    /// What says which of several it is.
    pub(crate) of: String,
}

impl Open {
    /// Microseconds since it began; 0 if the clock went back.
    pub(crate) fn us_until(&self, now: Timestamp) -> u64 {
        u64::try_from(now.0.saturating_sub(self.time.0)).unwrap_or_default()
    }
}

/// Something that a record ended.
pub(crate) struct Ended {
    pub(crate) pair: &'static Pair,
    pub(crate) open: Open,
    /// Whether it was given up.
    pub(crate) is_given_up: bool,
}

/// What is open, as far as records were told; in memory is only that.
#[derive(Default)]
pub(crate) struct Pending {
    open: BTreeMap<(StreamId, usize, String), Open>,
}

impl Pending {
    /// Takes notice of a record, and says what it ended.
    pub(crate) fn note(&mut self, header: &Header, kind: &str, event: Option<&Event>) -> Vec<Ended> {
        let touched =
            |pair: &Pair| pair.begins == kind || pair.ends.contains(&kind) || pair.gives_up.contains(&kind);
        if !PAIRS.iter().any(touched) {
            return Vec::new();
        }
        let payload = event.map(Event::payload_json).unwrap_or_default();
        // What goes on with the next record has not ended with this one.
        let goes_on = payload.get("more") == Some(&Value::Bool(true));
        let mut ended = Vec::new();
        for (number, pair) in PAIRS.iter().enumerate() {
            if pair.gives_up.contains(&kind) && !pair.ends.contains(&kind) {
                // The whole of a stream ends, unless the event says of what.
                let of = if kind.starts_with("pod.") { None } else { Some(of(&payload, pair)) };
                self.end(header.stream, number, of.as_deref(), true, &mut ended);
            }
            if pair.ends.contains(&kind) && !goes_on {
                self.end(header.stream, number, Some(&of(&payload, pair)), false, &mut ended);
            }
        }
        for (number, pair) in PAIRS.iter().enumerate().filter(|(_, pair)| pair.begins == kind) {
            let of = of(&payload, pair);
            let open = Open { seq: header.seq, time: header.time, of: of.clone() };
            // What begins again has been open since it began first.
            self.open.entry((header.stream, number, of)).or_insert(open);
        }
        ended
    }

    fn end(
        &mut self,
        stream: StreamId,
        pair: usize,
        of: Option<&str>,
        is_given_up: bool,
        ended: &mut Vec<Ended>,
    ) {
        let first = (stream, pair, String::new());
        let keys: Vec<_> = match of {
            Some(of) => vec![(stream, pair, of.to_owned())],
            None => self
                .open
                .range(first..)
                .take_while(|((other, number, _), _)| *other == stream && *number == pair)
                .map(|(key, _)| key.clone())
                .collect(),
        };
        for key in keys {
            if let (Some(open), Some(pair)) = (self.open.remove(&key), PAIRS.get(pair)) {
                ended.push(Ended { pair, open, is_given_up });
            }
        }
    }

    /// What a record of this type has begun; not what had begun before it already.
    pub(crate) fn begun_by(&self, header: &Header, kind: &str) -> Vec<&'static Pair> {
        if !PAIRS.iter().any(|pair| pair.begins == kind) {
            return Vec::new();
        }
        let of_stream = self.open.range((header.stream, 0, String::new())..);
        of_stream
            .take_while(|((stream, _, _), _)| *stream == header.stream)
            .filter(|(_, open)| open.seq == header.seq)
            .filter_map(|((_, pair, _), _)| PAIRS.get(*pair))
            .collect()
    }

    /// What is open now, the oldest first.
    pub(crate) fn all(&self) -> Vec<(StreamId, &'static Pair, &Open)> {
        let mut all: Vec<_> = self
            .open
            .iter()
            .filter_map(|((stream, pair, _), open)| Some((*stream, PAIRS.get(*pair)?, open)))
            .collect();
        all.sort_by_key(|(_, _, open)| open.seq);
        all
    }
}

/// Which of several of a kind is meant; nothing if the payload cannot be read.
fn of(payload: &Value, pair: &Pair) -> String {
    // A task that is submitted has its id where all of it is.
    let part = |field: &&str| {
        let own = payload.get(field);
        own.or_else(|| payload.pointer("/spec/id").filter(|_| *field == "task"))
    };
    let parts = pair.by.iter().filter_map(part);
    let texts = parts.map(|part| part.as_str().map_or_else(|| render::compact(part), render::safe));
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use purser_events::event::LAYOUTS;

    use super::*;

    #[test]
    fn pairs_are_of_types_that_exist() {
        let exists = |name: &str| LAYOUTS.iter().any(|layout| layout.name == name);
        for pair in PAIRS {
            for name in [pair.begins].iter().chain(pair.ends).chain(pair.gives_up) {
                assert!(exists(name), "{name}");
            }
        }
    }

    #[test]
    fn whatever_is_requested_has_an_end() {
        for layout in LAYOUTS.iter().filter(|layout| layout.name.ends_with("-requested")) {
            assert!(
                PAIRS.iter().any(|pair| pair.begins == layout.name),
                "say in PAIRS how {} ends",
                layout.name
            );
        }
    }
}
