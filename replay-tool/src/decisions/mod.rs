//! Decisions made again: which command led to recorded events is read off them, the entity's own decider answers it in the
//! state before them, and the answer is compared with what is on record.

mod gpu;
mod ledger;
mod node;
mod pod;
mod pool;
mod worker;

use purser_events::view::World;
use purser_events::{Cause, Context, Decider, Event, Policy, Timestamp};
use serde_json::Value;

/// Moments at which a decision is tried besides that of its first record.
const MOMENTS_MAX: usize = 16;

/// An entity whose decisions can be made again.
pub(crate) trait Redecided: Decider {
    /// The commands of which these records can be the beginning of the outcome, the likeliest first.
    fn commands(&self, events: &[Self::Event], about: About) -> Vec<Self::Command>;

    /// Takes over from what is on record what of the outcome nobody can tell again.
    fn take_over(_decided: &mut Self::Event, _recorded: &Self::Event) {}

    /// What is in an event, if it is of this entity.
    fn of(event: &Event) -> Option<&Self::Event>;
}

/// The circumstances of a record that say which command led to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    pub(crate) time: Timestamp,
    pub(crate) cause: Cause,
}

/// What becomes of a decision that is made again.
#[derive(Debug, Clone)]
pub(crate) enum Outcome<D: Decider> {
    /// The same events.
    Same {
        /// How many.
        len: usize,
        /// The command.
        command: D::Command,
        /// What it was decided with.
        context: Context,
    },
    /// Others, or a refusal.
    Other {
        /// The likeliest command.
        command: D::Command,
        /// What it leads to.
        decided: Result<Vec<D::Event>, D::Rejection>,
    },
}

/// How far the moment of a decision may be from that of its record, and what was in force.
#[derive(Debug, Clone)]
pub(crate) struct Circumstances {
    /// What the journal says was in force, the newest first: a decision may have been made right before the last change.
    pub(crate) contexts: Vec<Context>,
    /// In microseconds.
    pub(crate) slack_us: i64,
}

/// What the journal says is in force, at a moment.
pub(crate) fn context(world: &World, now: Timestamp) -> Context {
    let node = world.node.known();
    Context {
        now,
        policy: node.map_or_else(Policy::default, |node| node.policy.clone()),
        cordoned: node.and_then(|node| node.cordoned.clone()),
    }
}

/// Makes the decision again that the first of these records began.
///
/// The journal does not say at what moment it was made, only when it was written. Moments that the records name are tried
/// first, then those right before something that the state waits for; none is further than the slack from the record.
pub(crate) fn again<D: Redecided>(
    state: &D,
    events: &[D::Event],
    about: About,
    circumstances: &Circumstances,
) -> Option<Outcome<D>> {
    // What cannot follow was not decided: a decider that is asked for it would be taken for a defect of its own.
    state.clone().follow(events.first()?).ok()?;
    let commands = state.commands(events, about);
    let mut deadlines: Option<Vec<Timestamp>> = None;
    for context in &circumstances.contexts {
        for command in &commands {
            let trial = Trial { state, command, context, events };
            let decided = trial.at(about.time);
            if let Some(len) = same::<D>(&decided, events) {
                return Some(trial.found(len, about.time));
            }
            let is_near =
                |moment: &Timestamp| moment.0.abs_diff(about.time.0) <= circumstances.slack_us.unsigned_abs();
            let shifted = |from: Timestamp, decided: &Result<Vec<D::Event>, D::Rejection>| {
                let shift = decided.as_ref().ok().and_then(|decided| shift::<D>(decided, events))?;
                Some(Timestamp(from.0.saturating_add(shift))).filter(is_near)
            };
            let mut moments: Vec<Timestamp> = shifted(about.time, &decided).into_iter().collect();
            let deadlines =
                deadlines.get_or_insert_with(|| deadlines_of(state, about.time, circumstances.slack_us));
            moments.extend(deadlines.iter().copied());
            for moment in moments {
                let decided = trial.at(moment);
                if let Some(len) = same::<D>(&decided, events) {
                    return Some(trial.found(len, moment));
                }
                if let Some(moment) = shifted(moment, &decided)
                    && let Some(len) = same::<D>(&trial.at(moment), events)
                {
                    return Some(trial.found(len, moment));
                }
            }
        }
    }
    let (command, context) = (commands.into_iter().next()?, circumstances.contexts.first()?);
    let decided = Trial { state, command: &command, context, events }.at(about.time);
    Some(Outcome::Other { command, decided })
}

/// One command in one state.
struct Trial<'a, D: Redecided> {
    state: &'a D,
    command: &'a D::Command,
    context: &'a Context,
    events: &'a [D::Event],
}

impl<D: Redecided> Trial<'_, D> {
    fn at(&self, now: Timestamp) -> Result<Vec<D::Event>, D::Rejection> {
        let mut decided = self.state.decide(self.command, &Context { now, ..self.context.clone() })?;
        decided.iter_mut().zip(self.events).for_each(|(decided, recorded)| D::take_over(decided, recorded));
        Ok(decided)
    }

    fn found(&self, len: usize, now: Timestamp) -> Outcome<D> {
        Outcome::Same { len, command: self.command.clone(), context: Context { now, ..self.context.clone() } }
    }
}

/// How many records a decision accounts for, if they begin with all that it decided.
fn same<D: Decider>(decided: &Result<Vec<D::Event>, D::Rejection>, events: &[D::Event]) -> Option<usize> {
    let decided = decided.as_ref().ok().filter(|decided| !decided.is_empty())?;
    events.starts_with(decided).then_some(decided.len())
}

/// How much later the recorded decision was made, by the first moment that differs.
fn shift<D: Decider>(decided: &[D::Event], events: &[D::Event]) -> Option<i64> {
    let payload = |event: &D::Event| -> Value { Into::<Event>::into(event.clone()).payload_json() };
    decided.iter().zip(events).find_map(|(one, other)| moment_shift(&payload(one), &payload(other)))
}

fn moment_shift(one: &Value, other: &Value) -> Option<i64> {
    match (one, other) {
        (Value::String(one), Value::String(other)) if one != other => {
            let (one, other): (Timestamp, Timestamp) = (one.parse().ok()?, other.parse().ok()?);
            Some(other.0.saturating_sub(one.0)).filter(|shift| *shift != 0)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.iter().zip(other).find_map(|(one, other)| moment_shift(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.iter().find_map(|(name, one)| moment_shift(one, other.get(name)?))
        }
        _ => None,
    }
}

/// The moments right before something that a state names, as far back as is looked.
fn deadlines_of<D: Decider>(state: &D, time: Timestamp, slack_us: i64) -> Vec<Timestamp> {
    let mut found = Vec::new();
    // What a state looks like to people has every moment in it; it is looked at only where the record's own fails.
    collect_moments(&format!("{state:?}"), time.0.saturating_sub(slack_us), time.0, &mut found);
    found.sort_unstable();
    found.dedup();
    found.into_iter().rev().take(MOMENTS_MAX).map(|us| Timestamp(us - 1)).collect()
}

fn collect_moments(text: &str, from: i64, to: i64, found: &mut Vec<i64>) {
    for part in text.split("Timestamp(").skip(1) {
        let digits = part.split(')').next().unwrap_or_default();
        found.extend(digits.parse::<i64>().ok().filter(|us| from < *us && *us <= to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_found_in_what_a_state_looks_like() {
        let state = format!("{:?}", [Some(Timestamp(5)), None, Some(Timestamp(11)), Some(Timestamp(10))]);
        let mut found = Vec::new();
        collect_moments(&state, 5, 10, &mut found);
        assert_eq!(found, [10], "after the first, up to the second");
    }

    #[test]
    fn the_first_moment_that_differs_says_how_much_later_it_was() {
        let at =
            |us: i64| serde_json::json!({ "code": 1, "at": [Timestamp(us)], "until": Timestamp(us + 7) });
        assert_eq!(moment_shift(&at(10), &at(4_010)), Some(4_000));
        assert_eq!(moment_shift(&at(10), &at(10)), None);
        assert_eq!(moment_shift(&serde_json::json!("a"), &serde_json::json!("b")), None);
    }
}
