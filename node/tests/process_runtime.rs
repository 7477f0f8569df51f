//! The process runtime with real processes and, where a test needs them, real control groups.
//!
//! Run as root on a host whose control groups can be written: a test that lacks one of them fails and says so.

mod process;
