//! What the node is, and the rules by which it changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{
    Cordoned, DiskPressure, DiskPressureChanged, NodeEvent, PolicySet, RuntimeFound, RuntimeLost, Started,
    Stopped, Uncordoned,
};
use super::monitor::MonitorPolicies;
use super::redaction::{self, PendingRedaction};
use super::{NodeCommand, NodeRejection};
use crate::context::{Context, Policy};
use crate::decider::{Decider, IllegalTransition};
use crate::ids::{Seq, StreamKind};
use crate::pod::spec::RuntimeClass;

/// Longest reason that is kept, in bytes.
pub(super) const REASON_LEN_MAX: usize = 256;

/// The node that a journal belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Node {
    /// It has never started.
    #[default]
    Unknown,
    /// It has started at least once.
    Known(Box<NodeState>),
}

/// What is known of a node that has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    /// Facts of the last start.
    pub last_start: Started,
    /// Starts so far.
    pub starts: u64,
    /// Starts that found no stop before them: the service had been killed, or the host.
    pub unclean_starts: u64,
    /// Whether the service runs, as far as the journal knows.
    pub up: bool,
    /// Why new pods are refused, if they are.
    pub cordoned: Option<String>,
    /// The numbers in force.
    pub policy: Policy,
    /// The config's, as it was seen last; none if those in force are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_policy: Option<Policy>,
    /// How violations are seen and answered.
    #[serde(default, skip_serializing_if = "MonitorPolicies::is_unset")]
    pub monitor: MonitorPolicies,
    /// Runtimes by whether they answer: a version, or what was seen instead.
    pub runtimes: BTreeMap<RuntimeClass, RuntimeStanding>,
    /// Orphans removed so far.
    pub orphans_removed: u64,
    /// The last record of the segment that was sealed last.
    pub sealed_upto: Seq,
    /// The last record that was given up.
    pub trimmed_upto: Seq,
    /// How full the journal's disk is, and how much of it was used when that was noticed; none if there is room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_pressure: Option<DiskPressureChanged>,
    /// The redaction that was asked for and is not over yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction: Option<PendingRedaction>,
}

/// Whether a runtime answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RuntimeStanding {
    /// It answers.
    Up {
        /// What it calls itself.
        version: String,
    },
    /// It does not.
    Down {
        /// What was seen.
        message: String,
    },
}

impl Node {
    /// The word for its state.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Node::Unknown => "Unknown",
            Node::Known(node) if node.up => "Up",
            Node::Known(_) => "Down",
        }
    }

    /// What is known of it, if it ever started.
    #[must_use]
    pub fn known(&self) -> Option<&NodeState> {
        match self {
            Node::Unknown => None,
            Node::Known(node) => Some(node),
        }
    }
}

impl NodeState {
    /// The numbers of the config, as it was seen last.
    fn config_policy(&self) -> &Policy {
        self.config_policy.as_ref().unwrap_or(&self.policy)
    }

    /// How full the journal's disk is.
    #[must_use]
    pub fn disk_pressure(&self) -> DiskPressure {
        self.disk_pressure.as_ref().map_or(DiskPressure::Fine, |changed| changed.pressure)
    }
}

impl Decider for Node {
    type Command = NodeCommand;
    type Event = NodeEvent;
    type Rejection = NodeRejection;

    const KIND: StreamKind = StreamKind::Node;

    fn decide(&self, command: &NodeCommand, _: &Context) -> Result<Vec<NodeEvent>, NodeRejection> {
        use NodeCommand as C;
        let events: Vec<NodeEvent> = match (command, self) {
            (C::Start(facts), Node::Unknown) => vec![facts.clone().into()],
            (C::Start(facts), Node::Known(node)) if facts.node == node.last_start.node => {
                vec![facts.clone().into()]
            }
            (C::Start(_), Node::Known(node)) => {
                return Err(NodeRejection::OtherNode { owner: node.last_start.node });
            }
            (_, Node::Unknown) => return Err(NodeRejection::NotStarted),
            (C::Stop { reason }, Node::Known(node)) if node.up => {
                vec![Stopped { reason: reason.clone() }.into()]
            }
            (C::Stop { .. }, Node::Known(_)) => vec![],
            (C::Cordon { reason }, Node::Known(_)) if REASON_LEN_MAX < reason.len() => {
                return Err(NodeRejection::ReasonTooLong { len: reason.len() });
            }
            (C::Cordon { reason }, Node::Known(node)) if node.cordoned.as_ref() != Some(reason) => {
                vec![Cordoned { reason: reason.clone() }.into()]
            }
            (C::Uncordon, Node::Known(node)) if node.cordoned.is_some() => vec![Uncordoned {}.into()],
            (C::SetPolicy(policy), Node::Known(node)) if policy != node.config_policy() => {
                check_policy(policy)?;
                vec![PolicySet { policy: policy.clone(), from_config: true }.into()]
            }
            (C::SetGpuPolicy(gpus), Node::Known(node)) if *gpus != node.policy.gpus => {
                let policy = Policy { gpus: gpus.clone(), ..node.policy.clone() };
                check_policy(&policy)?;
                vec![PolicySet { policy, from_config: false }.into()]
            }
            (C::Cordon { .. } | C::Uncordon | C::SetPolicy(_) | C::SetGpuPolicy(_), Node::Known(_)) => vec![],
            (C::ConfigureMonitor(policy), Node::Known(node)) => node.monitor.configure(policy)?,
            (C::SetMonitor(policy), Node::Known(node)) => node.monitor.set(policy)?,
            (C::ReportRuntimeLost(lost), Node::Known(node)) => match node.runtimes.get(&lost.runtime) {
                Some(RuntimeStanding::Down { .. }) => vec![],
                Some(RuntimeStanding::Up { .. }) | None => vec![lost.clone().into()],
            },
            (C::ReportRuntimeFound(found), Node::Known(node)) => match node.runtimes.get(&found.runtime) {
                Some(RuntimeStanding::Up { version }) if *version == found.version => vec![],
                Some(_) | None => vec![found.clone().into()],
            },
            (C::ReportOrphan(orphan), Node::Known(_)) => vec![orphan.clone().into()],
            (C::ReportSealed(sealed), Node::Known(node)) if node.sealed_upto < sealed.last => {
                vec![sealed.clone().into()]
            }
            (C::ReportTrimmed(trimmed), Node::Known(node)) if node.trimmed_upto < trimmed.upto => {
                vec![trimmed.clone().into()]
            }
            (C::ReportSealed(_) | C::ReportTrimmed(_), Node::Known(_)) => vec![],
            (C::ReportDiskPressure(changed), Node::Known(node)) => {
                if changed.pressure == node.disk_pressure() { vec![] } else { vec![changed.clone().into()] }
            }
            (C::RequestRedaction(request), Node::Known(node)) => {
                redaction::request(node.redaction.as_ref(), request)?
            }
            (C::CompleteRedaction(completed), Node::Known(node)) => {
                redaction::complete(node.redaction.as_ref(), completed)?
            }
        };
        Ok(events)
    }

    fn evolve(&self, event: &NodeEvent) -> Result<Node, IllegalTransition> {
        use NodeEvent as E;
        let next = match (event, self) {
            (E::Started(facts), Node::Unknown) => first_start(facts),
            (_, Node::Unknown) => {
                return Err(IllegalTransition::new(self.word(), "node event before a start"));
            }
            (E::Started(facts), Node::Known(node)) => NodeState {
                last_start: facts.clone(),
                starts: node.starts + 1,
                unclean_starts: node.unclean_starts + u64::from(node.up),
                up: true,
                ..NodeState::clone(node)
            },
            (E::Stopped(_), Node::Known(node)) if node.up => {
                NodeState { up: false, ..NodeState::clone(node) }
            }
            (E::Stopped(_), Node::Known(_)) => {
                return Err(IllegalTransition::new(self.word(), "node.stopped"));
            }
            (E::Cordoned(Cordoned { reason }), Node::Known(node)) => {
                NodeState { cordoned: Some(reason.clone()), ..NodeState::clone(node) }
            }
            (E::Uncordoned(_), Node::Known(node)) => NodeState { cordoned: None, ..NodeState::clone(node) },
            (E::PolicySet(PolicySet { policy, from_config }), Node::Known(node)) => {
                let of_config = if *from_config { policy } else { node.config_policy() };
                let config_policy = Some(of_config.clone());
                NodeState { policy: policy.clone(), config_policy, ..NodeState::clone(node) }
            }
            (E::MonitorPolicySet(set), Node::Known(node)) => {
                NodeState { monitor: node.monitor.after(set), ..NodeState::clone(node) }
            }
            (E::RuntimeLost(RuntimeLost { runtime, message }), Node::Known(node)) => {
                with_runtime(node, *runtime, RuntimeStanding::Down { message: message.clone() })
            }
            (E::RuntimeFound(RuntimeFound { runtime, version }), Node::Known(node)) => {
                with_runtime(node, *runtime, RuntimeStanding::Up { version: version.clone() })
            }
            (E::OrphanRemoved(_), Node::Known(node)) => {
                NodeState { orphans_removed: node.orphans_removed + 1, ..NodeState::clone(node) }
            }
            (E::SegmentSealed(sealed), Node::Known(node)) if node.sealed_upto < sealed.last => {
                NodeState { sealed_upto: sealed.last, ..NodeState::clone(node) }
            }
            (E::SegmentSealed(_), Node::Known(_)) => {
                return Err(IllegalTransition::new(self.word(), "node.segment-sealed"));
            }
            (E::JournalTrimmed(trimmed), Node::Known(node)) if node.trimmed_upto < trimmed.upto => {
                NodeState { trimmed_upto: trimmed.upto, ..NodeState::clone(node) }
            }
            (E::JournalTrimmed(_), Node::Known(_)) => {
                return Err(IllegalTransition::new(self.word(), "node.journal-trimmed"));
            }
            (E::DiskPressureChanged(changed), Node::Known(node)) => {
                let pressed = changed.pressure != DiskPressure::Fine;
                NodeState { disk_pressure: pressed.then(|| changed.clone()), ..NodeState::clone(node) }
            }
            (E::RedactionRequested(requested), Node::Known(node)) => {
                let redaction = PendingRedaction::after(node.redaction.as_ref(), requested)?;
                NodeState { redaction: Some(redaction), ..NodeState::clone(node) }
            }
            (E::RedactionCompleted(completed), Node::Known(node)) => {
                let redaction = redaction::completed(node.redaction.as_ref(), completed)?;
                NodeState { redaction, ..NodeState::clone(node) }
            }
        };
        Ok(Node::Known(Box::new(next)))
    }

    fn is_terminal(&self) -> bool {
        false
    }
}

fn first_start(facts: &Started) -> NodeState {
    NodeState {
        last_start: facts.clone(),
        starts: 1,
        unclean_starts: 0,
        up: true,
        cordoned: None,
        policy: Policy::default(),
        config_policy: None,
        monitor: MonitorPolicies::default(),
        runtimes: BTreeMap::new(),
        orphans_removed: 0,
        sealed_upto: Seq::ZERO,
        trimmed_upto: Seq::ZERO,
        disk_pressure: None,
        redaction: None,
    }
}

fn check_policy(policy: &Policy) -> Result<(), NodeRejection> {
    let back_off = &policy.back_off;
    let fine = 0 < back_off.first_ms && back_off.first_ms <= back_off.max_ms && 0 < back_off.reset_after_ms;
    if !fine {
        return Err(NodeRejection::BadBackOff);
    }
    policy.gpus.check().map_err(|error| NodeRejection::BadGpuPolicy { error })
}

fn with_runtime(node: &NodeState, runtime: RuntimeClass, standing: RuntimeStanding) -> NodeState {
    let mut next = node.clone();
    next.runtimes.insert(runtime, standing);
    next
}
