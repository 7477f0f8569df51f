//! A config that is wrong: the service does not start, says which key it is, and has touched nothing.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::program::{assert_ended, run, said};

/// Writes a config whose data folder and socket are in `folder`, with keys of the top level and tables added.
fn write(folder: &Path, keys: &str, socket: &Path, tables: &str) -> std::path::PathBuf {
    let path = folder.join("purserd.toml");
    let data = folder.join("data");
    let text = format!(
        "data-dir = {data:?}\n{keys}\n[api]\nsocket = {socket:?}\n\n[containerd]\nenabled = \"never\"\n\n{tables}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_wrong_key_or_value_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let cases = [
        ("colour = \"red\"", "", "`colour`"),
        ("", "[policy.back-of]\nfirst-ms = 1", "`policy.back-of`"),
        ("", "[runtime]\nhost-path-root = []", "`runtime.host-path-root`"),
        ("free-disk-min-bytes = -1", "", "`free-disk-min-bytes`"),
        ("free-disk-min-bytes = \"much\"", "", "`free-disk-min-bytes`"),
        ("", "[policy.back-off]\nfirst-ms = 0", "`policy.back-off.first-ms`"),
        ("", "[policy.back-off]\nfirst-ms = 10\nmax-ms = 5", "`policy.back-off.first-ms`"),
        ("", "[runtime]\ndefault = \"docker\"", "`runtime.default`"),
        ("", "[runtime]\nhost-path-roots = [\"../a\"]", "`runtime.host-path-roots[0]`"),
        ("", "[journal]\ncodec = \"json\"", "`journal.codec`"),
        ("", "[journal]\ncache-bytes = 1.5", "`journal.cache-bytes`"),
        ("", "[journal]\ncommand-ids-kept-ms = 59999", "`journal.command-ids-kept-ms`"),
        ("", "[journal]\ngroup-wait-us-max = 10001", "`journal.group-wait-us-max`"),
        ("", "[log]\nlevel = \"loud\"", "`log.level`"),
        ("", "[api.tcp]\naddress = \"nowhere\"\ntoken-file = \"/t\"", "`api.tcp.address`"),
        ("", "[log", "not valid TOML"),
    ];
    for (keys, tables, told) in cases {
        let config = write(folder.path(), keys, &socket, tables);
        for check in [true, false] {
            assert_ended(&run(&config, check, &[]), 2, &[told]);
        }
    }
    std::fs::write(folder.path().join("purserd.toml"), b"data-dir = \"\xff\"").unwrap();
    assert_ended(&run(&folder.path().join("purserd.toml"), false, &[]), 2, &["purserd.toml"]);
    assert_ended(&run(&folder.path().join("absent.toml"), false, &[]), 2, &["absent.toml", "No such file"]);
    assert_ended(&run(folder.path(), false, &[]), 2, &["failed to read the config"]);
    assert!(!folder.path().join("data").exists(), "a service that did not start made its folder");
}

#[test]
fn a_wrong_variable_of_the_environment_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "", &folder.path().join("s"), "");
    for (name, value, told) in [
        ("PURSER_COLOUR", "red", "PURSER_COLOUR"),
        ("PURSER_API__SOCKT", "/s", "PURSER_API__SOCKT"),
        ("PURSER_DATA_DIR__X", "/s", "PURSER_DATA_DIR__X"),
        ("PURSER_DATA_DIR", "relative", "data-dir"),
        ("PURSER_FREE_DISK_MIN_BYTES", "1 GiB", "free-disk-min-bytes"),
        ("PURSER_API__REQUESTS_PER_SECOND", "0", "api.requests-per-second"),
        ("PURSER_LOG__LEVEL", "", "log.level"),
    ] {
        for check in [true, false] {
            assert_ended(&run(&config, check, &[(name, value)]), 2, &[told]);
        }
    }
    let fine = run(&config, true, &[("PURSER_LOG__LEVEL", "warn"), ("PURSER_SOCKET", "/x")]);
    assert_ended(&fine, 0, &[]);
    assert!(String::from_utf8_lossy(&fine.stdout).contains("level = \"warn\""));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_socket_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let live = folder.path().join("live");
    let _listener = UnixListener::bind(&live).unwrap();
    let long = folder.path().join("x".repeat(120));
    for (socket, code, told) in [
        (long.as_path(), 2, "at most 107"),
        (Path::new("relative"), 2, "absolute"),
        (file.as_path(), 73, "is not a socket"),
        (live.as_path(), 73, "is in use"),
        (&file.join("s"), 73, "failed to listen on"),
        (Path::new("/proc/purser.sock"), 73, "failed to listen on"),
    ] {
        let config = write(folder.path(), "", socket, "");
        assert_ended(&run(&config, false, &[]), code, &[told, &*socket.to_string_lossy()][..1]);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let config = write(folder.path(), "", &folder.path().join("s"), "").clone();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[api]", "[api]\nsocket-group = \"no-such-group\"")).unwrap();
    assert_ended(&run(&config, false, &[]), 2, &["no-such-group", "api.socket-group"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, "a file").unwrap();
    let config = write(folder.path(), "", &folder.path().join("s"), "");
    assert_ended(&run(&config, false, &[]), 73, &["failed to make the folder", "data"]);
    std::fs::remove_file(&file).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let under_proc = run(&config, false, &[("PURSER_DATA_DIR", "/proc/purser")]);
    assert_ended(&under_proc, 73, &["failed to make the folder `/proc/purser`"]);
    assert!(!said(&under_proc).contains("journal replayed"));
}
