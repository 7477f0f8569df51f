//! Over TCP nobody gets in without a token, and the service does not listen there without tokens.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use purser_tests::bounded::PATIENCE;
use purser_tests::http::Answer;
use purser_tests::journal;
use purser_tests::ports::free_address;
use purser_tests::purserd::{Purserd, Setup};

use super::client::{assert_problem, converse, sleeper};
use super::program::{run, said};

pub(super) const TOKEN: &str = "correct-horse-battery-staple";

/// A file with this text that only its owner may read.
pub(super) fn token_file(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("tokens");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn ask_over_tcp(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Answer {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    converse(stream, &format!("{line} HTTP/1.1\r\n{headers}"), body)
}

#[test]
fn a_listener_without_tokens_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("purserd.toml");
    let file = folder.path().join("tokens");
    let data = folder.path().join("data");
    let open = "ci 0123456789abcdef\n";
    let cases = [
        ("", None, 0o600, "token-file"),
        ("with", None, 0o600, "failed to read the token file"),
        ("with", Some(open), 0o644, "open to others"),
        ("with", Some("# nobody\n"), 0o600, "has no token"),
        ("with", Some("ci short\n"), 0o600, "line 1"),
        ("with", Some("0123456789abcdef\n"), 0o600, "line 1"),
    ];
    for (with, tokens, mode, told) in cases {
        if let Some(tokens) = tokens {
            std::fs::write(&file, tokens).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let key = if with.is_empty() { String::new() } else { format!("token-file = {file:?}\n") };
        let socket = folder.path().join("s");
        let text = format!(
            "data-dir = {data:?}\n[api]\nsocket = {socket:?}\n[api.tcp]\naddress = \"127.0.0.1:0\"\n{key}"
        );
        std::fs::write(&config, text).unwrap();
        for check in [false, true] {
            let ended = run(&config, check, &[]);
            assert_eq!(ended.status.code(), Some(2), "{told}: {}", said(&ended));
            assert!(said(&ended).contains(told), "{told}: {}", said(&ended));
            assert!(!said(&ended).contains("0123456789abcdef"), "a token is told: {}", said(&ended));
        }
        assert!(!data.exists(), "{told}: a folder was made by a service that did not start");
    }
}

#[test]
fn only_who_has_a_token_gets_in_and_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), &format!("nightly {TOKEN}\n"));
    let address = free_address();
    let more = format!("[api.tcp]\naddress = \"{address}\"\ntoken-file = {file:?}\n");
    let purserd = Purserd::start(&Setup { more, ..Setup::default() });
    let wrong = [
        String::new(),
        "Authorization: \r\n".to_owned(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("Authorization: Basic {TOKEN}\r\n"),
        "Authorization: Bearer é\r\n".to_owned(),
    ];
    for headers in &wrong {
        for line in ["GET /v1/status", "GET /metrics", "GET /nothing", "POST /v1/pods", "GET /openapi.json"] {
            let answer = ask_over_tcp(address, line, headers, b"");
            assert_problem(&answer, 401, "unauthorized", &format!("{line} {headers}"));
            assert!(answer.head.contains("www-authenticate: Bearer\r\n"), "{}", answer.head);
        }
    }
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let accepted = ask_over_tcp(address, "POST /v1/pods", &headers, sleeper("web").to_string().as_bytes());
    assert_eq!(accepted.status, 201, "{accepted:?}");
    let records = journal::records(&purserd);
    let admitted = records.iter().find(|record| record.event.layout().name == "pod.admitted").unwrap();
    assert_eq!(admitted.header.origin.principal.as_str(), "token:nightly");
    assert!(!purserd.log().contains(TOKEN), "the token is in the log");
}
