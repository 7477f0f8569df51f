//! The Purser node: the adapters to the outside, and the programs `purserd` and `purser` made of them.

pub mod adapter;
pub mod agent;
pub mod agents;
pub mod amount;
pub mod api;
pub mod cli;
pub mod config;
pub mod import;
pub mod limits;
mod link;
pub mod manifest;
pub mod metrics;
pub mod service;
pub mod simulate;
