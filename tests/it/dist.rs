//! What is handed to operators: the example config and the systemd unit agree with the program.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use purser_actors::metric;
use purser_node::config::{Surroundings, load};
use purser_tests::{bounded, promtool};

fn dist(name: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace");
    root.join("dist").join(name)
}

#[test]
fn the_example_config_is_what_holds_without_one() {
    let root = Surroundings { root: true, ..Surroundings::default() };
    assert_eq!(load(Some(&dist("purserd.toml")), &root).unwrap(), load(None, &root).unwrap());
}

#[test]
fn keys_that_are_commented_out_in_the_example_are_valid_too() {
    let text = std::fs::read_to_string(dist("purserd.toml")).unwrap();
    let is_key = |rest: &str| {
        rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("purserd.toml");
    std::fs::write(&path, uncommented.join("\n")).unwrap();
    let config = load(Some(&path), &Surroundings { root: true, ..Surroundings::default() }).unwrap();
    assert!(config.api.tcp.is_some() && config.api.socket_group.is_some());
    assert!(config.containerd.images_dir.is_some());
}

#[test]
fn pods_outlive_the_unit() {
    let unit = std::fs::read_to_string(dist("purserd.service")).unwrap();
    for line in ["KillMode=process", "Restart=on-failure", "Type=notify", "Delegate=yes"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn scripts_are_valid_shell() {
    let root = dist("..");
    for script in
        ["dist/run.sh", ".ci/run", ".ci/packages.sh", ".ci/components.sh", ".ci/deny.sh", ".ci/static.sh"]
    {
        let output = bounded::output(Command::new("bash").arg("-n").arg(root.join(script)));
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What `make build` makes of the agent is looked at by a script as soon as it is made: a test that builds it so would build
/// everything below it once more.
#[test]
fn make_build_fails_unless_the_agent_is_static() {
    let makefile = std::fs::read_to_string(dist("../Makefile")).unwrap();
    let (_, recipe) = makefile.split_once("\nbuild:").expect("it builds");
    let recipe: Vec<&str> = recipe.lines().skip(1).take_while(|line| line.starts_with('\t')).collect();
    let [.., made, checked] = recipe[..] else { panic!("{recipe:?}") };
    assert!(made.contains("--bin purser-agent -- -C target-feature=+crt-static"), "{made}");
    assert_eq!(checked, "\t@.ci/static.sh $(bin_dir)/purser-agent");

    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("agent.rs");
    std::fs::write(&source, "fn main() { println!(\"{}\", std::env::args().count()); }").unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    for (features, is_static) in [("+crt-static", true), ("-crt-static", false)] {
        let program = folder.path().join(features);
        let mut build = Command::new(&rustc);
        build.arg("-C").arg(format!("target-feature={features}")).arg("-o").arg(&program).arg(&source);
        let built = bounded::output(&mut build);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let checked = bounded::output(Command::new(dist("../.ci/static.sh")).arg(&program));
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(i32::from(!is_static)), "{said}");
        assert_eq!(said.contains("is not static"), !is_static, "{said}");
    }
    let missing = bounded::output(Command::new(dist("../.ci/static.sh")).arg(folder.path().join("none")));
    assert!(!missing.status.success(), "what is not there is not static");
}

/// The metrics of Purser that a text names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let names = words.filter(|word| word.starts_with("purser_") || word.starts_with("pod_management_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_exist() {
    let dashboards = ["grafana/purser-gpus.json", "grafana/purser-pools.json"];
    let rules = ["prometheus/purser.rules.yml", "prometheus/purser.rules.test.yml"];
    for file in rules.into_iter().chain(dashboards) {
        let named = metrics_in(&std::fs::read_to_string(dist(file)).unwrap());
        assert!(3 < named.len(), "{file} names no metrics");
        for name in named {
            assert!(metric::ALL.iter().any(|metric| metric.name == name), "{file}: there is no `{name}`");
        }
    }
    for file in dashboards {
        let text = std::fs::read_to_string(dist(file)).unwrap();
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<_> = panels.iter().map(|it| it["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: each panel has its own number");
    }
}

#[test]
fn the_dashboard_of_gpus_shows_all_that_is_told_of_them() {
    let shown = metrics_in(&std::fs::read_to_string(dist("grafana/purser-gpus.json")).unwrap());
    let of_gpus =
        ["purser_gpu_", "purser_pod_gpu_", "purser_nvml_", "purser_violation", "purser_pod_throttled"];
    let told = metric::ALL.iter().filter(|metric| of_gpus.iter().any(|of| metric.name.starts_with(of)));
    let missing: Vec<&str> = told.map(|metric| metric.name).filter(|name| !shown.contains(*name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    let examples = dist("prometheus/purser.rules.test.yml");
    let output = promtool::test_rules(&examples);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rules = std::fs::read_to_string(dist("prometheus/purser.rules.yml")).unwrap();
    let examples = std::fs::read_to_string(examples).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(examples.contains(&format!("alertname: {alert}\n")), "no example has `{alert}` fire");
    }
}
