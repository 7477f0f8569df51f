//! `proof`: shows somebody who has not the journal that a record is in it, or checks what was shown.

use std::fs;
use std::path::Path;

use purser_events::Seq;
use purser_storage::audit::{AuditReport, Auditor};
use purser_storage::checkpoint::SignedNote;
use purser_storage::merkle::{self, Leaf, ProofError};
use purser_storage::offline::{Item, SourceError};
use purser_storage::tlog_proof::TlogProof;
use purser_storage::{Hash, Head};

use crate::Console;
use crate::cli::ProofArgs;
use crate::failure::{Exit, Failure};
use crate::source::Place;

pub(crate) fn run(args: &ProofArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match &args.check {
        Some(file) => check(args, file, place, console),
        None => make(args, place, console),
    }
}

fn make(args: &ProofArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    place.again()?;
    let seq = Seq(args.seq);
    let Read { before, audit, .. } = read(args, Vec::new(), place)?;
    if before.seq > Seq::ZERO {
        return Err(Failure::PartialProof { before: before.seq });
    }
    refuse_findings(&audit)?;
    let size = audit.sealed.as_ref().map_or(0, |sealed| sealed.size);
    let sealed = audit.sealed.filter(|sealed| sealed.size >= seq.0);
    let sealed = sealed.ok_or(Failure::NotSealed { seq, sealed: size })?;
    let leaves = place.open(Seq(1))?.map(|stored| stored.map(|stored| Leaf::of_record(&stored.hash)));
    let index = seq.0 - 1;
    let hashes = merkle::inclusion_proof(index, sealed.size, leaves).map_err(not_read)?;
    let proof = TlogProof { index, hashes, note: sealed.note };
    write!(console.out, "{proof}").map_err(Failure::Output)?;
    Ok(Exit::Ok)
}

fn check(args: &ProofArgs, file: &Path, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let seq = Seq(args.seq);
    let text = fs::read_to_string(file);
    let text = text.map_err(|source| Failure::Open { path: file.to_owned(), source })?;
    let proof = TlogProof::parse(&text).map_err(|error| Failure::not_one(file, error))?;
    let Read { hash, audit, before, last } = read(args, vec![proof.note.clone()], place)?;
    let hash = hash.ok_or(Failure::NoRecord { first: before.seq.next(), last, asked: seq })?;
    let shown = proof.check(seq, &hash).map_err(|error| Failure::NotProven { reason: error.to_string() })?;
    // The first key itself may have signed: then the journal's own word is not needed.
    if proof.note.verify(std::slice::from_ref(&args.key)).is_err() {
        if !audit.signatures_checked {
            return Err(Failure::PartialProof { before: before.seq });
        }
        refuse_findings(&audit)?;
    }
    console.line(format_args!(
        "record {seq} is under the sealed checkpoint of {} records of {}",
        shown.size(),
        crate::render::safe(shown.origin())
    ))?;
    Ok(Exit::Ok)
}

/// What one reading of the journal gave.
struct Read {
    before: Head,
    last: Seq,
    /// Of the record that is asked about.
    hash: Option<Hash>,
    audit: AuditReport,
}

fn read(args: &ProofArgs, held: Vec<SignedNote>, place: &Place) -> Result<Read, Failure> {
    let mut source = place.open(Seq(1))?;
    let before = source.before();
    let not_proven =
        |error: purser_storage::checkpoint::CheckpointError| Failure::NotProven { reason: error.to_string() };
    let mut auditor = Auditor::new(before.seq, Some(args.key.clone()), held).map_err(not_proven)?;
    let mut hash = None;
    while let Some(item) = source.next_item() {
        match item? {
            Item::Record(record) => {
                auditor.record(&record.hash);
                if record.header.seq.0 == args.seq {
                    hash = Some(record.hash);
                }
            }
            Item::Evidence(evidence) => auditor.evidence(&evidence),
        }
    }
    Ok(Read { before, last: source.head().seq, hash, audit: auditor.finish() })
}

fn refuse_findings(audit: &AuditReport) -> Result<(), Failure> {
    match audit.findings.first() {
        Some(finding) => Err(Failure::NotProven { reason: finding.to_string() }),
        None => Ok(()),
    }
}

fn not_read(error: ProofError<SourceError>) -> Failure {
    match error {
        ProofError::Leaf { source, .. } => Failure::Source(source),
        error => Failure::NotProven { reason: error.to_string() },
    }
}
