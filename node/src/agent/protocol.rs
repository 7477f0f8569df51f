//! What an agent and the service say to each other: the bodies of the agents' routes, and their bounds.
//!
//! The agent's program is made of this and of nothing else of the service, and so can others be: what each message means,
//! and in which order they go, is in `docs/agent-protocol.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of the protocol that is spoken here.
pub const PROTOCOL: u32 = 1;

/// Name of the service's socket in the agent's folder.
pub const SOCKET_FILE: &str = "agent.sock";

/// Name of the file with the member's token in the agent's folder.
pub const TOKEN_FILE: &str = "token";

/// Where the agent's folder is if its environment does not say.
pub const FOLDER: &str = "/run/purser-agent";

/// The variable of the environment that names the agent's folder.
pub const FOLDER_VARIABLE: &str = "PURSER_AGENT_DIR";

/// Most slots of one member, and so the most that an agent has at once.
pub const SLOTS_MAX: usize = 64;

/// Most tasks whose folder an agent may name as kept: those that wait for their apply, and discarded ones that it has not
/// heard of yet.
pub const KEPT_MAX: usize = 512;

/// Longest that a request for orders is held open, in milliseconds.
pub const WAIT_MS_MAX: u64 = 30_000;

/// Longest piece of output in one request, in bytes.
pub const OUTPUT_PIECE_LEN_MAX: usize = 256 << 10;

/// Longest message or summary in a report, in bytes of UTF-8.
pub const MESSAGE_LEN_MAX: usize = 1_024;

/// Largest body of an agent's request but for output, in bytes.
pub const REQUEST_LEN_MAX: usize = 64 << 10;

/// Codes of problems (`application/problem+json`) that an agent acts upon.
pub mod code {
    /// 409: the token is no longer good. What runs under it is to be ended, and nothing more is said of it.
    pub const STALE_TOKEN: &str = "stale-token";
    /// 410: the service does not know the session, as after its own restart. The agent connects with it again.
    pub const SESSION_UNKNOWN: &str = "session-unknown";
    /// 410: another agent has connected for the same member. This one ends what it runs, and itself.
    pub const SESSION_REPLACED: &str = "session-replaced";
    /// 413: the log of this task is as long as it may be. What comes after is not kept.
    pub const OUTPUT_FULL: &str = "output-full";
    /// 422: this protocol's version is not spoken here.
    pub const UNSUPPORTED_PROTOCOL: &str = "unsupported-protocol";
}

/// One assignment of a task. Every assignment draws a new token, which is larger than any before it in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grip {
    /// The task.
    pub task: Uuid,
    /// The assignment.
    pub token: u64,
}

/// An assignment that an agent has: taken, and its end not yet acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Held {
    /// The task.
    pub task: Uuid,
    /// The assignment.
    pub token: u64,
    /// The slot it was given to, from 0.
    pub slot: u8,
}

/// `POST /v1/agent/sessions`: an agent is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connect {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The agent's own id: the same for as long as its state folder is there, also over a restart of the agent.
    pub session: Uuid,
    /// The agent's version, for people. At most 64 bytes.
    pub version: String,
    /// Whether the agent found nothing of an agent before it: what a plan left behind is then gone.
    pub fresh: bool,
    /// What it has. What was begun and is not among them is lost; what was not begun is ordered again.
    #[serde(default)]
    pub has: Vec<Held>,
    /// The tasks whose folder it keeps because a plan waits for its apply.
    #[serde(default)]
    pub keeps: Vec<Uuid>,
}

/// The answer to [`Connect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// The pool.
    pub pool: String,
    /// The member of the pool that the token stands for.
    pub member: u64,
    /// Its slots: so many tasks run at once at most.
    pub slots: u8,
    /// Time between two heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// See [`Beat::drop`].
    #[serde(default)]
    pub drop: Vec<Grip>,
    /// See [`Beat::forget`].
    #[serde(default)]
    pub forget: Vec<Uuid>,
}

/// `POST /v1/agent/sessions/{session}/heartbeat`: the agent is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// What it has.
    #[serde(default)]
    pub has: Vec<Held>,
    /// The tasks whose folder it keeps because a plan waits for its apply.
    #[serde(default)]
    pub keeps: Vec<Uuid>,
    /// Whether it takes nothing new, because it is stopping.
    #[serde(default)]
    pub leaving: bool,
}

/// The answer to [`Heartbeat`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// Of what the agent has: what is no longer its own. It ends what runs under these, and reports nothing of it.
    #[serde(default)]
    pub drop: Vec<Grip>,
    /// Of the tasks whose folder it keeps: those for which no apply will come to this member. A task that was confirmed
    /// and whose apply has not reached the agent yet is not among them.
    #[serde(default)]
    pub forget: Vec<Uuid>,
}

/// The query of `GET /v1/agent/sessions/{session}/orders`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Poll {
    /// How long the answer may be held back for want of news, in milliseconds, up to [`WAIT_MS_MAX`].
    #[serde(default)]
    pub wait_ms: u64,
    /// [`Orders::seen`] of the answer before. 0 has the first answer come at once.
    #[serde(default)]
    pub seen: u64,
}

/// All that an agent is to do at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orders {
    /// Every order that is in force: those that were given before and are not done come again each time.
    pub orders: Vec<Order>,
    /// Counts the changes of the orders in this session, from 1.
    pub seen: u64,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Run this.
    Assign(Assignment),
    /// End this.
    Cancel(Cancel),
    /// Take nothing new: the member is to be removed.
    Drain {},
}

/// A task to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The task.
    pub task: Uuid,
    /// The assignment.
    pub token: u64,
    /// The slot, from 0.
    pub slot: u8,
    /// Which part of the task this is.
    pub phase: Phase,
    /// What kind of task it is.
    pub kind: Kind,
    /// The workspace that it works on, if it does on one.
    #[serde(default)]
    pub workspace: Option<String>,
    /// The program and its arguments; at least the program.
    pub argv: Vec<String>,
    /// Variables of the environment, beside those that the agent sets and passes on.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs: an absolute path, or one below the task's own folder. The task's folder if it is not said.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// How long it may take, in seconds.
    #[serde(default)]
    pub timeout_s: Option<u64>,
    /// How long it has between SIGTERM and SIGKILL when its time is over, in seconds.
    #[serde(default = "default_grace_s")]
    pub grace_s: u64,
    /// How often the task was assigned, with this one, from 1.
    pub attempt: u32,
}

/// [`Assignment::grace_s`] of a service that does not say.
fn default_grace_s() -> u64 {
    10
}

/// A task to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// The task.
    pub task: Uuid,
    /// The assignment.
    pub token: u64,
    /// Why, for the agent's log.
    #[serde(default)]
    pub reason: String,
    /// Time between SIGTERM and SIGKILL, in seconds.
    pub grace_s: u64,
}

/// Which part of a task an assignment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The plan of a task that has an apply after it. Its folder is kept if there are changes.
    Plan,
    /// The apply of a task that was planned here, in the same folder.
    Apply,
    /// The whole of the task.
    Only,
}

/// What kind of task it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Says what would change.
    Plan,
    /// Changes.
    Apply,
    /// Says what would change, and changes it once somebody has confirmed it.
    PlanAndApply,
    /// Says what has changed by itself.
    DriftCheck,
    /// Anything else.
    Work,
}

/// `POST /v1/agent/sessions/{session}/reports`: how far a task is. The same report again is a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// The task.
    pub task: Uuid,
    /// The assignment.
    pub token: u64,
    /// How far it is.
    pub report: Progress,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Progress {
    /// Its program is about to be started. It is not before this is acknowledged.
    Started {},
    /// A plan was made. This ends the assignment.
    Planned {
        /// Whether there is something to apply.
        changes: bool,
        /// What the plan says of itself; empty if it says nothing.
        #[serde(default)]
        summary: String,
    },
    /// Its program has ended, or could not be started. This ends the assignment.
    Finished {
        /// The program's exit code: 0 is a success. None if a signal ended it.
        #[serde(default)]
        exit_code: Option<i32>,
        /// The signal that ended it.
        #[serde(default)]
        signal: Option<i32>,
        /// What the task says of its end, or why it could not be run; empty if there is nothing to say.
        #[serde(default)]
        message: String,
        /// Whether it was ended because its time was over.
        #[serde(default)]
        timed_out: bool,
        /// Whether it was ended because somebody wanted it to.
        #[serde(default)]
        cancelled: bool,
    },
}

/// The query of `POST /v1/agent/sessions/{session}/output/{task}/{token}`, whose body is output as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// Bytes of this assignment's output before the body. What was taken already is skipped; where something is missing,
    /// the log says so and goes on.
    pub offset: u64,
}

/// The answer to output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputTaken {
    /// Bytes of this assignment's output that the service has now.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, json, to_value};

    use super::*;

    #[test]
    fn messages_look_as_they_are_documented() {
        let task = Uuid::from_u128(7);
        let grip = json!({"task": task, "token": 4});
        let report = |report| to_value(Report { task, token: 4, report }).unwrap()["report"].clone();
        assert_eq!(report(Progress::Started {}), json!({"started": {}}));
        let planned = Progress::Planned { changes: true, summary: "1 to add".into() };
        assert_eq!(report(planned), json!({"planned": {"changes": true, "summary": "1 to add"}}));
        let finished: Progress = from_str(r#"{"finished": {"exitCode": 0}}"#).unwrap();
        let all =
            json!({"exitCode": 0, "signal": null, "message": "", "timedOut": false, "cancelled": false});
        assert_eq!(report(finished), json!({ "finished": all }));
        let beat: Beat = serde_json::from_value(json!({ "drop": [grip] })).unwrap();
        assert_eq!(beat, Beat { drop: vec![Grip { task, token: 4 }], forget: vec![] });
        let orders = json!({"seen": 2, "orders": [
            {"assign": {"task": task, "token": 4, "slot": 0, "phase": "only", "kind": "drift_check", "argv": ["true"], "attempt": 1}},
            {"cancel": {"task": task, "token": 4, "graceS": 5}},
            {"drain": {}},
        ]});
        let orders: Orders = serde_json::from_value(orders).unwrap();
        assert!(
            matches!(&orders.orders[0], Order::Assign(it) if it.grace_s == 10 && it.kind == Kind::DriftCheck)
        );
        assert_eq!(orders.orders[2], Order::Drain {});
    }

    #[test]
    fn a_request_with_a_field_that_nobody_knows_is_refused() {
        let connect =
            json!({"protocol": 1, "session": Uuid::nil(), "version": "1", "fresh": true, "more": 1});
        assert!(serde_json::from_value::<Connect>(connect).is_err());
        assert!(from_str::<Progress>(r#"{"finished": {"exit_code": 0}}"#).is_err());
        assert!(from_str::<Progress>(r#"{"started": {"at": 0}}"#).is_err());
    }
}
