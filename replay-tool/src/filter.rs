//! Which records a listing shows.

use purser_events::node::NodeEvent;
use purser_events::{Event, Seq, StreamId, Timestamp, WorkerUid};
use purser_storage::{PayloadError, StoredRecord};

use crate::cli::{FilterArgs, PodName};
use crate::expr::Unmet;
use crate::failure::Failure;
use crate::holders::Holders;
use crate::members::Members;
use crate::reading::Reading;
use crate::render;
use crate::source::Place;

/// Decides record by record, in order.
pub(crate) struct Filter<'a> {
    args: &'a FilterArgs,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The start of the node that is meant, from 1.
    boot: Option<i64>,
    /// Starts that passed.
    starts: i64,
    members: Option<Members<'a>>,
    /// Whether a record was of one of them.
    met_pod: bool,
    holders: Vec<Holders>,
    /// The fields of the condition that no record that it was asked about has.
    unmet: Option<Unmet<'a>>,
    /// Records that the condition was asked about.
    asked: u64,
}

impl<'a> Filter<'a> {
    /// The filter that is meant at this moment. To count starts from the last one, the journal is read.
    pub(crate) fn new(args: &'a FilterArgs, place: &Place, now: Timestamp) -> Result<Filter<'a>, Failure> {
        let gpu = args.gpu.iter().map(|gpu| Holders::of_gpu(gpu));
        let tenant = args.tenant.iter().map(|tenant| Holders::of_tenant(tenant));
        let pool = args.pool.iter().map(|pool| Holders::of_pool(pool, place));
        Ok(Filter {
            args,
            since: args.since.map(|since| since.seen_from(now)),
            until: args.until.map(|until| until.seen_from(now)),
            boot: args.boot.map(|boot| boot_from_first(boot, place)).transpose()?,
            starts: 0,
            members: args.pod.as_ref().map(|pod| Members::all(pod, place)).transpose()?,
            met_pod: false,
            holders: gpu.chain(tenant).map(Ok).chain(pool).collect::<Result<_, Failure>>()?,
            unmet: args.holds.as_ref().map(Unmet::of),
            asked: 0,
        })
    }

    /// The pod that was asked for, if none of the records told so far is of it.
    pub(crate) fn unknown_pod(&self) -> Option<&PodName> {
        self.args.pod.as_ref().filter(|_| !self.met_pod)
    }

    /// The fields that the condition names and that no record has of which it was asked, by name.
    pub(crate) fn unmet_fields(&self) -> Vec<String> {
        let unmet = self.unmet.as_ref().filter(|_| self.asked > 0);
        unmet.map(Unmet::names).unwrap_or_default()
    }

    /// The first record that must be read: those before it may tell which streams are meant.
    pub(crate) fn from(&self) -> Seq {
        let depends = self.members.is_some() || self.boot.is_some() || !self.holders.is_empty();
        match &self.args.seq {
            Some(range) if !depends => range.first,
            Some(_) | None => Seq(1),
        }
    }

    /// Whether no later record can match.
    pub(crate) fn is_past(&self, seq: Seq) -> bool {
        self.args.seq.is_some_and(|range| seq > range.last)
            || self.boot.is_some_and(|boot| self.starts > boot)
    }

    /// Whether a record is to be shown. To be asked of each record, in order.
    pub(crate) fn wants(&mut self, stored: &StoredRecord, event: &Result<Event, PayloadError>) -> bool {
        let header = &stored.header;
        let said = event.as_ref().ok();
        self.starts += i64::from(matches!(said, Some(Event::Node(NodeEvent::Started(_)))));
        let of_pod = self.is_of_pod(header.stream, said);
        // Each of them must see every record.
        let mut held = true;
        for holders in &mut self.holders {
            held &= holders.concern(header.stream, said);
        }
        let FilterArgs { seq, worker, stream, types, correlation, principal, grep, .. } = self.args;
        let origin = &header.origin;
        let selected = of_pod
            && held
            && seq.is_none_or(|range| range.first <= header.seq && header.seq <= range.last)
            && self.since.is_none_or(|since| since <= header.time)
            && self.until.is_none_or(|until| header.time <= until)
            && self.boot.is_none_or(|boot| self.starts == boot)
            && worker.is_none_or(|uid| WorkerUid(uid).stream() == header.stream)
            && stream.is_none_or(|name| name.0 == header.stream)
            && correlation.is_none_or(|of| of == origin.correlation)
            && principal.as_ref().is_none_or(|of| of == origin.principal.as_str())
            && (types.is_empty() || {
                let kind = render::type_name(stored);
                types.iter().any(|wanted| wanted.matches(&kind))
            })
            && grep.as_ref().is_none_or(|pattern| pattern.is_in(&render::oneline(stored, event)));
        selected && self.condition_holds(stored, said)
    }

    fn condition_holds(&mut self, stored: &StoredRecord, said: Option<&Event>) -> bool {
        let Some(expr) = &self.args.holds else { return true };
        self.asked += 1;
        // Of what cannot be read, no more than the header can be asked.
        let payload = said.map(Event::payload_json).unwrap_or_default();
        if let Some(unmet) = &mut self.unmet {
            unmet.note(&payload);
        }
        expr.holds(&stored.header, &render::type_name(stored), &payload)
    }

    fn is_of_pod(&mut self, stream: StreamId, event: Option<&Event>) -> bool {
        let Some(members) = &mut self.members else { return true };
        if let Some(event) = event {
            members.learn(stream, event);
        }
        let of_others = event.is_some_and(|event| members.are_in(stream, event));
        let belongs = of_others || members.has(stream);
        self.met_pod |= belongs;
        belongs
    }
}

/// The number of a start from the first one in the source, which is 1.
fn boot_from_first(boot: i64, place: &Place) -> Result<i64, Failure> {
    if boot > 0 {
        return Ok(boot);
    }
    place.again()?;
    let mut reading = Reading::from(place, Seq(1))?;
    let mut starts: i64 = 0;
    while let Some(stored) = reading.next() {
        if matches!(stored.event(), Ok(Event::Node(NodeEvent::Started(_)))) {
            starts += 1;
        }
    }
    // From an end that nobody knows, nothing can be counted.
    if let Some(error) = reading.into_failure() {
        return Err(error.into());
    }
    let from_first = starts.saturating_add(boot);
    if from_first > 0 { Ok(from_first) } else { Err(Failure::NoBoot { starts }) }
}
