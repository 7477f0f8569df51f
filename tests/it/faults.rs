//! Bad input and faults through the real service: each gets a precise answer, event or exit code, the service
//! stays up where it can, and nothing that was acknowledged is lost.

mod client;
mod config;
mod containerd;
mod damage;
mod disk;
mod feed;
mod hostile_cli;
mod hostile_input;
mod journal_folder;
mod metrics;
mod overload;
mod pods;
mod program;
mod reserve;
mod secrets;
mod tcp;
