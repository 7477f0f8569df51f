//! Who makes way for whom, in a sentence for people.

use serde_json::Value;

use crate::cli::feed::FeedRecord;

/// The event that says so.
pub(super) const KIND: &str = "ledger.preemption-requested";

/// What such an event says to a pod; pods are called what `name` calls them.
pub(super) fn sentence(record: &FeedRecord, uid: &str, name: impl Fn(&str) -> String) -> String {
    let payload = &record.event.payload;
    let grace =
        payload["graceS"].as_u64().map_or_else(String::new, |grace_s| format!(", within {grace_s} s"));
    let preemptor = payload["pod"].as_str().unwrap_or_default();
    if preemptor != uid {
        return format!("makes way for {}{grace}", name(preemptor));
    }
    let victims = payload["victims"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let victims: Vec<String> = victims.map(name).collect();
    let verb = if victims.len() == 1 { "makes" } else { "make" };
    format!("{} {verb} way for it{grace}", victims.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_pod_is_told_its_own_part() {
        let record: FeedRecord = serde_json::from_value(json!({
            "header": { "seq": 7, "stream": { "kind": "ledger", "id": "l" }, "time": "2026-01-01T00:00:00Z" },
            "event": { "type": KIND, "payload": { "pod": "p", "victims": ["v", "w"], "graceS": 30 } },
        }))
        .unwrap();
        let told = |uid| sentence(&record, uid, |uid| format!("default/{uid}"));
        assert_eq!(told("p"), "default/v, default/w make way for it, within 30 s");
        assert_eq!(told("w"), "makes way for default/p, within 30 s");
    }
}
