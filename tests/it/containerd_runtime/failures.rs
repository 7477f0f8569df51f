//! What cannot run: each says why, and leaves nothing.

use purser_actors::port::{Containers, Standing};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::{HostPathKind, PullPolicy, User, Volume, VolumeMount, VolumeSource};
use purser_tests::images::Images;
use purser_tests::specs::name;

use super::rig::{PLAIN, Planned, Rig, shell, with_image};

#[tokio::test]
async fn an_absent_program_is_named() {
    let rig = Rig::with_image().await;
    for (program, told) in
        [("nosuch", "not found"), ("/no/such", "no such file"), ("/etc/passwd", "permission denied")]
    {
        let plan = Planned::of(vec![with_image(PLAIN, PullPolicy::Never, &[program])]);
        let error = rig.start(&plan).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Invalid, "{error}");
        assert!(error.message.contains(program) && error.message.contains(told), "{error}");
        assert_eq!(rig.runtime.inspect(&plan.key()).await.unwrap(), Standing::Absent);
        rig.runtime.clean_up(plan.uid).await.unwrap();
    }
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn users_that_may_not_or_cannot_be_are_refused() {
    let rig = Rig::with_image().await;
    let mut container = shell("true");
    container.user = User { non_root: true, ..User::default() };
    let error = rig.start(&Planned::of(vec![container])).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Invalid);
    assert!(error.message.contains("runAsNonRoot"), "{error}");
    rig.assert_nothing_left_but_cgroups().await;
}

#[tokio::test]
async fn the_images_own_user_is_found_by_name() {
    let rig = Rig::with_image().await;
    let layout = &Images::made().layout;
    rig.runtime.load_image(layout, Some("test.invalid/image:user")).await.unwrap();
    let plan = Planned::of(vec![with_image("test.invalid/image:user", PullPolicy::Never, &["id"])]);
    rig.start(&plan).await.unwrap();
    rig.runtime.wait(&plan.key()).await.unwrap();
    rig.runtime.remove(&plan.key()).await.unwrap();
    let log = rig.log(&plan.key());
    assert!(log.contains("uid=1000") && log.contains("gid=1001") && log.contains("44"), "{log}");
    rig.assert_nothing_left_but_cgroups().await;
}

#[tokio::test]
async fn a_missing_volume_source_is_named() {
    let rig = Rig::with_image().await;
    let host = rig.containerd.folder().join("host");
    std::fs::create_dir_all(&host).unwrap();
    let mut container = shell("true");
    container.mounts = vec![VolumeMount { volume: name("given"), path: "/given".into(), read_only: false }];
    let path = host.join("absent").to_str().unwrap().to_owned();
    let plan = Planned::changed(vec![container], |pod| {
        let source = VolumeSource::HostPath { path, kind: HostPathKind::Directory };
        pod.volumes = vec![Volume { name: name("given"), source }];
    });
    let error = rig.start(&plan).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Volume, "{error}");
    assert!(error.message.contains("given"), "{error}");
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_and_may_not_be_fetched_is_named() {
    let rig = Rig::with(|config, _| config);
    let plan = Planned::of(vec![with_image("test.invalid/absent:1", PullPolicy::Never, &["true"])]);
    let error = rig.start(&plan).await.unwrap_err();
    assert_eq!(error.class, FailureClass::ImageNotFound);
    assert!(error.message.contains("test.invalid/absent:1"), "{error}");
}

#[tokio::test]
async fn a_manifest_without_a_sound_image_is_refused_by_its_path() {
    let rig = Rig::with(|config, _| config);
    let mut bad = shell("true");
    bad.image = Some("not an image".into());
    let mut none = shell("true");
    none.image = None;
    let plan = Planned::of(vec![shell("true"), bad, none]);
    let paths: Vec<String> =
        rig.runtime.unsupported(&plan.spec).into_iter().map(|error| error.path).collect();
    assert_eq!(paths, ["spec.containers[1].image", "spec.containers[2].image"]);
}
