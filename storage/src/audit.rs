//! Auditing: whether the evidence in a journal vouches for its records, and up to where.
//!
//! It looks at everything once, in order, beside the checks of records themselves. What it finds does not end the
//! reading: the more is known about a journal that somebody touched, the better.

use purser_events::Seq;

use crate::checkpoint::{Checkpoint, CheckpointError, NoteError, SignedNote, VerifierKey};
use crate::evidence::{Evidence, SealedTree};
use crate::frame::Hash;
use crate::merkle::{Frontier, Leaf};
use crate::sealing::{KeyRing, RingRejection, SealRejection, Succession};

/// Records that may lie between a checkpoint's last record and the checkpoint itself.
const LAG_MAX: usize = 1 << 20;

/// Findings that are kept; more are only counted.
pub const FINDINGS_LEN_MAX: usize = 100;

/// What is wrong with the evidence, or with the records that it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The records are not those that were signed.
    #[error(
        "checkpoint of {size} records has another root than the records: they are not the ones that were sealed"
    )]
    WrongRoot {
        /// Records under it.
        size: u64,
    },
    /// The records are not those that were there when a key took over.
    #[error("period {period} began at {size} records with another root than the records have")]
    WrongStart {
        /// The period.
        period: u64,
        /// Records at its start.
        size: u64,
    },
    /// It speaks of records that do not stand before it.
    #[error("evidence of {size} records stands after record {last}")]
    Ahead {
        /// Records that it speaks of.
        size: u64,
        /// The last record before it.
        last: u64,
    },
    /// It stands after evidence of more records.
    #[error("evidence of {size} records stands after evidence of {after}")]
    OutOfOrder {
        /// Records that it speaks of.
        size: u64,
        /// Records of the evidence before it.
        after: u64,
    },
    /// The signature does not count.
    #[error("checkpoint of {size} records is not sealed: {source}")]
    Seal {
        /// Records under it.
        size: u64,
        /// Why not.
        source: SealRejection,
    },
    /// A succession does not continue the keys before it.
    #[error("succession is not to be trusted: {source}")]
    Succession {
        /// Why not.
        source: RingRejection,
    },
    /// A checkpoint was taken out.
    #[error("checkpoint of {missing} records is missing: the one of {size} follows it")]
    CheckpointMissing {
        /// Records under the one that is missing.
        missing: u64,
        /// Records under the one that names it.
        size: u64,
    },
    /// There is a key, but nothing that it sealed.
    #[error("nothing in the journal is sealed with this key")]
    NothingSealed,
    /// The journal lacks records that it had.
    #[error(
        "a checkpoint kept elsewhere is of {size} records, the journal ends at {last}: its end was cut off"
    )]
    CutOff {
        /// Records under the checkpoint.
        size: u64,
        /// The last record there.
        last: u64,
    },
    /// The journal is not the one of which somebody kept a checkpoint.
    #[error(
        "a checkpoint kept elsewhere, of {size} records, has another root: this is not the journal it was made of"
    )]
    NotContinued {
        /// Records under it.
        size: u64,
    },
    /// The first records are not there to be compared.
    #[error(
        "a checkpoint kept elsewhere, of {size} records, cannot be compared: the source begins after record {before}"
    )]
    NotComparable {
        /// Records under it.
        size: u64,
        /// The record before the first.
        before: u64,
    },
}

/// A checkpoint that the journal is compared with.
#[derive(Debug, Clone)]
struct Held {
    note: SignedNote,
    checkpoint: Checkpoint,
    /// Whether the journal has this root at this size; none until it has come so far.
    fits: Option<bool>,
}

/// How far evidence reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedUpTo {
    /// Records under the last good checkpoint.
    pub size: u64,
    /// The period whose key signed it; none if signatures were not checked.
    pub period: Option<u64>,
    /// The checkpoint.
    pub note: SignedNote,
}

/// What an audit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// The last good checkpoint.
    pub sealed: Option<SealedUpTo>,
    /// Good checkpoints in the journal.
    pub checkpoints: u64,
    /// Successions in the journal that continue the keys.
    pub successions: u64,
    /// Whether signatures were checked: not without a key, and not if the first records are missing.
    pub signatures_checked: bool,
    /// Evidence of other keys than those that were asked for, which says nothing.
    pub foreign: u64,
    /// Sizes of the checkpoints kept elsewhere that the journal continues.
    pub continued: Vec<u64>,
    /// What is wrong, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub findings_count: u64,
}

/// Looks at a journal's records and evidence, in order.
#[derive(Debug)]
pub struct Auditor {
    key: Option<VerifierKey>,
    ring: Option<KeyRing>,
    before: u64,
    /// The tree up to the last evidence; none until it is known, if the first records are missing.
    base: Option<Frontier>,
    /// The records after it.
    pending: Vec<Leaf>,
    /// The last record.
    size: u64,
    last: Option<Box<SealedTree>>,
    succession: Option<Box<Succession>>,
    /// By size.
    held: Vec<Held>,
    /// Whether records are only counted, because no evidence is expected.
    is_idle: bool,
    has_met_evidence: bool,
    report: AuditReport,
}

impl Auditor {
    /// Begins an audit of what follows record `before`. `key` is the verifier key of the journal's first sealing key;
    /// without one, roots are compared and signatures are not. `held` are checkpoints that were kept elsewhere.
    ///
    /// # Errors
    ///
    /// When one of `held` is not a checkpoint.
    pub fn new(
        before: Seq,
        key: Option<VerifierKey>,
        held: Vec<SignedNote>,
    ) -> Result<Auditor, CheckpointError> {
        let checked = |note: SignedNote| {
            let checkpoint = Checkpoint::parse(note.text())?;
            Ok(Held { note, checkpoint, fits: None })
        };
        let mut held: Vec<Held> = held.into_iter().map(checked).collect::<Result<_, CheckpointError>>()?;
        held.sort_by_key(|held| held.checkpoint.size());
        // Who signed is told by successions, from the first on.
        let ring = key.as_ref().filter(|_| before == Seq::ZERO).map(KeyRing::from_root);
        let report = AuditReport {
            sealed: None,
            checkpoints: 0,
            successions: 0,
            signatures_checked: ring.is_some(),
            foreign: 0,
            continued: Vec::new(),
            findings: Vec::new(),
            findings_count: 0,
        };
        let mut auditor = Auditor {
            key,
            ring,
            before: before.0,
            base: (before == Seq::ZERO).then(Frontier::new),
            pending: Vec::new(),
            size: before.0,
            last: None,
            succession: None,
            held,
            is_idle: false,
            has_met_evidence: false,
            report,
        };
        auditor.compare_held();
        Ok(auditor)
    }

    /// Makes no tree of the records, because nothing is expected to be compared with it: without checkpoints that were
    /// kept elsewhere, that takes a fifth of all hashing. Should there be evidence after all, see
    /// [`Auditor::has_missed_evidence`].
    #[must_use]
    pub fn expecting_no_evidence(self) -> Auditor {
        Auditor { is_idle: self.held.is_empty(), ..self }
    }

    /// Whether there was evidence although none was expected: then its report says nothing, and the journal is to be
    /// read again with an audit that expects it.
    #[must_use]
    pub fn has_missed_evidence(&self) -> bool {
        self.is_idle && self.has_met_evidence
    }

    /// Takes notice of the next record, by its hash in the chain.
    pub fn record(&mut self, hash: &Hash) {
        self.size += 1;
        if self.is_idle {
            return;
        }
        self.pending.push(Leaf::of_record(hash));
        if self.pending.len() > LAG_MAX {
            self.forget_half();
        }
        self.compare_held();
    }

    /// Looks at evidence.
    pub fn evidence(&mut self, evidence: &Evidence) {
        self.has_met_evidence = true;
        if self.is_idle {
            return;
        }
        let origin = match evidence {
            Evidence::Checkpoint(tree) => tree.checkpoint().origin(),
            Evidence::Succession(succession) => succession.key().name(),
        };
        if self.key.as_ref().is_some_and(|key| key.name() != origin) {
            self.report.foreign += 1;
            return;
        }
        match evidence {
            Evidence::Checkpoint(tree) => self.checkpoint(tree),
            Evidence::Succession(succession) => self.succession(succession),
        }
    }

    /// What it all comes to, at the journal's end.
    #[must_use]
    pub fn finish(mut self) -> AuditReport {
        if self.key.is_some() && self.report.sealed.is_none() && self.size > 0 {
            self.find(Finding::NothingSealed);
        }
        for held in std::mem::take(&mut self.held) {
            self.finish_held(&held);
        }
        self.report
    }

    fn find(&mut self, finding: Finding) {
        self.report.findings_count += 1;
        if self.report.findings.len() < FINDINGS_LEN_MAX {
            self.report.findings.push(finding);
        }
    }

    fn checkpoint(&mut self, tree: &SealedTree) {
        // Each segment begins with the newest one again.
        if self.last.as_ref().is_some_and(|last| last.note() == tree.note()) {
            return;
        }
        let found_before = self.report.findings_count;
        let size = tree.checkpoint().size();
        let sealed = self.ring.as_ref().map(|ring| ring.verify(tree.note()));
        let period = match sealed {
            Some(Ok(sealed)) => Some(sealed.period),
            Some(Err(source)) => {
                self.find(Finding::Seal { size, source });
                None
            }
            None => None,
        };
        self.check_previous(tree);
        match self.root_at(size, Some(tree)) {
            Ok(Some(root)) if root != *tree.checkpoint().root() => self.find(Finding::WrongRoot { size }),
            Ok(_) => {}
            Err(finding) => self.find(finding),
        }
        self.last = Some(Box::new(tree.clone()));
        if self.report.findings_count == found_before {
            self.report.checkpoints += 1;
            self.report.sealed = Some(SealedUpTo { size, period, note: tree.note().clone() });
        }
    }

    /// Whether the checkpoint that this one says it follows is the one before it.
    fn check_previous(&mut self, tree: &SealedTree) {
        let origin = tree.checkpoint().origin();
        let last = self.last.as_ref().map(|last| last.checkpoint()).filter(|last| last.origin() == origin);
        let known = match last {
            Some(last) => last.size(),
            None if self.before == 0 => 0,
            // It stands before the source's first record.
            None => return,
        };
        if let Some(missing) = tree.previous().filter(|previous| *previous != known) {
            self.find(Finding::CheckpointMissing { missing, size: tree.checkpoint().size() });
        }
    }

    fn succession(&mut self, succession: &Succession) {
        if self.succession.as_deref() == Some(succession) {
            return;
        }
        match self.ring.as_mut().map(|ring| ring.advance(succession)) {
            Some(Err(RingRejection::Repeated { .. })) => return,
            Some(Err(source)) => self.find(Finding::Succession { source }),
            Some(Ok(())) | None => self.report.successions += 1,
        }
        let start = *succession.start();
        match self.root_at(start.size, None) {
            Ok(Some(root)) if root != start.root => {
                self.find(Finding::WrongStart { period: start.number, size: start.size });
            }
            Ok(_) => {}
            Err(finding) => self.find(finding),
        }
        self.succession = Some(Box::new(succession.clone()));
    }

    /// The root that the records have at a size; what is before it is not kept any longer. None if the first records
    /// are missing and nothing tells of them: a checkpoint's own tree is then taken on trust.
    fn root_at(&mut self, size: u64, tree: Option<&SealedTree>) -> Result<Option<Hash>, Finding> {
        if size > self.size {
            return Err(Finding::Ahead { size, last: self.size });
        }
        let Some(base) = &mut self.base else {
            let from = self.size - self.pending.len() as u64;
            if let Some((tree, known)) = tree.zip(size.checked_sub(from)) {
                let known = usize::try_from(known).unwrap_or(usize::MAX);
                self.pending.drain(..known.min(self.pending.len()));
                self.base = Some(tree.frontier().clone());
            }
            return Ok(None);
        };
        let Some(more) = size.checked_sub(base.len()) else {
            return Err(Finding::OutOfOrder { size, after: base.len() });
        };
        let more = usize::try_from(more).unwrap_or(usize::MAX).min(self.pending.len());
        base.extend(self.pending.drain(..more));
        Ok(Some(base.root()))
    }

    fn forget_half(&mut self) {
        let half = self.pending.drain(..LAG_MAX / 2);
        match &mut self.base {
            Some(base) => base.extend(half),
            // Without the tree before them they show nothing.
            None => drop(half),
        }
    }

    /// Compares the journal with the checkpoints of just this size.
    fn compare_held(&mut self) {
        let from = self.held.partition_point(|held| held.checkpoint.size() < self.size);
        let is_due = self.held.get(from).is_some_and(|held| held.checkpoint.size() == self.size);
        let Some(base) = self.base.as_ref().filter(|_| is_due) else { return };
        let mut tree = base.clone();
        tree.extend(self.pending.iter().copied());
        let root = tree.root();
        let due = self.held.iter_mut().skip(from);
        for held in due.take_while(|held| held.checkpoint.size() == self.size) {
            held.fits = Some(*held.checkpoint.root() == root);
        }
    }

    fn finish_held(&mut self, held: &Held) {
        let size = held.checkpoint.size();
        if let Some(ring) = &self.ring
            && let Err(source) = ring.verify(&held.note)
        {
            self.find(Finding::Seal { size, source });
        }
        match held.fits {
            Some(true) => self.report.continued.push(size),
            Some(false) => self.find(Finding::NotContinued { size }),
            None if size > self.size => self.find(Finding::CutOff { size, last: self.size }),
            None => self.find(Finding::NotComparable { size, before: self.before }),
        }
    }
}

/// The notes in a file, one after the other, with empty lines between them or not.
///
/// # Errors
///
/// When one of them is not a note, or there is none.
pub fn parse_notes(bytes: &[u8]) -> Result<Vec<SignedNote>, NoteError> {
    let text = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
    let (mut notes, mut note) = (Vec::new(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if note.is_empty() && line.is_empty() {
            continue;
        }
        note.push_str(line);
        note.push('\n');
        let is_signature = |line: &str| line.starts_with('\u{2014}');
        if is_signature(line) && !lines.peek().is_some_and(|next| is_signature(next)) {
            notes.push(SignedNote::parse(note.as_bytes())?);
            note.clear();
        }
    }
    if notes.is_empty() || !note.is_empty() { Err(NoteError::Incomplete) } else { Ok(notes) }
}
