//! Numbers that a seed repeats, for every test of the workspace.
#![allow(dead_code, unreachable_pub, reason = "test programs include it, and each uses a part of it")]

/// `SplitMix64`: small, and good enough to choose moments, sizes and actions.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// An index into something that has `len` entries, at least one.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("it is less than a usize")
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Enough bytes to seed another source.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for eight in bytes.chunks_exact_mut(8) {
            eight.copy_from_slice(&self.number().to_le_bytes());
        }
        bytes
    }
}

/// The number in an environment variable, if it is set.
///
/// # Panics
/// It is no number.
#[must_use]
pub fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

/// Where random numbers come from; tells how to repeat a run that fails.
#[derive(Debug)]
pub struct Seed {
    variable: &'static str,
    /// What the numbers follow from.
    pub number: u64,
}

impl Seed {
    /// The one that the variable asks for, or a new one.
    ///
    /// # Panics
    /// The variable holds no number.
    #[must_use]
    pub fn chosen(variable: &'static str) -> Seed {
        let fresh = || u64::from(std::process::id()) ^ 0x5eed_0000_0000;
        Seed { variable, number: number_from(variable).unwrap_or_else(fresh) }
    }

    /// The numbers, from the first on.
    #[must_use]
    pub fn random(&self) -> Random {
        Random(self.number)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with {}={}", self.variable, self.number);
        }
    }
}
