//! What is wrong with a task that is to be submitted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::spec::{Reference, ReferenceKind, TaskPolicy};
use super::task::{SecretVar, TaskKind, TaskSpec};

/// A field of a task that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{field}: {reason}")]
pub struct TaskError {
    /// Which field.
    pub field: String,
    /// What is wrong with it, and what it must be.
    pub reason: String,
}

/// Most bytes of arguments and environment together.
const TEXT_LEN_MAX: usize = 32 * 1_024;
/// Most variables from secrets.
const SECRETS_MAX: usize = 64;
/// Most bytes of such a variable's name, and of a secret's file's.
const NAME_LEN_MAX: usize = 253;
/// Most labels.
const LABELS_MAX: usize = 64;
/// Most bytes of labels together.
const LABELS_LEN_MAX: usize = 4 * 1_024;

fn wrong(field: &str, reason: impl Into<String>) -> Result<(), TaskError> {
    Err(TaskError { field: field.to_owned(), reason: reason.into() })
}

/// Whether a path leads out of the folder that it is in.
fn climbs(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

impl TaskSpec {
    /// Checks that it can be done at all.
    ///
    /// # Errors
    /// Names the first field that cannot be.
    pub fn check(&self) -> Result<(), TaskError> {
        if self.argv.first().is_none_or(String::is_empty) {
            return wrong("argv", "must name a program");
        }
        let is_two = self.kind == TaskKind::PlanAndApply;
        match (is_two, self.apply_argv.first()) {
            (true, None) => return wrong("applyArgv", "a plan with an apply must say how it is applied"),
            (true, Some(program)) if program.is_empty() => {
                return wrong("applyArgv", "must name a program");
            }
            (false, Some(_)) => {
                return wrong("applyArgv", format!("a task of kind {} has no second phase", self.kind));
            }
            (true, Some(_)) | (false, None) => {}
        }
        self.check_texts()?;
        if let Some(folder) = &self.working_dir
            && (folder.is_empty() || 4_096 < folder.len() || folder.contains('\0') || climbs(folder))
        {
            return wrong("workingDir", "must be a path of at most 4,096 bytes without `..`");
        }
        if let Some(timeout_s) = self.timeout_s
            && !(1..=TaskPolicy::TIMEOUT_S_MAX).contains(&timeout_s)
        {
            let most = TaskPolicy::TIMEOUT_S_MAX;
            return wrong("timeoutS", format!("must be from 1 to {most}, is {timeout_s}"));
        }
        Ok(())
    }

    /// Checks that its secrets are among those that its pool names.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check_secrets(&self, references: &[Reference]) -> Result<(), TaskError> {
        let is_named = |secret: &SecretVar| {
            let is_it = |it: &Reference| it.kind == ReferenceKind::Secret && it.name == secret.secret;
            references.iter().any(is_it)
        };
        match self.secrets.iter().find(|secret| !is_named(secret)) {
            None => Ok(()),
            Some(secret) => {
                let (name, of) = (&secret.name, &secret.secret);
                wrong(
                    "secrets",
                    format!("`{name}` is of secret `{of}`, which the pool's `secretRefs` do not name"),
                )
            }
        }
    }

    fn check_texts(&self) -> Result<(), TaskError> {
        let mut words = self.argv.iter().chain(&self.apply_argv);
        if words.any(|word| word.contains('\0')) {
            return wrong("argv", "must have no NUL characters");
        }
        for variable in &self.env {
            let name = &variable.name;
            if name.is_empty() || name.contains(['=', '\0']) || variable.value.contains('\0') {
                return wrong("env", "a name must have at least one character, no `=`, and nothing a NUL");
            }
        }
        if SECRETS_MAX < self.secrets.len() {
            return wrong("secrets", format!("must be at most {SECRETS_MAX}"));
        }
        let mut names: BTreeSet<&str> = self.env.iter().map(|variable| variable.name.as_str()).collect();
        for SecretVar { name, key, .. } in &self.secrets {
            if name.is_empty() || name.contains(['=', '\0']) || NAME_LEN_MAX < name.len() {
                return wrong(
                    "secrets",
                    format!("a name must have 1 to {NAME_LEN_MAX} bytes, no `=` and no NUL"),
                );
            }
            if !names.insert(name) {
                return wrong("secrets", format!("there is a variable `{name}` already"));
            }
            let is_file = |key: &String| {
                let is_plain = !key.contains('/') && !key.chars().any(char::is_control);
                is_plain && !key.is_empty() && key.len() <= NAME_LEN_MAX && !key.starts_with('.')
            };
            if key.as_ref().is_some_and(|key| !is_file(key)) {
                return wrong("secrets", "a key must be the name of a file, and not begin with a dot");
            }
        }
        let words = self.argv.iter().chain(&self.apply_argv).map(|word| word.len() + 1);
        let variables = self.env.iter().map(|variable| variable.name.len() + variable.value.len() + 2);
        let len: usize = words.chain(variables).sum();
        if TEXT_LEN_MAX < len {
            let most = TEXT_LEN_MAX;
            return wrong("argv", format!("with the environment must have at most {most} bytes, has {len}"));
        }
        let len: usize = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let odd = self.labels.iter().any(|(key, value)| {
            key.is_empty() || key.chars().any(char::is_control) || value.chars().any(char::is_control)
        });
        if LABELS_MAX < self.labels.len() || LABELS_LEN_MAX < len || odd {
            let most = format!("at most {LABELS_MAX} of {LABELS_LEN_MAX} bytes together");
            return wrong("labels", format!("must be {most}, without control characters"));
        }
        Ok(())
    }
}
