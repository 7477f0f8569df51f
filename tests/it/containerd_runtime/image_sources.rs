//! Images from a registry, from a mirror, and from archives on the node.

use std::collections::BTreeMap;
use std::process::Command;

use purser_actors::port::Containers;
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::PullPolicy;
use purser_tests::images::{Images, must};
use purser_tests::registry::Registry;
use serde_json::{Value, json};

use super::rig::{Planned, Rig, with_image};

#[tokio::test]
async fn an_image_is_pulled_and_stays() {
    let registry = Registry::start();
    registry.push("entry", "r/entry:1");
    let host = registry.host.clone();
    let rig = Rig::with(|mut config, _| {
        config.plain_http_registries = vec![host.clone()];
        config
    });
    let image = format!("{host}/r/entry:1");
    let mut plan = Planned::of(vec![with_image(&image, PullPolicy::Always, &[])]);
    rig.start(&plan).await.unwrap();
    assert_eq!(rig.runtime.wait(&plan.key()).await.unwrap().code, 0);
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.log(&plan.key()), "from image\n");
    let checked = rig.containerd.ctr(&["images", "check"]);
    let whole = checked.lines().filter(|line| line.contains(&image) && line.contains("complete")).count();
    assert_eq!(whole, 1, "{checked}");
    // Without the registry, and after a collection of what nothing refers to, it is still there.
    drop(registry);
    let _collected = rig.containerd.ctr(&["content", "prune", "references"]);
    plan = Planned::of(vec![with_image(&image, PullPolicy::IfNotPresent, &[])]);
    rig.start(&plan).await.unwrap();
    rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.log(&plan.key()), "from image\n");
    let plan = Planned::of(vec![with_image(&image, PullPolicy::Always, &[])]);
    let error = rig.start(&plan).await.unwrap_err();
    assert_eq!(error.class, FailureClass::ImagePull, "{error}");
    rig.assert_nothing_left_but_cgroups().await;
}

#[tokio::test]
async fn a_short_name_is_pulled_from_the_mirror_of_docker_hub() {
    let registry = Registry::start();
    registry.push("entry", "library/nginx:1.14.2");
    let endpoint = format!("http://{}", registry.host);
    let rig = Rig::with(|mut config, _| {
        config.mirrors = BTreeMap::from([("docker.io".to_owned(), vec![endpoint])]);
        config
    });
    let plan = Planned::of(vec![with_image("nginx:1.14.2", PullPolicy::IfNotPresent, &[])]);
    let images = rig.runtime.set_up(&plan.pod()).await.unwrap();
    assert_eq!(images[0].reference, "docker.io/library/nginx:1.14.2");
    rig.runtime.start(&plan.first(&images)).await.unwrap();
    assert_eq!(rig.runtime.wait(&plan.key()).await.unwrap().code, 0);
    rig.runtime.remove(&plan.key()).await.unwrap();
}

#[tokio::test]
async fn an_image_that_the_registry_does_not_have_is_said_so_by_it() {
    let registry = Registry::start();
    let host = registry.host.clone();
    let rig = Rig::with(|mut config, _| {
        config.plain_http_registries = vec![host.clone()];
        config
    });
    let plan = Planned::of(vec![with_image(&format!("{host}/r/absent:1"), PullPolicy::IfNotPresent, &[])]);
    let error = rig.start(&plan).await.unwrap_err();
    assert_eq!(error.class, FailureClass::ImageNotFound, "{error}");
    assert!(error.message.contains("r/absent:1") && error.message.contains("manifest unknown"), "{error}");
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn archives_and_layouts_in_the_operators_folder_are_used_before_a_registry() {
    let images = Images::made();
    let rig = Rig::with(|mut config, containerd| {
        let folder = containerd.folder().join("images");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&images.archive, folder.join("nginx_1.14.2.tar")).unwrap();
        std::os::unix::fs::symlink(&images.layout, folder.join("test.invalid_layout_entry")).unwrap();
        config.images_dir = Some(folder);
        config
    });
    let plan = Planned::of(vec![with_image("nginx:1.14.2", PullPolicy::Always, &["echo", "archive"])]);
    rig.start(&plan).await.unwrap();
    rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.log(&plan.key()), "archive\n");
    let plan = Planned::of(vec![with_image("test.invalid/layout:entry", PullPolicy::Never, &[])]);
    rig.start(&plan).await.unwrap();
    rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.log(&plan.key()), "from image\n");
}

#[tokio::test]
async fn one_image_for_many_pods_at_once_is_fetched_without_a_quarrel() {
    let registry = Registry::start();
    registry.push("plain", "r/a:1");
    registry.push("entry", "r/b:1");
    let host = registry.host.clone();
    let rig = Rig::with(|mut config, _| {
        config.plain_http_registries = vec![host.clone()];
        config
    });
    let pulls = (0..8).map(|i| {
        let image = format!("{host}/r/{}:1", if i % 2 == 0 { "a" } else { "b" });
        let plan = Planned::of(vec![with_image(&image, PullPolicy::Always, &["true"])]);
        let runtime = rig.runtime.clone();
        tokio::spawn(async move { runtime.set_up(&plan.pod()).await.map(|images| images[0].digest.clone()) })
    });
    let pulls: Vec<_> = pulls.collect();
    let mut digests = std::collections::BTreeSet::new();
    for pull in pulls {
        digests.insert(pull.await.unwrap().unwrap());
    }
    assert_eq!(digests.len(), 2);
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_machine() {
    let rig = Rig::with(|config, _| config);
    let layout = rig.containerd.folder().join("layout");
    let plain = Images::made();
    must("coreutils", Command::new("cp").arg("-r").arg(&plain.layout).arg(&layout));
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let tagged = |tag: &str| {
        let manifests = index["manifests"].as_array().unwrap().iter();
        let mut found =
            manifests.filter(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag);
        found.next().unwrap().clone()
    };
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let entry = |tag: &str, architecture: &str| {
        let mut entry = tagged(tag);
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let other = entry("plain", "s390x");
    let inner = json!({ "schemaVersion": 2, "manifests": [other, entry("entry", architecture)] });
    let inner = serde_json::to_vec(&inner).unwrap();
    let blob = layout.join("inner.json");
    std::fs::write(&blob, &inner).unwrap();
    let sum = must("coreutils", Command::new("sha256sum").arg(&blob));
    let hex = sum.split_whitespace().next().unwrap();
    std::fs::rename(&blob, layout.join("blobs/sha256").join(hex)).unwrap();
    let link = json!({
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": format!("sha256:{hex}"),
        "size": inner.len(),
        "annotations": { "io.containerd.image.name": "test.invalid/multi:1" },
    });
    let outer = json!({ "schemaVersion": 2, "manifests": [link] });
    std::fs::write(layout.join("index.json"), outer.to_string()).unwrap();
    let fetched = rig.runtime.load_image(&layout, None).await.unwrap();
    assert_eq!(fetched.reference, "test.invalid/multi:1");
    assert_eq!(tagged("entry")["digest"], fetched.digest.as_str());
    let plan = Planned::of(vec![with_image("test.invalid/multi:1", PullPolicy::Never, &[])]);
    rig.start(&plan).await.unwrap();
    rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.log(&plan.key()), "from image\n");
    rig.assert_nothing_left_but_cgroups().await;
}

#[tokio::test]
async fn an_archive_whose_bytes_were_changed_is_refused() {
    let rig = Rig::with(|config, _| config);
    let layout = rig.containerd.folder().join("layout");
    must("coreutils", Command::new("cp").arg("-r").arg(&Images::made().layout).arg(&layout));
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten();
    let largest = blobs.max_by_key(|blob| blob.metadata().unwrap().len()).unwrap().path();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let error = rig.runtime.load_image(&layout, Some("test.invalid/plain:plain")).await.unwrap_err();
    assert_eq!(error.class, FailureClass::ImagePull, "{error}");
    rig.assert_nothing_left().await;
}
