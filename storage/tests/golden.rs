//! Every event layout in every codec, byte for byte: what was written once must read the same for ever.
//!
//! `golden/<name>.v<version>.json` holds samples of the payload; beside it, one line of hex a sample,
//! `.bincode.hex` and `.postcard.hex` hold their bytes, and `.shape` every field of every type in it, in order: so a
//! type that was changed is noticed even where no sample's bytes are. A new layout needs samples by hand; bytes and
//! shape are then written by `PURSER_GOLDEN=write cargo test -p purser-storage --test golden`. Files that exist are
//! never written again: to change a layout is to break every journal.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use purser_events::event::{LAYOUTS, PAST_LAYOUTS};
use purser_events::ledger::past::{PolicySetV1, PolicySetV2, TenantSetV1};
use purser_events::ledger::past_gpus::{AllocatedV1, CapacitySetV1, QueuedV1, ReservedV1};
use purser_events::ledger::past_stays::{AllocatedV2, QueuedV2};
use purser_events::ledger::past_use::UseRecordedV1;
use purser_events::node::event::past::{PolicySetV1 as NodePolicySetV1, StartedV1};
use purser_events::pod::past::{AdmittedV1, AdmittedV2, StopRequestedV1};
use purser_events::pool::past::TaskSubmittedV1;
use purser_events::violation::past::ResolvedV1;
use purser_events::{Decode, Encode, Event, Layout};
use purser_storage::Codec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_reflection::{Samples, Tracer, TracerConfig};

/// Reads a sample's JSON as the payload that a layout says.
struct Json;

impl Decode for Json {
    type Error = serde_json::Error;

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Variants that an enum in a payload has at most.
const VARIANTS_MAX: usize = 32;

/// Finds out what a payload's type is made of: from the samples and from the type itself.
struct Shape {
    /// Enums of which the samples do not show every variant.
    enums: Vec<String>,
    samples: RefCell<Samples>,
    tracer: RefCell<Tracer>,
}

impl Shape {
    fn new(enums: Vec<String>) -> Shape {
        // A uuid takes 16 bytes, a name some letter.
        let config =
            TracerConfig::default().default_borrowed_bytes_value(&[0; 16]).default_borrowed_str_value("a");
        let tracer = Tracer::new(config.default_string_value("a".to_owned()));
        Shape { enums, samples: RefCell::default(), tracer: RefCell::new(tracer) }
    }
}

impl Encode for Shape {
    type Output = ();

    fn encode<T: Serialize>(&self, payload: &T) {
        self.tracer.borrow_mut().trace_value(&mut self.samples.borrow_mut(), payload).unwrap();
    }
}

impl Decode for Shape {
    type Error = serde_json::Error;

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, serde_json::Error> {
        let (mut tracer, samples) = (self.tracer.borrow_mut(), self.samples.borrow());
        // Each pass takes another variant of every one of them.
        for _ in 0..VARIANTS_MAX {
            tracer.trace_type::<T>(&samples).unwrap();
            for name in &self.enums {
                let _ = tracer.check_incomplete_enum(name);
            }
        }
        serde_json::from_slice(bytes)
    }
}

/// Encodes samples of a past layout as what they were: as events they are of today already.
fn encode_past(layout: &Layout, samples: &[(serde_json::Value, Event)], shape: &Shape) {
    fn each<T: Serialize + DeserializeOwned>(samples: &[(serde_json::Value, Event)], shape: &Shape) {
        for (sample, _) in samples {
            shape.encode(&serde_json::from_value::<T>(sample.clone()).unwrap());
        }
    }
    match (layout.number, layout.version) {
        (0x0101, 1) => each::<StartedV1>(samples, shape),
        (0x0105, 1) => each::<NodePolicySetV1>(samples, shape),
        (0x0213, 1) => each::<StopRequestedV1>(samples, shape),
        (0x0222 | 0x0524, 1) => each::<ResolvedV1>(samples, shape),
        (0x0610, 1) => each::<TaskSubmittedV1>(samples, shape),
        (0x0201, 1) => each::<AdmittedV1>(samples, shape),
        (0x0201, 2) => each::<AdmittedV2>(samples, shape),
        (0x0401, 1) => each::<CapacitySetV1>(samples, shape),
        (0x0405, 1) => each::<AllocatedV1>(samples, shape),
        (0x0405, 2) => each::<AllocatedV2>(samples, shape),
        (0x0406, 1) => each::<QueuedV1>(samples, shape),
        (0x0406, 2) => each::<QueuedV2>(samples, shape),
        (0x040a, 1) => each::<ReservedV1>(samples, shape),
        (0x0415, 1) => each::<UseRecordedV1>(samples, shape),
        (0x0402, 1) => each::<PolicySetV1>(samples, shape),
        (0x0402, 2) => each::<PolicySetV2>(samples, shape),
        (0x0403, 1) => each::<TenantSetV1>(samples, shape),
        _ => panic!("{}: name the past payload's type here", stem(layout)),
    }
}

/// Every named type of a layout's payload, with its fields or variants in order.
fn shape(layout: &Layout) -> String {
    let samples = samples(layout);
    let bytes = serde_json::to_vec(&samples[0].0).unwrap();
    let mut enums = Vec::new();
    loop {
        let shape = Shape::new(enums.clone());
        if LAYOUTS.contains(layout) {
            samples.iter().for_each(|(_, event)| event.encode(&shape));
        } else {
            encode_past(layout, &samples, &shape);
        }
        Event::decode(layout.number, layout.version, &bytes, &shape).unwrap();
        match shape.tracer.into_inner().registry() {
            Ok(registry) => return format!("{}\n", serde_json::to_string_pretty(&registry).unwrap()),
            Err(serde_reflection::Error::MissingVariants(more)) if enums.is_empty() => enums = more,
            Err(error) => panic!("{}: a sample is missing: {error}", stem(layout)),
        }
    }
}

#[test]
fn no_persisted_type_has_changed_within_a_version() {
    for layout in LAYOUTS.iter().chain(PAST_LAYOUTS) {
        let path = golden().join(format!("{}.shape", stem(layout)));
        let shape = shape(layout);
        let stored = on_file(&path, || shape.clone());
        assert!(
            shape == stored,
            "the payload of `{}` version {} is not what it was: give the changed one a version of its own and \
             read the old one with an upcast",
            layout.name,
            layout.version
        );
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn stem(layout: &Layout) -> String {
    format!("{}.v{}", layout.name, layout.version)
}

fn samples(layout: &Layout) -> Vec<(serde_json::Value, Event)> {
    let path = golden().join(format!("{}.json", stem(layout)));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("event `{}` needs samples in {}: {error}", layout.name, path.display())
    });
    let values: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(!values.is_empty(), "{} has no sample", path.display());
    let decode = |value: serde_json::Value| {
        let bytes = serde_json::to_vec(&value).unwrap();
        let event = Event::decode(layout.number, layout.version, &bytes, &Json);
        let event = event.unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        (value, event)
    };
    values.into_iter().map(decode).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    assert!(line.len().is_multiple_of(2) && line.is_ascii(), "{line:?} is not hex");
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

/// The bytes on file, one entry a sample.
fn stored(layout: &Layout, codec: Codec, encoded: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let path = golden().join(format!("{}.{}.hex", stem(layout), codec.word()));
    let lines = || encoded.iter().map(|bytes| format!("{}\n", hex(bytes))).collect();
    on_file(&path, lines).lines().map(unhex).collect()
}

/// What a file says; it is made first if that was asked for and it is not there.
fn on_file(path: &Path, made: impl FnOnce() -> String) -> String {
    let write = std::env::var("PURSER_GOLDEN").is_ok_and(|value| value == "write");
    if !path.exists() && write {
        fs::write(path, made()).unwrap();
    }
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; see the head of this file", path.display()))
}

#[test]
fn every_layout_reads_and_writes_the_bytes_on_file() {
    for layout in LAYOUTS {
        let samples = samples(layout);
        for codec in Codec::ALL {
            let encoded: Vec<Vec<u8>> =
                samples.iter().map(|(_, event)| event.encode(&codec).unwrap()).collect();
            let stored = stored(layout, codec, &encoded);
            assert_eq!(
                stored.len(),
                samples.len(),
                "{} in {codec:?} lacks a line for a sample",
                stem(layout)
            );
            for ((json, event), (encoded, stored)) in samples.iter().zip(encoded.iter().zip(&stored)) {
                let place = format!("{} in {codec:?}, sample {json}", stem(layout));
                assert_eq!(hex(encoded), hex(stored), "{place}: is written otherwise than on file");
                let decoded = Event::decode(layout.number, layout.version, stored, &codec);
                assert_eq!(&decoded.unwrap(), event, "{place}: is read otherwise than on file");
                assert_eq!(
                    &event.payload_json(),
                    json,
                    "{place}: the sample says less than the payload holds"
                );
            }
        }
    }
}

/// Bytes of the past are read as the payload that the sample's upcast gives.
#[test]
fn every_past_layout_is_read_in_the_terms_of_today() {
    for layout in PAST_LAYOUTS {
        let samples = samples(layout);
        for codec in Codec::ALL {
            let stored = stored(layout, codec, &[]);
            assert_eq!(
                stored.len(),
                samples.len(),
                "{} in {codec:?} lacks a line for a sample",
                stem(layout)
            );
            for ((json, event), stored) in samples.iter().zip(&stored) {
                let decoded = Event::decode(layout.number, layout.version, stored, &codec).unwrap();
                assert_eq!(&decoded, event, "{} in {codec:?}, sample {json}", stem(layout));
                assert!(event.layout().version > layout.version, "{} is not of the past", stem(layout));
            }
        }
    }
}

#[test]
fn no_prefix_or_extension_of_a_payload_passes_for_one() {
    for layout in LAYOUTS.iter().chain(PAST_LAYOUTS) {
        for codec in Codec::ALL {
            for ((json, _), mut bytes) in samples(layout).into_iter().zip(stored(layout, codec, &[])) {
                bytes.push(0);
                let longer = Event::decode(layout.number, layout.version, &bytes, &codec);
                assert!(longer.is_err(), "{} in {codec:?}: {json} with a byte more was read", stem(layout));
                bytes.truncate(bytes.len() - 1);
                if bytes.pop().is_some() {
                    let shorter = Event::decode(layout.number, layout.version, &bytes, &codec);
                    assert!(
                        shorter.is_err(),
                        "{} in {codec:?}: {json} with a byte less was read",
                        stem(layout)
                    );
                }
            }
        }
    }
}

#[test]
fn every_file_belongs_to_a_layout_that_can_be_read() {
    let stems: BTreeSet<String> = LAYOUTS.iter().chain(PAST_LAYOUTS).map(stem).collect();
    for entry in fs::read_dir(golden()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_of =
            |stem: &String| name.strip_prefix(stem.as_str()).is_some_and(|rest| rest.starts_with('.'));
        assert!(stems.iter().any(is_of), "golden/{name} is of an event that can no longer be read");
    }
}
