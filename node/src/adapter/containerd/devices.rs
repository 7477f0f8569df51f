//! Devices in the specification that runc is given: what descriptions of them (CDI) say, and how the host has them.

#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use nix::sys::stat::{major, minor};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Hook, HookBuilder, Hooks, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder,
    LinuxDeviceType, Mount, MountBuilder, Spec,
};

use crate::adapter::cdi::{self, DeviceNode, Edits, HookName};

/// What a container gets, with every device as the host has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Devices {
    nodes: Vec<Node>,
    edits: Edits,
}

/// One device file.
#[derive(Debug, Clone)]
struct Node {
    kind: LinuxDeviceType,
    major: i64,
    minor: i64,
    given: DeviceNode,
}

impl Devices {
    /// Looks up what descriptions leave to the host. Blocks on the disk.
    ///
    /// # Errors
    /// The host has no such device.
    pub(super) fn of(edits: Edits) -> Result<Devices, String> {
        let nodes = edits.device_nodes.iter().cloned().map(look_up).collect::<Result<_, _>>()?;
        Ok(Devices { nodes, edits })
    }
}

fn look_up(given: DeviceNode) -> Result<Node, String> {
    let named = match given.kind.as_deref() {
        Some("b") => Some(LinuxDeviceType::B),
        Some("c" | "u") => Some(LinuxDeviceType::C),
        Some("p") => Some(LinuxDeviceType::P),
        _ => None,
    };
    if let (Some(kind), Some(major), Some(minor)) = (named, given.major, given.minor) {
        return Ok(Node { kind, major, minor, given });
    }
    let path = given.host_path.as_ref().unwrap_or(&given.path);
    let data = fs::metadata(path)
        .map_err(|error| format!("the host's device {path} cannot be looked at: {error}"))?;
    let found = data.file_type();
    let kind = if found.is_char_device() {
        LinuxDeviceType::C
    } else if found.is_block_device() {
        LinuxDeviceType::B
    } else if found.is_fifo() {
        LinuxDeviceType::P
    } else {
        return Err(format!("{path} is no device of the host"));
    };
    if named.is_some_and(|named| named != kind) {
        return Err(format!("{path} is another sort of device than its description says"));
    }
    let number = |given: Option<i64>, found: u64| given.unwrap_or(i64::try_from(found).unwrap_or(i64::MAX));
    let (major, minor) = (number(given.major, major(data.rdev())), number(given.minor, minor(data.rdev())));
    Ok(Node { kind, major, minor, given })
}

/// Adds devices to a specification: variables, device files and the right to use them, groups, programs, and mounts, those
/// that lie within others behind them.
pub(super) fn add(mut spec: Spec, devices: &Devices) -> Result<Spec, OciSpecError> {
    let edits = &devices.edits;
    if *edits == Edits::default() {
        return Ok(spec);
    }
    let mut owner = None;
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        merge(&mut env, &edits.env);
        process.set_env(Some(env));
        let user = process.user_mut();
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        for gid in edits.additional_gids.iter().copied().filter(|gid| *gid != 0) {
            if !groups.contains(&gid) {
                groups.push(gid);
            }
        }
        user.set_additional_gids(Some(groups));
        owner = Some((user.uid(), user.gid())).filter(|(uid, _)| *uid != 0);
    }
    if let Some(linux) = spec.linux_mut() {
        let mut nodes = linux.devices().clone().unwrap_or_default();
        for node in &devices.nodes {
            // Of two at one place the later one counts.
            nodes.retain(|known| known.path() != &PathBuf::from(&node.given.path));
            nodes.push(device(node, owner)?);
        }
        linux.set_devices(Some(nodes));
        let mut resources = linux.resources().clone().unwrap_or_default();
        let mut rules = resources.devices().clone().unwrap_or_default();
        for node in &devices.nodes {
            // A pipe is no device, and no rule of a control group is about it.
            if node.kind != LinuxDeviceType::P {
                rules.push(rule(node)?);
            }
        }
        resources.set_devices(Some(rules));
        linux.set_resources(Some(resources));
    }
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in &edits.mounts {
        mounts.push(bind(mount)?);
    }
    if !edits.mounts.is_empty() {
        mounts.sort_by_key(|mount| mount.destination().components().count());
    }
    spec.set_mounts(Some(mounts));
    if !edits.hooks.is_empty() {
        let mut hooks = spec.hooks().clone().unwrap_or_default();
        for hook in &edits.hooks {
            put(&mut hooks, hook)?;
        }
        spec.set_hooks(Some(hooks));
    }
    Ok(spec)
}

/// Sets variables; one that is there is replaced.
pub(super) fn merge(env: &mut Vec<String>, more: &[String]) {
    let name =
        |variable: &str| variable.split_once('=').map_or(variable.to_owned(), |(name, _)| name.to_owned());
    for variable in more {
        env.retain(|known| name(known) != name(variable));
        env.push(variable.clone());
    }
}

fn device(node: &Node, owner: Option<(u32, u32)>) -> Result<LinuxDevice, OciSpecError> {
    let Node { kind, major, minor, given } = node;
    let builder = LinuxDeviceBuilder::default().path(&given.path).typ(*kind).major(*major).minor(*minor);
    let builder = given.file_mode.into_iter().fold(builder, LinuxDeviceBuilder::file_mode);
    // Whoever the container runs as is to use it.
    let (uid, gid) = (given.uid.or(owner.map(|it| it.0)), given.gid.or(owner.map(|it| it.1)));
    let builder = uid.into_iter().fold(builder, LinuxDeviceBuilder::uid);
    gid.into_iter().fold(builder, LinuxDeviceBuilder::gid).build()
}

fn rule(node: &Node) -> Result<LinuxDeviceCgroup, OciSpecError> {
    let access = node.given.permissions.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    let rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(node.kind).access(access);
    rule.major(node.major).minor(node.minor).build()
}

fn bind(mount: &cdi::Mount) -> Result<Mount, OciSpecError> {
    let kind = mount.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("bind");
    let mut options = mount.options.clone();
    if kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
        options.push("rbind".to_owned());
    }
    let builder = MountBuilder::default().source(&mount.host_path).destination(&mount.container_path);
    builder.typ(kind).options(options).build()
}

fn put(hooks: &mut Hooks, given: &cdi::Hook) -> Result<(), OciSpecError> {
    let builder = HookBuilder::default().path(&given.path).args(given.args.clone()).env(given.env.clone());
    let hook: Hook = given.timeout.into_iter().fold(builder, HookBuilder::timeout).build()?;
    let with =
        |list: &Option<Vec<Hook>>| Some(list.iter().flatten().cloned().chain([hook.clone()]).collect());
    match given.hook_name {
        HookName::Prestart => hooks.set_prestart(with(hooks.prestart())),
        HookName::CreateRuntime => hooks.set_create_runtime(with(hooks.create_runtime())),
        HookName::CreateContainer => hooks.set_create_container(with(hooks.create_container())),
        HookName::StartContainer => hooks.set_start_container(with(hooks.start_container())),
        HookName::Poststart => hooks.set_poststart(with(hooks.poststart())),
        HookName::Poststop => hooks.set_poststop(with(hooks.poststop())),
    };
    Ok(())
}
