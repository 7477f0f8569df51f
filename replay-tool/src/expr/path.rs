//! Where a value is.

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
