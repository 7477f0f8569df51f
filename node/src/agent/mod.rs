//! `purser-agent`: the program in a pool's pod that runs the tasks which its member is given.
//!
//! It uses nothing of the service but [`protocol`], which is what both speak.

pub mod protocol;
