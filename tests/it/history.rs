//! The history of pods: what became of each, also long after it is gone; the same as a plain fold of the whole journal,
//! whatever was killed or lost in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use purser_actors::LiveWorld;
use purser_actors::history::{self, History, HistoryQuery};
use purser_events::pod::PodEvent;
use purser_events::pod::event::{Admitted, CleanupRequested, Terminated, TerminationRequested};
use purser_events::view::Incarnation;
use purser_events::{Cause, Origin, PodUid, Principal, Record, Seq, StreamVersion, Timestamp};
use purser_node::api::history::HistoryItem;
use purser_storage::{Append, Journal, JournalConfig, ProjectionStatus, SEGMENT_BYTES_MIN, StreamWrite};
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::specs::{container, pod};
use purser_tests::{bounded, http, journal};
use serde_json::{Value, json};
use uuid::Uuid;

/// Incarnations that come and go: more than the registry remembers.
const GONE: u64 = 1_200;

const NOW: Timestamp = Timestamp(1_772_368_245_000_000);

fn manifest(name: &str, script: &str) -> String {
    let container = json!({ "name": "main", "command": ["/bin/sh", "-c", script] });
    let spec = json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container],
    });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec }).to_string()
}

fn ask(purserd: &Purserd, query: &str) -> http::Answer {
    http::request(&purserd.socket(), "GET", &format!("/v1/history?{query}"), None, "").unwrap()
}

/// The history as the operator sees it.
fn shown(purserd: &Purserd, args: &[&str]) -> Value {
    let args = ["history", "-o", "json"].into_iter().chain(args.iter().copied());
    serde_json::from_str(&purserd.purser_ok(args)).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// What the records give, folded here and now, the newest first.
fn plainly(records: &[Record]) -> Vec<Incarnation> {
    let mut pods: BTreeMap<PodUid, Incarnation> = BTreeMap::new();
    for record in records {
        let uid = PodUid(record.header.stream.id);
        if let Some(pod) = Incarnation::follow(pods.get(&uid).cloned(), record) {
            pods.insert(uid, pod);
        }
    }
    let mut pods: Vec<Incarnation> = pods.into_values().collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.first));
    pods
}

/// Sees that what is shown is what the whole journal gives.
#[track_caller]
fn assert_whole(purserd: &Purserd) -> Value {
    let list = shown(purserd, &["-A", "--limit", "0"]);
    let items: Vec<HistoryItem> = plainly(&journal::records(purserd)).iter().map(HistoryItem::from).collect();
    assert_eq!(list["items"], serde_json::to_value(items).unwrap());
    list
}

/// A service whose pods `fails`, `web` and `web` again have come and gone, and where `stays` runs.
fn lived() -> Purserd {
    let purserd = Purserd::start(&Setup::default());
    purserd.apply(&manifest("fails", "exit 3"));
    purserd.purser_ok(["wait", "fails", "--for", "phase=Failed"]);
    for _ in 0..2 {
        purserd.apply(&manifest("web", "sleep 600"));
        purserd.purser_ok(["wait", "web", "--for", "condition=Ready"]);
        purserd.purser_ok(["delete", "web", "--wait"]);
    }
    purserd.purser_ok(["delete", "fails", "--wait"]);
    purserd.apply(&manifest("stays", "sleep 600"));
    purserd.purser_ok(["wait", "stays", "--for", "condition=Ready"]);
    purserd
}

#[test]
fn history_shows_what_is_gone_and_goes_on_after_kills() {
    let mut purserd = lived();
    let before = assert_whole(&purserd);
    assert_eq!(names(&before), ["stays", "web", "web", "fails"]);
    let item = |number: usize| &before["items"][number];
    assert_eq!((&item(3)["phase"], &item(3)["result"]), (&json!("Terminated"), &json!("Failed")));
    assert_eq!((&item(3)["exitCode"], &item(3)["exitReason"]), (&json!(3), &json!("Error")));
    assert_eq!(item(3)["containers"][0]["program"], "/bin/sh");
    assert_eq!((&item(1)["result"], &item(0)["phase"]), (&json!("Removed"), &json!("Running")));
    let me = format!("uid:{}", nix::unistd::geteuid());
    assert_eq!((&item(0)["admittedBy"], &item(1)["endedBy"]), (&json!(me), &json!(me)));
    let table = purserd.purser_ok(["history", "fails"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..6], ["fails", "Terminated", "Failed", "3", "Error", "0"], "{table}");

    purserd.kill9();
    purserd.restart();
    assert_eq!(assert_whole(&purserd)["items"], before["items"]);
    purserd.purser_ok(["delete", "stays", "--wait"]);
    purserd.kill9();
    purserd.restart();
    assert_eq!(assert_whole(&purserd)["items"][0]["phase"], "Terminated");
    // The store is lost, and with it the rows.
    assert!(purserd.stop().success());
    std::fs::remove_dir_all(purserd.data_dir().join("journal/sled")).unwrap();
    purserd.restart();
    bounded::until("the history is built again", || ask(&purserd, "limit=1").status == 200);
    assert_whole(&purserd);
}

#[test]
fn history_is_asked_for_by_name_time_and_page() {
    let purserd = lived();
    assert_eq!(names(&shown(&purserd, &["web"])), ["web", "web"]);
    assert_eq!(names(&shown(&purserd, &["-n", "other"])), [""; 0]);
    assert_eq!(names(&shown(&purserd, &["--since", "1h", "--principal", "token:x"])), [""; 0]);
    assert_eq!(names(&shown(&purserd, &["--since", "1h"])).len(), 4);
    assert_eq!(names(&shown(&purserd, &["--until", "2020-01-01T00:00:00Z"])), [""; 0]);
    let ended = shown(&purserd, &["fails"])["items"][0]["endedAt"].as_str().unwrap().to_owned();
    assert_eq!(names(&shown(&purserd, &["--until", &ended])), ["fails"]);
    // Page by page, with what the page before gave.
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let list = shown(
            &purserd,
            &[&["--limit", "1"][..], &["--continue", &token][..usize::from(!token.is_empty()) * 2]].concat(),
        );
        paged.extend(names(&list).into_iter().map(str::to_owned));
        let Some(next) = list["continue"].as_str() else { break };
        next.clone_into(&mut token);
    }
    assert_eq!(paged, ["stays", "web", "web", "fails"]);
    // Read your writes.
    let seq = ask(&purserd, "atLeast=head").body["asOf"].as_u64().unwrap();
    assert!(ask(&purserd, &format!("atLeast={seq}")).body["asOf"].as_u64().unwrap() >= seq);
    for (query, field) in [
        ("limit=0", "`limit`"),
        ("since=x", "`since`"),
        ("atLeast=999999", "`atLeast`"),
        ("continue=x", "`continue`"),
    ] {
        let refused = ask(&purserd, query);
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("malformed-query")));
        assert!(refused.body["detail"].as_str().unwrap().contains(field), "{refused:?}");
    }
    assert_eq!(ask(&purserd, "colour=red").status, 400);
}

#[test]
fn its_rows_are_built_again_on_demand() {
    let mut purserd = lived();
    let before = assert_whole(&purserd);
    let row = |purserd: &Purserd| {
        let list: Value = serde_json::from_str(&purserd.purser_ok(["projections", "-o", "json"])).unwrap();
        list["items"][0].clone()
    };
    assert_eq!((&row(&purserd)["name"], &row(&purserd)["state"]), (&json!("history"), &json!("following")));
    let first = row(&purserd)["answering"]["generation"].as_u64().unwrap();
    let said = purserd.purser_ok(["projections", "rebuild", "history"]);
    assert!(said.starts_with("projection/history is "), "{said}");
    // What answers meanwhile is as good.
    assert_eq!(assert_whole(&purserd)["items"], before["items"]);
    purserd.kill9();
    purserd.restart();
    bounded::until("new rows answer", || row(&purserd)["answering"]["generation"].as_u64() > Some(first));
    assert_eq!(assert_whole(&purserd)["items"], before["items"]);
    let status = purserd.purser_ok(["status"]);
    assert!(status.contains("Projection:      history: following, generation "), "{status}");
    let metrics = http::text(&purserd.socket(), "/metrics").unwrap();
    for line in [
        "purser_projection_state{projection=\"history\",state=\"following\"} 1",
        "purser_projection_state{projection=\"history\",state=\"paused\"} 0",
        "purser_projection_passed_over_records{projection=\"history\"} 0",
    ] {
        assert!(metrics.contains(line), "no `{line}` in {metrics}");
    }
    let unknown = purserd.purser(["projections", "rebuild", "future"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is history"));
}

fn admission(uid: PodUid, name: &str, bulk: &str) -> PodEvent {
    let mut container = container("main", &["run", "secret"]);
    container.args.push(bulk.to_owned());
    Admitted { uid, spec: pod(name, vec![container]), supersedes: None }.into()
}

fn removal() -> Vec<PodEvent> {
    vec![
        TerminationRequested { grace_s: 1 }.into(),
        CleanupRequested {}.into(),
        Terminated { at: NOW }.into(),
    ]
}

async fn append(journal: &Journal, uid: PodUid, version: u64, events: Vec<PodEvent>) {
    let principal = Principal::new(if uid.0.as_u128().is_multiple_of(2) { "uid:0" } else { "token:ci" });
    let origin = Origin { cause: Cause::Node, correlation: Uuid::nil(), principal };
    let events = events.into_iter().map(Into::into).collect();
    let write = StreamWrite { stream: uid.stream(), expected: StreamVersion(version), events };
    journal.append(Append { writes: vec![write], origin, command: None }).await.unwrap();
}

/// A journal with small segments behind the world, so that it can be trimmed.
fn open_small(dir: &Path) -> Journal {
    let config = JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir) };
    let live = LiveWorld::new();
    let (replayed, committed) = (live.clone(), live.clone());
    let commit = move |records: &[Record]| committed.commit(records);
    let replay = move |record| replayed.replay(record);
    Journal::open_with_snapshots(config, || NOW, replay, commit, live).unwrap()
}

#[tokio::test]
async fn a_pod_is_forgotten_with_its_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    // One that is admitted first and goes last is there for as long as any.
    let lasting = PodUid(Uuid::from_u128(1 << 70));
    append(&journal, lasting, 0, vec![admission(lasting, "lasting", "")]).await;
    let mut number = 0;
    while journal.segments().len() < 2 {
        number += 1;
        let uid = PodUid(Uuid::from_u128(number));
        append(&journal, uid, 0, [vec![admission(uid, "short", &"x".repeat(20_000))], removal()].concat())
            .await;
    }
    journal.close().unwrap();
    let journal = open_small(dir.path());
    for segment in journal.segments() {
        journal.compress(segment.first).unwrap();
    }
    journal.project(Arc::new(History)).unwrap();
    let rows = journal.projection(history::NAME).unwrap();
    rows.at_least(journal.head().seq).await.unwrap();
    let all = HistoryQuery { limit: 500, ..HistoryQuery::default() };
    assert_eq!(history::list(&rows, &all).unwrap().items.len() as u128, number + 1);
    assert!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments > 0);
    append(&journal, lasting, 1, vec![TerminationRequested { grace_s: 1 }.into()]).await;
    rows.at_least(journal.head().seq).await.unwrap();
    let (left, first) = (history::list(&rows, &all).unwrap().items, journal.before().seq.next());
    assert!(left.iter().all(|pod| pod.last >= first), "something is left of what was trimmed");
    let last = left.last().unwrap();
    assert_eq!(
        (last.uid, last.first, &last.id.as_ref().unwrap().to_string()[..]),
        (lasting, Seq(1), "default/lasting")
    );
    // Built again, it is known by what is left.
    rows.rebuild().await.unwrap();
    let settled = |status: &ProjectionStatus| status.answering.is_some_and(|it| it.first == first);
    rows.statuses().wait_for(settled).await.unwrap();
    let page = history::list(&rows, &all).unwrap();
    let lasting_now = page.items.iter().find(|pod| pod.uid == lasting).unwrap();
    assert_eq!((page.first, lasting_now.first, &lasting_now.id), (first, journal.head().seq, &None));
    let others =
        |pods: &[Incarnation]| pods.iter().filter(|pod| pod.uid != lasting && pod.first >= first).count();
    assert_eq!(others(&page.items), others(&left));
}

#[tokio::test]
async fn more_are_remembered_than_the_registry_has() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalConfig::new(dir.path()), || NOW, |_| {}, |_| {}).unwrap();
    journal.project(Arc::new(History)).unwrap();
    for number in 0..GONE {
        let uid = PodUid(Uuid::from_u128(u128::from(number) + 1));
        let admitted = admission(uid, &format!("pod-{number}"), "");
        append(&journal, uid, 0, [vec![admitted], removal()].concat()).await;
    }
    // One whose admission nobody has seen.
    append(&journal, PodUid(Uuid::from_u128(1 << 80)), 0, vec![TerminationRequested { grace_s: 1 }.into()])
        .await;
    let rows = journal.projection(history::NAME).unwrap();
    rows.at_least(journal.head().seq).await.unwrap();
    let mut records = Vec::new();
    while (records.len() as u64) < journal.head().seq.0 {
        let read = journal.read(Seq(records.len() as u64 + 1), 1_000).unwrap();
        records.extend(read.iter().map(|stored| stored.record().unwrap()));
    }
    let expected = plainly(&records);
    assert_eq!(expected.len() as u64, GONE + 1);
    assert_eq!((&expected[0].id, &*expected[0].phase), (&None, "Terminating"));
    for limit in [7, 256, 500] {
        let mut query = HistoryQuery { limit, ..HistoryQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = history::list(&rows, &query).unwrap();
            assert!(page.items.len() <= limit && page.as_of == journal.head().seq && page.first == Seq(1));
            found.extend(page.items);
            query.before = page.next;
            if query.before.is_none() {
                break;
            }
        }
        assert!(found == expected, "pages of {limit} are not the whole");
    }
    let principal = Some(Principal::new("token:ci"));
    let query = HistoryQuery { principal, limit: 10_000, ..HistoryQuery::default() };
    assert_eq!(history::list(&rows, &query).unwrap().items.len() as u64, GONE / 2);
    let text = serde_json::to_string(&expected).unwrap();
    assert!(!text.contains("secret"), "arguments are kept");
}
