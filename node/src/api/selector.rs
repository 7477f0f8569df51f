//! Label selectors as kubectl takes them: equality and presence.

use std::collections::BTreeMap;

/// Most terms of one selector.
const TERMS_MAX: usize = 32;

/// What the labels of a pod must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Present(String),
    Absent(String),
}

impl Selector {
    /// Reads `key=value`, `key!=value`, `key` and `!key`, separated by commas; an empty text selects all.
    ///
    /// # Errors
    /// Says which term cannot be read.
    pub fn parse(text: &str) -> Result<Selector, String> {
        let terms: Vec<Term> = text
            .split(',')
            .map(str::trim)
            .filter(|term| !term.is_empty())
            .map(parse_term)
            .collect::<Result<_, _>>()?;
        if terms.len() > TERMS_MAX {
            return Err(format!("has {} terms, at most {TERMS_MAX} are taken", terms.len()));
        }
        Ok(Selector { terms })
    }

    /// Whether labels are as selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Present(key) => labels.contains_key(key),
            Term::Absent(key) => !labels.contains_key(key),
        })
    }
}

fn parse_term(term: &str) -> Result<Term, String> {
    let pair = |make: fn(String, String) -> Term, (key, value): (&str, &str)| {
        Ok(make(checked_key(term, key)?, value.trim().to_owned()))
    };
    if let Some(parts) = term.split_once("!=") {
        return pair(Term::IsNot, parts);
    }
    if let Some(parts) = term.split_once("==").or_else(|| term.split_once('=')) {
        return pair(Term::Is, parts);
    }
    match term.strip_prefix('!') {
        Some(key) => checked_key(term, key).map(Term::Absent),
        None => checked_key(term, term).map(Term::Present),
    }
}

fn checked_key(term: &str, key: &str) -> Result<String, String> {
    let key = key.trim();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if key.is_empty() || !key.bytes().all(fine) {
        return Err(format!("`{term}` is not `key=value`, `key!=value`, `key` or `!key`"));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_select_as_in_kubectl() {
        let labels =
            BTreeMap::from([("app".to_owned(), "web".to_owned()), ("tier".to_owned(), String::new())]);
        let cases = [
            ("", true),
            ("app=web", true),
            ("app == web, tier", true),
            ("app!=web", false),
            ("other!=x", true),
            ("!app", false),
            ("!other,tier=", true),
        ];
        for (text, expected) in cases {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn malformed_terms_are_named() {
        for text in ["=a", "app in (a)", "!"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
