//! Mutations of valid input, from a seed, and how many of them each decoder gets.

use std::path::Path;
use std::{fs, io};

/// A decoder by its name.
type Target = (&'static str, fn(&[u8]));

/// Mutations of each decoder's input.
const MUTATIONS: u64 = 3_000;

/// Bytes of an input from which on it is given fewer: a mutation of one that is twice as long takes twice the time.
const LEN_FULL: u64 = 16 << 10;

/// Gives each target mutations of its valid inputs: as many as `PURSER_FUZZ=SEED:COUNT` says, else a few thousand. None may
/// panic.
pub(crate) fn run(targets: &[Target], inputs: &[(&str, Vec<u8>)]) {
    let asked = std::env::var("PURSER_FUZZ").unwrap_or_default();
    let (seed, count) = asked.split_once(':').unwrap_or((&asked, ""));
    let (seed, count) = (seed.parse().unwrap_or(7_u64), count.parse().unwrap_or(MUTATIONS));
    for (name, target) in targets {
        let of: Vec<&Vec<u8>> = inputs.iter().filter(|(of, _)| of == name).map(|(_, valid)| valid).collect();
        assert!(!of.is_empty(), "{name} has no valid input");
        for valid in of {
            target(valid);
            let count = count * LEN_FULL / LEN_FULL.max(valid.len() as u64);
            for number in 0..count {
                let mut bytes = valid.clone();
                Random::of(seed + number).mutate(&mut bytes);
                let run = std::panic::catch_unwind(|| target(&bytes));
                assert!(run.is_ok(), "{name}: PURSER_FUZZ={}:1 has it again: {bytes:02x?}", seed + number);
            }
        }
    }
    let is_known = |name: &str| targets.iter().any(|(known, _)| *known == name);
    assert!(inputs.iter().all(|(name, _)| is_known(name)), "an input is for no target");
}

/// Random numbers, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// The mutations of a number.
    pub(crate) fn of(number: u64) -> Random {
        Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below another.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or_default() % limit.max(1)
    }

    /// Changes a few bytes, lengths among them, or the length of all.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match (self.below(6), bytes.get_mut(at)) {
                (0, Some(byte)) => *byte ^= 1 << self.below(8),
                (1, Some(byte)) => *byte = [0, 1, 0x7f, 0x80, 0xff, b'(', b'"', b'@'][self.below(8)],
                (2, _) => bytes.truncate(at),
                (3, Some(byte)) => {
                    let byte = *byte;
                    bytes.splice(at..at, vec![byte; self.below(64)]);
                }
                (4, Some(_)) => {
                    let (from, len) = (self.below(bytes.len()), self.below(32));
                    let piece: Vec<u8> = bytes.iter().skip(from).take(len).copied().collect();
                    bytes.splice(at..at, piece);
                }
                // A number as large as can be.
                (_, Some(_)) => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
                (_, None) => bytes.push(0),
            }
        }
    }
}

/// Checks that cargo-fuzz runs each target of a module, and no other: it needs another compiler, so nothing else compiles
/// the few lines of each. What they call is compiled with the tests.
pub(crate) fn are_run_by_cargo_fuzz(targets: &[Target], module: &str) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let read = |name: &str| {
        let path = fuzz.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let manifest = read("Cargo.toml");
    let source = read(&format!("{module}.rs"));
    for (name, _) in targets {
        let wanted = format!(
            "//! Runs one decoder, see `{module}.rs`.\n#![no_main]\n\n#[path = \"../{module}.rs\"]\n#[allow(dead_code)]\n\
             mod {module};\n\nlibfuzzer_sys::fuzz_target!(|bytes: &[u8]| {module}::{name}(bytes));\n"
        );
        assert_eq!(read(&format!("fuzz_targets/{name}.rs")), wanted, "{name}");
        let binary = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&binary), "fuzz/Cargo.toml has no target {name}");
        assert!(source.contains(&format!("pub(crate) fn {name}(bytes: &[u8])")), "{name} is no function");
    }
    let of_module = |entry: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(entry.ok()?.path()).ok()?;
        text.contains(&format!("mod {module};")).then_some(())
    };
    let files = fs::read_dir(fuzz.join("fuzz_targets")).into_iter().flatten().filter_map(of_module).count();
    assert_eq!(files, targets.len(), "a file of fuzz/fuzz_targets is of no target");
    let crates = source.lines().filter_map(|line| line.strip_prefix("use ")?.split("::").next());
    for name in crates.filter(|name| !matches!(*name, "std" | "crate" | "super")) {
        let is_named = manifest.contains(&format!("\n{} = ", name.replace('_', "-")));
        assert!(is_named, "{module}.rs uses {name}, which fuzz/Cargo.toml does not name");
    }
}
