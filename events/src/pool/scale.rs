//! How many pods a pool is to have, and by which rule.

use serde::{Deserialize, Serialize};

use super::freeze::LocalTime;
use super::spec::PoolSpec;
use crate::units::Timestamp;

/// Which rule said how many pods there are to be. The order of the rules is that of [`verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleRule {
    /// The pool goes: none.
    Leaving,
    /// It is in a freeze window: what is idle goes.
    Frozen,
    /// There is work and no pod: one, or the least number.
    ColdStart,
    /// Applies wait that nothing but room holds back: one pod for each of them, beside those that take none now.
    PendingApplies,
    /// So many plans wait for their confirmation that fewer pods cannot hold them.
    ReservedFloor,
    /// Use was high for long enough: one more.
    HighUse,
    /// Use is high, but not for long enough yet.
    HighUseSettling,
    /// Use was low for long enough: one less.
    LowUse,
    /// Use is low, but not for long enough yet.
    LowUseSettling,
    /// Use is low, but a plan waits for its confirmation: no pod goes meanwhile.
    HeldByReservation,
    /// Fewer than the least number.
    Minimum,
    /// More than the greatest number.
    Maximum,
    /// There is no reason for another number.
    Steady,
}

impl ScaleRule {
    /// The rule in words, for people who ask why.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            ScaleRule::Leaving => "the pool is being removed",
            ScaleRule::Frozen => "it is in a freeze window: nothing is begun and idle pods go",
            ScaleRule::ColdStart => "there is work and no pod",
            ScaleRule::PendingApplies => "applies wait for room alone: a pod for each of them",
            ScaleRule::ReservedFloor => "plans that wait for their confirmation need these pods",
            ScaleRule::HighUse => "the use of slots was high for long enough",
            ScaleRule::HighUseSettling => "the use of slots is high, but not for long enough yet",
            ScaleRule::LowUse => "the use of slots was low for long enough",
            ScaleRule::LowUseSettling => "the use of slots is low, but not for long enough yet",
            ScaleRule::HeldByReservation => {
                "the use of slots is low, but a plan waits for its confirmation: no pod goes meanwhile"
            }
            ScaleRule::Minimum => "there are fewer than the least number",
            ScaleRule::Maximum => "there are to be no more than the greatest number",
            ScaleRule::Steady => "there is no reason for another number",
        }
    }

    /// A stable word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ScaleRule::Leaving => "leaving",
            ScaleRule::Frozen => "frozen",
            ScaleRule::ColdStart => "cold-start",
            ScaleRule::PendingApplies => "pending-applies",
            ScaleRule::ReservedFloor => "reserved-floor",
            ScaleRule::HighUse => "high-use",
            ScaleRule::HighUseSettling => "high-use-settling",
            ScaleRule::LowUse => "low-use",
            ScaleRule::LowUseSettling => "low-use-settling",
            ScaleRule::HeldByReservation => "held-by-reservation",
            ScaleRule::Minimum => "minimum",
            ScaleRule::Maximum => "maximum",
            ScaleRule::Steady => "steady",
        }
    }
}

/// What a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Members that are there or are coming.
    pub members: u32,
    /// Those of them whose agent is not connected.
    pub away: u32,
    /// Those of them of whose slots nobody has any.
    pub idle_members: u32,
    /// Slots of all of them.
    pub slots: u32,
    /// Slots that somebody has, and those that nobody can have because of that; while tasks wait that any slot takes, those
    /// too that nobody can have because the agent has gone, is leaving, or does not end what is to end. A pod whose agent
    /// has not come yet has room.
    pub used: u32,
    /// Slots in which something runs.
    pub running: u32,
    /// Slots that are kept for plans.
    pub reserved: u32,
    /// Members that take no task that needs a pod, or its first slot, for itself: one runs or is planned there, or
    /// something else is in its way, or the agent is away or leaving.
    pub heavy: u32,
    /// Tasks that wait for room alone.
    pub ready: u32,
    /// Those of them that need a pod, or its first slot, for themselves.
    pub ready_heavy: u32,
    /// Tasks that wait for a workspace or for the next try.
    pub held: u32,
}

impl Load {
    /// The use of slots, in thousandths; 0 without slots.
    #[must_use]
    pub fn use_permille(&self) -> u32 {
        self.used.saturating_mul(1_000).checked_div(self.slots).unwrap_or(0)
    }
}

/// What a verdict was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleInputs {
    /// Pods, slots and tasks.
    pub load: Load,
    /// How many pods there were to be before.
    pub wanted: u32,
    /// The rule that said so.
    pub rule: Option<ScaleRule>,
    /// Since when use is as high, or as low, as it is.
    pub settling_since: Option<Timestamp>,
    /// Whether the pool goes.
    pub leaving: bool,
    /// What the clock on the wall says.
    pub local: LocalTime,
    /// Until when freeze windows do not count, if they do not.
    pub unfrozen_until: Option<Timestamp>,
    /// The moment.
    pub now: Timestamp,
}

/// How many pods there are to be, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// How many.
    pub wanted: u32,
    /// Which rule said so.
    pub rule: ScaleRule,
    /// Since when use is as high, or as low, as it is; none if it is neither.
    pub settling_since: Option<Timestamp>,
    /// What it was made from.
    pub inputs: ScaleInputs,
}

/// How many pods a pool of this specification is to have. The first rule that has something to say wins; what it says
/// is then brought within the bounds.
#[must_use]
pub fn verdict(spec: &PoolSpec, inputs: ScaleInputs) -> Verdict {
    let Load { members, idle_members, reserved, heavy, ready, ready_heavy, held, .. } = inputs.load;
    let policy = &spec.scaling;
    let say = |wanted, rule, settling_since| Verdict { wanted, rule, settling_since, inputs };
    if inputs.leaving {
        return say(0, ScaleRule::Leaving, None);
    }
    let is_thawed = inputs.unfrozen_until.is_some_and(|until| inputs.now < until);
    if !is_thawed && policy.freezes.iter().any(|window| window.has(inputs.local)) {
        return say(members.saturating_sub(idle_members), ScaleRule::Frozen, None);
    }
    let (least, most) = (policy.min_replicas, policy.max_replicas);
    if members == 0 && ready + held != 0 {
        return say(least.max(1).min(most), ScaleRule::ColdStart, None);
    }
    let for_applies = heavy.saturating_add(ready_heavy).min(most);
    if ready_heavy != 0 && inputs.wanted.max(members) < for_applies {
        return say(for_applies, ScaleRule::PendingApplies, None);
    }
    let floor = reserved.div_ceil(u32::from(spec.slots.count.max(1))).min(most);
    if inputs.wanted < floor {
        return say(floor, ScaleRule::ReservedFloor, None);
    }
    let by_use = by_use(spec, &inputs);
    let Verdict { wanted, rule, settling_since, .. } = by_use;
    if wanted < least {
        return say(least, ScaleRule::Minimum, settling_since);
    }
    if most < wanted || (most == wanted && rule == ScaleRule::HighUse && inputs.wanted == most) {
        return say(most, ScaleRule::Maximum, settling_since);
    }
    by_use
}

/// What the use of slots has to say.
fn by_use(spec: &PoolSpec, inputs: &ScaleInputs) -> Verdict {
    let (policy, load) = (&spec.scaling, &inputs.load);
    let (wanted, now) = (inputs.wanted, inputs.now);
    let say = |wanted, rule, settling_since| Verdict { wanted, rule, settling_since, inputs: *inputs };
    let since = |rules: [ScaleRule; 2]| {
        let goes_on = inputs.rule.is_some_and(|rule| rules.contains(&rule));
        inputs.settling_since.filter(|_| goes_on).unwrap_or(now)
    };
    let use_permille = load.use_permille();
    // Pods that are coming have room: no more are wanted before they are there.
    let is_all_there = wanted <= load.members;
    // Of a bound of 100 % use is never above.
    let is_high = policy.up_above_permille < use_permille || (load.ready != 0 && load.slots <= load.used);
    if is_high && is_all_there {
        let since = since([ScaleRule::HighUseSettling, ScaleRule::Maximum]);
        if policy.max_replicas <= wanted {
            return say(policy.max_replicas, ScaleRule::Maximum, Some(since));
        }
        return match now.ms_since(since) {
            ms if policy.up_stable_ms <= ms => say(wanted.saturating_add(1), ScaleRule::HighUse, None),
            _ => say(wanted, ScaleRule::HighUseSettling, Some(since)),
        };
    }
    let has_surplus = policy.min_replicas < wanted && load.idle_members != 0;
    if use_permille < policy.down_below_permille && load.ready == 0 && has_surplus {
        if load.reserved != 0 {
            return say(wanted, ScaleRule::HeldByReservation, None);
        }
        let since = since([ScaleRule::LowUseSettling, ScaleRule::LowUseSettling]);
        return match now.ms_since(since) {
            ms if policy.down_stable_ms <= ms => say(wanted.saturating_sub(1), ScaleRule::LowUse, None),
            _ => say(wanted, ScaleRule::LowUseSettling, Some(since)),
        };
    }
    say(wanted, ScaleRule::Steady, None)
}
