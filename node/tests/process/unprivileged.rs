//! The process runtime of somebody who is not root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use purser_actors::port::Containers;
use purser_events::pod::event::FailureClass;

use super::scene::{SHIM_VARIABLE, Scene, container, mount, script, shim};

/// Nobody: the user that owns nothing.
const NOBODY: u32 = 65_534;

/// Tests that need no root, run once more without it.
const TESTS: [&str; 11] = [
    "process::adoption::a_killed_shim_ends_its_container",
    "process::adoption::a_second_node_adopts_what_runs",
    "process::commands::a_background_process_does_not_hold_up_a_command",
    "process::commands::a_command_has_input_outputs_and_an_exit_code",
    "process::commands::a_command_ends_with_its_container",
    "process::processors::processes_say_what_they_use_where_the_kernel_keeps_no_account",
    "process::processors::the_scheduler_alone_holds_a_container_where_there_are_no_groups",
    "process::running::a_container_runs_to_its_exit_code",
    "process::running::terminate_asks_the_main_process_and_kill_ends_all",
    "process::running::an_absent_shim_is_named",
    "process::unprivileged::what_only_root_may_do_is_refused",
];

#[test]
fn it_works_without_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test becomes nobody: run it as root");
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (tests, purserd) = (folder.path().join("tests"), folder.path().join("purserd"));
    fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    fs::copy(shim(), &purserd).unwrap();
    let mut command = Command::new(tests);
    command.arg("--exact").args(TESTS).arg("--include-ignored").env(SHIM_VARIABLE, purserd);
    let output = command.current_dir("/").gid(NOBODY).uid(NOBODY).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(&format!("{} passed", TESTS.len())), "not every test was found:\n{text}");
}

#[tokio::test]
#[ignore = "for a user who is not root: run by it_works_without_root"]
async fn what_only_root_may_do_is_refused() {
    let scene = Scene::new();
    let mut spec = script("true");
    spec.user.uid = Some(0);
    spec.mounts = vec![mount("data", std::path::Path::new("/tmp"), false)];
    let errors = scene.runtime.unsupported(&scene.spec(spec.clone()));
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["spec.containers[0].volumeMounts", "spec.containers[0].securityContext.runAsUser"]);
    spec.mounts.clear();
    let error = scene.start(spec).await.unwrap_err();
    assert!(error.message.contains("only root may run processes as somebody else"), "{error}");
    let mut limited = container(&["true"]);
    limited.resources.cpu_limit = Some(purser_events::MilliCpu(100));
    let error = scene.start(limited).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Invalid);
    assert!(error.message.contains("cannot be made: Permission denied"), "{error}");
}
