//! Tests of frames: round trips, and every flipped bit is noticed.

use proptest::prelude::*;
use purser_events::record::{Cause, Origin};

use super::*;
use crate::record::PayloadError;
use crate::subjects::SubjectKey;

fn causes() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::Node),
        any::<u128>().prop_map(|id| Cause::Command(CommandId(Uuid::from_u128(id)))),
        any::<u64>().prop_map(|seq| Cause::Record(Seq(seq))),
        any::<u64>().prop_map(|seq| Cause::Timer(Seq(seq))),
        any::<u64>().prop_map(|seq| Cause::Observation(Seq(seq))),
    ]
}

fn headers() -> impl Strategy<Value = Header> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<i64>(), 1_u8..=3);
    let ids = (any::<u128>(), any::<u128>(), any::<bool>());
    (numbers, ids, causes(), "\\PC{0,80}").prop_map(|(numbers, ids, cause, principal)| {
        let (seq, version, epoch, time, kind) = numbers;
        let (id, correlation, correlated) = ids;
        let correlation = match cause {
            Cause::Command(id) if correlated => id.0,
            _ => Uuid::from_u128(correlation),
        };
        Header {
            seq: Seq(seq),
            stream: StreamId { kind: StreamKind::from_number(kind).unwrap(), id: Uuid::from_u128(id) },
            version: StreamVersion(version),
            time: Timestamp(time),
            epoch,
            origin: Origin { cause, correlation, principal: Principal::new(&principal) },
        }
    })
}

fn parts<'a>(header: &'a Header, payload: &'a [u8], previous: &'a Hash) -> FrameParts<'a> {
    let (layout_number, layout_version) = (0x0201, 1);
    FrameParts {
        header,
        layout_number,
        layout_version,
        codec: Codec::Postcard,
        sealed: false,
        continued: true,
        begins_group: false,
        payload,
        payload_hash: &GENESIS,
        previous,
    }
}

/// Makes a frame by itself, with its payload's hash.
fn encode(parts: &FrameParts<'_>) -> (Vec<u8>, Hash) {
    let mut frame = Vec::new();
    let payload_hash = sha256(parts.payload);
    let parts = FrameParts { payload_hash: &payload_hash, ..*parts };
    let hash = encode_into(&mut frame, &parts);
    (frame, hash)
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were(
        header in headers(),
        payload in proptest::collection::vec(any::<u8>(), 0..600),
        previous in any::<Hash>(),
    ) {
        let (frame, hash) = encode(&parts(&header, &payload, &previous));
        prop_assert!(frame.len() <= PREFIX_LEN + HEADER_LEN_MAX + payload.len() + HASH_LEN);
        let record = parse(frame.clone()).unwrap();
        prop_assert_eq!(&record.header, &header);
        prop_assert_eq!(record.payload(), &payload[..]);
        prop_assert_eq!((record.layout_number, record.layout_version), (0x0201, 1));
        prop_assert_eq!((record.codec_number, record.redacted, record.continued), (2, false, true));
        prop_assert_eq!(record.hash, hash);
        prop_assert_eq!(expected_hash(&record, &previous), hash);
        prop_assert_eq!(record.as_bytes(), &frame[..]);
    }

    #[test]
    fn every_flipped_bit_is_found(
        header in headers(),
        payload in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let (frame, _) = encode(&parts(&header, &payload, &GENESIS));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(parse(flipped).is_err(), "bit {} of {} went unnoticed", bit, frame.len() * 8);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(bytes.clone());
        // Behind a checksum that holds, too: a foreign writer can make one.
        let mut framed = vec![0; PREFIX_LEN];
        framed.extend_from_slice(&bytes);
        seal(&mut framed);
        let _ = parse(framed);
    }
}

fn typical() -> Header {
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    Header {
        seq: Seq(1_000_000),
        stream: StreamId { kind: StreamKind::Pod, id },
        version: StreamVersion(200),
        time: Timestamp(1_760_000_000_000_000),
        epoch: 40,
        origin: Origin {
            cause: Cause::Command(CommandId(id)),
            correlation: Uuid::from_u128(7),
            principal: Principal::new("uid:0"),
        },
    }
}

/// Bytes of a frame beside its payload of 200 bytes.
fn overhead(header: &Header) -> usize {
    let payload = [7; 200];
    encode(&parts(header, &payload, &GENESIS)).0.len() - payload.len()
}

/// The last record of a journal of that many, with as long a stream, in as late an epoch as the format's document says.
fn late(cause: Cause, principal: &str, version: u64) -> Header {
    let typical = typical();
    let origin = Origin { cause, principal: Principal::new(principal), ..typical.origin };
    Header {
        seq: Seq((1 << 28) - 1),
        version: StreamVersion(version),
        epoch: (1 << 14) - 1,
        origin,
        ..typical
    }
}

#[test]
fn records_of_ordinary_principals_have_at_most_120_bytes_beside_their_payload() {
    let before = Seq((1 << 28) - 2);
    let ways = [
        request_of_no_key(),
        Cause::Node,
        Cause::Record(before),
        Cause::Timer(before),
        Cause::Observation(before),
    ];
    for (principal, version) in [("node", 16_383), ("uid:0", 16_383), ("uid:4294967295", 16_383)] {
        for cause in ways {
            let found = overhead(&late(cause, principal, version));
            assert!(found <= 120, "{principal}, {cause:?}: {found} bytes");
        }
    }
    let token = format!("token:{}", "x".repeat(16));
    assert_eq!(overhead(&late(request_of_no_key(), &token, 127)), 120);
}

#[test]
fn what_goes_beyond_that_does_by_as_much_as_is_told() {
    let token = |len: usize| format!("token:{}", "x".repeat(len));
    let keyed = Cause::Command(CommandId(Uuid::from_u128(8)));
    assert_eq!(overhead(&late(request_of_no_key(), &token(16), 128)), 121);
    assert_eq!(overhead(&late(request_of_no_key(), &token(17), 127)), 121);
    assert_eq!(overhead(&late(keyed, &token(16), 127)), 136);
}

/// The cause of what a request without a key leads to: its conversation names it.
fn request_of_no_key() -> Cause {
    Cause::Command(CommandId(typical().origin.correlation))
}

#[test]
fn a_redacted_payload_leaves_the_chain_whole() {
    let payload = b"a secret that has to go";
    let (frame, hash) = encode(&parts(&typical(), payload, &GENESIS));
    let record = parse(frame.clone()).unwrap();
    let mut redacted = frame[..record.payload_at].to_vec();
    redacted[PREFIX_LEN + FLAGS_AT] |= FLAG_REDACTED;
    redacted.extend_from_slice(&sha256(payload));
    redacted.extend_from_slice(&hash);
    seal(&mut redacted);
    let record = parse(redacted).unwrap();
    assert!(record.redacted);
    assert_eq!(record.header, typical());
    assert_eq!(expected_hash(&record, &GENESIS), hash);
    assert!(matches!(record.event(), Err(PayloadError::Redacted)));
}

#[test]
fn what_a_newer_release_writes_is_told_from_damage() {
    let (frame, _) = encode(&parts(&typical(), b"payload", &GENESIS));
    let mut newer = frame.clone();
    newer[PREFIX_LEN] = 2;
    seal(&mut newer);
    assert_eq!(parse(newer).unwrap_err(), FrameError::NewerVersion { version: 2 });
    let mut kind = frame;
    kind[PREFIX_LEN + 7] = 9;
    seal(&mut kind);
    let error = parse(kind).unwrap_err();
    assert_eq!(error, FrameError::UnknownStreamKind { number: 9 });
    assert!(error.is_unknown());
}

#[test]
fn lengths_beyond_a_frame_are_refused_unread() {
    assert_eq!(
        announced_len(u32::MAX.to_le_bytes()),
        Err(FrameError::TooLong { len: u32::MAX as usize + PREFIX_LEN, max: FRAME_LEN_MAX })
    );
}

/// A sealed payload with a fixed key and nonce, byte for byte: it must be read the same for ever.
#[test]
fn a_sealed_frame_is_the_one_on_file() {
    let stream = StreamId { kind: StreamKind::Pod, id: Uuid::from_u128(0x0102_0304_0506) };
    let origin = Origin { cause: Cause::Node, correlation: Uuid::nil(), principal: Principal::node() };
    let (seq, version, time) = (Seq(7), StreamVersion(1), Timestamp(1_772_368_245_000_000));
    let header = Header { seq, stream, version, time, epoch: 3, origin };
    let key = SubjectKey::from_bytes([0x42; SubjectKey::LEN]);
    let sealed = key.seal([0x24; 24], stream, 0x0218, 1, b"a payload");
    let parts = FrameParts {
        layout_number: 0x0218,
        sealed: true,
        continued: false,
        ..parts(&header, &sealed, &GENESIS)
    };
    let (frame, _) = encode(&parts);
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("frame_tests/sealed.hex").trim());
    let mut record = parse(frame).unwrap();
    assert!(record.is_sealed());
    assert!(matches!(record.event(), Err(PayloadError::Sealed)));
    key.open(&mut record);
    assert_eq!(record.opening, Opening::Opened(b"a payload".to_vec()));
    // Neither of another stream, type or layout, nor with another key.
    for changed in [
        StoredRecord { layout_number: 0x0217, ..record.clone() },
        StoredRecord { layout_version: 2, ..record.clone() },
        StoredRecord {
            header: Header { stream: StreamId { id: Uuid::nil(), ..stream }, ..header.clone() },
            ..record.clone()
        },
    ] {
        let mut changed = changed;
        key.open(&mut changed);
        assert_eq!(changed.opening, Opening::WrongKey);
    }
    SubjectKey::from_bytes([0x43; SubjectKey::LEN]).open(&mut record);
    assert!(matches!(record.event(), Err(PayloadError::WrongKey)));
    // Redacted, it is redacted first of all.
    let mut redacted = parse(redact(&record)).unwrap();
    key.open(&mut redacted);
    assert!(matches!(redacted.event(), Err(PayloadError::Redacted)) && redacted.is_sealed());
}
