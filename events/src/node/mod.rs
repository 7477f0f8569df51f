//! The node: its starts and stops, whether it takes pods, and the policy in force.

pub mod command;
pub mod event;
pub mod monitor;
pub mod redaction;
pub mod state;

pub use command::{NodeCommand, NodeRejection};
pub use event::NodeEvent;
pub use monitor::MonitorPolicies;
pub use state::{Node, NodeState};
