//! A stand-in for the service: it keeps tenants and answers as the API does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// What the stand-in has heard and keeps.
#[derive(Debug, Default)]
struct Kept {
    tenants: BTreeMap<String, Value>,
    requests: Vec<String>,
}

/// A service that keeps tenants. It refuses one whose name begins with `no`, and does not answer to `gone`.
#[derive(Debug)]
pub(crate) struct Service {
    folder: tempfile::TempDir,
    kept: Arc<Mutex<Kept>>,
}

impl Service {
    pub(crate) fn start() -> Service {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket can be made");
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = Arc::clone(&kept);
        // Ends with the process: nobody connects any more once the folder is gone.
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let _ = answer(connection, &shared);
            }
        });
        Service { folder, kept }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The tenants that it keeps.
    pub(crate) fn tenants(&self) -> BTreeMap<String, Value> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).tenants.clone()
    }

    /// What was asked since the last time, as `METHOD name`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner).requests)
    }

    /// Changes what is kept of a tenant, as another operator would.
    pub(crate) fn edit(&self, name: &str, field: &str, value: Value) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tenants.get_mut(name).expect("it is kept")[field] = value;
    }
}

fn answer(connection: UnixStream, kept: &Mutex<Kept>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    let mut len = 0;
    while reader.read_line(&mut head)? > 2 {
        let line = head.lines().last().unwrap_or_default().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let name = path.strip_prefix("/v1/tenants/").expect("only tenants are asked about").to_owned();
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.requests.push(format!("{method} {name}"));
    let (status, media, answer) = match method {
        _ if name == "gone" => return Ok(()),
        "GET" => {
            let tenant = kept.tenants.get(&name);
            (
                "200 OK",
                "json",
                json!({ "id": name, "tenant": tenant, "isDefault": tenant.is_none(), "used": {} }),
            )
        }
        "PUT" if name.starts_with("no") => {
            let problem = json!({
                "type": "about:blank", "title": "not as it may be", "status": 422, "code": "invalid",
                "detail": "this tenant is not welcome", "errors": [],
            });
            ("422 Unprocessable Content", "problem+json", problem)
        }
        "PUT" => {
            let tenant: Value = serde_json::from_slice(&body)?;
            let changed = kept.tenants.insert(name, tenant.clone()) != Some(tenant);
            ("200 OK", "json", json!({ "seq": kept.requests.len(), "changed": changed }))
        }
        other => panic!("{other} is not asked for"),
    };
    let body = answer.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/{media}\r\nConnection: close\r\n");
    write!(reader.get_mut(), "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}
