//! `purserd`: the parts of the node put together, started, and stopped in order.

pub mod arguments;
mod assembly;
mod exit;
mod host;
mod journal;
mod keys;
mod log_keeper;
mod notify;
mod resources;
mod run;
mod sealing;
mod telling;

pub use run::main;
