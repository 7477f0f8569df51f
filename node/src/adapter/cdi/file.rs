//! One file of the Container Device Interface (CDI): its form, and what must hold of it. JSON alone is read.
//!
//! The form is that of the CDI specification up to version 1.1.0. What Purser cannot do (network devices, Intel RDT)
//! makes a file one that is not used: a device that came without a part of itself would be worse than none.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Versions of the specification that are read.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
/// Most devices of a file, and most edits of each sort in one place of it.
const LEN_MAX: usize = 4_096;
/// Most characters of a name, a path or a variable.
const TEXT_LEN_MAX: usize = 32 * 1024;

/// A file that was read and found right.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct File {
    cdi_version: String,
    /// What its devices are, as in `nvidia.com/gpu`.
    pub kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: Notes,
    /// Its devices.
    pub devices: Vec<Device>,
    /// What a container gets once that gets any of them.
    #[serde(default)]
    pub container_edits: Edits,
}

/// What is said for people alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "IgnoredAny")]
struct Notes;

impl From<IgnoredAny> for Notes {
    fn from(_: IgnoredAny) -> Notes {
        Notes
    }
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Device {
    /// Its name among those of its kind.
    pub name: String,
    #[serde(default, rename = "annotations")]
    _annotations: Notes,
    /// What a container gets that gets the device.
    pub container_edits: Edits,
}

/// What a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Edits {
    /// Variables, as in `NAME=value`.
    pub env: Vec<String>,
    /// Device files.
    pub device_nodes: Vec<DeviceNode>,
    /// Files and folders.
    pub mounts: Vec<Mount>,
    /// Programs of the host.
    pub hooks: Vec<Hook>,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    net_devices: Vec<IgnoredNote>,
    intel_rdt: Option<IgnoredNote>,
}

/// Something that is there and cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "IgnoredAny")]
struct IgnoredNote;

impl From<IgnoredAny> for IgnoredNote {
    fn from(_: IgnoredAny) -> IgnoredNote {
        IgnoredNote
    }
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeviceNode {
    /// Where the container sees it.
    pub path: String,
    /// Where the host has it; the same if none.
    #[serde(default)]
    pub host_path: Option<String>,
    /// `b`, `c`, `u` or `p`; the host's if none.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Its numbers; the host's if none.
    #[serde(default)]
    pub major: Option<i64>,
    /// See `major`.
    #[serde(default)]
    pub minor: Option<i64>,
    /// Permission bits.
    #[serde(default)]
    pub file_mode: Option<u32>,
    /// What the control group allows: of `r`, `w` and `m`; all if none.
    #[serde(default)]
    pub permissions: Option<String>,
    /// Its owner.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its group.
    #[serde(default)]
    pub gid: Option<u32>,
}

/// A file or folder of the host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Mount {
    /// Where the host has it.
    pub host_path: String,
    /// Where the container sees it.
    pub container_path: String,
    /// Options of the mount.
    #[serde(default)]
    pub options: Vec<String>,
    /// Its type; a bind if none.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// A program of the host that runs when a container gets somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Hook {
    /// When it runs.
    pub hook_name: HookName,
    /// The program.
    pub path: String,
    /// Its arguments, its own name first.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub env: Vec<String>,
    /// Seconds that it may take.
    #[serde(default)]
    pub timeout: Option<i64>,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookName {
    /// Before the program, in the host's namespaces; of old.
    Prestart,
    /// While the container is made, in the host's namespaces.
    CreateRuntime,
    /// While it is made, in the container's namespaces.
    CreateContainer,
    /// Before the program, in the container.
    StartContainer,
    /// Behind the program's start.
    Poststart,
    /// Behind its end.
    Poststop,
}

impl File {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn read(bytes: &[u8]) -> Result<File, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        if !VERSIONS.contains(&self.cdi_version.as_str()) {
            return Err(format!("cdiVersion: must be one of {}", VERSIONS.join(", ")));
        }
        let is_kind = self.kind.split_once('/').is_some_and(|(vendor, class)| {
            is_name(vendor, "-_.")
                && is_name(class, "-_.")
                && !vendor.starts_with(|first: char| first.is_ascii_digit())
        });
        if !is_kind {
            return Err("kind: must be a vendor and a class, as in nvidia.com/gpu".to_owned());
        }
        if LEN_MAX < self.devices.len() {
            return Err(format!("devices: are more than {LEN_MAX}"));
        }
        self.container_edits.check("containerEdits")?;
        let mut names = BTreeSet::new();
        for (index, device) in self.devices.iter().enumerate() {
            let at = format!("devices[{index}]");
            if !is_name(&device.name, "-_.:") {
                return Err(format!("{at}.name: must have letters, digits, `-`, `_`, `.` and `:`"));
            }
            if !names.insert(&device.name) {
                return Err(format!("{at}.name: is given twice"));
            }
            device.container_edits.check(&format!("{at}.containerEdits"))?;
        }
        Ok(())
    }
}

/// Letters and digits, and these between them.
fn is_name(text: &str, between: &str) -> bool {
    let is_edge = |character: Option<char>| character.is_some_and(|it| it.is_ascii_alphanumeric());
    let is_fine = |character: char| character.is_ascii_alphanumeric() || between.contains(character);
    let edges = is_edge(text.chars().next()) && is_edge(text.chars().next_back());
    edges && text.len() <= 256 && text.chars().all(is_fine)
}

impl Edits {
    fn check(&self, at: &str) -> Result<(), String> {
        let lens = [
            ("env", self.env.len()),
            ("deviceNodes", self.device_nodes.len()),
            ("mounts", self.mounts.len()),
            ("hooks", self.hooks.len()),
            ("additionalGids", self.additional_gids.len()),
        ];
        if let Some((field, _)) = lens.iter().find(|(_, len)| LEN_MAX < *len) {
            return Err(format!("{at}.{field}: are more than {LEN_MAX}"));
        }
        if !self.net_devices.is_empty() {
            return Err(format!(
                "{at}.netDevices: pods share the node's network, and cannot be given devices of it"
            ));
        }
        if self.intel_rdt.is_some() {
            return Err(format!("{at}.intelRdt: Purser does not set it"));
        }
        variables(&self.env, &format!("{at}.env"))?;
        for (index, node) in self.device_nodes.iter().enumerate() {
            node.check(&format!("{at}.deviceNodes[{index}]"))?;
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            let at = format!("{at}.mounts[{index}]");
            path(&mount.host_path, &format!("{at}.hostPath"))?;
            path(&mount.container_path, &format!("{at}.containerPath"))?;
        }
        for (index, hook) in self.hooks.iter().enumerate() {
            let at = format!("{at}.hooks[{index}]");
            path(&hook.path, &format!("{at}.path"))?;
            variables(&hook.env, &format!("{at}.env"))?;
            if hook.timeout.is_some_and(|timeout| timeout <= 0) {
                return Err(format!("{at}.timeout: must be at least 1"));
            }
        }
        Ok(())
    }

    /// Adds what another has.
    pub(super) fn add(&mut self, more: &Edits) {
        self.env.extend(more.env.iter().cloned());
        self.device_nodes.extend(more.device_nodes.iter().cloned());
        self.mounts.extend(more.mounts.iter().cloned());
        self.hooks.extend(more.hooks.iter().cloned());
        self.additional_gids.extend(&more.additional_gids);
    }
}

impl DeviceNode {
    fn check(&self, at: &str) -> Result<(), String> {
        path(&self.path, &format!("{at}.path"))?;
        if let Some(host) = &self.host_path {
            path(host, &format!("{at}.hostPath"))?;
        }
        if self.kind.as_ref().is_some_and(|kind| !["", "b", "c", "u", "p"].contains(&kind.as_str())) {
            return Err(format!("{at}.type: must be b, c, u or p"));
        }
        let is_allowed = |permissions: &String| permissions.chars().all(|letter| "rwm".contains(letter));
        if !self.permissions.as_ref().is_none_or(is_allowed) {
            return Err(format!("{at}.permissions: must be of r, w and m"));
        }
        Ok(())
    }
}

fn path(text: &str, at: &str) -> Result<(), String> {
    let climbs = text.split('/').any(|part| part == "..");
    let is_fine = text.starts_with('/') && !climbs && !text.contains('\0') && text.len() <= TEXT_LEN_MAX;
    if is_fine { Ok(()) } else { Err(format!("{at}: must be an absolute path without `..`")) }
}

fn variables(env: &[String], at: &str) -> Result<(), String> {
    let is_fine = |variable: &str| {
        let named = variable.split_once('=').is_some_and(|(name, _)| !name.is_empty());
        named && !variable.contains('\0') && variable.len() <= TEXT_LEN_MAX
    };
    match env.iter().position(|variable| !is_fine(variable)) {
        None => Ok(()),
        Some(index) => Err(format!("{at}[{index}]: must be a variable, as in NAME=value")),
    }
}
