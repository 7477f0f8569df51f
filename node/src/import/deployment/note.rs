//! What became of the fields of a Deployment.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::manifest::{self, Defaults, shown_key};

/// What became of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Becomes {
    /// It holds, written otherwise.
    Changed,
    /// It does not hold any more.
    LeftOut,
    /// It has to be seen to: without it the pods would lack something, or the pool is not taken.
    Open,
}

impl Becomes {
    /// Its words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Becomes::Changed => "changed",
            Becomes::LeftOut => "left out",
            Becomes::Open => "to be seen to",
        }
    }
}

/// What became of one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Where it is in the Deployment.
    pub field: String,
    /// What became of it.
    pub becomes: Becomes,
    /// Why, and what to do.
    pub note: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.field.is_empty() { "the pool" } else { &self.field };
        write!(f, "{place}: {}: {}", self.becomes.words(), self.note)
    }
}

/// Notes as they are made.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    pub(super) fn changed(&mut self, field: &str, note: impl Into<String>) {
        self.add(field, Becomes::Changed, note.into());
    }

    pub(super) fn left_out(&mut self, field: &str, note: impl Into<String>) {
        self.add(field, Becomes::LeftOut, note.into());
    }

    pub(super) fn open(&mut self, field: &str, note: impl Into<String>) {
        self.add(field, Becomes::Open, note.into());
    }

    fn add(&mut self, field: &str, becomes: Becomes, note: String) {
        self.0.push(Note { field: field.to_owned(), becomes, note });
    }

    /// Everything that is there of a map is left out for the same reason.
    pub(super) fn left_out_all(&mut self, path: &str, fields: Map<String, Value>, why: &str) {
        for (key, _) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
            self.left_out(&format!("{path}{}", shown_key(&key)), why);
        }
    }

    /// What is left of a Deployment's metadata. What a cluster writes into it itself says nothing about the pods.
    pub(super) fn of_metadata(&mut self, mut fields: Map<String, Value>) {
        for key in ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"]
        {
            fields.remove(key);
        }
        for key in ["labels", "annotations"] {
            let value = fields.remove(key);
            if value.is_some_and(|value| value.as_object().is_some_and(|map| !map.is_empty())) {
                let why = "a pool has none of its own; those of the template stay";
                self.left_out(&format!("metadata.{key}"), why);
            }
        }
        self.left_out_all("metadata.", fields, "a pool has no such field");
    }

    /// What is left of a Deployment's spec.
    pub(super) fn of_spec(&mut self, mut fields: Map<String, Value>) {
        let known = [
            ("selector", "a pool knows its pods"),
            ("revisionHistoryLimit", "the journal has every change of the pool"),
            (
                "progressDeadlineSeconds",
                "failures to make a pod are on record, and the pause between tries grows",
            ),
            ("minReadySeconds", "a pod takes tasks as soon as its agent is connected"),
        ];
        for (key, why) in known {
            if fields.remove(key).is_some_and(|value| !value.is_null()) {
                self.left_out(&format!("spec.{key}"), why);
            }
        }
        if fields.remove("paused").is_some_and(|value| value == Value::Bool(true)) {
            self.open("spec.paused", "the Deployment is paused, and a pool cannot be: remove it");
        }
        self.left_out_all("spec.", fields, "is no field of a Deployment's spec");
    }

    /// The notes, with what the manifest of the pool would be refused for.
    pub(super) fn checked(mut self, manifest: &Value) -> Vec<Note> {
        let Err(error) = manifest::pool_spec(manifest.clone(), &Defaults::default()) else { return self.0 };
        for wrong in error.fields() {
            // That a placeless error is of the whole pool is said where it is shown.
            self.open(&wrong.path, wrong.message.clone());
        }
        self.0
    }
}
