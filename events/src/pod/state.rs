//! Placeholder while the core is written.
use serde::Serialize;
use super::{PodCommand, PodEvent, PodRejection};
use crate::{Context, Decider, IllegalTransition, StreamKind};
/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pod;
/// S.
pub type PodState = Pod;
/// P.
pub type Phase = Pod;
/// C.
pub type Container = Pod;
/// C.
pub type ContainerState = Pod;
impl Decider for Pod {
    type Command = PodCommand;
    type Event = PodEvent;
    type Rejection = PodRejection;
    const KIND: StreamKind = StreamKind::Pod;
    fn decide(&self, _: &PodCommand, _: &Context) -> Result<Vec<PodEvent>, PodRejection> { Ok(vec![]) }
    fn evolve(&self, _: &PodEvent) -> Result<Pod, IllegalTransition> { Ok(Pod) }
    fn is_terminal(&self) -> bool { false }
}
