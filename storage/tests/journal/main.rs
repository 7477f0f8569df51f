//! The journal on real folders, and on stores that fail.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod append;
mod command_ids;
mod corpus;
mod corpus_store;
mod exports;
mod faults;
mod faulty_disk;
mod fences;
mod folders;
mod formats;
mod found;
mod gathering;
mod housekeeping_faults;
mod lazy;
mod memory_disk;
mod memory_store;
mod migration;
mod projections;
mod reading;
mod reboot;
mod redaction;
mod renewal;
mod reserve;
mod retention;
mod row_faults;
mod sealing;
#[path = "../seed/mod.rs"]
mod seed;
mod snapshots;
mod store_open_faults;
mod subjects;
mod subscriptions;
mod support;
mod tally;
mod trimming;
#[path = "../versions/mod.rs"]
mod versions;
