//! The shape of a document: every field is one that Purser supports, and holds what it may hold.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

use super::error::FieldErrors;
use super::path::Place;
use super::table::{self, Field, Kind, Shape};

/// Checks a document against the supported fields and returns it without whatever is wrong in it.
///
/// Fields that are `null` are absent, as in Kubernetes.
pub(super) fn check(document: Value, errors: &mut FieldErrors) -> Value {
    check_as(&table::POD, refuse, document, errors)
}

/// How a field that is not in a table is refused: where it is, and what it holds.
pub(super) type Refuse = fn(&Place, Value, &mut FieldErrors);

/// The same for documents of any shape.
pub(super) fn check_as(shape: &Shape, refuse: Refuse, document: Value, errors: &mut FieldErrors) -> Value {
    let checked = check_value(shape, refuse, document, &Place::default(), errors);
    errors.shapes_are_done();
    checked.unwrap_or_else(|| Value::Object(Map::new()))
}

fn check_value(
    shape: &Shape,
    refuse: Refuse,
    value: Value,
    place: &Place,
    errors: &mut FieldErrors,
) -> Option<Value> {
    if errors.is_full() {
        return None;
    }
    match (shape, value) {
        (Shape::Object(fields), Value::Object(values)) => {
            let checked =
                values.into_iter().filter(|(_, value)| !value.is_null()).filter_map(|(key, value)| {
                    let place = place.key(&key);
                    let Some(shape) = table::at_key(fields, &key) else {
                        refuse(&place, value, errors);
                        return None;
                    };
                    check_value(shape, refuse, value, &place, errors).map(|value| (key, value))
                });
            Some(Value::Object(checked.collect()))
        }
        (Shape::List(shape), Value::Array(values)) => {
            let checked = values.into_iter().enumerate().map(|(index, value)| {
                let checked = check_value(shape, refuse, value, &place.index(index), errors);
                // Kept in its place, so that the indexes of those behind it still say where they are.
                checked.unwrap_or_else(|| stand_in(shape))
            });
            Some(Value::Array(checked.collect()))
        }
        (Shape::Leaf(field), value) => check_leaf(field, refuse, value, place, errors),
        (Shape::Object(_), other) => wrong_type(place, "a map", &other, errors),
        (Shape::List(_), other) => wrong_type(place, "a list", &other, errors),
    }
}

fn stand_in(shape: &Shape) -> Value {
    match shape {
        Shape::Object(_) => Value::Object(Map::new()),
        Shape::List(_) => Value::Array(vec![]),
        Shape::Leaf(_) => Value::String(String::new()),
    }
}

fn check_leaf(
    field: &Field,
    refuse: Refuse,
    value: Value,
    place: &Place,
    errors: &mut FieldErrors,
) -> Option<Value> {
    match (field.kind, value) {
        (Kind::Text, Value::String(text)) => checked_text(text, place, errors),
        (Kind::TextMap, Value::Object(values)) => {
            let checked =
                values.into_iter().filter(|(_, value)| !value.is_null()).filter_map(|(key, value)| {
                    let place = place.key(&key);
                    let checked = match value {
                        Value::String(text) => checked_text(text, &place, errors),
                        other => wrong_type(&place, "a string", &other, errors),
                    };
                    checked.map(|value| (key, value))
                });
            Some(Value::Object(checked.collect()))
        }
        (Kind::Flag, value @ Value::Bool(_)) => Some(value),
        (Kind::Only(only), value @ Value::Bool(_)) if value == Value::Bool(only) => Some(value),
        (Kind::Only(only), Value::Bool(_)) => {
            refuse_value(place, format!("must be {only}: {}", field.note), errors)
        }
        (Kind::Word(words), Value::String(text)) if words.contains(&text.as_str()) => {
            Some(Value::String(text))
        }
        (Kind::Word(words), Value::String(_)) => refuse_value(place, wrong_word(words, field.note), errors),
        (Kind::Whole(min, max), Value::Number(number)) => match number.as_i64() {
            Some(whole) if (min..=max).contains(&whole) => Some(Value::from(whole)),
            _ => refuse_value(place, format!("must be a whole number from {min} to {max}"), errors),
        },
        (Kind::Quantity | Kind::Count, Value::Number(number)) => Some(Value::String(number.to_string())),
        (Kind::Quantity | Kind::Count, value @ Value::String(_)) => Some(value),
        (Kind::Port, Value::Number(number)) => match number.as_u64() {
            Some(port @ 1..=65_535) => Some(Value::from(port)),
            _ => refuse_value(place, "must be a port from 1 to 65535, or a port's name".into(), errors),
        },
        (Kind::Port, Value::String(text)) => checked_text(text, place, errors),
        (Kind::Empty, Value::Object(values)) => {
            for (key, value) in values.into_iter().filter(|(_, value)| !value.is_null()) {
                refuse(&place.key(&key), value, errors);
            }
            Some(Value::Object(Map::new()))
        }
        (
            Kind::Text
            | Kind::TextMap
            | Kind::Flag
            | Kind::Only(_)
            | Kind::Word(_)
            | Kind::Whole(..)
            | Kind::Quantity
            | Kind::Count
            | Kind::Port
            | Kind::Empty,
            other,
        ) => wrong_type(place, expected(field.kind), &other, errors),
    }
}

/// Text from YAML or JSON can hold what no argument, variable or path of a process can.
fn checked_text(text: String, place: &Place, errors: &mut FieldErrors) -> Option<Value> {
    if text.contains('\0') {
        return refuse_value(place, "must not contain a NUL character".into(), errors);
    }
    Some(Value::String(text))
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Word(_) => "a string",
        Kind::TextMap | Kind::Empty => "a map",
        Kind::Flag | Kind::Only(_) => "true or false",
        Kind::Whole(..) | Kind::Count => "a whole number",
        Kind::Quantity => "a quantity",
        Kind::Port => "a port number or name",
    }
}

fn wrong_word(words: &[&str], note: &str) -> String {
    match words {
        [only] => format!("must be {only}: {note}"),
        _ => {
            let words: Vec<&str> = words.iter().map(|word| table::shown_word(word)).collect();
            format!("must be one of {}", words.join(", "))
        }
    }
}

fn wrong_type(place: &Place, expected: &str, found: &Value, errors: &mut FieldErrors) -> Option<Value> {
    let (found, hint) = match (found, expected) {
        (Value::Null, _) => ("null", ""),
        (Value::Bool(_), "a string") => ("a boolean", "; put it in quotes"),
        (Value::Number(_), "a string") => ("a number", "; put it in quotes"),
        (Value::Bool(_), _) => ("a boolean", ""),
        (Value::Number(_), _) => ("a number", ""),
        (Value::String(_), _) => ("a string", ""),
        (Value::Array(_), _) => ("a list", ""),
        (Value::Object(_), _) => ("a map", ""),
    };
    refuse_value(place, format!("must be {expected}, is {found}{hint}"), errors)
}

fn refuse_value(place: &Place, message: String, errors: &mut FieldErrors) -> Option<Value> {
    errors.add(&place.path(), message);
    None
}

/// Refuses a field that is not in the table of supported ones.
fn refuse(place: &Place, value: Value, errors: &mut FieldErrors) {
    if errors.is_full() {
        return;
    }
    let pattern = place.pattern();
    let why_inside = match &value {
        Value::Object(fields) => fields.keys().find_map(|key| table::refusal(&format!("{pattern}.{key}"))),
        _ => None,
    };
    let message = match (why_inside.or_else(|| table::refusal(&pattern)), is_of_kubernetes(place, value)) {
        (Some(why), _) => format!("is not supported by Purser: {why}"),
        (None, true) => "is not supported by Purser".to_owned(),
        (None, false) => "unknown field".to_owned(),
    };
    errors.add(&place.path(), message);
}

/// Whether Kubernetes has a field at this place: its own type reads unknown fields and forgets them.
fn is_of_kubernetes(place: &Place, value: Value) -> bool {
    match serde_json::from_value::<Pod>(place.only(value)) {
        Ok(pod) => serde_json::to_value(pod).is_ok_and(|written| place.is_in(&written)),
        // Only what it knows can it find to be of the wrong type.
        Err(_) => true,
    }
}
