//! Manifests with the fields and values of the examples in Kubernetes' documentation.

use purser_events::pod::expansion;
use purser_node::manifest::to_manifest;
use serde_json::Value;

use crate::sample::{read_text, repository, yaml_files};

#[test]
fn examples_with_supported_fields_are_accepted_unchanged() {
    for (path, text) in yaml_files("tests/k8s-docs/accepted") {
        let spec = read_text(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let given: Value = serde_saphyr::from_str(&text).expect("it was read before");
        let rendered = to_manifest(&spec);
        missing(&given, &rendered, "", &mut |place| panic!("{}: {place} was lost", path.display()));
    }
}

/// Calls back for each scalar that `rendered` does not have where `given` has it.
fn missing(given: &Value, rendered: &Value, place: &str, lost: &mut dyn FnMut(&str)) {
    match (given, rendered) {
        (Value::Object(given), _) => {
            for (key, value) in given {
                let place = format!("{place}/{key}");
                // These mean what Purser does anyway, or are written out per container or as a number.
                let told_otherwise =
                    ["securityContext", "hostNetwork", "dnsPolicy", "resources"].contains(&key.as_str());
                let is_named_port = key == "port" && value.is_string();
                if !told_otherwise && !is_named_port {
                    missing(value, rendered.get(key).unwrap_or(&Value::Null), &place, lost);
                }
            }
        }
        (Value::Array(given), Value::Array(rendered)) if given.len() == rendered.len() => {
            for (index, (given, rendered)) in given.iter().zip(rendered).enumerate() {
                missing(given, rendered, &format!("{place}/{index}"), lost);
            }
        }
        (Value::Null, _) => {}
        (given, rendered) if given == rendered => {}
        _ => lost(place),
    }
}

#[test]
fn examples_with_unsupported_fields_are_refused_by_their_paths() {
    for (path, text) in yaml_files("tests/k8s-docs/refused") {
        let mut expected: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# refused: ")).collect();
        assert!(!expected.is_empty(), "{} does not say what is refused", path.display());
        let Err(error) = read_text(&text) else { panic!("{} was accepted", path.display()) };
        let mut paths: Vec<&str> = error.fields().iter().map(|error| error.path.as_str()).collect();
        expected.sort_unstable();
        paths.sort_unstable();
        assert_eq!(paths, expected, "{}: {error}", path.display());
        assert!(
            !error.to_string().contains("unknown field"),
            "{}: Kubernetes has it: {error}",
            path.display()
        );
    }
}

fn accepted(name: &str) -> purser_events::pod::PodSpec {
    let path = repository("tests/k8s-docs/accepted").join(name);
    read_text(&std::fs::read_to_string(path).expect("the file can be read")).expect("it is accepted")
}

#[test]
fn variables_mean_what_the_documentation_says() {
    let spec = accepted("dependent-envars.yaml");
    let resolved = expansion::resolve(&spec.containers[0]);
    let value = |name: &str| resolved.env.iter().find(|(key, _)| key == name).expect("it is set").1.as_str();
    assert_eq!(value("UNCHANGED_REFERENCE"), "$(PROTOCOL)://172.17.0.1:80");
    assert_eq!(value("SERVICE_ADDRESS"), "https://172.17.0.1:80");
    assert_eq!(value("ESCAPED_REFERENCE"), "$(PROTOCOL)://172.17.0.1:80");

    let spec = accepted("print-greeting.yaml");
    let resolved = expansion::resolve(&spec.containers[0]);
    assert_eq!(resolved.args, ["Warm greetings to The Most Honorable Kubernetes"]);
}

#[test]
fn users_and_amounts_mean_what_the_documentation_says() {
    let spec = accepted("security-context-2.yaml");
    assert_eq!(spec.containers[0].user.uid, Some(2_000), "a container's own user comes first");
    let spec = accepted("security-context-user.yaml");
    let user = &spec.containers[0].user;
    assert_eq!((user.uid, user.gid, spec.fs_group), (Some(1_000), Some(3_000), Some(2_000)));
    assert!(user.no_new_privileges);

    let spec = accepted("cpu-request-limit.yaml");
    let resources = &spec.containers[0].resources;
    assert_eq!(resources.cpu_limit.map(|cpu| cpu.0), Some(1_000));
    assert_eq!(resources.cpu_request.map(|cpu| cpu.0), Some(500));
    let spec = accepted("memory-request-limit.yaml");
    assert_eq!(spec.containers[0].resources.memory_limit.map(|memory| memory.0), Some(200 << 20));
}
