//! A sealed journal: what its evidence shows, and what it shows when somebody was at it.

use std::fs;
use std::io::Cursor;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use purser_events::{Seq, Timestamp};
use purser_storage::audit::{AuditReport, Auditor, Finding};
use purser_storage::checkpoint::{Checkpoint, NoteSigner, Seed, SignedNote, VerifierKey};
use purser_storage::merkle::{Frontier, Leaf};
use purser_storage::offline::{Item, Source};
use purser_storage::sealer::{SealerError, SealingConfig, SealingParts, SealingState};
use purser_storage::sealing::{KeyFile, SealRejection, SealingKey};
use purser_storage::{Evidence, Head, Journal, JournalConfig, SealedTree, StoredRecord, Terms, export};

use crate::lazy::LAZY;
use crate::support::{NOW, append, stream};

const ORIGIN: &str = "purser/test";

fn seed(number: u64) -> Seed {
    let mut bytes = [7; Seed::LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Seed::read_from(&mut Cursor::new(bytes)).unwrap()
}

/// A folder with a journal and the key that seals it.
pub(crate) struct Sealed {
    folder: tempfile::TempDir,
    verifier: VerifierKey,
}

impl Sealed {
    pub(crate) fn new() -> Sealed {
        let folder = tempfile::tempdir().unwrap();
        let key = SealingKey::first(ORIGIN, &seed(0), NOW).unwrap();
        KeyFile::create(&folder.path().join("seal.key"), &key).unwrap();
        Sealed { verifier: key.verifier().clone(), folder }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("seal.key")
    }

    /// Opens the journal and begins to seal it; the key is replaced whenever there is something new.
    pub(crate) fn open(&self, generation: u64) -> Journal {
        let journal = open(&self.dir());
        journal.seal(parts(&self.key_file(), generation, 1)).unwrap();
        journal
    }

    pub(crate) fn audit(&self) -> AuditReport {
        audit(Source::from_folder(&self.dir()).unwrap(), Some(&self.verifier), Vec::new())
    }
}

fn open(dir: &Path) -> Journal {
    let config = JournalConfig { segment_bytes: 256 << 10, ..JournalConfig::new(dir) };
    Journal::open(config, || NOW, |_| {}, |_| {}).unwrap()
}

fn parts(key_file: &Path, generation: u64, interval_ms: u64) -> SealingParts {
    let mut number = generation * 1_000_000;
    let config = SealingConfig {
        checkpoint_events: NonZeroU64::new(16).unwrap(),
        interval_ms: NonZeroU64::new(interval_ms).unwrap(),
        ..SealingConfig::new(key_file)
    };
    SealingParts {
        config,
        seeds: Box::new(move || {
            number += 1;
            Ok(seed(number))
        }),
        now: Box::new(|| Timestamp(NOW.0 + 60_000_000)),
        observer: Box::new(()),
    }
}

pub(crate) async fn write(journal: &Journal, from: u64, count: u64, reason: &str) {
    for number in from..from + count {
        journal.append(append(stream(1), number, &[&format!("{reason} {number}")])).await.unwrap();
    }
}

fn items(mut source: Source) -> Vec<Item> {
    std::iter::from_fn(|| source.next_item()).map(Result::unwrap).collect()
}

fn audit(source: Source, key: Option<&VerifierKey>, held: Vec<SignedNote>) -> AuditReport {
    let before = source.before();
    audit_items(&items(source), before, key, held)
}

fn audit_items(
    items: &[Item],
    before: Head,
    key: Option<&VerifierKey>,
    held: Vec<SignedNote>,
) -> AuditReport {
    let mut auditor = Auditor::new(before.seq, key.cloned(), held).unwrap();
    for item in items {
        match item {
            Item::Record(record) => auditor.record(&record.hash),
            Item::Evidence(evidence) => auditor.evidence(evidence),
        }
    }
    auditor.finish()
}

fn sealed_size(report: &AuditReport) -> u64 {
    report.sealed.as_ref().map_or(0, |sealed| sealed.size)
}

fn checkpoints(items: &[Item]) -> Vec<SealedTree> {
    let mut trees = Vec::new();
    for item in items {
        if let Item::Evidence(Evidence::Checkpoint(tree)) = item {
            trees.push((**tree).clone());
        }
    }
    trees
}

#[tokio::test]
async fn what_was_lazy_is_sealed_in_its_place() {
    let sealed = Sealed::new();
    let journal = sealed.open(1);
    for number in 0..80 {
        let terms = if number % 4 == 3 { Terms::default() } else { LAZY };
        journal.append_on(append(stream(1), number, &["seen again"]), terms).await.unwrap();
    }
    journal.close().unwrap();
    let report = sealed.audit();
    assert_eq!((report.findings.as_slice(), sealed_size(&report)), (&[][..], 80));
}

/// The sealed journal of one history, and the records of another that was written later with all hashes made anew.
async fn rewritten(count: u64, changed: u64) -> (Sealed, Vec<Item>, Vec<StoredRecord>) {
    let sealed = Sealed::new();
    let journal = sealed.open(1);
    // A first checkpoint is there before the rest, however slow the thread is that seals.
    write(&journal, 0, 20, "so it was").await;
    let mut sealing = journal.sealing();
    sealing.wait_for(|status| 16 <= status.sealed).await.unwrap();
    write(&journal, 20, count - 20, "so it was").await;
    journal.close().unwrap();
    let forged = tempfile::tempdir().unwrap();
    let journal = open(forged.path());
    write(&journal, 0, changed, "so it was").await;
    write(&journal, changed, count - changed, "so it never was").await;
    journal.close().unwrap();
    let records = Source::from_folder(forged.path()).unwrap().map(Result::unwrap).collect();
    let items = items(Source::from_folder(&sealed.dir()).unwrap());
    (sealed, items, records)
}

/// The items with each record in the place of the one of its number.
fn with_records(items: &[Item], records: &[StoredRecord]) -> Vec<Item> {
    let replace = |item: &Item| match item {
        Item::Record(record) => {
            let place = usize::try_from(record.header.seq.0 - 1).unwrap();
            Item::Record(Box::new(records[place].clone()))
        }
        Item::Evidence(evidence) => Item::Evidence(evidence.clone()),
    };
    items.iter().map(replace).collect()
}

#[tokio::test]
async fn every_record_is_sealed_when_the_journal_is_closed() {
    let sealed = Sealed::new();
    let mut written = 0;
    for generation in 1..=4 {
        let journal = sealed.open(generation);
        write(&journal, written, 50, "reason").await;
        written += 50;
        journal.close().unwrap();
        let report = sealed.audit();
        assert_eq!(report.findings, []);
        assert_eq!(sealed_size(&report), written);
        assert!(report.signatures_checked && report.checkpoints >= generation, "{report:?}");
    }
    // A key is replaced where there is something new, at the next start at the latest.
    assert!(sealed.audit().successions >= 3);
}

#[tokio::test]
async fn evidence_goes_into_exports_and_over_segments() {
    let sealed = Sealed::new();
    let journal = sealed.open(1);
    let long = "x".repeat(2_000);
    write(&journal, 0, 400, &long).await;
    let mut live = Vec::new();
    journal.export(Seq(1), &mut live).unwrap();
    let report = audit(Source::from_export(Cursor::new(live)).unwrap(), Some(&sealed.verifier), Vec::new());
    assert_eq!(report.findings, []);
    journal.close().unwrap();
    let segments = fs::read_dir(sealed.dir().join("segments")).unwrap().count();
    assert!(segments >= 3, "the test needs several segments, not {segments}");
    assert_eq!(sealed_size(&sealed.audit()), 400);
    let journal = open(&sealed.dir());
    let mut whole = Vec::new();
    journal.export(Seq(1), &mut whole).unwrap();
    let source = || Source::from_export(Cursor::new(whole.clone())).unwrap();
    let report = audit(source(), Some(&sealed.verifier), Vec::new());
    assert_eq!((report.findings.as_slice(), sealed_size(&report)), (&[][..], 400));
    assert_eq!(source().count(), 400, "who wants records alone gets records alone");
    // A part begins with the first checkpoint whose tree is in it; whose signature counts is not known.
    let mut part = Vec::new();
    journal.export(Seq(100), &mut part).unwrap();
    let report = audit(Source::from_export(Cursor::new(part)).unwrap(), Some(&sealed.verifier), Vec::new());
    assert_eq!((report.findings.as_slice(), sealed_size(&report)), (&[][..], 400));
    assert!(!report.signatures_checked);
}

#[tokio::test]
async fn a_kill_at_any_moment_leaves_evidence_that_goes_on() {
    let sealed = Sealed::new();
    let mut copies = Vec::new();
    let journal = open(&sealed.dir());
    // The key stays as it is, so that a copy of its file fits every copy of the journal.
    journal.seal(parts(&sealed.key_file(), 1, 3_600_000)).unwrap();
    for round in 0..12 {
        write(&journal, round * 40, 40, &"y".repeat(900)).await;
        // As kill -9 leaves it: what was written is there, whatever the threads were about.
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&sealed.dir(), &copy.path().join("journal"));
        fs::copy(sealed.key_file(), copy.path().join("seal.key")).unwrap();
        copies.push((copy, (round + 1) * 40));
    }
    journal.close().unwrap();
    for (folder, written) in copies {
        let copy = Sealed { folder, verifier: sealed.verifier.clone() };
        let journal = copy.open(100 + written);
        write(&journal, written, 20, "after the kill").await;
        assert_eq!(journal.sealing().borrow().state, SealingState::On);
        journal.close().unwrap();
        let report = copy.audit();
        assert_eq!((report.findings.as_slice(), sealed_size(&report)), (&[][..], written + 20));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The store is made again from the segments.
        if entry.file_name() == "sled" || entry.file_name() == "lock" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_stop_between_the_key_and_the_word_about_it_is_made_good() {
    let sealed = Sealed::new();
    let journal = sealed.open(1);
    write(&journal, 0, 20, "reason").await;
    journal.close().unwrap();
    let (file, key) = KeyFile::load(&sealed.key_file()).unwrap();
    let mut tree = Frontier::new();
    for record in Source::from_folder(&sealed.dir()).unwrap() {
        tree.append(Leaf::of_record(&record.unwrap().hash));
    }
    // The moment after the file was replaced, and before the journal heard of it.
    let next = key.succeed(&seed(999), 20, &tree.root(), NOW).unwrap();
    file.replace(&next).unwrap();
    drop(key);
    let journal = sealed.open(2);
    write(&journal, 20, 20, "reason").await;
    journal.close().unwrap();
    let report = sealed.audit();
    assert_eq!((report.findings.as_slice(), sealed_size(&report)), (&[][..], 40));
    assert!(report.sealed.unwrap().period.unwrap() > key_period(&next));
}

fn key_period(key: &SealingKey) -> u64 {
    // The next start replaces it where there is something new.
    key.start().number - 1
}

#[tokio::test]
async fn a_changed_record_is_found_though_every_hash_was_made_anew() {
    let (sealed, items, records) = rewritten(100, 40).await;
    let forged = with_records(&items, &records);
    let report = audit_items(&forged, Head::GENESIS, Some(&sealed.verifier), Vec::new());
    let wrong = |finding: &Finding| match finding {
        Finding::WrongRoot { size } | Finding::WrongStart { size, .. } => *size > 40,
        _ => false,
    };
    assert!(!report.findings.is_empty() && report.findings.iter().all(wrong), "{report:?}");
    assert!(sealed_size(&report) <= 40);
    // Without a key the roots are compared all the same.
    let report = audit_items(&forged, Head::GENESIS, None, Vec::new());
    assert!(!report.findings.is_empty() && report.findings.iter().all(wrong), "{report:?}");
}

#[tokio::test]
async fn evidence_that_was_taken_out_is_missed() {
    let (sealed, whole, _) = rewritten(100, 100).await;
    let bare: Vec<Item> = whole.iter().filter(|item| matches!(item, Item::Record(_))).cloned().collect();
    let report = audit_items(&bare, Head::GENESIS, Some(&sealed.verifier), Vec::new());
    assert_eq!(report.findings, [Finding::NothingSealed]);
    let trees = checkpoints(&whole);
    assert!(trees.len() >= 2, "the test needs a checkpoint that another follows");
    let first = trees[0].note().clone();
    let without_first: Vec<Item> = whole
        .iter()
        .filter(|item| !matches!(item, Item::Evidence(Evidence::Checkpoint(tree)) if *tree.note() == first))
        .cloned()
        .collect();
    let report = audit_items(&without_first, Head::GENESIS, Some(&sealed.verifier), Vec::new());
    let missing = trees[0].checkpoint().size();
    assert!(
        matches!(report.findings[..], [Finding::CheckpointMissing { missing: found, .. }] if found == missing),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_missed_by_whoever_kept_a_checkpoint() {
    let (sealed, whole, records) = rewritten(100, 40).await;
    let kept = checkpoints(&whole).pop().unwrap().note().clone();
    let mut writer = export::Writer::new(Vec::new(), Head::GENESIS).unwrap();
    let mut before_cut = Vec::new();
    for item in &whole {
        match item {
            Item::Record(record) if record.header.seq.0 > 60 => break,
            Item::Record(record) => writer.write(record).unwrap(),
            Item::Evidence(evidence) => writer.write_evidence(evidence).unwrap(),
        }
        before_cut.push(item.clone());
    }
    let cut = writer.finish().unwrap();
    let source = || Source::from_export(Cursor::new(cut.clone())).unwrap();
    let alone = audit(source(), None, Vec::new());
    assert_eq!(alone.findings, [], "a shorter journal is whole in itself");
    let report = audit(source(), None, vec![kept.clone()]);
    assert_eq!(report.findings, [Finding::CutOff { size: 100, last: 60 }]);
    let report = audit_items(&whole, Head::GENESIS, Some(&sealed.verifier), vec![kept.clone()]);
    assert_eq!((report.findings.as_slice(), report.continued.as_slice()), (&[][..], &[100][..]));
    // Another journal of the same length is not the one either.
    let other: Vec<Item> = records.into_iter().map(|record| Item::Record(Box::new(record))).collect();
    let report = audit_items(&other, Head::GENESIS, None, vec![kept]);
    assert_eq!(report.findings, [Finding::NotContinued { size: 100 }]);
}

#[tokio::test]
async fn a_later_key_does_not_seal_an_earlier_period() {
    let (sealed, _, records) = rewritten(100, 40).await;
    // Whoever takes the host finds the key in force.
    let journal = sealed.open(2);
    write(&journal, 100, 1, "reason").await;
    journal.close().unwrap();
    let items = items(Source::from_folder(&sealed.dir()).unwrap());
    let stolen = fs::read(sealed.key_file()).unwrap();
    let secret = Seed::read_from(&mut &stolen[10..42]).unwrap();
    let signer = NoteSigner::new(ORIGIN, &secret).unwrap();
    let (_, key) = KeyFile::load(&sealed.key_file()).unwrap();
    assert!(key.start().size > 40, "the test needs a key that took over after what is forged");
    let mut tree = Frontier::new();
    let mut forged: Vec<Item> = Vec::new();
    for record in records.iter().take(60) {
        tree.append(Leaf::of_record(&record.hash));
        forged.push(Item::Record(Box::new(record.clone())));
    }
    let checkpoint = Checkpoint::new(ORIGIN, 60, tree.root()).unwrap();
    let note = SignedNote::sign(&checkpoint.to_string(), &signer).unwrap();
    forged.push(Item::Evidence(Evidence::Checkpoint(Box::new(SealedTree::new(note, tree).unwrap()))));
    // With the true successions in front, as the forger needs them for the key to count at all.
    let mut with_keys: Vec<Item> = items
        .iter()
        .filter(|item| matches!(item, Item::Evidence(Evidence::Succession(_))))
        .cloned()
        .collect();
    let report = audit_items(&forged, Head::GENESIS, Some(&sealed.verifier), Vec::new());
    assert!(has_seal_rejection(&report, |_| true), "{report:?}");
    let place = forged.len() - 1;
    with_keys.reverse();
    with_keys.into_iter().for_each(|item| forged.insert(place, item));
    let report = audit_items(&forged, Head::GENESIS, Some(&sealed.verifier), Vec::new());
    let out_of_period =
        |source: &SealRejection| matches!(source, SealRejection::OutOfPeriod { size: 60, .. });
    assert!(has_seal_rejection(&report, out_of_period), "{report:?}");
    assert_eq!(sealed_size(&report), 0);
}

fn has_seal_rejection(report: &AuditReport, wanted: impl Fn(&SealRejection) -> bool) -> bool {
    report.findings.iter().any(|finding| matches!(finding, Finding::Seal { source, .. } if wanted(source)))
}

#[tokio::test]
async fn an_older_copy_is_not_sealed_by_the_key_of_a_later_one() {
    let sealed = Sealed::new();
    let journal = sealed.open(1);
    write(&journal, 0, 20, "reason").await;
    journal.close().unwrap();
    let old = sealed.folder.path().join("old");
    copy_folder(&sealed.dir(), &old);
    for generation in 2..4 {
        let journal = sealed.open(generation);
        write(&journal, 20 * (generation - 1), 20, "reason").await;
        journal.close().unwrap();
    }
    let (_, key) = KeyFile::load(&sealed.key_file()).unwrap();
    assert!(key.start().size > 20, "the test needs a key that took over after the copy");
    let journal = open(&old);
    let error = journal.seal(parts(&sealed.key_file(), 9, 1)).unwrap_err();
    assert!(matches!(error, SealerError::Shortened { records: 20, .. }), "{error}");
    assert!(matches!(journal.sealing().borrow().state, SealingState::Stopped { .. }));
    write(&journal, 20, 1, "goes on without").await;
}

#[tokio::test]
async fn a_key_that_was_replaced_does_not_come_back() {
    let sealed = Sealed::new();
    let old = fs::read(sealed.key_file()).unwrap();
    let journal = sealed.open(1);
    write(&journal, 0, 20, "reason").await;
    journal.close().unwrap();
    let journal = sealed.open(2);
    journal.close().unwrap();
    let (_, key) = KeyFile::load(&sealed.key_file()).unwrap();
    assert!(key.start().number > 0, "the test needs a key that was replaced");
    // As from a backup.
    fs::write(sealed.key_file(), old).unwrap();
    let journal = open(&sealed.dir());
    let error = journal.seal(parts(&sealed.key_file(), 3, 1)).unwrap_err();
    let is_told =
        matches!(error, SealerError::Superseded { held: 0, .. } | SealerError::ForeignCheckpoint { .. });
    assert!(is_told, "{error}");
}

#[tokio::test]
async fn a_journal_that_was_there_before_its_key_is_sealed_from_its_first_record() {
    let sealed = Sealed::new();
    let journal = open(&sealed.dir());
    write(&journal, 0, 300, "reason").await;
    assert_eq!(journal.sealing().borrow().state, SealingState::Off);
    journal.close().unwrap();
    let journal = sealed.open(1);
    journal.close().unwrap();
    assert_eq!(sealed_size(&sealed.audit()), 300);
}
