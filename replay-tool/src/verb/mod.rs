//! What the tool can do: one file a verb.

pub(crate) mod bisect;
pub(crate) mod blame;
pub(crate) mod completion;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod info;
pub(crate) mod intents;
pub(crate) mod log;
pub(crate) mod proof;
pub(crate) mod schema;
pub(crate) mod show;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod streams;
pub(crate) mod timeline;
pub(crate) mod trace;
pub(crate) mod verify;
pub(crate) mod why;
