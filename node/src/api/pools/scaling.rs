//! Decisions on the number of a pool's pods, with what they were made from and why.

use purser_events::Timestamp;
use purser_events::pool::event::{LossReason, MemberRemovalReason, Scaled};
use purser_events::pool::resize::MemberResize;
use purser_events::pool::scale::{Load, ScaleRule, Verdict};
use purser_events::pool::{Pool, ScalingPolicy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A decision on the number of pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaledView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How many pods there were to be before.
    pub from: u32,
    /// How many there are to be since.
    pub to: u32,
    /// The rule that said so, in a word.
    pub rule: String,
    /// The rule in a sentence.
    pub reason: String,
    /// What it was made from.
    pub inputs: InputsView,
}

/// What a decision was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputsView {
    /// Members that were there or were coming.
    pub members: u32,
    /// Those of them whose agent was not connected.
    pub away: u32,
    /// Those of them of whose slots nobody had any.
    pub idle_members: u32,
    /// Slots of all of them.
    pub slots: u32,
    /// Slots that somebody had, and those that nobody could have because of that.
    pub used: u32,
    /// The same in percent of all slots.
    pub used_percent: u32,
    /// Slots in which something ran.
    pub running: u32,
    /// Slots that were kept for plans.
    pub reserved: u32,
    /// Tasks that waited for room alone.
    pub ready: u32,
    /// Those of them that need a pod, or its first slot, for themselves.
    pub ready_applies: u32,
    /// Tasks that waited for a workspace or for the next try.
    pub held: u32,
    /// What the clock on the wall said in the pool's zone.
    pub local_time: String,
    /// Since when use was as high, or as low, as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub settling_since: Option<Timestamp>,
}

impl ScaledView {
    /// A decision that is on record.
    #[must_use]
    pub fn of(scaled: &Scaled) -> ScaledView {
        let Verdict { wanted, rule, settling_since, inputs } = scaled.verdict;
        let load = inputs.load;
        ScaledView {
            at: scaled.at,
            from: inputs.wanted,
            to: wanted,
            rule: rule.word().to_owned(),
            reason: rule.sentence().to_owned(),
            inputs: InputsView {
                members: load.members,
                away: load.away,
                idle_members: load.idle_members,
                slots: load.slots,
                used: load.used,
                used_percent: load.use_permille() / 10,
                running: load.running,
                reserved: load.reserved,
                ready: load.ready,
                ready_applies: load.ready_heavy,
                held: load.held,
                local_time: local_time(&inputs.local),
                settling_since,
            },
        }
    }
}

/// As in `mon 22:05`.
#[must_use]
pub fn local_time(local: &purser_events::pool::LocalTime) -> String {
    let day = format!("{:?}", local.weekday).to_lowercase();
    format!("{day} {:02}:{:02}", local.minute / 60, local.minute % 60)
}

/// Why there are to be as many pods as there are to be, and not another number.
#[must_use]
pub fn reasons(pool: &Pool) -> Vec<String> {
    let (Some(spec), Some(verdict)) = (&pool.spec, pool.scaling.verdict()) else { return vec![] };
    let mut reasons = vec![verdict.rule.sentence().to_owned()];
    reasons.extend(figures(&spec.scaling, verdict, &pool.load()));
    if pool.scaling.gave_up {
        reasons.push(
            "pods did not come up too often in a row: no other is tried until the pool is applied again"
                .to_owned(),
        );
    } else if let Some(shortage) = &pool.scaling.shortage {
        let at = shortage.retry_at;
        reasons.push(format!("the node has no room for another pod: none is tried before {at}"));
    } else if let Some(at) = pool.scaling.retry_at {
        reasons.push(format!("the last pod did not come up: no other is tried before {at}"));
    }
    reasons
}

/// The figures that a rule goes by, as they are now.
fn figures(policy: &ScalingPolicy, verdict: &Verdict, load: &Load) -> Option<String> {
    let (above, below) = (policy.up_above_permille / 10, policy.down_below_permille / 10);
    let used = format!("{} of {} slots are used ({} %)", load.used, load.slots, load.use_permille() / 10);
    let since = verdict.settling_since.map_or_else(String::new, |since| format!(" since {since}"));
    Some(match verdict.rule {
        ScaleRule::Steady => {
            format!(
                "{used}: one more pod above {above} %, one less below {below} % if a pod is idle and no task waits"
            )
        }
        ScaleRule::HighUse | ScaleRule::HighUseSettling => {
            format!(
                "{used}, above {above} %{since}: one more pod after {} s of that",
                policy.up_stable_ms / 1_000
            )
        }
        ScaleRule::LowUse | ScaleRule::LowUseSettling => {
            format!(
                "{used}, below {below} %{since}: one less pod after {} s of that",
                policy.down_stable_ms / 1_000
            )
        }
        ScaleRule::HeldByReservation | ScaleRule::ReservedFloor => {
            format!("{} slots are kept for plans that wait for their confirmation", load.reserved)
        }
        ScaleRule::PendingApplies => format!("{} applies wait for room", load.ready_heavy),
        ScaleRule::ColdStart => format!("{} tasks wait", load.ready + load.held),
        ScaleRule::Minimum => format!("replicas.min is {}", policy.min_replicas),
        ScaleRule::Maximum => format!("replicas.max is {}; {used}", policy.max_replicas),
        ScaleRule::Frozen => format!("the windows go by the clock of {}", policy.time_zone),
        ScaleRule::Leaving => return None,
    })
}

/// Why a member's pod goes.
#[must_use]
pub fn removal_sentence(reason: MemberRemovalReason) -> &'static str {
    match reason {
        MemberRemovalReason::Surplus => "there are more pods than there are to be",
        MemberRemovalReason::OldRevision => "it is of an older revision and its slots are idle",
        MemberRemovalReason::Frozen => "the pool is frozen and its slots are idle",
        MemberRemovalReason::PoolRemoved => "the pool is being removed",
    }
}

/// How a member's pod comes to the sizes of the template.
#[must_use]
pub fn resize_sentence(resize: &MemberResize) -> String {
    match &resize.failed {
        None => format!("it is being resized in place for revision {}", resize.revision),
        Some(reason) => {
            format!("it could not be resized in place and is replaced once its slots are idle: {reason}")
        }
    }
}

/// Why a member is lost.
#[must_use]
pub fn loss_sentence(reason: &LossReason) -> String {
    match reason {
        LossReason::PodEnded { detail } => format!("its pod has ended: {detail}"),
        LossReason::Silent { silent_ms } => {
            format!("nothing was heard of its agent for {} s", silent_ms / 1_000)
        }
        LossReason::NeverConnected => "its agent never came".to_owned(),
        LossReason::CancelIgnored { task } => format!("its agent did not end task {task}"),
    }
}
