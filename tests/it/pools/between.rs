//! The service is killed between what a pool has decided and what follows from it outside: the next start finishes it, once.

use std::fs;
use std::path::Path;

use purser_tests::bounded;
use purser_tests::feed::{Feed, FeedEvent};
use serde_json::Value;

use super::stage::{POOL, Shape, Stage, waits};

/// How often the service is killed at the same place: how far what follows has come by then is another each time.
const ROUNDS: u32 = 4;

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };

/// Kills the service as soon as it tells of such an event, and starts it again.
#[track_caller]
fn kill_at(stage: &mut Stage, mut feed: Feed, kind: &str) -> FeedEvent {
    let event = feed.until(|event| event.kind == kind);
    stage.purserd.kill9();
    drop(feed);
    stage.purserd.restart();
    event
}

/// Everything that is on record, of some type.
fn records(stage: &Stage, kind: &str) -> Vec<Value> {
    let path = format!("/v1/events?from=0&type={kind}");
    let text = purser_tests::http::text(&stage.purserd.socket(), &path).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok())
        .collect()
}

fn pods(stage: &Stage) -> Vec<String> {
    let pods = stage.ask("GET", "/v1/pods", "");
    let items = pods["items"].as_array().cloned().unwrap_or_else(|| panic!("{pods}"));
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
    items.iter().filter_map(name).collect()
}

fn members_of_host(data: &Path) -> usize {
    fs::read_dir(data.join("agents/members")).map_or(0, Iterator::count)
}

#[test]
fn a_pod_that_was_wanted_when_the_service_was_killed_is_made_once() {
    let mut stage = Stage::with(&Shape { min: 0, ..SHAPE });
    for round in 1..=ROUNDS {
        let feed = Feed::live(&stage.purserd);
        stage.set_pool(&Shape { min: 1, ..SHAPE });
        kill_at(&mut stage, feed, "pool.member-requested");
        bounded::until("the agent is there", || stage.members("connected").len() == 1);
        assert_eq!(pods(&stage), [format!("{POOL}-{round}")], "{}", stage.purserd.log());
        assert_eq!(members_of_host(&stage.purserd.data_dir()), 1);
        assert_eq!(records(&stage, "pool.member-requested").len(), usize::try_from(round).unwrap());
        stage.set_pool(&Shape { min: 0, ..SHAPE });
        bounded::until("it is gone again", || pods(&stage).is_empty());
    }
}

#[test]
fn a_pod_that_was_let_go_when_the_service_was_killed_goes_and_nothing_of_it_is_left() {
    let mut stage = Stage::with(&Shape { min: 0, ..SHAPE });
    for _ in 0..ROUNDS {
        stage.set_pool(&Shape { min: 1, ..SHAPE });
        bounded::until("the agent is there", || stage.members("connected").len() == 1);
        let feed = Feed::live(&stage.purserd);
        stage.set_pool(&Shape { min: 0, ..SHAPE });
        kill_at(&mut stage, feed, "pool.member-removal-requested");
        let is_empty = || stage.pool()["status"]["members"].as_array().is_none_or(Vec::is_empty);
        bounded::until("it is gone", || is_empty() && pods(&stage).is_empty());
        assert_eq!(members_of_host(&stage.purserd.data_dir()), 0);
    }
    let removed = records(&stage, "pool.member-removed").len();
    assert_eq!(removed, usize::try_from(ROUNDS).unwrap(), "each is gone once");
}

#[test]
fn what_was_confirmed_when_the_service_was_killed_is_applied_once() {
    let mut stage = Stage::with(&SHAPE);
    for round in 0..ROUNDS {
        let apply = format!("echo run >> $GROUND/applies-{round}; {}", waits("applying", "gate", 0));
        let task = stage.submit_plan_and_apply("exit 2", &apply);
        stage.await_state(&task, "apply_pending");
        let feed = Feed::live(&stage.purserd);
        stage.ask("POST", &format!("/v1/tasks/{task}/confirm"), "");
        kill_at(&mut stage, feed, "pool.task-confirmed");
        stage.open("gate");
        let applied = stage.await_state(&task, "applied");
        assert_eq!(applied["attempts"], 1, "{applied}");
        let runs = fs::read_to_string(stage.ground(&format!("applies-{round}"))).unwrap();
        assert_eq!(runs.lines().count(), 1, "{applied}");
    }
}
