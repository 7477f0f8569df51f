//! The process runtime with real processes and, where a test needs them, real control groups.
//!
//! Run as root on a host whose control groups can be written: a test that lacks one of them fails and says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod process;
