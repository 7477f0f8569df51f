//! What an operator may set about containerd.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use purser_actors::port::RuntimeError;
use purser_events::pod::event::FailureClass;
use serde::Deserialize;

use crate::adapter::mps::Mps;

/// How containerd is reached and used. Every key has a default; an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContainerdConfig {
    /// The socket on which containerd answers.
    pub socket: PathBuf,
    /// The containerd namespace that holds all that Purser makes: letters and digits, joined by single `-`.
    pub namespace: String,
    /// The snapshotter: `overlayfs`, or `native` where the disk below cannot carry an overlay.
    pub snapshotter: String,
    /// Where runc keeps its state: a folder that no other user of runc on this host has.
    pub runc_root: PathBuf,
    /// Where pipes of running commands and passing mounts live; emptied by a reboot.
    pub runtime_dir: PathBuf,
    /// The cgroup below which every container gets one of its own: a name without `/`.
    pub cgroup_prefix: String,
    /// What marks the containers of this node among others in the same containerd namespace.
    pub node_label: String,
    /// Most processes and threads of one container.
    pub pids_max: NonZeroU32,
    /// Registries, as `host:port`, that are asked over HTTP without TLS.
    pub plain_http_registries: Vec<String>,
    /// Endpoints to ask, in order and before the registry itself, by registry, as
    /// `"docker.io" = ["http://127.0.0.1:5000"]`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// A folder of OCI archives (`nginx_1.14.2.tar`) and OCI layouts that are used instead of a registry.
    pub images_dir: Option<PathBuf>,
    /// Where devices are described (CDI), the last folder of which counts most; none for not looking: containers are
    /// told of their GPUs then, and given none.
    pub cdi_dirs: Option<Vec<PathBuf>>,
    /// What limits containers that share a GPU; none where they are only watched.
    #[serde(skip)]
    pub mps: Option<Mps>,
}

impl Default for ContainerdConfig {
    fn default() -> Self {
        ContainerdConfig {
            socket: "/run/containerd/containerd.sock".into(),
            namespace: "purser".into(),
            snapshotter: "overlayfs".into(),
            runc_root: "/run/purser/runc".into(),
            runtime_dir: "/run/purser/containerd".into(),
            cgroup_prefix: "purser".into(),
            node_label: "purser".into(),
            pids_max: const { NonZeroU32::new(4_096).unwrap() },
            plain_http_registries: Vec::new(),
            mirrors: BTreeMap::new(),
            images_dir: None,
            cdi_dirs: Some(Vec::new()),
            mps: None,
        }
    }
}

impl ContainerdConfig {
    /// Checks what no type can: names that become paths, filters and headers.
    ///
    /// # Errors
    /// Names the first key that is wrong, and what would be right.
    pub fn check(&self) -> Result<(), RuntimeError> {
        let wrong = |key: &str, must: &str| {
            Err(RuntimeError::new(
                FailureClass::Invalid,
                format!("containerd configuration: `{key}` must {must}"),
            ))
        };
        if !is_identifier(&self.namespace) {
            return wrong("namespace", "be letters and digits joined by single '-', '_' or '.', at most 76");
        }
        if !is_identifier(&self.cgroup_prefix) {
            return wrong(
                "cgroup-prefix",
                "be letters and digits joined by single '-', '_' or '.', at most 76",
            );
        }
        if !is_identifier(&self.node_label) {
            return wrong("node-label", "be letters and digits joined by single '-', '_' or '.', at most 76");
        }
        if !is_identifier(&self.snapshotter) {
            return wrong("snapshotter", "name a snapshotter of containerd, as `overlayfs` or `native`");
        }
        for (key, path) in
            [("socket", &self.socket), ("runc-root", &self.runc_root), ("runtime-dir", &self.runtime_dir)]
        {
            if !path.is_absolute() || path.to_str().is_none() {
                return wrong(key, "be an absolute path in UTF-8");
            }
        }
        for endpoint in self.mirrors.values().flatten() {
            if Endpoint::parse(endpoint).is_none() {
                return wrong("mirrors", "be lists of endpoints as `http://host:port` or `https://host`");
            }
        }
        Ok(())
    }
}

/// A mirror of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `host` or `host:port`.
    pub(super) host: String,
    /// Whether it is asked without TLS.
    pub(super) plain: bool,
}

impl Endpoint {
    pub(super) fn parse(text: &str) -> Option<Endpoint> {
        let (plain, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        let host = rest.trim_end_matches('/');
        let fine = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
        fine.then(|| Endpoint { host: host.to_owned(), plain })
    }
}

/// Whether containerd takes it as an identifier, and it is one harmless path component.
fn is_identifier(text: &str) -> bool {
    let part_is_fine = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 76 && text.split(['-', '_', '.']).all(part_is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine() {
        ContainerdConfig::default().check().unwrap();
    }

    #[test]
    fn names_that_would_break_a_path_or_a_filter_are_refused() {
        for name in ["", "..", "a/b", "a\"b", "a--b", "-a", "a b", &"a".repeat(77)] {
            let config = ContainerdConfig { cgroup_prefix: name.into(), ..ContainerdConfig::default() };
            assert!(config.check().is_err(), "{name:?} was accepted");
        }
    }

    #[test]
    fn endpoints_name_a_host_and_nothing_else() {
        let parsed = Endpoint::parse("http://127.0.0.1:5577/");
        assert_eq!(parsed, Some(Endpoint { host: "127.0.0.1:5577".into(), plain: true }));
        for text in ["127.0.0.1:5577", "ftp://a", "http://", "http://a/b", "https://user@a"] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
