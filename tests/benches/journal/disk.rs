//! What an event takes on disk, by the parts of the journal's folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::event::PAYLOAD_LEN;
use crate::place::Place;

/// Bytes in a block as `stat` counts them.
const BLOCK_LEN: u64 = 512;

/// What the files of one kind take.
#[derive(Debug, Default, Clone, Copy)]
struct Part {
    files: u64,
    /// Bytes of blocks that are theirs, as `du` counts.
    allocated: u64,
    /// Bytes that their lengths add up to.
    len: u64,
}

pub(crate) fn run(place: &Place) {
    let mut parts = BTreeMap::new();
    measure(place.filled(), "", &mut parts);
    println!("disk: {} events with payloads of {PAYLOAD_LEN} bytes, journal closed", place.events());
    let mut all = Part::default();
    for (name, part) in &parts {
        print(name, *part, place.events());
        all.files += part.files;
        all.allocated += part.allocated;
        all.len += part.len;
    }
    print("in all", all, place.events());
}

#[expect(clippy::cast_precision_loss, reason = "a disk has less than 2^52 bytes")]
fn print(name: &str, part: Part, events: u64) {
    let per_event = part.allocated as f64 / events as f64;
    println!(
        "  {name:24} {:5} files   {:8.1} MiB on disk   {:8.1} MiB long   {per_event:7.1} bytes an event   {:5.2} x the payload",
        part.files,
        part.allocated as f64 / f64::from(1 << 20),
        part.len as f64 / f64::from(1 << 20),
        per_event / PAYLOAD_LEN as f64
    );
}

/// Adds up files by folder and kind: names that differ in their numbers only are of one kind.
fn measure(dir: &Path, inside: &str, parts: &mut BTreeMap<String, Part>) {
    for entry in fs::read_dir(dir).expect("the folder can be listed") {
        let entry = entry.expect("the folder can be listed");
        let metadata = entry.metadata().expect("an entry can be looked at");
        let name = entry.file_name().to_string_lossy().into_owned();
        if metadata.is_dir() {
            measure(&entry.path(), &format!("{inside}{name}/"), parts);
            continue;
        }
        let part = parts.entry(format!("{inside}{}", kind(&name))).or_default();
        part.files += 1;
        part.allocated += metadata.blocks() * BLOCK_LEN;
        part.len += metadata.len();
    }
}

/// A name with `*` for its numbers: for any word of hex digits that has a decimal one.
fn kind(name: &str) -> String {
    let words = name.split('.').map(|word| {
        let is_number =
            word.bytes().all(|byte| byte.is_ascii_hexdigit()) && word.bytes().any(|b| b.is_ascii_digit());
        if is_number { "*" } else { word }
    });
    words.collect::<Vec<_>>().join(".")
}
