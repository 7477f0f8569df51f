//! What conditions mean, and how those that mean nothing are refused.

use serde_json::json;

use super::*;

fn body() -> Value {
    json!({
        "container": "main", "exit": { "code": 137, "reason": "OomKilled", "finishedAt": "2026-03-01T12:00:05.500000Z" },
        "containers": [{ "name": "init", "restarts": 0 }, { "name": "main", "restarts": 3 }],
        "labels": { "app.kubernetes.io/name": "web" }, "ready": false, "image": null, "share": 0.5, "ports": [80, 443],
        "big": u64::MAX, "pods": {},
    })
}

#[track_caller]
fn holds(text: &str) -> bool {
    let expr: StateExpr = text.parse().unwrap_or_else(|error| panic!("{error}"));
    expr.holds(7, Timestamp(0), &body())
}

#[test]
fn what_is_so_holds() {
    for text in [
        "container = 'main'",
        "container == \"main\" and exit.code > 128",
        "exit.code >= 137 and exit.code <= 137 and not exit.code < 137",
        "exit.code = 137.0",
        "share < 1 and share > 0.25",
        "containers[1].restarts = 3",
        "containers[*].name = 'init' and containers.*.restarts > 2",
        "labels.'app.kubernetes.io/name' ~ '^w.b$'",
        "exit.reason !~ 'complete'",
        "exit.finishedAt < '2026-03-01T13:00:05.5+01:00' or exit.finishedAt = '2026-03-01T13:00:05.5+01:00'",
        "image = null and absent = null and absent.deeper[3] = null",
        "absent != 'x'",
        "not ready and not absent and container",
        "ports contains 443 and container contains 'ai' and labels contains 'app.kubernetes.io/name'",
        "@seq = 7 and @time < '2000-01-01T00:00:00Z'",
        "container = 'x' or container = 'main' and exit.code = 137",
        "big > 18446744073709551614",
        "not (container = 'x' || ready) && exit",
        "not pods.* = 1",
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn what_is_not_so_does_not() {
    for text in [
        "container = 'Main'",
        "exit.code = '137'",
        "absent > 0",
        "image < 1",
        "ready",
        "(container = 'x' or container = 'main') and exit.code = 1",
        "container.name = 'main'",
        "pods.*.phase = 'Running'",
        "pods.* != 1",
        "ports contains '80'",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn a_mistake_is_pointed_at() {
    let wrong = |text: &str| text.parse::<StateExpr>().map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        wrong("exit.code ! 0"),
        "at character 11: expected a path, a value or an operator\nexit.code ! 0\n          ^"
    );
    assert!(wrong("é = 'x' and").starts_with("at character 12: expected a path"), "{}", wrong("é = 'x' and"));
    assert!(wrong("a = b").contains("at character 5: expected a number, true"), "{}", wrong("a = b"));
    assert!(wrong("a ~ '('").contains("regular expression in quotes: regex parse error"));
    assert!(wrong("(a = 1").contains("expected `)`"));
    assert!(wrong("a = 'x").contains("a closing quote"));
    assert!(wrong("@type = 'x'").contains("one of @seq, @time"));
    assert!(wrong("").contains("a path"));
    assert!(wrong("a[x]").contains("an item's number"));
    assert!(wrong("a = 1 b").contains("`and`, `or` or the end"));
    assert!(wrong("\u{1b}[2J = 1").contains("\\u001b"), "a mistake cannot steer the terminal");
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let deep = format!("{}a{}", "(".repeat(2_000), ")".repeat(2_000));
    assert!(deep.parse::<StateExpr>().unwrap_err().to_string().contains("at most 32 brackets"));
    let nots = format!("{}a", "not ".repeat(1_000));
    assert!(nots.parse::<StateExpr>().is_err());
    let long = vec!["a"; 2_000].join(" or ");
    assert!(long.parse::<StateExpr>().unwrap_err().to_string().contains("at most 4096 bytes"));
}
