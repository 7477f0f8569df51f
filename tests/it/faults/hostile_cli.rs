//! Broken input to the command line: exit codes that scripts can act on, and reasons that people can.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Output;

use purser_tests::purserd::{Purserd, Setup};

use super::client::{assert_untouched, sleeper};
use super::program::assert_ended;

fn apply_file(purserd: &Purserd, path: &Path) -> Output {
    purserd.purser([OsStr::new("apply"), OsStr::new("-f"), path.as_os_str()])
}

#[test]
fn a_broken_file_is_refused_by_place_or_path() {
    let purserd = Purserd::start(&Setup::default());
    let web = sleeper("web").to_string();
    let nested = format!("a: {}", "[".repeat(50_000));
    let large = vec![b' '; 10 << 20];
    let cases: [(&[u8], &str); 9] = [
        (b"name: \xff\xfe\n", "UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00", ""),
        (&large, "at most 4194304"),
        (nested.as_bytes(), "document 1"),
        (b"a: 1\na: 2\n", "document 1"),
        (&web.replace("\"command\"", "\"comand\"").into_bytes(), "spec.containers[0].comand"),
        (&web.replace("[\"/bin/sleep\",\"600\"]", "7").into_bytes(), "spec.containers[0].command"),
        (&web.replace("\"web\"", "\"../../web\"").into_bytes(), "metadata.name"),
        (&web.replace("Pod", "Deployment").into_bytes(), "kind"),
    ];
    let path = purserd.folder().join("broken.yaml");
    for (bytes, told) in cases {
        std::fs::write(&path, bytes).unwrap();
        assert_ended(&apply_file(&purserd, &path), 1, &[told, "broken.yaml"]);
    }
    std::fs::write(&path, "# nothing\n---\n").unwrap();
    assert_ended(&apply_file(&purserd, &path), 2, &["there is no document"]);
    assert_ended(&apply_file(&purserd, Path::new("/no/such/file.yaml")), 1, &["/no/such/file.yaml"]);
    let empty = tempfile::tempdir().unwrap();
    assert_ended(&apply_file(&purserd, empty.path()), 1, &["has no *.yaml"]);
    assert_untouched(&purserd, 0);
}

#[test]
fn a_broken_command_line_is_exit_code_2() {
    let purserd = Purserd::start(&Setup::default());
    let not_text = OsStr::from_bytes(b"\xff\xfe");
    let name: &OsStr = "name".as_ref();
    let cases: [&[&OsStr]; 8] = [
        &["get".as_ref(), "pod".as_ref(), "../web".as_ref()],
        &["delete".as_ref(), "a/b/c".as_ref()],
        &["describe".as_ref(), "pod".as_ref(), not_text],
        &["stop".as_ref(), "web".as_ref(), "--grace-period".as_ref(), "-1".as_ref()],
        &["wait".as_ref(), "web".as_ref(), "--for".as_ref(), "condition=Happy".as_ref()],
        &["logs".as_ref(), "web".as_ref(), "--tail".as_ref(), "many".as_ref()],
        &["events".as_ref(), "--from".as_ref(), "-3".as_ref()],
        &["juggle".as_ref(), name],
    ];
    for arguments in cases {
        let output = purserd.purser(arguments);
        assert_ended(&output, 2, &[]);
        assert!(!output.stderr.is_empty(), "{arguments:?} is refused without a word");
    }
    assert_ended(&purserd.purser(["get", "pod", "web"]), 1, &["default/web"]);
    assert_ended(&purserd.purser(["exec", "web", "--", "/bin/true"]), 1, &["default/web"]);
    assert_untouched(&purserd, 0);
}
