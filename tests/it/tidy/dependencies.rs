//! The rules over Cargo.toml files: who may depend on whom.

use toml::Table;

use super::rules::Finding;

/// What a package of the workspace may depend on.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Its folder.
    pub(crate) folder: &'static str,
    /// The packages of the workspace that it may name.
    pub(crate) inner: &'static [&'static str],
    /// Crates that it must not be built from; its tests may use them.
    pub(crate) never: &'static [&'static str],
}

/// The direction of dependencies.
pub(crate) const ALLOWANCES: &[Allowance] = &[
    Allowance {
        folder: "events",
        inner: &[],
        never: &[
            "actix",
            "tokio",
            "sled",
            "redb",
            "bincode",
            "postcard",
            "rand",
            "getrandom",
            "async-trait",
            "nix",
        ],
    },
    Allowance {
        folder: "storage",
        inner: &["purser-events"],
        never: &["actix", "axum", "tonic", "metrics", "rocksdb"],
    },
    Allowance {
        folder: "actors",
        inner: &["purser-events", "purser-storage"],
        never: &[
            "nvml-wrapper",
            "containerd-client",
            "tonic",
            "axum",
            "hyper",
            "reqwest",
            "oci-client",
            "sled",
            "redb",
        ],
    },
    Allowance {
        folder: "node",
        inner: &["purser-events", "purser-storage", "purser-actors"],
        never: &["sled", "redb", "bincode", "postcard"],
    },
    Allowance {
        folder: "replay-tool",
        inner: &["purser-events", "purser-storage"],
        never: &["actix", "tokio", "hyper", "axum", "sled", "redb", "bincode", "postcard"],
    },
    Allowance {
        folder: "tests",
        inner: &[
            "purser-events",
            "purser-storage",
            "purser-actors",
            "purser-node",
            "purser-replay",
            "purser-fake-nvml",
        ],
        never: &[],
    },
    Allowance { folder: "tests/fake-nvml", inner: &[], never: &["libloading", "nvml-wrapper"] },
];

const SHIPPED: [&str; 2] = ["dependencies", "build-dependencies"];
const TESTS: [&str; 1] = ["dev-dependencies"];

/// Every crate that a manifest names.
pub(crate) fn named(manifest: &Table) -> impl Iterator<Item = &str> {
    named_in(manifest, &SHIPPED).chain(named_in(manifest, &TESTS))
}

fn named_in<'a>(manifest: &'a Table, tables: &[&str]) -> impl Iterator<Item = &'a str> {
    let tables: Vec<&Table> = tables.iter().filter_map(|table| manifest.get(*table)?.as_table()).collect();
    tables.into_iter().flat_map(Table::keys).map(String::as_str)
}

/// What a manifest names that its package may not depend on.
pub(crate) fn against(allowance: &Allowance, manifest: &Table) -> Vec<Finding> {
    let never = named_in(manifest, &SHIPPED).filter(|name| allowance.never.contains(name));
    let inner = named(manifest).filter(|name| name.starts_with("purser-") && !allowance.inner.contains(name));
    let say = |name: &str| format!("{}/Cargo.toml: must not depend on `{name}`", allowance.folder);
    never.chain(inner).map(say).collect()
}

/// Members of the workspace that have no rule.
pub(crate) fn unruled(workspace: &Table) -> Vec<Finding> {
    let members = workspace["workspace"]["members"].as_array().expect("a workspace lists its members");
    let members = members.iter().filter_map(|member| member.as_str());
    let unruled = members.filter(|member| !ALLOWANCES.iter().any(|allowance| allowance.folder == *member));
    unruled.map(|member| format!("{member}: has no rule about its dependencies")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(folder: &str, manifest: &str) -> Vec<Finding> {
        let allowance = ALLOWANCES.iter().find(|allowance| allowance.folder == folder).unwrap();
        against(allowance, &manifest.parse().unwrap())
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        assert_eq!(findings("storage", "[dependencies]\npurser-actors = {}").len(), 1);
        assert_eq!(findings("events", "[dependencies]\ntokio = {}").len(), 1);
        assert_eq!(findings("events", "[dev-dependencies]\npurser-storage = {}").len(), 1);
        assert_eq!(findings("replay-tool", "[build-dependencies]\nactix = {}").len(), 1);
        assert_eq!(findings("actors", "[dependencies]\npurser-storage = {}\nserde = {}"), [""; 0]);
        assert_eq!(findings("replay-tool", "[dev-dependencies]\ntokio = {}"), [""; 0]);
    }

    #[test]
    fn a_member_without_a_rule_is_found() {
        let workspace = "[workspace]\nmembers = [\"events\", \"new\"]".parse().unwrap();
        assert_eq!(unruled(&workspace).len(), 1);
    }
}
