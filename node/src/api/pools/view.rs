//! What callers see of a pool.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::pool::state::{Scaling, Shortage};
use purser_events::pool::{Member, MemberPhase, Pool, PoolName, Slot, Task, TaskState};
use purser_events::{Seq, Timestamp, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::scaling::{ScaledView, loss_sentence, reasons, removal_sentence, resize_sentence};
use super::task_view::TaskView;
use crate::manifest;

/// Most waiting tasks that a pool is shown with.
const WAITING_MAX: usize = 50;

/// A pool: its manifest, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// Always `purser.dev/v1`.
    pub api_version: String,
    /// Always `Pool`.
    pub kind: String,
    /// Its name and the namespace of its pods.
    pub metadata: PoolMetadata,
    /// The manifest's `spec` as it holds, with every default written out.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// How it stands.
    pub status: PoolStatus,
}

/// A pool's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolMetadata {
    /// Its name.
    pub name: String,
    /// The namespace of its pods.
    pub namespace: String,
}

/// How a pool stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// The record up to which this speaks.
    pub seq: u64,
    /// `active`, `frozen`, `gave-up` if its pods don't come up and nothing more is tried, or `leaving`.
    pub state: String,
    /// Why, in a sentence, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Grows when its pods are to be others: by a new template, another count of slots, or a changed reference.
    pub revision: u64,
    /// How many pods there are to be.
    pub wanted: u32,
    /// How many members of an older revision are left.
    pub outdated: u32,
    /// Until when freeze windows do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub unfrozen_until: Option<Timestamp>,
    /// Members by state: `requested`, `starting`, `connected`, `away`, `removing`, `lost`.
    pub members_by_state: BTreeMap<String, u32>,
    /// Slots of members that stay, by state: `idle`, `running`, `reserved`.
    pub slots_by_state: BTreeMap<String, u32>,
    /// Tasks by state; of those that have ended, the ones that are still known.
    pub tasks_by_state: BTreeMap<String, u32>,
    /// Since when the task has waited that has waited longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub waiting_since: Option<Timestamp>,
    /// Its members; absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberView>,
    /// The tasks that wait, the first first; at most 50, absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<TaskView>,
    /// The last ten decisions on the number of pods, the newest last; absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<ScaledView>,
    /// Why there are to be no more and no fewer pods now; absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_scaled_because: Vec<String>,
}

/// A member of a pool: one pod, its agent and its slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Its number, which no other member of the pool ever has.
    pub member: u64,
    /// The name of its pod.
    pub pod: String,
    /// The pod's incarnation; absent before it was admitted.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// `requested`, `starting`, `connected`, `away`, `removing` or `lost`.
    pub state: String,
    /// Why it goes or is lost, or how it comes to the sizes of the template, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Which revision of the pool it is of.
    pub revision: u64,
    /// The release of its agent; absent before one was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Its slots, from 0.
    pub slots: Vec<SlotView>,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotView {
    /// Which, from 0.
    pub slot: u8,
    /// `idle`, `running` or `reserved`.
    pub state: String,
    /// The task that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What kind of work that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Shows that the task has the slot: each is greater than all before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Until when a plan is kept in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// Pools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolList {
    /// The record up to which this speaks.
    pub seq: u64,
    /// The pools by name.
    pub items: Vec<PoolView>,
}

/// Every pool that is there, as it stood at a record.
#[must_use]
pub fn all(world: &World) -> Vec<(PoolName, Pool)> {
    let there = world.pools.iter().filter(|(_, pool)| pool.exists());
    there.map(|(name, pool)| (name.clone(), pool.clone())).collect()
}

impl PoolView {
    /// A pool as lists have it; none of one that is gone.
    #[must_use]
    pub fn short(name: &PoolName, pool: &Pool, seq: Seq) -> Option<PoolView> {
        let spec = pool.spec.as_deref()?;
        let mut manifest = manifest::pool_manifest(name, spec);
        Some(PoolView {
            api_version: manifest::API_VERSION.to_owned(),
            kind: manifest::KIND.to_owned(),
            metadata: PoolMetadata { name: name.to_string(), namespace: spec.namespace.clone() },
            spec: manifest.get_mut("spec").map(Value::take).unwrap_or_default(),
            status: PoolStatus::of(pool, seq),
        })
    }

    /// Everything about a pool; none of one that is gone.
    #[must_use]
    pub fn whole(name: &PoolName, pool: &Pool, seq: Seq, now: Timestamp) -> Option<PoolView> {
        let mut view = PoolView::short(name, pool, seq)?;
        let members = pool.members.values().map(|member| MemberView::of(name, member));
        view.status.members = members.collect();
        let mut waiting: Vec<&Arc<Task>> =
            pool.tasks.values().filter(|task| matches!(task.state, TaskState::Pending { .. })).collect();
        waiting.sort_by_key(|task| (Reverse(task.spec.priority), task.order));
        let first = waiting.into_iter().take(WAITING_MAX);
        view.status.waiting = first.map(|task| TaskView::of(name, pool, task, now)).collect();
        view.status.decisions = pool.scaling.verdicts.iter().map(ScaledView::of).collect();
        view.status.not_scaled_because = reasons(pool);
        Some(view)
    }
}

impl PoolStatus {
    /// How a pool stands, without its members and tasks one by one.
    #[must_use]
    pub fn of(pool: &Pool, seq: Seq) -> PoolStatus {
        let mut status = PoolStatus {
            seq: seq.0,
            state: pool.word().to_owned(),
            message: message(pool),
            revision: pool.revision,
            wanted: pool.scaling.wanted,
            outdated: 0,
            unfrozen_until: pool.scaling.unfrozen_until,
            members_by_state: BTreeMap::new(),
            slots_by_state: BTreeMap::new(),
            tasks_by_state: BTreeMap::new(),
            waiting_since: None,
            members: vec![],
            waiting: vec![],
            decisions: vec![],
            not_scaled_because: vec![],
        };
        for member in pool.members.values() {
            *status.members_by_state.entry(member.word().to_owned()).or_default() += 1;
            status.outdated += u32::from(member.is_live() && member.revision < pool.revision);
            for slot in member.slots.iter().filter(|_| member.is_live()) {
                *status.slots_by_state.entry(slot.word().to_owned()).or_default() += 1;
            }
        }
        for task in pool.tasks.values() {
            *status.tasks_by_state.entry(task.word().to_owned()).or_default() += 1;
            if matches!(task.state, TaskState::Pending { .. }) {
                let since = status.waiting_since.map_or(task.since, |since| since.min(task.since));
                status.waiting_since = Some(since);
            }
        }
        status
    }
}

/// Why a pool stands as it does, if there is more to say.
fn message(pool: &Pool) -> Option<String> {
    let Scaling { failures, last_failure, retry_at, gave_up, shortage, .. } = &*pool.scaling;
    let failure = last_failure.as_deref().unwrap_or("no reason is known");
    match (pool.leaving, gave_up, failures) {
        (Some(leaving), _, _) if leaving.force => {
            Some("it is being removed, and its tasks are ended".to_owned())
        }
        (Some(_), _, _) => Some("it goes once its running and planned tasks have ended".to_owned()),
        (None, true, failures) => Some(format!(
            "{failures} pods in a row did not come up, the last one: {failure}. Nothing more is tried until the pool is \
             applied again"
        )),
        (None, false, 0) => shortage.as_ref().map(|Shortage { reason, times, retry_at, .. }| {
            let tries = if *times == 1 { "1 try".to_owned() } else { format!("{times} tries") };
            format!("the node has had no room for another pod, {tries} in a row: {reason}; the next is at {retry_at}")
        }),
        (None, false, failures) => {
            let next = retry_at.map_or_else(String::new, |at| format!("; the next is tried at {at}"));
            Some(format!("{failures} pods in a row did not come up, the last one: {failure}{next}"))
        }
    }
}

impl MemberView {
    fn of(pool: &PoolName, member: &Arc<Member>) -> MemberView {
        let reason = match &member.phase {
            MemberPhase::Requested | MemberPhase::Up => member.resize.as_ref().map(resize_sentence),
            MemberPhase::Removing { reason } => Some(removal_sentence(*reason).to_owned()),
            MemberPhase::Lost { reason } => Some(loss_sentence(reason)),
        };
        let slots = (0..).zip(&member.slots);
        MemberView {
            member: member.member,
            pod: pool.pod_name(member.member),
            pod_uid: member.pod.map(|pod| pod.to_string()),
            state: member.word().to_owned(),
            reason,
            since: member.since,
            revision: member.revision,
            agent: member.agent.as_ref().map(|agent| agent.version.clone()),
            slots: slots.map(|(number, slot)| SlotView::of(number, slot)).collect(),
        }
    }
}

impl SlotView {
    fn of(number: u8, slot: &Slot) -> SlotView {
        let (held, expires_at) = match slot {
            Slot::Idle => (None, None),
            Slot::Running { task, kind, token } => (Some((task, kind, token)), None),
            Slot::Reserved { task, kind, token, expires_at, confirmed: _ } => {
                (Some((task, kind, token)), Some(*expires_at))
            }
        };
        SlotView {
            slot: number,
            state: slot.word().to_owned(),
            task: held.map(|(task, ..)| task.to_string()),
            kind: held.map(|(_, kind, _)| kind.to_string()),
            token: held.map(|(.., token)| token.0),
            expires_at,
        }
    }
}
