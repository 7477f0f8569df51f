//! What is handed to operators: the example config and the systemd unit agree with the program.

use std::path::Path;
use std::process::Command;

use purser_node::config::{Surroundings, load};
use purser_tests::bounded;

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
    for script in ["dist/run.sh", ".ci/run", ".ci/packages.sh", ".ci/components.sh", ".ci/deny.sh"] {
        let output = bounded::output(Command::new("bash").arg("-n").arg(root.join(script)));
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
