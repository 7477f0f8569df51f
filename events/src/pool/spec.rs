//! What a pool is to be.
//!
//! On disk for ever inside `pool.spec-set` version 1: a change here, or of a pod's specification, is a new version of that
//! event.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::freeze::FreezeWindow;
use crate::context::BackOffPolicy;
use crate::pod::PodSpec;

/// What a pool is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// Namespace of its pods: an RFC 1123 label.
    pub namespace: String,
    /// What each of its pods is; the name in it is the pool's and is replaced by the pod's own.
    pub template: Arc<PodSpec>,
    /// The slots of each pod.
    pub slots: SlotPolicy,
    /// How many pods there are.
    pub scaling: ScalingPolicy,
    /// What holds for its tasks.
    pub tasks: TaskPolicy,
    /// What holds for the agents in its pods.
    pub agents: AgentPolicy,
    /// What its pods read: a pod that was made with another content of these is made anew once it is idle.
    pub references: Vec<Reference>,
}

impl PoolSpec {
    /// Most references of one pool.
    pub const REFERENCES_MAX: usize = 32;

    /// Whether pods that were made for `other` are not what this one asks for.
    #[must_use]
    pub fn needs_other_pods(&self, other: &PoolSpec) -> bool {
        let same = self.template == other.template
            && self.namespace == other.namespace
            && self.slots.count == other.slots.count
            && self.references == other.references;
        !same
    }
}

/// The slots of a pod, and what each takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotPolicy {
    /// Who may have which.
    pub rule: SlotRule,
    /// How many slots a pod has, 1 to 64.
    pub count: u8,
}

impl Default for SlotPolicy {
    /// As pools were first made: three slots, the first of which takes everything.
    fn default() -> SlotPolicy {
        SlotPolicy { rule: SlotRule::Seed, count: SlotRule::Seed.default_count() }
    }
}

/// Who may have which slot of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotRule {
    /// Slot 0 takes any task, the others plans and drift checks only; only slot 0 is ever reserved.
    Seed,
    /// An apply is in slot 0 and has the whole pod while it runs; while it waits for its confirmation the other slots take
    /// what is no apply.
    Exclusive,
    /// Any slot takes any task, but a pod has at most one apply, running or waiting for its confirmation.
    Flexible,
}

/// How many pods there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// Least pods outside of a freeze.
    pub min_replicas: u32,
    /// Most pods, 1 to 10,000.
    pub max_replicas: u32,
    /// Use of slots above which there is to be one pod more, in thousandths.
    pub up_above_permille: u32,
    /// Use of slots below which there is to be one pod less, in thousandths.
    pub down_below_permille: u32,
    /// How long use must have been high before there is one pod more, in milliseconds.
    pub up_stable_ms: u64,
    /// How long use must have been low before there is one pod less, in milliseconds.
    pub down_stable_ms: u64,
    /// Most pods that may be away at once because they are made anew, at least 1.
    pub max_unavailable: u32,
    /// When nothing is begun and idle pods go. They may overlap.
    pub freezes: Vec<FreezeWindow>,
    /// The zone whose civil time the freezes are in, as in `Europe/Paris`.
    pub time_zone: String,
}

impl ScalingPolicy {
    /// Most pods that a pool may be allowed.
    pub const REPLICAS_MAX: u32 = 10_000;
    /// Most freeze windows of one pool.
    pub const FREEZES_MAX: usize = 64;
}

impl Default for ScalingPolicy {
    /// One pod up to ten; up above 80 % of the slots for 10 s, down below 20 % for 5 min.
    fn default() -> ScalingPolicy {
        ScalingPolicy {
            min_replicas: 1,
            max_replicas: 10,
            up_above_permille: 800,
            down_below_permille: 200,
            up_stable_ms: 10_000,
            down_stable_ms: 300_000,
            max_unavailable: 1,
            freezes: vec![],
            time_zone: "UTC".to_owned(),
        }
    }
}

/// What follows when a task was not brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnEnd {
    /// It is tried again, if it may be.
    Retry,
    /// It has failed.
    Fail,
}

/// What holds for a pool's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskPolicy {
    /// What follows when its pod or its agent is lost.
    pub on_lost: OnEnd,
    /// What follows when it failed by itself. What has begun to apply is never tried again for that.
    pub on_failed: OnEnd,
    /// How often a task is tried, from 1.
    pub attempts_max: u32,
    /// Waits between the tries.
    pub back_off: BackOffPolicy,
    /// How long a phase of a task may take that says nothing of it, in seconds.
    pub timeout_s: u32,
    /// How long a planned apply waits for its confirmation, in seconds.
    pub reservation_ttl_s: u32,
    /// Most tasks that may wait.
    pub queue_max: u32,
    /// How many tasks that have ended are kept.
    pub kept_max: u32,
}

impl TaskPolicy {
    /// Longest time that a phase of a task may be given, in seconds: a week.
    pub const TIMEOUT_S_MAX: u32 = 7 * 86_400;
}

impl Default for TaskPolicy {
    /// Three tries after losses, an hour for each phase, a day for a confirmation.
    fn default() -> TaskPolicy {
        TaskPolicy {
            on_lost: OnEnd::Retry,
            on_failed: OnEnd::Fail,
            attempts_max: 3,
            back_off: BackOffPolicy::default(),
            timeout_s: 3_600,
            reservation_ttl_s: 86_400,
            queue_max: 10_000,
            kept_max: 1_000,
        }
    }
}

/// What holds for the agents in a pool's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPolicy {
    /// Silence after which an agent's pod counts as lost, in milliseconds.
    pub offline_after_ms: u64,
    /// How long a pod may take until its agent is there, in milliseconds.
    pub start_within_ms: u64,
    /// Seconds from the wish to end a task until it is killed.
    pub cancel_grace_s: u32,
}

impl Default for AgentPolicy {
    /// Lost after 2 min of silence; 10 min to come up; 30 s to end a task.
    fn default() -> AgentPolicy {
        AgentPolicy { offline_after_ms: 120_000, start_within_ms: 600_000, cancel_grace_s: 30 }
    }
}

/// Something that a pool's pods read when they start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// What it is.
    pub kind: ReferenceKind,
    /// Its name: an RFC 1123 subdomain.
    pub name: String,
}

/// What a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReferenceKind {
    /// A secret.
    Secret,
    /// A config.
    Config,
}

/// The content of a reference, by a digest from which it cannot be guessed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest {
    /// Of what.
    pub reference: Reference,
    /// Keyed digest of its content, at most 128 bytes; empty if there is no such thing.
    pub digest: String,
}
