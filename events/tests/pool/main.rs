//! Pools: rules one by one, what went wrong elsewhere, and many seeded lives.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod agents;
mod dice;
mod freezes;
mod incidents;
mod life;
mod members;
mod model;
mod past;
mod resizes;
mod scaling;
mod slots;
mod support;
mod tasks;
