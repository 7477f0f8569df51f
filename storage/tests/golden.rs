//! Every event layout in every codec, byte for byte: what was written once must read the same for ever.
//!
//! `golden/<name>.v<version>.json` holds samples of the payload; beside it, one line of hex a sample,
//! `.bincode.hex` and `.postcard.hex` hold their bytes. A new layout needs samples by hand; its bytes are then
//! written by `PURSER_GOLDEN=write cargo test -p purser-storage --test golden`. Bytes that exist are never
//! written again: to change a layout is to break every journal.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use purser_events::event::LAYOUTS;
use purser_events::{Decode, Event, Layout};
use purser_storage::Codec;
use serde::de::DeserializeOwned;

/// Reads a sample's JSON as the payload that a layout says.
struct Json;

impl Decode for Json {
    type Error = serde_json::Error;

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(bytes)
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
    let write = std::env::var("PURSER_GOLDEN").is_ok_and(|value| value == "write");
    if !path.exists() && write {
        let lines: String = encoded.iter().map(|bytes| format!("{}\n", hex(bytes))).collect();
        fs::write(&path, lines).unwrap();
    }
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see the head of this file", path.display()));
    text.lines().map(unhex).collect()
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

#[test]
fn no_prefix_or_extension_of_a_payload_passes_for_one() {
    for layout in LAYOUTS {
        for (json, event) in samples(layout) {
            for codec in Codec::ALL {
                let mut bytes = event.encode(&codec).unwrap();
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
    let numbers: BTreeSet<String> = LAYOUTS.iter().map(|layout| layout.name.to_owned()).collect();
    for entry in fs::read_dir(golden()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (event, _) = name.split_once(".v").unwrap_or_else(|| panic!("golden/{name} is no layout's"));
        assert!(numbers.contains(event), "golden/{name} is of an event that can no longer be read");
    }
}
