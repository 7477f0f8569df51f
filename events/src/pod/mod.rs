//! A pod: one incarnation of a manifest, its containers and what runs in them.

mod advance;
pub mod command;
mod decide;
pub mod event;
mod evolve;
pub mod expansion;
pub mod past;
pub mod resize;
pub mod spec;
pub mod state;

pub(crate) use decide::counts_as_exit;
pub(crate) use evolve::start_error;

pub use command::{PodCommand, PodRejection};
pub use event::PodEvent;
pub use resize::{ContainerSize, Resize, ResizeWish, SizeChange};
pub use spec::{ContainerSpec, PodSpec};
pub use state::{Attempt, Container, ContainerState, Phase, Pod, PodState, Setup};
