//! Volumes as processes see them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use purser_actors::port::{Containers, PodPlan};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::{HostPathKind, User, Volume, VolumeSource};

use super::scene::{Scene, container, mount, name, script};

fn volume(text: &str, source: VolumeSource) -> Volume {
    Volume { name: name(text), source }
}

fn host_path(path: &Path, kind: HostPathKind) -> VolumeSource {
    VolumeSource::HostPath { path: path.to_str().unwrap().into(), kind }
}

#[tokio::test]
async fn an_empty_dir_is_shared_and_is_the_groups() {
    let mut scene = Scene::new();
    scene.volumes = vec![volume("scratch", VolumeSource::EmptyDir)];
    scene.fs_group = Some(4242);
    let target = tempfile::tempdir().unwrap();
    let mut spec = script("id -G; echo hello > greeting; exec sleep 1000");
    spec.working_dir = Some(target.path().to_str().unwrap().into());
    spec.mounts = vec![mount("scratch", target.path(), false)];
    spec.user = User { uid: Some(65534), gid: Some(12345), ..User::default() };
    scene
        .runtime
        .set_up(&PodPlan { uid: scene.pod, spec: scene.spec(spec.clone()).into(), gpus: vec![] })
        .await
        .unwrap();
    scene.start(spec).await.unwrap();
    scene.printed("12345 4242").await;
    let (code, out, err) = scene.exec(&["cat", "greeting"], b"").await;
    assert_eq!(
        (code.unwrap(), out.as_str(), err.as_str()),
        (0, "hello\n", ""),
        "a command sees the volume too"
    );
    let file = scene.paths.volume(scene.pod, &name("scratch")).join("greeting");
    let held = fs::metadata(file).unwrap();
    assert_eq!((held.uid(), held.gid()), (65534, 4242));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0, "the host sees the mount");
}

#[tokio::test]
async fn a_read_only_mount_refuses_writing() {
    let mut scene = Scene::with(|_| {});
    scene.volumes = vec![volume("scratch", VolumeSource::EmptyDir)];
    let target = tempfile::tempdir().unwrap();
    let mut spec = script("echo x > file || exit 30");
    spec.working_dir = Some(target.path().to_str().unwrap().into());
    spec.mounts = vec![mount("scratch", target.path(), true)];
    let (exit, log) = scene.run(spec).await;
    assert_eq!(exit.code, 30, "{log}");
    assert!(log.contains("Read-only"), "{log}");
}

#[tokio::test]
async fn host_paths_need_the_operators_leave() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "of the host").unwrap();
    let root = host.path().to_path_buf();
    let target = tempfile::tempdir().unwrap();
    let mut spec = container(&["cat", "file"]);
    spec.working_dir = Some(target.path().to_str().unwrap().into());
    spec.mounts = vec![mount("data", target.path(), true)];
    let mut scene = Scene::with(|settings| settings.host_path_roots = vec![root]);
    scene.volumes = vec![volume("data", host_path(host.path(), HostPathKind::Directory))];
    let (exit, log) = scene.run(spec.clone()).await;
    assert_eq!((exit.code, log.as_str()), (0, "of the host"));
    let mut scene = Scene::new();
    scene.volumes = vec![volume("data", host_path(host.path(), HostPathKind::Directory))];
    let plan = PodPlan { uid: scene.pod, spec: scene.spec(spec).into(), gpus: vec![] };
    let error = scene.runtime.set_up(&plan).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Volume);
    assert!(error.message.starts_with("volume `data`: hostPath"), "{error}");
}

#[tokio::test]
async fn a_mount_needs_its_place_on_the_host() {
    let mut scene = Scene::new();
    scene.volumes = vec![volume("scratch", VolumeSource::EmptyDir)];
    let mut spec = script("true");
    spec.mounts = vec![mount("scratch", Path::new("/no/such/place"), false)];
    let error = scene.start(spec).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Volume);
    assert!(error.message.contains("mountPath `/no/such/place` must exist on the host"), "{error}");
}
