//! The outside behind the actors' ports: container runtimes, their volumes and their logs.

pub mod volumes;
