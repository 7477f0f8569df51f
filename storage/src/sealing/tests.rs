//! Tests of sealing: which signature counts where, and every way to forge one that was thought of.

use super::*;
use crate::checkpoint::NoteError;

const ORIGIN: &str = "gpu-node/5f0c";

/// Where the periods of [`keys`] begin: 3 and 4 at the same size, as on a node where nothing happened.
const SIZES: [u64; 5] = [0, 100, 250, 400, 400];

fn seed(byte: u8) -> Seed {
    Seed::read_from(&mut &[byte; Seed::LEN][..]).unwrap()
}

/// What the tree's root was at a size. No tree is needed to see whose word counts.
fn root(size: u64) -> Hash {
    if size == 0 {
        return merkle::empty_root();
    }
    let mut root = [0xaa; 32];
    root[..8].copy_from_slice(&size.to_le_bytes());
    root
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

fn first(origin: &str, byte: u8) -> SealingKey {
    SealingKey::first(origin, &seed(byte), at(0)).unwrap()
}

fn next(key: &SealingKey, byte: u8, size: u64) -> SealingKey {
    let now = key.start().started_at.plus_ms(900_000);
    key.succeed(&seed(byte), size, &root(size), now).unwrap()
}

/// The keys of five periods. That all are at hand is what erasing prevents.
fn keys() -> Vec<SealingKey> {
    let mut keys = vec![first(ORIGIN, 1)];
    for (size, byte) in SIZES.into_iter().zip(1..).skip(1) {
        let key = next(keys.last().unwrap(), byte, size);
        keys.push(key);
    }
    keys
}

fn succession(key: &SealingKey) -> &Succession {
    match key.appointment() {
        Appointment::Succession(succession) => succession,
        Appointment::Root { .. } => panic!("key {key:?} is the first"),
    }
}

fn ring(keys: &[SealingKey]) -> KeyRing {
    let mut ring = KeyRing::from_root(keys[0].verifier());
    for key in &keys[1..] {
        ring.advance(succession(key)).unwrap();
    }
    ring
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN, size, root(size)).unwrap()
}

/// Signs whatever it is given, as somebody who stole the key would.
fn sign(key: &SealingKey, checkpoint: &Checkpoint) -> SignedNote {
    checkpoint.sign(&key.signer).unwrap()
}

#[test]
fn the_first_key_leads_to_all_the_others() {
    let keys = keys();
    let ring = ring(&keys);
    assert_eq!((ring.origin(), ring.last()), (ORIGIN, 4));
    for (number, key) in (0..).zip(&keys) {
        let period = ring.period(number).unwrap();
        let end = SIZES.get(usize::try_from(number).unwrap() + 1).copied();
        assert_eq!((&period.key, period.start.size, period.end), (key.verifier(), key.start().size, end));
    }
    assert_eq!(ring.period(5), None);
    assert_eq!(ring.period(u64::MAX), None);
}

#[test]
fn each_size_has_its_periods() {
    let ring = ring(&keys());
    for (size, expected) in [
        (0, vec![0]),
        (1, vec![0]),
        (99, vec![0]),
        (100, vec![0, 1]),
        (101, vec![1]),
        (250, vec![1, 2]),
        (399, vec![2]),
        (400, vec![2, 3, 4]),
        (401, vec![4]),
        (u64::MAX, vec![4]),
    ] {
        let periods: Vec<_> = ring.periods_at(size).map(|period| period.start.number).collect();
        assert_eq!(periods, expected, "at {size}");
    }
}

#[test]
fn a_signature_counts_in_its_own_period_alone() {
    let keys = keys();
    let ring = ring(&keys);
    for size in [0, 1, 99, 100, 101, 249, 250, 251, 399, 400, 401, 10_000] {
        let may: Vec<_> = ring.periods_at(size).map(|period| period.start.number).collect();
        for (number, key) in (0..).zip(&keys) {
            let verified = ring.verify(&sign(key, &checkpoint(size)));
            let expected = if may.contains(&number) {
                Ok(Sealed { checkpoint: checkpoint(size), period: number })
            } else {
                Err(SealRejection::OutOfPeriod { size, period: number })
            };
            assert_eq!(verified, expected, "key {number} at {size}");
        }
    }
}

#[test]
fn the_history_before_a_takeover_cannot_be_rewritten() {
    let keys = keys();
    let ring = ring(&keys);
    let rewritten = Checkpoint::new(ORIGIN, 250, [6; 32]).unwrap();
    let verified = ring.verify(&sign(&keys[2], &rewritten));
    assert_eq!(verified, Err(SealRejection::Contradicts { size: 250, period: 2 }));
    // Nor by the key that was about to go.
    let verified = ring.verify(&sign(&keys[1], &rewritten));
    assert_eq!(verified, Err(SealRejection::Contradicts { size: 250, period: 2 }));
    let not_empty = Checkpoint::new(ORIGIN, 0, [6; 32]).unwrap();
    let verified = ring.verify(&sign(&keys[0], &not_empty));
    assert_eq!(verified, Err(SealRejection::Contradicts { size: 0, period: 0 }));
}

#[test]
fn a_checkpoint_by_nobody_or_of_another_journal_does_not_count() {
    let keys = keys();
    let ring = ring(&keys);
    let stranger = first(ORIGIN, 77);
    let unsigned = SealRejection::Checkpoint(CheckpointError::Note(NoteError::Unsigned));
    assert_eq!(ring.verify(&sign(&stranger, &checkpoint(300))), Err(unsigned));
    let other = first("gpu-node/other", 3);
    let of_other = Checkpoint::new("gpu-node/other", 300, root(300)).unwrap();
    let not_its_own = CheckpointError::NotItsOwn { origin: "gpu-node/other".to_owned() };
    assert_eq!(ring.verify(&sign(&other, &of_other)), Err(SealRejection::Checkpoint(not_its_own)));

    let note = sign(&keys[2], &checkpoint(300)).to_string();
    let changed = SignedNote::parse(note.replace("\n300\n", "\n301\n").as_bytes()).unwrap();
    let wrong = CheckpointError::Note(NoteError::WrongSignature { name: ORIGIN.to_owned() });
    assert_eq!(ring.verify(&changed), Err(SealRejection::Checkpoint(wrong)));
}

#[test]
fn successions_come_in_order_and_once() {
    let keys = keys();
    let mut ring = KeyRing::from_root(keys[0].verifier());
    let skipped = ring.advance(succession(&keys[2]));
    assert_eq!(skipped, Err(RingRejection::Gap { expected: 1, found: 2 }));
    ring.advance(succession(&keys[1])).unwrap();
    ring.advance(succession(&keys[2])).unwrap();
    for period in [1, 2] {
        let again = ring.advance(succession(&keys[period]));
        assert_eq!(again, Err(RingRejection::Repeated { period: period as u64 }));
    }
    ring.advance(succession(&keys[3])).unwrap();
    assert_eq!(ring.last(), 3);
}

#[test]
fn a_later_key_cannot_appoint_an_earlier_one() {
    let keys = keys();
    let mut ring = ring(&keys[..3]);
    for (by, period) in [(1, 1), (2, 1), (2, 2), (0, 2), (0, 3), (1, 3)] {
        let key = first(ORIGIN, 50);
        let start = PeriodStart { number: period, started_at: at(9_999), size: 500, root: root(500) };
        let forged = Succession::sign(start, key.verifier().clone(), &keys[by].signer);
        assert_eq!(ring.advance(&forged), Err(RingRejection::Forged { period }), "by key {by}");
    }
    assert_eq!(ring.last(), 2);
    assert!(ring.advance(succession(&keys[3])).is_ok(), "what was refused leaves nothing behind");
}

#[test]
fn two_successors_of_one_key_are_told() {
    let keys = keys();
    let mut ring = ring(&keys);
    let other = next(&keys[1], 60, 250);
    assert_eq!(ring.advance(succession(&other)), Err(RingRejection::Fork { period: 2 }));
    let other_size = next(&keys[1], 3, 251);
    assert_eq!(ring.advance(succession(&other_size)), Err(RingRejection::Fork { period: 2 }));
}

#[test]
fn a_key_cannot_appoint_backwards() {
    let keys = keys();
    let ring = ring(&keys[..2]);
    let (by, start) = (&keys[1].signer, keys[1].start());
    let fresh = first(ORIGIN, 50);
    let good = PeriodStart { number: 2, started_at: at(5_000), size: 200, root: root(200) };
    let refused = |start, key: &SealingKey| {
        ring.clone().advance(&Succession::sign(start, key.verifier().clone(), by)).unwrap_err()
    };
    let smaller = PeriodStart { size: 99, root: root(99), ..good };
    assert_eq!(refused(smaller, &fresh), RingRejection::SizeStepsBack { period: 2, size: 99, before: 100 });
    let other_root = PeriodStart { size: 100, root: root(101), ..good };
    assert_eq!(refused(other_root, &fresh), RingRejection::RootDiffers { period: 2 });
    let earlier = PeriodStart { started_at: Timestamp(start.started_at.0 - 1), ..good };
    assert_eq!(refused(earlier, &fresh), RingRejection::TimeStepsBack { period: 2 });
    assert_eq!(refused(good, &keys[0]), RingRejection::KeyReused { period: 2 });
    assert_eq!(refused(good, &keys[1]), RingRejection::KeyReused { period: 2 });
    let (expected, found) = (ORIGIN.to_owned(), "gpu-node/other".to_owned());
    assert_eq!(refused(good, &first("gpu-node/other", 50)), RingRejection::OtherOrigin { expected, found });
    assert!(ring.clone().advance(&Succession::sign(good, fresh.verifier().clone(), by)).is_ok());
}

#[test]
fn every_changed_bit_of_a_succession_is_noticed() {
    let keys = keys();
    let bytes = succession(&keys[1]).encode();
    assert_eq!(Succession::decode(&bytes).as_ref(), Ok(succession(&keys[1])));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(changed) = Succession::decode(&changed) {
                let refused = KeyRing::from_root(keys[0].verifier()).advance(&changed);
                assert!(refused.is_err(), "bit {bit} of byte {at}");
            }
        }
    }
    for len in 0..bytes.len() {
        assert!(Succession::decode(&bytes[..len]).is_err(), "cut at {len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Succession::decode(&longer), Err(SuccessionError::Length { len: bytes.len() + 1 }));
}

#[test]
fn successions_of_other_versions_and_values_are_refused() {
    let bytes = succession(&keys()[1]).encode();
    let changed = |at: usize, to: &[u8]| {
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to);
        Succession::decode(&changed).unwrap_err()
    };
    assert_eq!(changed(0, b"x"), SuccessionError::Foreign);
    assert_eq!(changed(18, &[2, 0]), SuccessionError::Newer { version: 2 });
    assert_eq!(changed(20, &[0; 8]), SuccessionError::Field { field: "period" });
    assert_eq!(changed(36, &[0xff; 8]), SuccessionError::Field { field: "size" });
    assert_eq!(changed(109, &[0xff]), SuccessionError::Field { field: "origin" });
    assert_eq!(changed(109, b"+"), SuccessionError::Field { field: "origin or public key" });
}

#[test]
fn a_succession_lies_in_its_bytes_as_documented() {
    let key = next(&first("a", 1), 2, 0x0102);
    let bytes = succession(&key).encode();
    let mut expected = b"\xffpurser-succession\x01\x00".to_vec();
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(900_000_000_i64.to_le_bytes());
    expected.extend([2, 1, 0, 0, 0, 0, 0, 0]);
    expected.extend(root(0x0102));
    expected.extend(key.verifier().public());
    expected.extend([1, b'a']);
    assert_eq!(bytes[..bytes.len() - 64], expected);
    assert!(first("a", 1).verifier().has_signed(&expected, &bytes[bytes.len() - 64..]));
}

#[test]
fn a_key_seals_only_what_grew_since_it_took_over() {
    let keys = keys();
    assert!(keys[2].seal(&checkpoint(250)).is_ok());
    assert!(keys[2].seal(&checkpoint(9_999)).is_ok());
    let refused = keys[2].seal(&checkpoint(249));
    assert_eq!(refused, Err(SealingError::SizeStepsBack { size: 249, start: 250 }));
    let refused = keys[2].seal(&Checkpoint::new(ORIGIN, 250, [6; 32]).unwrap());
    assert_eq!(refused, Err(SealingError::RootDiffers { size: 250 }));
    let of_other = Checkpoint::new("gpu-node/other", 300, root(300)).unwrap();
    assert!(matches!(keys[2].seal(&of_other), Err(SealingError::Checkpoint(_))));
}

#[test]
fn a_key_appoints_only_onwards() {
    let key = &keys()[2];
    let appoint = |byte, size, root: Hash| key.succeed(&seed(byte), size, &root, at(9_999)).map(drop);
    assert_eq!(appoint(50, 250, root(250)), Ok(()));
    assert_eq!(appoint(50, 249, root(249)), Err(SealingError::SizeStepsBack { size: 249, start: 250 }));
    assert_eq!(appoint(50, 250, root(251)), Err(SealingError::RootDiffers { size: 250 }));
    assert_eq!(appoint(3, 300, root(300)), Err(SealingError::SameKey));
    let size = merkle::LEN_MAX + 1;
    assert_eq!(appoint(50, size, root(size)), Err(SealingError::TooLarge { size }));
    assert!(matches!(
        SealingKey::first("two words", &seed(1), at(0)),
        Err(SealingError::Key(KeyError::Name))
    ));
}

#[test]
fn a_clock_that_went_back_does_not_hold_up_the_next_key() {
    let keys = keys();
    let next = keys[4].succeed(&seed(50), 500, &root(500), at(-1)).unwrap();
    assert_eq!(next.start().started_at, keys[4].start().started_at);
    assert_eq!(ring(&keys).advance(succession(&next)), Ok(()));
}

#[test]
fn a_sealing_key_does_not_print_its_secret() {
    let printed = format!("{:?}", first(ORIGIN, 0xab));
    assert!(printed.contains("VerifierKey(gpu-node/5f0c+"), "{printed}");
    assert!(!printed.contains("171"), "{printed}");
    assert!(!printed.to_lowercase().contains("abab"), "{printed}");
}
