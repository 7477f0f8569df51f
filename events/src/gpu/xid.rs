//! Faults that NVIDIA's driver numbers: Xids.
//!
//! Meanings are those of NVIDIA's "Xid Errors" (docs.nvidia.com/deploy/xid-errors), the table "Xid Error Listing". What
//! counts as fatal is ours: where that document says that the GPU needs a reset, a restart of the machine or a look at
//! the hardware before it can be trusted. Faults of a program are its own.

/// An Xid that is known.
struct Known {
    xid: u32,
    word: &'static str,
    is_fatal: bool,
}

const fn fatal(xid: u32, word: &'static str) -> Known {
    Known { xid, word, is_fatal: true }
}

const fn counted(xid: u32, word: &'static str) -> Known {
    Known { xid, word, is_fatal: false }
}

/// In the order of their numbers.
const KNOWN: &[Known] = &[
    counted(8, "GPU stopped processing"),
    counted(13, "graphics engine exception"),
    counted(31, "memory page fault"),
    counted(32, "invalid or corrupted push buffer"),
    counted(38, "driver firmware error"),
    counted(43, "GPU stopped processing a program"),
    counted(45, "preemptive cleanup after earlier errors"),
    fatal(48, "double bit ECC error"),
    fatal(62, "internal micro-controller halt"),
    fatal(63, "memory page retired or row remapped"),
    fatal(64, "page retirement or row remapping failed"),
    counted(68, "video processor exception"),
    counted(69, "graphics engine class error"),
    fatal(74, "NVLink error"),
    fatal(79, "GPU has fallen off the bus"),
    counted(92, "high rate of single bit ECC errors"),
    fatal(94, "contained ECC error"),
    fatal(95, "uncontained ECC error"),
    counted(109, "context switch timed out"),
    fatal(110, "security fault"),
    fatal(119, "GPU system processor timed out"),
    fatal(120, "GPU system processor error"),
    fatal(140, "unrecovered ECC error"),
    fatal(143, "GPU initialization failed"),
];

fn known(xid: u32) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.xid == xid)
}

/// What it means, in a few words.
#[must_use]
pub fn word(xid: u32) -> &'static str {
    known(xid).map_or("of no meaning known here", |known| known.word)
}

/// Whether it takes a GPU out by itself.
#[must_use]
pub fn is_fatal(xid: u32) -> bool {
    known(xid).is_some_and(|known| known.is_fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_order_and_takes_out_what_needs_a_reset() {
        assert!(KNOWN.is_sorted_by(|one, other| one.xid < other.xid));
        let out: Vec<u32> = KNOWN.iter().filter(|known| known.is_fatal).map(|known| known.xid).collect();
        for xid in [48, 63, 64, 74, 79, 94, 95, 119, 120] {
            assert!(out.contains(&xid) && is_fatal(xid), "{xid}");
        }
        for xid in [13, 31, 43, 45, 0, u32::MAX] {
            assert!(!is_fatal(xid), "{xid} is a program's own, or unknown");
        }
    }
}
