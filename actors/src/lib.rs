//! Purser's shell around the pure core: actors that own entities, and the ports through which they act.

pub mod paths;
pub mod port;
