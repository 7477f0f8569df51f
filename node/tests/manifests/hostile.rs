//! Input that means harm, or was written in a hurry: it is refused with a reason, and nothing panics.

use proptest::prelude::*;
use purser_node::manifest::{Defaults, Limits, ManifestError, documents, pod_spec};
use serde_json::{Value, json};

use crate::sample::{full, read, small, with};

fn parse(text: &str) -> Result<Vec<Value>, ManifestError> {
    documents(text.as_bytes(), &Limits::default())
}

/// Where a text is refused: document, line and column.
#[track_caller]
fn refused_at(text: impl AsRef<[u8]>) -> (usize, usize, usize, String) {
    match documents(text.as_ref(), &Limits::default()) {
        Err(ManifestError::Syntax { document, line, column, message }) => (document, line, column, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_documents_are_split_and_empty_ones_left_out() {
    for text in [
        "a: 1\n---\nb: 2\n",
        "---\na: 1\n---\nb: 2\n---\n",
        "%YAML 1.2\n---\na: 1\n---\nb: 2\n",
        "# about\n---\na: 1\n---\n# nothing\n---\nb: 2\n",
        "\u{feff}a: 1\r\n---\r\nb: 2\r\n",
        "--- {a: 1}\n--- {b: 2}",
        "a: 1\n...\n---\nb: 2\n...\n",
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"metadata\": {}, \"items\": [{\"a\": 1}, {\"b\": 2}]}",
    ] {
        assert_eq!(parse(text), Ok(vec![json!({ "a": 1 }), json!({ "b": 2 })]), "{text:?}");
    }
    for text in ["", "\n", "---\n", "# only words\n", "---\n---\n---", "\u{feff}"] {
        assert_eq!(parse(text), Ok(vec![]), "{text:?}");
    }
    assert_eq!(parse("t: |\n  a\n  ---\n  b\n"), Ok(vec![json!({ "t": "a\n---\nb\n" })]));
}

#[test]
fn json_is_read_as_it_is_written() {
    let text = serde_json::to_string_pretty(&full()).expect("JSON can be written").replace("  ", "\t");
    let read: Value = parse(&text).expect("JSON with tabs").remove(0);
    assert_eq!(read, full());
}

#[test]
fn scalars_mean_what_kubectl_takes_them_for() {
    let text =
        "a: yes\nb: off\nc: 0755\nd: 0o17\ne: 1.5\nf: ~\ng: 'yes'\nh: 2001-01-01\ni: 1e3\nj: !!str 1\n";
    let expected = json!({
        "a": true, "b": false, "c": 493, "d": 15, "e": 1.5, "f": null, "g": "yes", "h": "2001-01-01", "i": 1000.0,
        "j": "1",
    });
    assert_eq!(parse(text), Ok(vec![expected]));
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "base: &base {cpu: 1}\na: *base\nb: {<<: *base, memory: 2}\n";
    let expected = json!({ "base": { "cpu": 1 }, "a": { "cpu": 1 }, "b": { "cpu": 1, "memory": 2 } });
    assert_eq!(parse(text), Ok(vec![expected]));
}

#[test]
fn broken_text_is_refused_where_it_is_broken() {
    for (text, document, line) in [
        ("a: 1\na: 2\n", 1, 2),
        ("a: 1\n---\nb: 1\nc: {d: 1, d: 2}\n", 2, 4),
        ("a: [1\n", 1, 1),
        ("a:\n  b: 1\n\tc: 2\n", 1, 2),
        ("a:\n\tb: 1\n", 1, 2),
        ("# words\n---\na: 1\n---\nb: *nobody\n", 2, 5),
        ("a: !secret x\n", 1, 1),
        ("a: !!python/object:os.system x\n", 1, 1),
        ("a: .nan\n", 1, 1),
        ("a: 1\n...\nb: 2\n", 1, 3),
        ("a: \"\\q\"\n", 1, 1),
        ("{\"a\": 1, \"a\": 2}", 1, 1),
        ("{a: 1", 1, 1),
        ("a: b: c\n", 1, 1),
        ("a: 1\n--- \n%TAG ! x\n", 2, 3),
        ("%nonsense\n", 1, 2),
    ] {
        let (found_document, found_line, _, message) = refused_at(text);
        assert_eq!((found_document, found_line), (document, line), "{text:?}: {message}");
        assert!(!message.is_empty() && message.len() <= 1_200, "{text:?}: {message}");
    }
    let (document, line, column, message) = refused_at(b"a: 1\n---\nb: \"\xc3\xa9\xff\"\n");
    assert_eq!((document, line, column, message.as_str()), (2, 3, 6, "is not UTF-8"));
    let (document, line, column, _) = refused_at("a: 1\nb: \0\n");
    assert_eq!((document, line, column), (1, 2, 4));
    refused_at(b"\xff\xfea\x00:\x00 \x001\x00");
}

#[test]
fn sizes_are_refused_before_they_cost_anything() {
    let limits = Limits::default();
    let big = format!("a: {}\n", "x".repeat(10 << 20));
    assert!(matches!(parse(&big), Err(ManifestError::TextTooLarge { .. })));
    let large = format!("a: 1\n---\na: {}\n", "x".repeat(limits.document_bytes_max));
    assert!(matches!(parse(&large), Err(ManifestError::DocumentTooLarge { document: 2, .. })));
    assert!(matches!(parse(&"---\na: 1\n".repeat(101)), Err(ManifestError::TooManyDocuments { .. })));
    assert_eq!(parse(&"---\na: 1\n".repeat(100)).map(|documents| documents.len()), Ok(100));
    let items = vec!["{}"; 101].join(",");
    let list = format!("{{apiVersion: v1, kind: List, items: [{items}]}}");
    assert!(matches!(parse(&list), Err(ManifestError::TooManyDocuments { .. })));
}

#[test]
fn bombs_are_refused() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for n in 1..20 {
        let aliases = vec![format!("*a{}", n - 1); 9].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    refused_at(&laughs);
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100 << 10), vec!["*a"; 190].join(", "));
    refused_at(&long);
    let nested = format!(
        "a: &a {}\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: &d [*c, *c, *c, *c]\ne: [*d, *d, *d, *d]\n",
        "x".repeat(200 << 10)
    );
    refused_at(&nested);
    for text in [
        format!("a: {}", "[".repeat(100_000)),
        format!("a: {}{}", "[".repeat(33), "]".repeat(33)),
        "{a: ".repeat(40_000),
        (0..400).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        "- ".repeat(60_000),
        format!("a: [{}]", "x, ".repeat(60_000)),
        "&a ".repeat(60_000),
        format!("{}\n", "? ".repeat(60_000)),
    ] {
        refused_at(&text);
    }
    refused_at("a: &a [*a]\n");
}

#[test]
fn a_list_is_taken_apart_only_if_it_is_one() {
    for (text, path) in [
        ("{apiVersion: v1, kind: List, items: 5}", "items"),
        ("{apiVersion: v2, kind: List, items: []}", "apiVersion"),
        ("{apiVersion: v1, kind: List, itmes: []}", "itmes"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.fields().first().map(|error| error.path.as_str()), Some(path), "{text}");
    }
}

#[test]
fn errors_are_bounded_in_number_and_length() {
    let unknown: serde_json::Map<String, Value> =
        (0..5_000).map(|n| (format!("{}{n}", "\u{1b}[31m\n".repeat(1_000)), json!(1))).collect();
    let error =
        read(with(small(), "/spec/containers/0", Value::Object(unknown))).expect_err("unknown fields");
    assert!(error.fields().len() <= 100);
    for field in error.fields() {
        assert!(field.path.len() < 1_000 && !field.path.contains(char::is_control), "{:?}", field.path);
    }
}

/// Values that stand where others are expected.
fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,12}".prop_map(Value::from),
        "[-+]?[0-9.]{0,25}(Ki|Ei|m|e[-+]?[0-9]{1,12}|E|%)?".prop_map(Value::from),
        "[0-9]{1,3}%?|true|false|GPU-[ab](,GPU-[ab])?|wait|refuse".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, [], {}, 0, ""])),
        Just(json!({ "name": null, "exec": [], "": {} })),
        Just(json!("a\0b")),
        Just(json!("../../etc")),
    ]
}

/// Every place in a value, as a JSON pointer.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                pointers(value, &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                pointers(value, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn any_type_at_any_place_is_accepted_or_refused_near_it() {
    let mut places = Vec::new();
    pointers(&full(), "", &mut places);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!([]),
        json!({}),
        json!([{}]),
        json!({ "x": [] }),
    ];
    for place in places {
        for value in &values {
            let mut manifest = full();
            *manifest.pointer_mut(&place).expect("it is a place of the manifest") = value.clone();
            match pod_spec(manifest, &Defaults::default()) {
                Ok(_) => {}
                Err(ManifestError::Fields(errors)) => assert!(!errors.is_empty(), "{place}"),
                Err(other) => panic!("{place}: {other}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_manifest_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..6)) {
        let mut manifest = full();
        for (index, value) in changes {
            let mut places = Vec::new();
            pointers(&manifest, "", &mut places);
            if let Some(place) = manifest.pointer_mut(index.get::<String>(&places)) {
                *place = value;
            }
        }
        if let Ok(spec) = pod_spec(manifest, &Defaults::default()) {
            prop_assert_eq!(read(purser_node::manifest::to_manifest(&spec)), Ok(spec));
        }
    }

    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = documents(&text, &Limits::default());
    }

    #[test]
    fn no_yaml_panics(text in "([-?:,\\[\\]{}#&*!|>'\"%@` \t\n\r~<=]|---|<<|!!|a|1|é|\u{85}|\u{feff}){0,80}") {
        for document in parse(&text).unwrap_or_default() {
            let _ = read(document);
        }
    }

    #[test]
    fn no_cut_or_spliced_manifest_panics(cut in any::<prop::sample::Index>(), splice in ".{0,6}") {
        let text = serde_saphyr::to_string(&full()).expect("a manifest can be written");
        let mut at = cut.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        for text in [text[..at].to_owned(), format!("{}{splice}{}", &text[..at], &text[at..])] {
            for document in parse(&text).unwrap_or_default() {
                let _ = read(document);
            }
        }
    }
}
