//! `verify`: whether the journal is whole, and what can be trusted if it is not.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use purser_events::node::NodeEvent;
use purser_events::node::redaction::PendingRedaction;
use purser_events::{Event, Seq};
use purser_storage::audit::{AuditReport, Auditor};
use purser_storage::checkpoint::SignedNote;
use purser_storage::offline::Scanned;
use purser_storage::{Head, PayloadError, StoredRecord, audit};
use serde_json::json;

use crate::cli::{Output, VerifyArgs};
use crate::failure::{Exit, Failure};
use crate::put_away::{Comparison, ToFold};
use crate::redactions::Redactions;
use crate::source::{Opened, Place};
use crate::{Console, render};

/// Payloads that are told of one by one.
const TOLD_MAX: u64 = 20;

/// Most bytes of notes that are read.
const NOTES_LEN_MAX: u64 = 256 << 20;

/// What was found among sound records.
#[derive(Default)]
struct Findings {
    records: u64,
    redacted: u64,
    sealed: u64,
    unknown: u64,
    malformed: u64,
    /// The first of those that cannot be read though nobody withholds them, each with its reason.
    told: Vec<(Seq, String)>,
    /// Whether payloads were left out when the source was made.
    is_excerpt: bool,
    /// What does not hold about redactions.
    redactions: Vec<String>,
    /// The redaction that is not over.
    unfinished: Option<PendingRedaction>,
}

pub(crate) fn run(args: &VerifyArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut pass = Pass::through(args, place, false)?;
    if pass.audit.is_none() {
        // There is evidence where none was expected: somebody may have taken out the newest.
        pass = Pass::through(args, place, true)?;
    }
    let Pass { source, findings, audit, snapshots, failure } = pass;
    let audit = audit.expect("a pass that expects evidence misses none");
    let (before, head) = (source.before(), source.head());
    findings.tell_unread(console);
    let of_records = match (&failure, &findings) {
        (Some(failure), _) => failure.exit(),
        (None, _) if audit.findings_count > 0 || !findings.redactions.is_empty() => Exit::Integrity,
        (None, Findings { malformed: 1.., .. }) => Exit::Integrity,
        (None, Findings { unknown: 1.., .. }) => Exit::Unknown,
        (None, _) => Exit::Ok,
    };
    let exit = of_records.or_worse(snapshots.exit());
    let told = Told { findings, audit, snapshots, before, head, failure, of_records, exit };
    match args.output {
        Output::Text => {
            told.tell(console)?;
            if place.is_without_end() {
                console.line(format_args!("end       segments alone do not say where their journal ends"))?;
            }
            told.tell_evidence(args, console)?;
            told.snapshots.lines().try_for_each(|line| console.line(format_args!("snapshot  {line}")))?;
        }
        Output::Json => told.tell_json(place, console)?,
    }
    Ok(exit)
}

/// All that was found.
struct Told {
    findings: Findings,
    audit: AuditReport,
    snapshots: Comparison,
    before: Head,
    head: Head,
    failure: Option<Failure>,
    /// How it would end by the records alone.
    of_records: Exit,
    exit: Exit,
}

/// What a record is to a verification.
struct Seen {
    payload: Payload,
    /// If snapshots are compared with it.
    to_fold: Option<Box<ToFold>>,
}

/// What a record's payload is to a verification.
enum Payload {
    /// An event that nothing else depends on.
    Read,
    /// What happened to the node: redactions and seals are among it.
    Node(Box<NodeEvent>),
    Unread(Box<PayloadError>),
}

impl Seen {
    /// Looks at a record; those up to the last snapshot's are folded as well.
    fn of(stored: &StoredRecord, folded_upto: Seq) -> Seen {
        let event = stored.event();
        let is_folded = stored.header.seq <= folded_upto;
        let to_fold = is_folded.then(|| Box::new(ToFold::of(stored, &event)));
        let payload = match event {
            Ok(Event::Node(event)) => Payload::Node(Box::new(event)),
            Ok(_) => Payload::Read,
            Err(error) => Payload::Unread(Box::new(error)),
        };
        Seen { payload, to_fold }
    }
}

/// One reading of the whole journal.
struct Pass {
    source: Opened,
    findings: Findings,
    /// None if there was evidence and none was expected.
    audit: Option<AuditReport>,
    snapshots: Comparison,
    failure: Option<Failure>,
}

impl Pass {
    fn through(args: &VerifyArgs, place: &Place, expects_evidence: bool) -> Result<Pass, Failure> {
        let mut source = place.open(Seq(1))?;
        let mut auditor = auditor(args, source.before())?;
        if !expects_evidence && !source.may_have_evidence() {
            auditor = auditor.expecting_no_evidence();
        }
        let mut findings = Findings::default();
        let mut redactions = Redactions::default();
        let mut snapshots = Comparison::of(place, source.before().seq)?;
        let folded_upto = snapshots.upto();
        let look = |stored: &StoredRecord| Seen::of(stored, folded_upto);
        let read = source.read_through(&look, |scanned| match scanned {
            Scanned::Record(position, Seen { payload, to_fold }) => {
                findings.records += 1;
                auditor.record(&position.hash);
                let event = match &payload {
                    Payload::Node(event) => Some(&**event),
                    Payload::Read => None,
                    Payload::Unread(error) => {
                        findings.note(position.seq, error);
                        None
                    }
                };
                redactions.note(&position, event);
                if let Some(record) = to_fold {
                    snapshots.note(&position, *record);
                }
            }
            Scanned::Evidence(evidence) => auditor.evidence(&evidence),
        });
        (findings.redactions, findings.unfinished) = redactions.finish(&source);
        findings.is_excerpt = source.is_excerpt();
        snapshots.finish(read.is_ok());
        let audit = (!auditor.has_missed_evidence()).then(|| auditor.finish());
        Ok(Pass { source, findings, audit, snapshots, failure: read.err().map(Failure::from) })
    }
}

fn auditor(args: &VerifyArgs, before: Head) -> Result<Auditor, Failure> {
    let Some(path) = &args.checkpoint else {
        return Ok(
            Auditor::new(before.seq, args.key.clone(), Vec::new()).expect("there is no note to misread")
        );
    };
    let held = read_notes(path)?;
    Auditor::new(before.seq, args.key.clone(), held).map_err(|error| Failure::not_one(path, error))
}

/// The notes in a file that was kept elsewhere.
fn read_notes(path: &Path) -> Result<Vec<SignedNote>, Failure> {
    let open = |source| Failure::Open { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(NOTES_LEN_MAX).read_to_end(&mut bytes)).map_err(open)?;
    audit::parse_notes(&bytes).map_err(|error| Failure::not_one(path, error))
}

impl Findings {
    fn note(&mut self, seq: Seq, error: &PayloadError) {
        match Exit::of_payload(error) {
            // Told by their number: nothing is wrong with them.
            Exit::Ok => {
                let is_redacted = matches!(error, PayloadError::Redacted);
                *if is_redacted { &mut self.redacted } else { &mut self.sealed } += 1;
                return;
            }
            Exit::Unknown => self.unknown += 1,
            Exit::NothingMatched | Exit::Usage | Exit::Io | Exit::Integrity | Exit::Determinism => {
                self.malformed += 1;
            }
        }
        if self.unknown + self.malformed <= TOLD_MAX {
            self.told.push((seq, render::payload_error(error)));
        }
    }

    fn tell_unread(&self, console: &mut Console<'_>) {
        for (seq, reason) in &self.told {
            console.note(format_args!("record {seq}: {reason}"));
        }
        if self.unknown + self.malformed > TOLD_MAX {
            console.note(format_args!("more payloads that cannot be read are counted only"));
        }
    }

    fn lines(&self) -> impl Iterator<Item = (u64, &'static str)> {
        [
            (self.redacted, "payloads were redacted"),
            (self.sealed, "payloads are sealed with keys that are not at hand"),
            (self.unknown, "payloads need a newer release"),
            (self.malformed, "payloads are malformed"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }
}

impl Told {
    fn verdict(&self) -> &'static str {
        match (self.of_records, self.exit) {
            (Exit::Ok, Exit::Integrity) => "SOUND RECORDS, BAD SNAPSHOT",
            (Exit::Ok, Exit::Unknown) => "SOUND RECORDS; a newer release is needed for a snapshot",
            (Exit::Ok, _) => "sound",
            (Exit::Unknown, _) => "NOT FULLY READABLE: a newer release is needed",
            (Exit::Integrity, _) => "DAMAGED",
            (Exit::Io | Exit::NothingMatched | Exit::Usage | Exit::Determinism, _) => "NOT READ TO ITS END",
        }
    }

    fn tell(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        let Told { findings, before, head, failure, .. } = self;
        console.line(format_args!("verdict   {}", self.verdict()))?;
        if let Some(failure) = failure {
            console.line(format_args!("reason    {}", failure.told()))?;
        }
        match findings.records {
            0 => console.line(format_args!("trusted   no record"))?,
            _ => console.line(format_args!("trusted   records {} to {}", before.seq.next(), head.seq))?,
        }
        if before.seq > Seq::ZERO {
            console.line(format_args!(
                "assumed   record {} with hash {}",
                before.seq,
                render::hex(&before.hash)
            ))?;
        }
        console.line(format_args!("hash      {}", render::hex(&head.hash)))?;
        if findings.is_excerpt {
            console.line(format_args!(
                "excerpt   payloads were left out when this was made, and count as redacted"
            ))?;
        }
        for (count, what) in findings.lines() {
            console.line(format_args!("payloads  {count} {what}"))?;
        }
        if let Some(pending) = &findings.unfinished {
            let id = pending.id;
            console.line(format_args!(
                "redaction {id} is not over: the next start of the node goes on with it"
            ))?;
        }
        for finding in &findings.redactions {
            console.line(format_args!("redaction {}", render::safe(finding)))?;
        }
        Ok(())
    }

    /// What stands for the records, and up to where. Nothing is said where there is nothing and nobody asked.
    fn tell_evidence(&self, args: &VerifyArgs, console: &mut Console<'_>) -> Result<(), Failure> {
        let Told { audit, head, .. } = self;
        match &audit.sealed {
            None if args.key.is_none() && args.checkpoint.is_none() => {}
            None => console.line(format_args!("sealed    no record"))?,
            Some(sealed) => {
                let by = match sealed.period {
                    Some(period) => format!(", by the key of period {period}"),
                    None => String::new(),
                };
                console.line(format_args!("sealed    records up to {}{by}", sealed.size))?;
                if sealed.size < head.seq.0 {
                    let first = sealed.size + 1;
                    console.line(format_args!("unsealed  records {first} to {}: chained only", head.seq))?;
                }
                if args.key.is_none() {
                    console.line(format_args!("keys      signatures were not checked: give --key"))?;
                } else if !audit.signatures_checked {
                    console.line(format_args!(
                        "keys      signatures were not checked: that needs the journal from its first record"
                    ))?;
                }
            }
        }
        if audit.foreign > 0 {
            console.line(format_args!("foreign   {} seals of other keys say nothing", audit.foreign))?;
        }
        for size in &audit.continued {
            console.line(format_args!("kept      the journal continues the checkpoint of {size} records"))?;
        }
        for finding in &audit.findings {
            console.line(format_args!("evidence  {}", render::safe(&finding.to_string())))?;
        }
        let untold = audit.findings_count - audit.findings.len() as u64;
        if untold > 0 {
            console.line(format_args!("evidence  {untold} more findings"))?;
        }
        Ok(())
    }

    fn tell_json(&self, place: &Place, console: &mut Console<'_>) -> Result<(), Failure> {
        let Told { findings, audit, snapshots, before, head, failure, of_records: _, exit } = self;
        let Findings {
            records,
            redacted,
            sealed,
            unknown,
            malformed,
            told: _,
            is_excerpt,
            redactions,
            unfinished,
        } = findings;
        let value = json!({
            "sound": *exit == Exit::Ok,
            "exit": exit.code(),
            "reason": failure.as_ref().map(Failure::told),
            "records": records,
            "before": { "seq": before.seq, "hash": render::hex(&before.hash) },
            "head": { "seq": head.seq, "hash": render::hex(&head.hash) },
            "evidence": {
                "sealed": audit.sealed.as_ref().map(|sealed| sealed.size),
                "period": audit.sealed.as_ref().and_then(|sealed| sealed.period),
                "checkpoints": audit.checkpoints,
                "successions": audit.successions,
                "signaturesChecked": audit.signatures_checked,
                "foreign": audit.foreign,
                "continued": audit.continued,
                "findings": audit.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "findingsCount": audit.findings_count,
            },
            "excerpt": is_excerpt,
            "redactions": {
                "findings": redactions, "unfinished": unfinished.as_ref().map(|pending| pending.id),
            },
            "payloads": {
                "redacted": redacted, "sealed": sealed, "unknown": unknown, "malformed": malformed,
            },
            "endIsKnown": !place.is_without_end(),
            "snapshots": snapshots.json(),
        });
        console.line(format_args!("{}", render::pretty(&value)))
    }
}
