//! What a loss of power leaves of a folder, found from the system calls of a program that wrote to it.
//!
//! [`Trace`] reads what strace saw. [`Disk`] lives through it call by call and knows at each moment what was
//! synced and what was only written. [`Loss`] says what of the rest goes with the power, and [`Image`] is the
//! folder that is found afterwards. No file system is known to be as forgetful as this one is at its worst: a
//! file's name survives only once its folder was synced, and `sync_file_range` promises nothing.

mod apply;
mod content;
mod disk;
mod image;
mod inode;
#[cfg(test)]
mod tests;
mod trace;

pub use content::Content;
pub use disk::{Disk, Refusal};
pub use image::{Image, Loss};
pub use trace::{Call, Step, Trace, UNTRACED};
