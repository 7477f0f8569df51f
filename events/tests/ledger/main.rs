//! The ledger as a whole: under arbitrary commands beside a naive reference, and in scenarios.

mod cpus;
mod edges;
mod gpus;
mod laws;
mod limits;
mod lives;
mod model;
mod operations;
mod preemption;
mod queue;
mod reference;
mod reservations;
mod resizes;
mod shortages;
mod support;
mod tenants;
mod tflops;
