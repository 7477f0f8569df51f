//! The journal on real folders, and on stores that fail.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod append;
mod exports;
mod folders;
mod lazy;
mod memory_disk;
mod reserve;
mod support;
