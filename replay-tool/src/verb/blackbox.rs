//! `blackbox`: one file with all that concerns a pod. It is an export of the whole journal in which other pods are as
//! after their redaction: what happened when is there, its hashes hold, checkpoints vouch for it, and what was said of
//! others is not.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use purser_events::{Event, PodUid, Seq, StreamId, StreamKind};
use purser_storage::Evidence;
use purser_storage::export::Writer;
use purser_storage::offline::Item;
use purser_storage::{Head, StoredRecord};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cli::{BlackboxArgs, Output};
use crate::failure::{Exit, Failure};
use crate::graph::cause_of;
use crate::links::{Link, Links};
use crate::members::incarnations;
use crate::out_file::write_new;
use crate::reading::Reading;
use crate::share::Shares;
use crate::source::Place;
use crate::{Console, render};

/// What is kept whole beside the node's, the ledger's and the GPUs' records.
struct Kept {
    /// The pod and its workers.
    streams: BTreeSet<StreamId>,
    /// Records of the pod and of what led to them.
    records: BTreeSet<Seq>,
    /// Records of the pod.
    own: BTreeSet<Seq>,
    /// What of pools concerns the pod.
    shares: Shares,
}

/// What was written.
#[derive(Default)]
struct Written {
    whole: u64,
    left_out: u64,
    checkpoint: Option<String>,
}

pub(crate) fn run(args: &BlackboxArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    place.again()?;
    let pods = incarnations(&args.pod, None, place)?;
    let kept = Kept::read(&pods, place)?;
    let (Some(first), Some(last)) = (kept.own.first(), kept.own.last()) else {
        return Err(Failure::NoPod { pod: args.pod.to_string() });
    };
    let (written, head, content) = write_new(&args.to, console, |out| {
        let mut hashed = Hashed { out, hash: Sha256::new() };
        let (written, head) = kept.write(place, &mut hashed)?;
        Ok((written, head, render::hex(&hashed.hash.finalize())))
    })?;
    if args.to == Path::new("-") {
        return Ok(Exit::Ok);
    }
    let head_hash = render::hex(&head.hash);
    match args.output {
        Output::Text => {
            console.line(format_args!("pod       {}", args.pod))?;
            for pod in &pods {
                console.line(format_args!("uid       {pod}"))?;
            }
            console.line(format_args!("records   {} of the pod, {first} to {last}", kept.own.len()))?;
            console.line(format_args!("whole     {} records", written.whole))?;
            console.line(format_args!("left out  {} payloads", written.left_out))?;
            console.line(format_args!("head      {} with hash {head_hash}", head.seq))?;
            if let Some(checkpoint) = &written.checkpoint {
                console.line(format_args!("signed    checkpoint {checkpoint}"))?;
            }
            console.line(format_args!("sha256    {content}"))?;
        }
        Output::Json => {
            let told = json!({
                "pod": args.pod.to_string(), "uids": pods, "records": kept.own.len(), "first": first, "last": last,
                "whole": written.whole, "leftOut": written.left_out, "checkpoint": written.checkpoint,
                "head": { "seq": head.seq, "hash": head_hash }, "sha256": content,
            });
            console.line(format_args!("{}", render::pretty(&told)))?;
        }
    }
    Ok(Exit::Ok)
}

impl Kept {
    /// Reads which records are the pod's, and what led to them.
    fn read(pods: &[PodUid], place: &Place) -> Result<Kept, Failure> {
        let streams = pods.iter().map(|pod| pod.stream()).collect();
        let mut kept =
            Kept { streams, records: BTreeSet::new(), own: BTreeSet::new(), shares: Shares::default() };
        let mut reading = Reading::from(place, Seq(1))?;
        while let Some(stored) = reading.next() {
            let (seq, stream) = (stored.header.seq, stored.header.stream);
            if stream.kind == StreamKind::Worker
                && let Ok(Event::Worker(purser_events::worker::WorkerEvent::Registered(worker))) =
                    stored.event()
                && pods.contains(&worker.pod)
            {
                kept.streams.insert(stream);
            }
            if stream.kind == StreamKind::Pool
                && let Ok(Event::Pool(event)) = stored.event()
            {
                kept.shares.learn(stream, &event, pods);
            }
            if kept.streams.contains(&stream) {
                kept.own.insert(seq);
            }
        }
        if let Some(error) = reading.into_failure() {
            return Err(error.into());
        }
        if let Some(last) = kept.own.last() {
            let links = Links::read(place, *last)?;
            for own in &kept.own {
                let mut seq = *own;
                // What was followed once leads to the same again.
                while kept.records.insert(seq)
                    && let Some(Link::To(cause)) = links.cause(seq)
                {
                    seq = cause;
                }
            }
        }
        Ok(kept)
    }

    /// Whether a record's payload is written.
    fn is_whole(&self, stored: &StoredRecord) -> bool {
        let header = &stored.header;
        let is_effect = || cause_of(header.origin.cause).is_some_and(|cause| self.own.contains(&cause));
        match header.stream.kind {
            _ if self.streams.contains(&header.stream) => true,
            StreamKind::Pod => self.records.contains(&header.seq) || is_effect(),
            // Of a worker that is seen to end, its beginning must be known.
            StreamKind::Worker => false,
            // Others' tasks say what they ran, and with what.
            StreamKind::Pool => {
                let concerns = || match stored.event() {
                    Ok(Event::Pool(event)) => self.shares.has(header.stream, &event),
                    _ => false,
                };
                self.records.contains(&header.seq) || is_effect() || concerns()
            }
            StreamKind::Node | StreamKind::Ledger | StreamKind::Gpu => true,
        }
    }

    fn write(&self, place: &Place, out: &mut dyn Write) -> Result<(Written, Head), Failure> {
        let mut source = place.open(Seq(1))?;
        let mut writer = Writer::excerpt(out, source.before())?;
        let mut written = Written::default();
        while let Some(item) = source.next_item() {
            match item? {
                Item::Record(record) if self.is_whole(&record) => {
                    writer.write(&record)?;
                    written.whole += 1;
                }
                Item::Record(record) => {
                    writer.write_without_payload(&record)?;
                    written.left_out += 1;
                }
                Item::Evidence(evidence) => {
                    writer.write_evidence(&evidence)?;
                    if let Evidence::Checkpoint(tree) = &evidence {
                        let checkpoint = tree.checkpoint();
                        written.checkpoint = Some(format!("of {} records", checkpoint.size()));
                    }
                }
            }
        }
        let head = writer.head();
        writer.finish()?;
        Ok((written, head))
    }
}

/// Hashes what is written through it.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.hash.update(bytes.get(..len).unwrap_or(bytes));
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
