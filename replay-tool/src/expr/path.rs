//! Where a value is.

use std::fmt;

use serde_json::Value;

/// The way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// Of the record or the moment.
    About(String),
    /// Of the payload or the state.
    Body(Vec<Step>),
}

/// One step of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// To a field.
    Field(String),
    /// To an item, from 0.
    Item(usize),
    /// To every item or field.
    Each,
}

/// Whether a value at the end of the way passes. Without a wildcard there is always one, which may be null.
pub(super) fn any(steps: &[Step], from: &Value, passes: &mut dyn FnMut(&Value) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return passes(from) };
    match (step, from) {
        (Step::Field(name), Value::Object(fields)) => {
            any(rest, fields.get(name).unwrap_or(&Value::Null), passes)
        }
        (Step::Item(number), Value::Array(items)) => {
            any(rest, items.get(*number).unwrap_or(&Value::Null), passes)
        }
        (Step::Each, Value::Object(fields)) => fields.values().any(|value| any(rest, value, passes)),
        (Step::Each, Value::Array(items)) => items.iter().any(|value| any(rest, value, passes)),
        (Step::Each, _) => false,
        (Step::Field(_) | Step::Item(_), _) => any(rest, &Value::Null, passes),
    }
}

/// Whether a way may lead to more than one value.
pub(super) fn is_many(steps: &[Step]) -> bool {
    steps.contains(&Step::Each)
}

/// Whether there is anything at the end of the way, be it null.
pub(super) fn leads_somewhere(steps: &[Step], from: &Value) -> bool {
    let Some((step, rest)) = steps.split_first() else { return true };
    match (step, from) {
        (Step::Field(name), Value::Object(fields)) => {
            fields.get(name).is_some_and(|value| leads_somewhere(rest, value))
        }
        (Step::Item(number), Value::Array(items)) => {
            items.get(*number).is_some_and(|value| leads_somewhere(rest, value))
        }
        (Step::Each, Value::Object(fields)) => fields.values().any(|value| leads_somewhere(rest, value)),
        (Step::Each, Value::Array(items)) => items.iter().any(|value| leads_somewhere(rest, value)),
        (Step::Field(_) | Step::Item(_) | Step::Each, _) => false,
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = match self {
            Path::About(name) => return write!(f, "@{name}"),
            Path::Body(steps) => steps,
        };
        for (number, step) in steps.iter().enumerate() {
            let dot = if number == 0 { "" } else { "." };
            match step {
                Step::Field(name) => write!(f, "{dot}{name}")?,
                Step::Item(number) => write!(f, "[{number}]")?,
                Step::Each => write!(f, "{dot}*")?,
            }
        }
        Ok(())
    }
}
