//! From a text to a condition.

use std::cmp::Ordering;

use serde_json::Value;

use super::path::{Path, Step};
use super::token::{Token, words};
use super::{Node, Test};
use crate::pattern::Pattern;

/// Longest condition, in bytes.
const LEN_MAX: usize = 4_096;

/// Most brackets and negations within each other.
const DEPTH_MAX: usize = 32;

/// Why a condition cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {}: expected {expected}\n{}", text.get(..*at).map_or(0, |text| text.chars().count()) + 1, super::pointed(text, *at))]
pub struct ExprError {
    text: String,
    at: usize,
    expected: String,
}

impl ExprError {
    pub(super) fn new(text: &str, at: usize, expected: impl Into<String>) -> ExprError {
        ExprError { text: text.to_owned(), at, expected: expected.into() }
    }
}

pub(super) fn read(text: &str, about: &[&str]) -> Result<Node, ExprError> {
    if text.len() > LEN_MAX {
        return Err(ExprError::new("", 0, format!("a condition of at most {LEN_MAX} bytes")));
    }
    let mut reader = Reader { text, about, words: words(text)?, next: 0, depth: 0 };
    let node = reader.any()?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.expected("`and`, `or` or the end")),
    }
}

struct Reader<'a> {
    text: &'a str,
    about: &'a [&'a str],
    words: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.words.get(self.next).map(|(_, token)| token)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next += 1;
        token
    }

    /// Takes the next word if it is one of these.
    fn takes(&mut self, wanted: &[&str]) -> bool {
        let found = match self.peek() {
            Some(Token::Name(name)) => wanted.contains(&name.as_str()),
            Some(Token::Sign(sign)) => wanted.contains(sign),
            Some(Token::Text(_) | Token::Number(_)) | None => false,
        };
        self.next += usize::from(found);
        found
    }

    fn expected(&self, what: impl Into<String>) -> ExprError {
        let at = self.words.get(self.next).map_or(self.text.len(), |(at, _)| *at);
        ExprError::new(self.text, at, what)
    }

    fn any(&mut self) -> Result<Node, ExprError> {
        let mut nodes = vec![self.all()?];
        while self.takes(&["or", "||"]) {
            nodes.push(self.all()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn all(&mut self) -> Result<Node, ExprError> {
        let mut nodes = vec![self.one()?];
        while self.takes(&["and", "&&"]) {
            nodes.push(self.one()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn one(&mut self) -> Result<Node, ExprError> {
        if self.depth == DEPTH_MAX {
            return Err(
                self.expected(format!("at most {DEPTH_MAX} brackets and negations within each other"))
            );
        }
        self.depth += 1;
        let node = if self.takes(&["not"]) {
            Node::Not(Box::new(self.one()?))
        } else if self.takes(&["("]) {
            let node = self.any()?;
            if !self.takes(&[")"]) {
                return Err(self.expected("`)`, `and` or `or`"));
            }
            node
        } else {
            let path = self.path()?;
            let (test, negated) = self.test()?;
            let node = Node::Test(path, test);
            if negated { Node::Not(Box::new(node)) } else { node }
        };
        self.depth -= 1;
        Ok(node)
    }

    fn path(&mut self) -> Result<Path, ExprError> {
        let mut steps = Vec::new();
        match self.peek() {
            Some(Token::Name(name)) if name.starts_with('@') => {
                let name = name.trim_start_matches('@').to_owned();
                if !self.about.contains(&name.as_str()) {
                    return Err(self.expected(format!("one of @{}", self.about.join(", @"))));
                }
                self.next += 1;
                return Ok(Path::About(name));
            }
            Some(Token::Name(name)) if !is_key_word(name) => steps.push(self.step()?),
            Some(Token::Text(_)) => steps.push(self.step()?),
            _ => return Err(self.expected("a path, as in exit.code or @type")),
        }
        loop {
            if self.takes(&["."]) {
                steps.push(self.step()?);
            } else if self.takes(&["["]) {
                steps.push(self.item()?);
            } else {
                return Ok(Path::Body(steps));
            }
        }
    }

    /// A field's name, or every field.
    fn step(&mut self) -> Result<Step, ExprError> {
        let step = match self.peek() {
            Some(Token::Name(name)) if name == "*" => Step::Each,
            Some(Token::Name(name)) if !name.starts_with('@') => Step::Field(name.clone()),
            Some(Token::Text(name)) => Step::Field(name.clone()),
            _ => return Err(self.expected("a field's name or *")),
        };
        self.next += 1;
        Ok(step)
    }

    /// What stands in square brackets.
    fn item(&mut self) -> Result<Step, ExprError> {
        let wanted = "an item's number from 0, or *";
        let step = match self.peek() {
            Some(Token::Name(name)) if name == "*" => Step::Each,
            Some(Token::Number(number)) => {
                let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
                Step::Item(number.ok_or_else(|| self.expected(wanted))?)
            }
            _ => return Err(self.expected(wanted)),
        };
        self.next += 1;
        if self.takes(&["]"]) { Ok(step) } else { Err(self.expected("`]`")) }
    }

    /// What is asked of the value, and whether it must not be so.
    fn test(&mut self) -> Result<(Test, bool), ExprError> {
        let ordered = |order, or_equal| move |value| Test::Ordered(order, or_equal, value);
        if self.takes(&["=", "=="]) {
            return Ok((Test::Equals(self.value()?), false));
        }
        if self.takes(&["!="]) {
            return Ok((Test::Differs(self.value()?), false));
        }
        let orders = [
            ("<=", Ordering::Less, true),
            (">=", Ordering::Greater, true),
            ("<", Ordering::Less, false),
            (">", Ordering::Greater, false),
        ];
        for (sign, order, or_equal) in orders {
            if self.takes(&[sign]) {
                return Ok((ordered(order, or_equal)(self.value()?), false));
            }
        }
        if self.takes(&["contains"]) {
            return Ok((Test::Contains(self.value()?), false));
        }
        let negated = self.takes(&["!~"]);
        if negated || self.takes(&["~"]) {
            return Ok((Test::Matches(self.pattern()?), negated));
        }
        match self.peek() {
            None | Some(Token::Sign(")" | "&&" | "||")) => Ok((Test::IsSet, false)),
            Some(Token::Name(name)) if is_key_word(name) => Ok((Test::IsSet, false)),
            Some(_) => Err(self.expected("=, !=, <, <=, >, >=, ~, !~, contains, `and`, `or` or the end")),
        }
    }

    fn value(&mut self) -> Result<Value, ExprError> {
        let value = match self.peek() {
            Some(Token::Text(text)) => Value::String(text.clone()),
            Some(Token::Number(number)) => Value::Number(number.clone()),
            Some(Token::Name(name)) => match name.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => return Err(self.expected("a number, true, false, null or a text in quotes")),
            },
            Some(Token::Sign(_)) | None => {
                return Err(self.expected("a number, true, false, null or a text in quotes"));
            }
        };
        self.next += 1;
        Ok(value)
    }

    fn pattern(&mut self) -> Result<Pattern, ExprError> {
        let wrong = self.expected("a regular expression in quotes");
        let Some(Token::Text(text)) = self.take() else { return Err(wrong) };
        text.parse().map_err(|error| ExprError { expected: format!("{}: {error}", wrong.expected), ..wrong })
    }
}

fn is_key_word(name: &str) -> bool {
    matches!(name, "and" | "or" | "not" | "contains" | "true" | "false" | "null")
}
