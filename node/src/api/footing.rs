//! How the node stands to the runtime of a pod: whether anybody looks after the pod, and whether its limits hold.

use purser_actors::Service;
use purser_events::node::state::RuntimeStanding;
use purser_events::pod::spec::RuntimeClass;

/// How the node stands to a pod's runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Footing {
    /// The node has it.
    Here {
        /// Whether it holds containers to their limits.
        limits_enforced: bool,
        /// What was seen instead of an answer, if it does not answer.
        down: Option<String>,
    },
    /// The node does not have it now: the pod is left as it is.
    Missing,
}

impl Footing {
    /// How the node stands to the runtime of that class.
    #[must_use]
    pub fn of(service: &Service, class: RuntimeClass) -> Footing {
        if !service.has_runtime(class) {
            return Footing::Missing;
        }
        let down = service.world(|world| match world.node.known()?.runtimes.get(&class)? {
            RuntimeStanding::Down { message } => Some(message.clone()),
            RuntimeStanding::Up { .. } => None,
        });
        Footing::Here { limits_enforced: service.enforces_limits(class), down }
    }

    /// Why the runtime is of no use to the pod, in a word and in a sentence.
    pub(super) fn trouble(&self, class: RuntimeClass) -> Option<(String, String)> {
        match self {
            Footing::Here { down: None, .. } => None,
            Footing::Here { down: Some(message), .. } => Some(("RuntimeDown".to_owned(), message.clone())),
            Footing::Missing => {
                let message = format!(
                    "this node does not have the runtime `{}` now: the pod is left as it is until purserd is started \
                     with it",
                    class.word()
                );
                Some((RUNTIME_MISSING.to_owned(), message))
            }
        }
    }
}

/// The reason of pods that are left as they are.
pub const RUNTIME_MISSING: &str = "RuntimeMissing";
