//! The words that a condition is made of, each with its place.

use super::read::ExprError;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name, a key word or `*`.
    Name(String),
    /// A text in quotes.
    Text(String),
    /// A number.
    Number(serde_json::Number),
    /// An operator, a bracket or a dot.
    Sign(&'static str),
}

/// Longer signs before those that they begin with.
const SIGNS: [&str; 16] =
    ["!=", "!~", "==", "<=", ">=", "&&", "||", "=", "<", ">", "~", "(", ")", "[", "]", "."];

/// The words of a text, each with the byte at which it begins.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Token)>, ExprError> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (len, token) = match first {
            '"' | '\'' => quoted(text, at, rest, first)?,
            '*' => (1, Token::Name("*".to_owned())),
            _ if is_number(rest, words.last().map(|(_, token)| token)) => number(text, at, rest)?,
            _ if is_of_name(first) || first == '@' => name(rest),
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| ExprError::new(text, at, "a path, a value or an operator"))?;
                (sign.len(), Token::Sign(sign))
            }
        };
        words.push((at, token));
        at += len;
    }
    Ok(words)
}

fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-')
}

/// Whether a number begins here, and not a name behind a dot.
fn is_number(rest: &str, before: Option<&Token>) -> bool {
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    !matches!(before, Some(Token::Sign("."))) && digits.starts_with(|char: char| char.is_ascii_digit())
}

fn number(text: &str, at: usize, rest: &str) -> Result<(usize, Token), ExprError> {
    let is_of_number = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '+' | '.' | '_');
    let len = rest.find(|char| !is_of_number(char)).unwrap_or(rest.len());
    let number = rest.get(..len).and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| {
        ExprError::new(text, at, "a number; a name that begins with a digit goes in quotes")
    })?;
    Ok((len, Token::Number(number)))
}

fn name(rest: &str) -> (usize, Token) {
    let len = rest.char_indices().find(|(at, char)| !(is_of_name(*char) || *at == 0 && *char == '@'));
    let len = len.map_or(rest.len(), |(at, _)| at);
    (len, Token::Name(rest.get(..len).unwrap_or_default().to_owned()))
}

fn quoted(text: &str, at: usize, rest: &str, quote: char) -> Result<(usize, Token), ExprError> {
    let mut content = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((place, char)) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some((_, escaped)) if escaped == '\\' || escaped == quote => content.push(escaped),
                // A backslash before anything else is one: regular expressions are full of them.
                Some((_, other)) => content.extend(['\\', other]),
                None => break,
            },
            char if char == quote => return Ok((place + 1, Token::Text(content))),
            char => content.push(char),
        }
    }
    Err(ExprError::new(text, at, "a closing quote for this one"))
}
