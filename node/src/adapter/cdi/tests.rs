//! Files in two folders: what they say together, and what is wrong with each.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn gpu(name: &str) -> GpuUuid {
    GpuUuid::new(name).expect("a name")
}

/// Two folders, the second of which counts more.
struct Folders {
    below: TempDir,
    above: TempDir,
    cdi: Cdi,
}

impl Folders {
    fn new() -> Folders {
        let (below, above) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cdi = Cdi::new(vec![below.path().to_owned(), above.path().to_owned()]);
        Folders { below, above, cdi }
    }

    fn write(&self, name: &str, content: &Value) {
        fs::write(self.below.path().join(name), content.to_string()).unwrap();
    }

    fn variables(&self, gpus: &[&str]) -> Result<Vec<String>, String> {
        let gpus: Vec<GpuUuid> = gpus.iter().map(|name| gpu(name)).collect();
        self.cdi.look().edits(&gpus).map(|edits| edits.env)
    }
}

/// A file with these devices, each of which sets a variable of its name to this.
fn file(devices: &[&str], value: &str) -> Value {
    let device =
        |name: &&str| json!({ "name": name, "containerEdits": { "env": [format!("{name}={value}")] } });
    json!({
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "devices": devices.iter().map(device).collect::<Vec<_>>(),
        "containerEdits": { "env": [format!("ALL={value}")] },
    })
}

#[test]
fn what_a_file_says_for_all_of_its_devices_counts_once() {
    let folders = Folders::new();
    folders.write("a.json", &file(&["GPU-a", "GPU-b"], "1"));
    folders.write("b.json", &file(&["GPU-c"], "2"));
    let told = folders.variables(&["GPU-b", "GPU-c", "GPU-a"]).unwrap();
    assert_eq!(told, ["ALL=1", "GPU-b=1", "ALL=2", "GPU-c=2", "GPU-a=1"]);
    assert_eq!(folders.variables(&[]).unwrap(), [""; 0]);
}

#[test]
fn a_file_that_cannot_be_used_hides_no_other() {
    let folders = Folders::new();
    folders.write("good.json", &file(&["GPU-a"], "1"));
    fs::write(folders.below.path().join("broken.json"), "{").unwrap();
    folders.write("more.json", &json!({ "cdiVersion": "0.6.0", "kind": "a/b", "devices": [], "extra": 1 }));
    fs::write(folders.below.path().join("nvidia.yaml"), "cdiVersion: 0.6.0").unwrap();
    fs::write(folders.below.path().join("large.json"), vec![b' '; 1 + (1 << 20)]).unwrap();
    folders.write("open.json", &file(&["GPU-o"], "1"));
    let open = folders.below.path().join("open.json");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    fs::create_dir(folders.below.path().join("folder.json")).unwrap();
    let catalogue = folders.cdi.look();
    assert_eq!(catalogue.trouble_of(&gpu("GPU-a")), None);
    for (name, what) in [
        ("broken.json", "EOF while parsing"),
        ("more.json", "unknown field `extra`"),
        ("nvidia.yaml", "is YAML"),
        ("large.json", "has more than 1048576 bytes"),
        ("open.json", "may be written by anybody"),
        ("folder.json", "is no file"),
    ] {
        let named = |trouble: &String| trouble.contains(name) && trouble.contains(what);
        assert_eq!(
            catalogue.troubles.iter().filter(|it| named(it)).count(),
            1,
            "{name}: {:?}",
            catalogue.troubles
        );
    }
    assert_eq!(catalogue.troubles.len(), 6);
    let told = catalogue.trouble_of(&gpu("GPU-o")).unwrap();
    assert!(told.contains("has nvidia.com/gpu=GPU-o") && told.contains("broken.json"), "{told}");
}

#[test]
fn a_device_that_is_described_twice_is_nobodys() {
    let folders = Folders::new();
    folders.write("a.json", &file(&["GPU-a", "GPU-b"], "1"));
    folders.write("b.json", &file(&["GPU-a"], "2"));
    folders.write("c.json", &file(&["GPU-a"], "3"));
    let catalogue = folders.cdi.look();
    let told = catalogue.edits(&[gpu("GPU-a")]).unwrap_err();
    for part in ["nvidia.com/gpu=GPU-a", "a.json", "b.json", "c.json"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(catalogue.troubles.contains(&told));
    assert_eq!(folders.variables(&["GPU-b"]).unwrap(), ["ALL=1", "GPU-b=1"]);
    // What the folder above says holds, whatever those below say.
    fs::write(folders.above.path().join("x.json"), file(&["GPU-a"], "4").to_string()).unwrap();
    assert_eq!(folders.variables(&["GPU-a"]).unwrap(), ["ALL=4", "GPU-a=4"]);
}

#[test]
fn a_number_is_no_name_of_a_gpu() {
    let folders = Folders::new();
    let none = folders.variables(&["GPU-a"]).unwrap_err();
    assert!(none.contains("nvidia-ctk cdi generate") && none.contains("`gpu.cdi`"), "{none}");
    folders.write("a.json", &file(&["0", "all"], "1"));
    let told = folders.variables(&["GPU-a"]).unwrap_err();
    assert!(told.contains("--device-name-strategy=uuid"), "{told}");
}

#[test]
fn what_changes_is_read_again() {
    let folders = Folders::new();
    let path = folders.below.path().join("a.json");
    for value in ["1", "2", "3"] {
        // Another file under the same name, as whoever generates it writes it.
        let other = folders.below.path().join("new");
        fs::write(&other, file(&["GPU-a"], value).to_string()).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(folders.variables(&["GPU-a"]).unwrap()[0], format!("ALL={value}"));
        assert_eq!(folders.variables(&["GPU-a"]).unwrap()[0], format!("ALL={value}"));
    }
    fs::remove_file(&path).unwrap();
    assert!(folders.variables(&["GPU-a"]).is_err());
}

#[test]
fn a_file_is_refused_where_it_is_wrong() {
    let with = |edits: Value| json!({ "cdiVersion": "1.1.0", "kind": "a.com/b", "devices": [{ "name": "x", "containerEdits": edits }] });
    let told = |content: Value| File::read(content.to_string().as_bytes()).unwrap_err();
    let cases = [
        (json!({ "cdiVersion": "1.2.0", "kind": "a.com/b", "devices": [] }), "cdiVersion"),
        (json!({ "cdiVersion": "1.0.0", "kind": "gpu", "devices": [] }), "kind"),
        (
            json!({ "cdiVersion": "1.0.0", "kind": "a/b", "devices": [{ "name": "-", "containerEdits": {} }] }),
            "name",
        ),
        (with(json!({ "env": ["A"] })), "devices[0].containerEdits.env[0]"),
        (with(json!({ "deviceNodes": [{ "path": "dev/x" }] })), "deviceNodes[0].path"),
        (with(json!({ "deviceNodes": [{ "path": "/dev/x", "permissions": "rx" }] })), "permissions"),
        (with(json!({ "deviceNodes": [{ "path": "/dev/x", "type": "z" }] })), "type"),
        (
            with(json!({ "mounts": [{ "hostPath": "/a", "containerPath": "/b/../c" }] })),
            "mounts[0].containerPath",
        ),
        (with(json!({ "hooks": [{ "hookName": "later", "path": "/x" }] })), "later"),
        (
            with(json!({ "hooks": [{ "hookName": "poststop", "path": "/x", "timeout": 0 }] })),
            "hooks[0].timeout",
        ),
        (with(json!({ "netDevices": [{ "hostInterfaceName": "a", "name": "b" }] })), "netDevices"),
        (with(json!({ "intelRdt": { "closID": "x" } })), "intelRdt"),
        (with(json!({ "mounts": [{ "hostPath": "/a", "containerPath": "/b", "mode": 1 }] })), "mode"),
    ];
    for (content, part) in cases {
        let told = told(content.clone());
        assert!(told.contains(part), "{content}: {told}");
    }
    let whole = with(json!({
        "env": ["A=1"], "additionalGids": [44],
        "deviceNodes": [{ "path": "/dev/x", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3,
                          "fileMode": 438, "permissions": "rw", "uid": 1, "gid": 2 }],
        "mounts": [{ "hostPath": "/a", "containerPath": "/b", "type": "bind", "options": ["ro"] }],
        "hooks": [{ "hookName": "createContainer", "path": "/x", "args": ["x"], "env": ["B=2"], "timeout": 5 }],
    }));
    File::read(whole.to_string().as_bytes()).unwrap();
}
