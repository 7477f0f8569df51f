//! The policy by which violations are seen and answered: the config's, until somebody sets another.

use serde::{Deserialize, Serialize};

use super::NodeRejection;
use super::event::{MonitorPolicySet, NodeEvent};
use crate::violation::MonitorPolicy;

/// The policy in force, and the last of the config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorPolicies {
    /// In force.
    pub in_force: MonitorPolicy,
    /// What the config said last; none if it never said anything.
    pub of_config: Option<MonitorPolicy>,
}

impl MonitorPolicies {
    /// What follows from the policy of the config: nothing if it says what it said before, so that what an operator
    /// has set since stays.
    ///
    /// # Errors
    /// A number is out of range.
    pub(super) fn configure(&self, policy: &MonitorPolicy) -> Result<Vec<NodeEvent>, NodeRejection> {
        let is_new = self.of_config.as_ref() != Some(policy);
        set(policy, is_new, true)
    }

    /// What follows from a policy that somebody sets.
    ///
    /// # Errors
    /// A number is out of range.
    pub(super) fn set(&self, policy: &MonitorPolicy) -> Result<Vec<NodeEvent>, NodeRejection> {
        set(policy, self.in_force != *policy, false)
    }

    /// What is in force after that.
    pub(super) fn after(&self, set: &MonitorPolicySet) -> MonitorPolicies {
        let in_force = set.policy.clone();
        let of_config = if set.from_config { Some(in_force.clone()) } else { self.of_config.clone() };
        MonitorPolicies { in_force, of_config }
    }

    /// Whether nobody has said anything.
    pub(super) fn is_unset(&self) -> bool {
        *self == MonitorPolicies::default()
    }
}

fn set(policy: &MonitorPolicy, is_new: bool, from_config: bool) -> Result<Vec<NodeEvent>, NodeRejection> {
    policy.check().map_err(|error| NodeRejection::BadMonitorPolicy { error })?;
    let set = MonitorPolicySet { policy: policy.clone(), from_config };
    Ok(if is_new { vec![set.into()] } else { vec![] })
}
