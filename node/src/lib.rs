//! The Purser node: the adapters to the outside, and the programs `purserd` and `purser` made of them.

pub mod adapter;
