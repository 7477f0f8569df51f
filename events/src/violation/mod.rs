//! Violations: pods that use more than their share, and GPUs that are not what they should be.
//!
//! A violation is an [`Episode`] of one [`ViolationKind`]: it opens, climbs a ladder of measures and is resolved. Each
//! step is an event in the stream of the entity that it concerns, a GPU or a pod; samples are not recorded. Episodes
//! are part of that entity's state as [`Violations`]. What was sampled becomes proposals in the [`detector`].

pub mod command;
mod decide;
pub mod detector;
pub mod event;
pub mod hold;
pub mod kind;
pub mod past;
pub mod policy;
pub mod state;

pub use command::{ViolationCommand, ViolationRejection};
pub use event::ViolationEvent;
pub use kind::{Level, Unit, ViolationKind};
pub use policy::MonitorPolicy;
pub use state::{Episode, Measure, Violations};
