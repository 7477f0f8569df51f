//! Several nodes: their records in one row, and what is known of their clocks.

use purser_replay::Exit;
use serde_json::{Value, json};

use crate::answers::Lived;
use crate::support::{Told, tool};

/// Runs a verb on several lives.
pub(crate) fn tool_of(lives: &[(&str, &Lived)], args: &[&str]) -> Told {
    let nodes: Vec<String> =
        lives.iter().map(|(name, lived)| format!("--node={name}={}", lived.path("journal"))).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    tool(&[&nodes[..], args].concat())
}

fn rows(told: &Told) -> Vec<Value> {
    assert!(told.exit == Exit::Ok || told.exit == Exit::NothingMatched, "{}", told.notes);
    told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn records_are_merged_by_time_and_each_node_keeps_its_order() {
    for seed in 0..4 {
        let (a, b) = (Lived::new(seed, 40), Lived::new(seed + 100, 50));
        let mut wanted: Vec<(i64, usize, u64)> = Vec::new();
        for (number, lived) in [&a, &b].into_iter().enumerate() {
            let mut at = i64::MIN;
            for record in lived.records() {
                at = at.max(record.header.time.0);
                wanted.push((at, number, record.header.seq.0));
            }
        }
        wanted.sort_unstable();
        let told = tool_of(&[("a", &a), ("b", &b)], &["log", "-o", "jsonl"]);
        let found: Vec<(usize, u64)> = rows(&told)
            .iter()
            .map(|row| (usize::from(row["node"] == "b"), row["header"]["seq"].as_u64().unwrap()))
            .collect();
        let wanted: Vec<(usize, u64)> = wanted.into_iter().map(|(_, node, seq)| (node, seq)).collect();
        assert_eq!(found, wanted, "seed {seed}");
        assert_eq!(told.notes, "clocks of a and b: nothing in the journals compares them\n");
        let last = tool_of(&[("a", &a), ("b", &b)], &["log", "-o", "jsonl", "-n", "5", "-r"]);
        let last: Vec<u64> = rows(&last).iter().map(|row| row["header"]["seq"].as_u64().unwrap()).collect();
        let tail: Vec<u64> = wanted.iter().rev().take(5).map(|(_, seq)| *seq).collect();
        assert_eq!(last, tail, "seed {seed}");
        let stats = tool_of(&[("a", &a), ("b", &b)], &["stats", "-o", "json"]);
        let stats: Value = serde_json::from_str(&stats.out).unwrap();
        let count = |lived: &Lived| json!(lived.steps.len());
        assert_eq!(stats["nodes"]["a"]["all"]["records"], count(&a));
        assert_eq!(stats["nodes"]["b"]["all"]["records"], count(&b));
        assert_eq!(stats["all"]["all"]["records"], json!(a.steps.len() + b.steps.len()));
    }
}

#[test]
fn clocks_are_compared_by_requests_that_both_nodes_have() {
    let (a, b) = (Lived::new(3, 60), Lived::later(3, 60, 2_500_000));
    let told = tool_of(&[("east", &a), ("west", &b)], &["timeline", "red/web-0"]);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    let requests =
        a.steps.iter().filter(|step| matches!(step.origin.cause, purser_events::Cause::Command(_)));
    let requests: std::collections::BTreeSet<_> = requests.map(|step| step.origin.correlation).collect();
    let wanted = format!(
        "clocks of east and west: west recorded {} requests that both had +2.500s to +2.500s after east\n",
        requests.len()
    );
    assert_eq!(told.notes, wanted);
    assert!(told.out.contains(" red/web-0 on east from ") && told.out.contains(" red/web-0 on west from "));
    let alone = a.tool(&["timeline", "red/web-0"]);
    let of_east = told.out.lines().filter(|line| line.contains("pod.admitted")).count();
    assert_eq!(of_east, 2 * alone.out.lines().filter(|line| line.contains("pod.admitted")).count());
}

#[test]
fn what_is_about_one_node_says_so() {
    let a = Lived::new(3, 10);
    for args in [&["state"][..], &["log", "--graph"], &["log", "--show-cursor"], &["verify"]] {
        let told = tool_of(&[("a", &a), ("b", &a)], args);
        assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{args:?}: {}", told.notes);
        assert!(told.notes.contains("about one node"), "{args:?}: {}", told.notes);
    }
    let twice = tool_of(&[("a", &a), ("a", &a)], &["log"]);
    assert_eq!(twice.exit, Exit::Usage);
    assert!(twice.notes.contains("two nodes are called `a`"), "{}", twice.notes);
    assert_eq!(tool(&["log", "--node", "a"]).exit, Exit::Usage);
    assert_eq!(tool(&["log", "--node", "a=/nonexistent"]).exit, Exit::Io);
}
