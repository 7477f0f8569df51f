//! `purser wait`: driven by the event feed.

use std::time::Duration;

use purser_events::PodId;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::get::status_word;
use crate::api::view::PodView;
use crate::cli::arguments::{Goal, Wait};
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, Wanted};
use crate::cli::name;
use crate::cli::show::line;

/// Wait before a feed that broke off is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Longest time that is spent on finding out how the pod stands, after the time is up.
const LAST_LOOK_MAX: Duration = Duration::from_secs(2);

/// How a pod stands of which nothing can be learned.
const UNKNOWN: &str = "in a state that purserd does not tell now";

/// Waits until a pod is as wanted.
pub(in crate::cli) async fn run(client: &Client, namespace: Option<&str>, wait: Wait) -> Result<u8, Failure> {
    let id = name::parse(&wait.name, namespace)?;
    until(client, &id, &wait.goal, Instant::now() + wait.timeout).await?;
    line(&format!("pod/{} {}", id.name(), met(&wait.goal)))?;
    Ok(0)
}

fn met(goal: &Goal) -> String {
    match goal {
        Goal::Condition(condition) => format!("has condition {condition}"),
        Goal::Phase(phase) => format!("is {phase}"),
        Goal::Delete => "is gone".to_owned(),
        Goal::Ended => "has stopped".to_owned(),
        Goal::Resized => "is resized".to_owned(),
    }
}

/// Returns once the goal is met. A service that is started again meanwhile is waited for.
pub(in crate::cli) async fn until(
    client: &Client,
    id: &PodId,
    goal: &Goal,
    deadline: Instant,
) -> Result<(), Failure> {
    let mut reached = false;
    let watched = timeout_at(deadline, async {
        loop {
            match watch(client, id, goal, &mut reached).await {
                Err(failure) if reached && failure.is_passing() => sleep(REOPEN_PAUSE).await,
                Ok(false) => sleep(REOPEN_PAUSE).await,
                Ok(true) => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    });
    let Ok(ended) = watched.await else {
        let stands =
            timeout(LAST_LOOK_MAX, standing(client, id)).await.unwrap_or_else(|_| UNKNOWN.to_owned());
        return Err(Failure::TimedOut(format!(
            "timed out: pod `{id}` is {stands}; wanted: that it {}",
            met(goal)
        )));
    };
    ended
}

/// How a pod stands, for somebody who expected something else.
async fn standing(client: &Client, id: &PodId) -> String {
    let read: Result<PodView, Failure> = client.read(&Call::get(name::path(id, ""))).await;
    let Ok(pod) = read else { return UNKNOWN.to_owned() };
    let mut text = pod.status.phase.clone();
    let word = status_word(&pod);
    if word != text {
        text.push_str(&format!(" ({word})"));
    }
    let lacking = pod.status.conditions.iter().filter(|condition| condition.status != "True");
    let lacking: Vec<&str> = lacking.map(|condition| &*condition.kind).collect();
    if !lacking.is_empty() {
        text.push_str(&format!(", not {}", lacking.join(", not ")));
    }
    text
}

/// Follows a pod until the goal is met; false if the feed ended before.
async fn watch(client: &Client, id: &PodId, goal: &Goal, reached: &mut bool) -> Result<bool, Failure> {
    let wanted = Wanted { pod: Some(id.to_string()), follow: true, ..Wanted::default() };
    // Opened first: what happens between the look and the feed would be missed the other way round.
    let mut feed = Feed::open(client, &wanted).await?;
    *reached = true;
    loop {
        if is_met(client, id, goal).await? {
            return Ok(true);
        }
        if feed.next().await?.is_none() {
            return Ok(false);
        }
    }
}

async fn is_met(client: &Client, id: &PodId, goal: &Goal) -> Result<bool, Failure> {
    let pod: PodView = match client.read(&Call::get(name::path(id, ""))).await {
        Err(Failure::Refused(problem)) if &*problem.code == "pod-not-found" && *goal == Goal::Delete => {
            return Ok(true);
        }
        answer => answer?,
    };
    Ok(match goal {
        Goal::Condition(kind) => pod
            .status
            .conditions
            .iter()
            .any(|condition| condition.kind == *kind && condition.status == "True"),
        Goal::Phase(phase) => pod.status.phase == *phase,
        Goal::Delete => false,
        Goal::Ended => matches!(&*pod.status.phase, "Stopped" | "Failed"),
        Goal::Resized => pod.status.purser.resize.is_none_or(|resize| resize.state != "InProgress"),
    })
}
