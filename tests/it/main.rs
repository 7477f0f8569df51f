//! Every test that needs more than one package, in one binary.

mod crash;
mod dist;
mod containerd_runtime;
mod pod_model;
mod pod_scenarios;
mod tidy;
mod durability;
mod harness;
