//! The ledger: what the node has and who holds how much of it. One decision gives a pod all that it needs, or nothing.

pub mod advice;
pub mod capacity;
mod check;
pub mod claims;
pub mod command;
mod decide;
pub mod environment;
pub mod event;
mod evolve;
pub mod grant;
mod kept;
pub mod manager;
mod pairs;
pub mod policy;
mod preempt;
pub mod queue;
pub mod resource;
mod settle;
pub mod state;
pub mod tenant;

pub use advice::{Advice, NodeFacts, PodFacts, advise};
pub use capacity::{Capacity, GpuDevice, GpuUuid};
pub use check::check;
pub use claims::{Claims, Demand, GpuClaim, Port, ReservationRef, WhenFull};
pub use command::{Admission, Admit, LedgerCommand, LedgerRejection, Reserve};
pub use environment::environment;
pub use event::LedgerEvent;
pub use grant::{Bound, GpuGrant, Grant, HolderId, Shortage};
pub use kept::Kept;
pub use manager::{Health, Managers, ResourceManager, Usage};
pub use policy::{LedgerPolicy, Limits};
pub use queue::Place;
pub use resource::{Amounts, CustomName, ResourceKind};
pub use state::{Holding, Ledger, Reservation, Waiting};
pub use tenant::{Tenant, TenantId};
