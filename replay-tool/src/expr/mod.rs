//! Conditions on what is decoded: `exit.code != 0 and not (container = "init" or @principal ~ "^uid:")`.
//!
//! A path that begins with `@` is about the record or the moment; any other leads into the payload or the state. What
//! is not there is null. Texts that are both moments are compared as moments. With `*` in a path, a comparison holds
//! if it does for one of the values. Nothing is computed, and a condition is bounded in length and depth.

mod path;
mod read;
mod token;

use std::cmp::Ordering;
use std::str::FromStr;

use purser_events::{Header, Timestamp};
use serde_json::Value;

use self::path::Path;
pub use self::read::ExprError;
use crate::pattern::Pattern;
use crate::render;

/// What can be said of a record with `@`.
const ABOUT_RECORDS: &[&str] =
    &["seq", "time", "type", "stream", "version", "epoch", "principal", "cause", "correlation"];

/// What can be said of a moment with `@`.
const ABOUT_MOMENTS: &[&str] = &["seq", "time"];

/// A condition on records.
#[derive(Debug, Clone)]
pub struct RecordExpr(Node);

/// A condition on a state.
#[derive(Debug, Clone)]
pub struct StateExpr(Node);

#[derive(Debug, Clone)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Test(Path, Test),
}

#[derive(Debug, Clone)]
enum Test {
    /// It is there, and neither null nor false.
    IsSet,
    Equals(Value),
    Differs(Value),
    /// It stands in one of two orders to the value.
    Ordered(Ordering, bool, Value),
    Matches(Pattern),
    Contains(Value),
}

impl FromStr for RecordExpr {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<RecordExpr, ExprError> {
        read::read(text, ABOUT_RECORDS).map(RecordExpr)
    }
}

impl FromStr for StateExpr {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<StateExpr, ExprError> {
        read::read(text, ABOUT_MOMENTS).map(StateExpr)
    }
}

impl RecordExpr {
    /// Whether it holds for a record; `kind` is its type's name.
    #[must_use]
    pub fn holds(&self, header: &Header, kind: &str, payload: &Value) -> bool {
        self.0.holds(payload, &|name| about_record(header, kind, name))
    }
}

/// What `@name` says of a record.
fn about_record(header: &Header, kind: &str, name: &str) -> Value {
    let origin = &header.origin;
    match name {
        "seq" => header.seq.0.into(),
        "time" => header.time.to_string().into(),
        "type" => kind.into(),
        "stream" => header.stream.to_string().into(),
        "version" => header.version.0.into(),
        "epoch" => header.epoch.into(),
        "principal" => origin.principal.as_str().into(),
        "cause" => origin.cause.to_string().into(),
        "correlation" => origin.correlation.to_string().into(),
        _ => Value::Null,
    }
}

/// One field of a record, as a column has it: a path alone.
#[derive(Debug, Clone)]
pub struct RecordField {
    text: String,
    path: Path,
}

impl FromStr for RecordField {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<RecordField, ExprError> {
        let text = text.trim();
        match read::read(text, ABOUT_RECORDS)? {
            Node::Test(path, Test::IsSet) => Ok(RecordField { text: text.to_owned(), path }),
            _ => Err(ExprError::new(text, 0, "a path alone, as in exit.code or @type")),
        }
    }
}

impl RecordField {
    /// The path as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands there: of a path with `*` a list, null if there is nothing.
    #[must_use]
    pub fn value(&self, header: &Header, kind: &str, payload: &Value) -> Value {
        match &self.path {
            Path::About(name) => about_record(header, kind, name),
            Path::Body(steps) => {
                let mut found = Vec::new();
                path::any(steps, payload, &mut |value| {
                    found.push(value.clone());
                    false
                });
                if path::is_many(steps) { found.into() } else { found.pop().unwrap_or_default() }
            }
        }
    }
}

/// The fields of payloads that a condition names and that no payload has had yet.
pub(crate) struct Unmet<'a> {
    paths: Vec<&'a Path>,
}

impl<'a> Unmet<'a> {
    /// Every field of a condition.
    pub(crate) fn of(expr: &'a RecordExpr) -> Unmet<'a> {
        let mut paths = Vec::new();
        expr.0.fields(&mut paths);
        Unmet { paths }
    }

    /// Takes notice of a payload.
    pub(crate) fn note(&mut self, payload: &Value) {
        let leads = |path: &Path| matches!(path, Path::Body(steps) if path::leads_somewhere(steps, payload));
        self.paths.retain(|path| !leads(path));
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.paths.iter().map(|path| render::safe(&path.to_string())).collect()
    }
}

impl StateExpr {
    /// Whether it holds for a state at a moment.
    #[must_use]
    pub fn holds(&self, seq: u64, time: Timestamp, state: &Value) -> bool {
        let about = |name: &str| match name {
            "seq" => seq.into(),
            "time" => time.to_string().into(),
            _ => Value::Null,
        };
        self.0.holds(state, &about)
    }
}

impl Node {
    /// Every path into the body, each once.
    fn fields<'a>(&'a self, found: &mut Vec<&'a Path>) {
        match self {
            Node::Any(nodes) | Node::All(nodes) => nodes.iter().for_each(|node| node.fields(found)),
            Node::Not(node) => node.fields(found),
            Node::Test(path @ Path::Body(_), _) if !found.contains(&path) => found.push(path),
            Node::Test(..) => {}
        }
    }

    fn holds(&self, body: &Value, about: &dyn Fn(&str) -> Value) -> bool {
        match self {
            Node::Any(nodes) => nodes.iter().any(|node| node.holds(body, about)),
            Node::All(nodes) => nodes.iter().all(|node| node.holds(body, about)),
            Node::Not(node) => !node.holds(body, about),
            Node::Test(Path::About(name), test) => test.holds(&about(name)),
            Node::Test(Path::Body(steps), test) => path::any(steps, body, &mut |value| test.holds(value)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Test::IsSet => !matches!(value, Value::Null | Value::Bool(false)),
            Test::Equals(wanted) => equal(value, wanted),
            Test::Differs(wanted) => !equal(value, wanted),
            Test::Ordered(wanted_order, or_equal, wanted) => {
                let order = compare(value, wanted);
                order == Some(*wanted_order) || *or_equal && order == Some(Ordering::Equal)
            }
            Test::Matches(pattern) => match value {
                Value::String(text) => pattern.is_in(text),
                Value::Bool(_) | Value::Number(_) => pattern.is_in(&value.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => false,
            },
            Test::Contains(wanted) => match (value, wanted) {
                (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                (Value::Array(items), wanted) => items.iter().any(|item| equal(item, wanted)),
                (Value::Object(fields), Value::String(name)) => fields.contains_key(name),
                _ => false,
            },
        }
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    one == other || compare(one, other) == Some(Ordering::Equal)
}

/// The order of two values, if they have one.
fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let whole = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
            };
            match (whole(one), whole(other)) {
                (Some(one), Some(other)) => Some(one.cmp(&other)),
                _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
            }
        }
        (Value::String(one), Value::String(other)) => {
            let moment = |text: &str| text.parse::<Timestamp>().ok();
            // Both or none: a name is not a moment because another text is.
            match is_like_a_moment(other).then(|| (moment(one), moment(other))) {
                Some((Some(one), Some(other))) => Some(one.cmp(&other)),
                _ => Some(one.cmp(other)),
            }
        }
        _ => None,
    }
}

/// Spares most texts the try to read them as moments.
fn is_like_a_moment(text: &str) -> bool {
    text.len() >= 10 && text.as_bytes().first().is_some_and(u8::is_ascii_digit) && text.contains('T')
}

/// The text, with a mark below the place.
fn pointed(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text).chars().count();
    format!("{}\n{}^", render::safe(text), " ".repeat(before))
}

#[cfg(test)]
mod tests;
