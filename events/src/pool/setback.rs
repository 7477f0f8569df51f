//! Pods that do not come up, and what follows. Payloads are on disk for ever, see [`super::event`].

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// How often in a row members did not come up, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setback {
    /// How often in a row, from 1.
    pub failures: u32,
    /// When the next is tried; none if that waits for an operator.
    pub retry_at: Option<Timestamp>,
}

/// `pool.member-request-failed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRequestFailed {
    /// Which.
    pub member: u64,
    /// Why, at most 1,024 bytes.
    pub reason: String,
    /// What follows.
    pub setback: Setback,
    /// When.
    pub at: Timestamp,
}

/// `pool.member-no-room` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberNoRoom {
    /// Which.
    pub member: u64,
    /// What there was too little of, at most 1,024 bytes.
    pub reason: String,
    /// How often in a row there was no room, from 1.
    pub times: u32,
    /// When the next is tried.
    pub retry_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// `pool.setbacks-over` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetbacksOver {
    /// The member that has shown it.
    pub member: u64,
    /// When.
    pub at: Timestamp,
}
