//! A spec written as a manifest is the same spec when it is read again.

use purser_node::manifest::to_manifest;
use serde_json::json;

use crate::sample::{by_tflops, full, read, read_text, sharing, small, tensor_fusion, with, yaml_files};

#[test]
fn applying_what_was_got_changes_nothing() {
    let mut specs: Vec<_> = [full(), sharing(), by_tflops(), tensor_fusion(), small()]
        .map(|sample| read(sample).expect("a sample"))
        .into();
    for folder in ["tests/k8s-docs/accepted", "examples", "examples/containerd", "examples/root"] {
        for (path, text) in yaml_files(folder) {
            specs.push(read_text(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    let odd = with(
        small(),
        "/spec/containers/0/env",
        json!([{ "name": "EMPTY" }, { "name": "YES", "value": "yes" }]),
    );
    let odd = with(
        odd,
        "/spec/containers/0/args",
        json!(["", "0755", "null", "~", "a: b", "- x", "#", "é\n\t\"'"]),
    );
    specs.push(read(odd).expect("odd text"));
    for spec in specs {
        let manifest = to_manifest(&spec);
        assert_eq!(read(manifest.clone()).as_ref(), Ok(&spec), "{manifest}");
        let yaml = serde_saphyr::to_string(&manifest).expect("a manifest can be written");
        assert_eq!(read_text(&yaml).as_ref(), Ok(&spec), "{yaml}");
        assert_eq!(read_text(&manifest.to_string()).as_ref(), Ok(&spec), "as JSON: {manifest}");
    }
}
