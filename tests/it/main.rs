//! Every test that needs more than one package, in one binary.

mod tidy;
mod pod_model;
mod pod_scenarios;
