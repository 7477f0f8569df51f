//! Errors as people read them.

use std::error::Error;

/// An error, its cause, the cause of that, and so on, with a colon between them. A cause that the text before it
/// says already is left out.
#[must_use]
pub fn told(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        let text = text.trim();
        if !told.contains(text) {
            told.push_str(": ");
            told.push_str(text);
        }
        cause = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::told;

    #[derive(Debug, thiserror::Error)]
    #[error("{says}")]
    struct Layer {
        says: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (says, below) = texts.split_first()?;
        Some(Box::new(Layer { says, source: layers(below) }))
    }

    #[test]
    fn causes_follow_what_they_caused() {
        let error = layers(&["failed to open `a`", "disk is full\n", "os error 28"]).unwrap();
        assert_eq!(told(&error), "failed to open `a`: disk is full: os error 28");
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let error = layers(&["failed: no route", "no route", "code 7"]).unwrap();
        assert_eq!(told(&error), "failed: no route: code 7");
    }
}
