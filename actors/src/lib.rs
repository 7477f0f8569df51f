//! Purser's shell around the pure core: actors that own entities, and the ports through which they act.

mod alarm;
mod audit;
pub mod directory;
pub mod durations;
pub mod entity;
mod gpu;
pub mod history;
mod later;
pub mod ledger;
pub mod live;
mod mailbox;
pub mod metering;
pub mod metric;
pub mod monitor;
pub mod node;
pub mod paths;
mod pipeline;
pub mod pod;
pub mod pool;
pub mod port;
pub mod redaction;
mod reserve;
pub mod retention;
mod runtimes;
pub mod service;
pub mod shell;
pub mod start;
mod sweep;
mod terms;
pub mod worker;

pub use live::LiveWorld;
pub use reserve::ReserveLimits;
pub use retention::{DiskWork, Keeping};
pub use service::Service;
pub use shell::Shell;
pub use start::{HostFacts, Parts, StartError, start};
