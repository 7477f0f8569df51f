//! What the tool can do: one file a verb.

pub(crate) mod completion;
pub(crate) mod export;
pub(crate) mod log;
pub(crate) mod proof;
pub(crate) mod show;
pub(crate) mod state;
pub(crate) mod verify;
