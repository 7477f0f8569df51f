//! Specifications to the last field, with devices and without.

use oci_spec::runtime::{
    LinuxBuilder, LinuxDeviceCgroupBuilder, LinuxResourcesBuilder, ProcessBuilder, SpecBuilder, UserBuilder,
};
use serde_json::{Value, json};

use super::*;

/// A container of this user, with a mount in which others lie.
fn container(uid: u32) -> Spec {
    let rule = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
    let resources = LinuxResourcesBuilder::default().devices(vec![rule]).build().unwrap();
    let linux = LinuxBuilder::default().resources(resources).build().unwrap();
    let user = UserBuilder::default().uid(uid).gid(uid).additional_gids(vec![7_u32]).build().unwrap();
    let env = vec!["PATH=/bin".to_owned(), "NVIDIA_VISIBLE_DEVICES=all".to_owned()];
    let process = ProcessBuilder::default().env(env).user(user).build().unwrap();
    let mount =
        |path: &str| MountBuilder::default().source("x").destination(path).typ("bind").build().unwrap();
    let mounts = vec![mount("/usr/lib/deep/inside"), mount("/usr")];
    SpecBuilder::default().process(process).linux(linux).mounts(mounts).build().unwrap()
}

fn described(edits: &Value) -> Result<Devices, String> {
    Devices::of(serde_json::from_value(edits.clone()).unwrap())
}

fn added(uid: u32, edits: &Value) -> Value {
    let spec = add(container(uid), &described(edits).unwrap()).unwrap();
    serde_json::to_value(spec).unwrap()
}

#[test]
fn a_specification_has_all_that_its_devices_are_described_with() {
    let edits = json!({
        "env": ["NVIDIA_VISIBLE_DEVICES=void", "NEW=1"],
        "deviceNodes": [
            { "path": "/dev/nvidia0", "hostPath": "/dev/null" },
            { "path": "/dev/nvidiactl", "type": "c", "major": 195, "minor": 255, "permissions": "rw", "fileMode": 438 },
        ],
        "mounts": [
            { "hostPath": "/host/nvidia-smi", "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "nosuid"] },
            { "hostPath": "tmpfs-is-no-path", "containerPath": "/run/x", "type": "tmpfs" },
        ],
        "hooks": [
            { "hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "chmod"] },
            { "hookName": "createContainer", "path": "/usr/bin/other", "env": ["A=1"], "timeout": 5 },
            { "hookName": "poststop", "path": "/usr/bin/last" },
        ],
        "additionalGids": [44, 7, 0],
    });
    let spec = added(0, &edits);
    assert_eq!(spec["process"]["env"], json!(["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=void", "NEW=1"]));
    assert_eq!(spec["process"]["user"]["additionalGids"], json!([7, 44]));
    let devices = json!([
        { "path": "/dev/nvidia0", "type": "c", "major": 1, "minor": 3 },
        { "path": "/dev/nvidiactl", "type": "c", "major": 195, "minor": 255, "fileMode": 438 },
    ]);
    assert_eq!(spec["linux"]["devices"], devices);
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
        { "allow": true, "type": "c", "major": 195, "minor": 255, "access": "rw" },
    ]);
    assert_eq!(spec["linux"]["resources"]["devices"], rules);
    let mounts: Vec<&str> =
        spec["mounts"].as_array().unwrap().iter().map(|it| it["destination"].as_str().unwrap()).collect();
    assert_eq!(mounts, ["/usr", "/run/x", "/usr/bin/nvidia-smi", "/usr/lib/deep/inside"]);
    assert_eq!(spec["mounts"][2]["options"], json!(["ro", "nosuid", "rbind"]));
    assert_eq!(spec["mounts"][1]["type"], "tmpfs");
    let hooks = json!({
        "createContainer": [
            { "path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "chmod"], "env": [] },
            { "path": "/usr/bin/other", "args": [], "env": ["A=1"], "timeout": 5 },
        ],
        "poststop": [{ "path": "/usr/bin/last", "args": [], "env": [] }],
    });
    assert_eq!(spec["hooks"], hooks);
}

#[test]
fn a_device_is_its_users() {
    let node = json!({ "deviceNodes": [
        { "path": "/dev/a", "hostPath": "/dev/zero" },
        { "path": "/dev/b", "hostPath": "/dev/zero", "uid": 1, "gid": 2 },
    ] });
    let spec = added(1_000, &node);
    let devices = json!([
        { "path": "/dev/a", "type": "c", "major": 1, "minor": 5, "uid": 1_000, "gid": 1_000 },
        { "path": "/dev/b", "type": "c", "major": 1, "minor": 5, "uid": 1, "gid": 2 },
    ]);
    assert_eq!(spec["linux"]["devices"], devices);
}

#[test]
fn without_devices_a_specification_is_what_it_was() {
    let plain = container(5);
    assert_eq!(add(plain.clone(), &Devices::default()).unwrap(), plain);
}

#[test]
fn what_the_host_does_not_have_is_named() {
    for (node, part) in [
        (json!({ "path": "/dev/no-such-device" }), "/dev/no-such-device cannot be looked at"),
        (json!({ "path": "/dev/x", "hostPath": "/etc" }), "/etc is no device"),
        (json!({ "path": "/dev/null", "type": "b" }), "/dev/null is another sort of device"),
    ] {
        let told = described(&json!({ "deviceNodes": [node] })).unwrap_err();
        assert!(told.contains(part), "{told}");
    }
}
