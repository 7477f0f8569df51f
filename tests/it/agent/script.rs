//! A service that follows a script: it speaks the agents' protocol and keeps no pools, so that it can fail at will.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use purser_tests::bounded::PATIENCE;
use purser_tests::http::read_head;
use serde_json::{Value, json};

/// What the service does with a request instead of answering it as it should.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Hangs up before it has done anything.
    HangUp,
    /// Does what was asked, and hangs up.
    Unheard,
    /// Refuses with a status and a code.
    Refuse(u16, &'static str),
    /// Answers this.
    Say(&'static str),
}

/// A request that came, but for polls and heartbeats.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    /// `sessions`, `reports` or `leave`.
    pub(super) route: &'static str,
    pub(super) body: Value,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) said: Vec<Said>,
    pub(super) beats: Vec<Value>,
    pub(super) orders: Vec<Value>,
    pub(super) seen: u64,
    pub(super) drop: Vec<Value>,
    pub(super) forget: Vec<String>,
    /// By task and token.
    pub(super) output: BTreeMap<String, Vec<u8>>,
    /// What is kept of each output, in bytes.
    pub(super) output_max: usize,
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    /// Files that must not be there when a start is told, each with whether one was.
    pub(super) not_yet: Vec<(PathBuf, bool)>,
    closing: bool,
}

impl State {
    /// Has requests to a route no longer fail.
    pub(super) fn forgive(&mut self, route: &str) {
        self.faults.remove(route);
    }

    /// Whether no request to a route fails any more.
    pub(super) fn is_forgiven(&self, route: &str) -> bool {
        self.faults.get(route).is_none_or(VecDeque::is_empty)
    }
}

/// The service, listening in an agent's folder.
pub(super) struct Script {
    state: Arc<(Mutex<State>, Condvar)>,
    socket: PathBuf,
}

const TOKEN: &str = "0123456789abcdef";

impl Script {
    /// Listens in a folder, which gets a token too.
    pub(super) fn listen(folder: &Path) -> Script {
        std::fs::write(folder.join("token"), TOKEN).unwrap();
        let socket = folder.join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let first = State { seen: 1, output_max: usize::MAX, ..State::default() };
        let state = Arc::new((Mutex::new(first), Condvar::new()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if lock(&shared).closing {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A connection that breaks off is the agent's to notice.
                std::thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        Script { state, socket }
    }

    /// Changes what the service says from now on.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let changed = change(&mut state);
        state.seen += 1;
        self.state.1.notify_all();
        changed
    }

    /// Orders a task beside those that are ordered already.
    pub(super) fn assign(&self, assignment: Value) {
        self.change(|state| state.orders.push(json!({ "assign": assignment })));
    }

    /// Has requests to a route fail, one after the other.
    pub(super) fn fail(&self, route: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.change(|state| state.faults.entry(route).or_default().extend(faults));
    }

    /// Waits until something is so; gives what is then found.
    #[track_caller]
    pub(super) fn until<T>(&self, what: &str, mut find: impl FnMut(&mut State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = find(&mut state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let (said, beat) = (&state.said, state.beats.last());
            assert!(!left.is_zero(), "{what}: not so within {} s: {said:#?} {beat:?}", PATIENCE.as_secs());
            state = self.state.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a report of a task of one kind, `started` for instance.
    #[track_caller]
    pub(super) fn report(&self, task: &str, kind: &str) -> Value {
        self.until(&format!("`{kind}` of {task}"), |state| {
            let reports = state.said.iter().filter(|said| said.route == "reports");
            let of_task = reports.filter(|said| said.body["task"] == task);
            of_task.map(|said| said.body["report"][kind].clone()).find(|report| !report.is_null())
        })
    }

    /// Waits until an agent says that it has nothing, in a heartbeat that began after this.
    #[track_caller]
    pub(super) fn until_idle(&self) {
        let beats = lock(&self.state).beats.len();
        self.until("an agent that has nothing", |state| {
            // The first one may have been on its way.
            let later = state.beats.get(beats + 1..)?;
            later.iter().any(|beat| beat["has"] == json!([])).then_some(())
        });
    }

    /// What was told of a task, in order.
    pub(super) fn told(&self, task: &str) -> Vec<String> {
        let state = lock(&self.state);
        let reports = state.said.iter().filter(|said| said.route == "reports" && said.body["task"] == task);
        reports.flat_map(|said| said.body["report"].as_object().unwrap().keys().cloned()).collect()
    }

    /// The output of an assignment so far.
    pub(super) fn output(&self, task: &str, token: u64) -> String {
        let state = lock(&self.state);
        let bytes = state.output.get(&format!("{task}/{token}")).cloned().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How often an agent connected.
    pub(super) fn connections(&self) -> Vec<Value> {
        let state = lock(&self.state);
        state.said.iter().filter(|said| said.route == "sessions").map(|said| said.body.clone()).collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        lock(&self.state).closing = true;
        self.state.1.notify_all();
        let _ = UnixStream::connect(&self.socket);
    }
}

fn lock(state: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    // A test that has failed with it in its hand goes on to take it apart.
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one request and answers it.
fn serve(state: &(Mutex<State>, Condvar), stream: UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let head = read_head(&mut reader)?;
    let field = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(it, value)| it.eq_ignore_ascii_case(name).then(|| value.trim().to_owned()))
    };
    assert_eq!(field("authorization").as_deref(), Some(&*format!("Bearer {TOKEN}")), "{head}");
    let mut body = vec![0; field("content-length").and_then(|len| len.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let parts: Vec<&str> = path.split('/').skip(4).collect();
    let route = match (head.split(' ').next(), parts.as_slice()) {
        (Some("POST"), []) => "sessions",
        (Some("DELETE"), [_]) => "leave",
        (_, [_, "heartbeat"]) => "heartbeat",
        (_, [_, "orders"]) => "orders",
        (_, [_, "reports"]) => "reports",
        (_, [_, "output", _, _]) => "output",
        _ => panic!("no such route: {target}"),
    };
    let fault = lock(state).faults.get_mut(route).and_then(VecDeque::pop_front);
    let answer = match fault {
        Some(Fault::HangUp) => return Ok(()),
        Some(Fault::Refuse(status, code)) => refusal(status, code),
        Some(Fault::Say(text)) => (200, text.to_owned()),
        Some(Fault::Unheard) => {
            act(state, route, &parts, query, &body);
            return Ok(());
        }
        None => act(state, route, &parts, query, &body),
    };
    let (status, text) = answer;
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, json!({"code": code, "detail": "by the script"}).to_string())
}

/// Does what a request asks for; gives status and body of the answer.
fn act(
    shared: &(Mutex<State>, Condvar),
    route: &'static str,
    parts: &[&str],
    query: &str,
    body: &[u8],
) -> (u16, String) {
    let number = |name: &str| -> u64 {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no `{name}` in `{query}`")).parse().unwrap()
    };
    let json_body = || serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let mut state = lock(shared);
    let answer = match route {
        "sessions" | "reports" | "leave" => {
            for (path, was_there) in &mut state.not_yet {
                *was_there |=
                    route == "reports" && json_body()["report"]["started"].is_object() && path.exists();
            }
            state.said.push(Said { route, body: json_body() });
            let (drop, forget) = (&state.drop, &state.forget);
            let connected = json!({"pool": "p", "member": 1, "slots": 3, "heartbeatMs": 50, "drop": drop, "forget": forget});
            (200, if route == "sessions" { connected.to_string() } else { "{}".to_owned() })
        }
        "heartbeat" => {
            state.beats.push(json_body());
            (200, json!({"drop": state.drop, "forget": state.forget}).to_string())
        }
        "orders" => {
            let (seen, deadline) = (number("seen"), Instant::now() + PATIENCE);
            assert!(number("waitMs") <= 30_000);
            while state.seen == seen && !state.closing && Instant::now() < deadline {
                state = shared.1.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
            }
            (200, json!({"orders": state.orders, "seen": state.seen}).to_string())
        }
        "output" => take_output(&mut state, &format!("{}/{}", parts[2], parts[3]), number("offset"), body),
        _ => panic!("no such route: {route}"),
    };
    shared.1.notify_all();
    answer
}

fn take_output(state: &mut State, key: &str, offset: u64, body: &[u8]) -> (u16, String) {
    let max = state.output_max;
    let kept = state.output.entry(key.to_owned()).or_default();
    let offset = usize::try_from(offset).unwrap();
    assert!(offset <= kept.len(), "output is missing before {offset}");
    // What overlaps is there already, and must be the same.
    let overlap = (kept.len() - offset).min(body.len());
    assert_eq!(kept[offset..offset + overlap], body[..overlap]);
    if kept.len() + body.len() - overlap > max {
        return refusal(413, "output-full");
    }
    kept.extend_from_slice(&body[overlap..]);
    (200, json!({ "offset": kept.len() }).to_string())
}
