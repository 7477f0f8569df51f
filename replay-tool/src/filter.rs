//! Which records a listing shows.

use std::collections::BTreeSet;

use purser_events::pod::PodEvent;
use purser_events::worker::WorkerEvent;
use purser_events::{Event, Seq, StreamId, WorkerUid};
use purser_storage::StoredRecord;

use crate::cli::{LogArgs, PodName};

/// Decides record by record, in order.
pub(crate) struct Filter<'a> {
    args: &'a LogArgs,
    /// Streams that belong to the pod asked for, as far as the records told so far.
    streams: BTreeSet<StreamId>,
    /// Whether a record was of one of them.
    met_pod: bool,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(args: &'a LogArgs) -> Filter<'a> {
        let streams = match &args.pod {
            Some(PodName::Incarnation(uid)) => BTreeSet::from([uid.stream()]),
            Some(PodName::Name(_)) | None => BTreeSet::new(),
        };
        Filter { args, streams, met_pod: false }
    }

    /// The pod that was asked for, if none of the records told so far is of it.
    pub(crate) fn unknown_pod(&self) -> Option<&PodName> {
        self.args.pod.as_ref().filter(|_| !self.met_pod)
    }

    /// The first record that must be read: those before it may tell which streams are meant.
    pub(crate) fn from(&self) -> Seq {
        match (&self.args.pod, &self.args.seq) {
            (None, Some(range)) => range.first,
            (Some(_), _) | (None, None) => Seq(1),
        }
    }

    /// Whether no later record can match.
    pub(crate) fn is_past(&self, seq: Seq) -> bool {
        self.args.seq.is_some_and(|range| seq > range.last)
    }

    /// Whether a record is to be shown; `kind` is its type's name.
    pub(crate) fn wants(&mut self, stored: &StoredRecord, kind: &str, event: Option<&Event>) -> bool {
        let header = &stored.header;
        if let Some(event) = event {
            self.learn(header.stream, event);
        }
        self.met_pod |= self.streams.contains(&header.stream);
        let LogArgs { seq, since, until, pod, worker, stream, types, lines: _, reverse: _, output: _ } =
            self.args;
        seq.is_none_or(|range| range.first <= header.seq && header.seq <= range.last)
            && since.is_none_or(|since| since <= header.time)
            && until.is_none_or(|until| header.time <= until)
            && (pod.is_none() || self.streams.contains(&header.stream))
            && worker.is_none_or(|uid| WorkerUid(uid).stream() == header.stream)
            && stream.is_none_or(|name| name.0 == header.stream)
            && (types.is_empty() || types.iter().any(|wanted| wanted.matches(kind)))
    }

    fn learn(&mut self, stream: StreamId, event: &Event) {
        let belongs = match (event, &self.args.pod) {
            (Event::Pod(PodEvent::Admitted(admitted)), Some(PodName::Name(id))) => admitted.spec.id == *id,
            (Event::Worker(WorkerEvent::Registered(worker)), Some(_)) => {
                self.streams.contains(&worker.pod.stream())
            }
            _ => false,
        };
        if belongs {
            self.streams.insert(stream);
        }
    }
}
