//! A tiny HTTP server on loopback that probes ask, and that says who asked.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use purser_tests::bounded::PATIENCE;
use purser_tests::http;

/// A server that answers every path with 500 until it is told otherwise; gone when it is dropped.
pub(super) struct Listener {
    pub(super) port: u16,
    healthy: Arc<Mutex<BTreeMap<String, bool>>>,
    asked: mpsc::Receiver<String>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Begins to listen.
    pub(super) fn start() -> Listener {
        Listener::on(TcpListener::bind("127.0.0.1:0").expect("loopback has a free port"))
    }

    /// Begins to listen on a port that is free now.
    pub(super) fn at(port: u16) -> Listener {
        Listener::on(TcpListener::bind(("127.0.0.1", port)).expect("the port is free"))
    }

    fn on(listener: TcpListener) -> Listener {
        let port = listener.local_addr().expect("it is bound").port();
        let (healthy, over) = (Arc::<Mutex<BTreeMap<_, _>>>::default(), Arc::<AtomicBool>::default());
        let (sender, asked) = mpsc::channel();
        let (known, stop) = (Arc::clone(&healthy), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                // A probe that only connects sends nothing.
                let Some(head) = read_request(&stream) else { continue };
                let path = head.split(' ').nth(1).unwrap_or_default();
                let is_healthy = known.lock().expect("nobody panics with it").get(path) == Some(&true);
                let status = if is_healthy { "200 OK" } else { "500 Internal Server Error" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                // A probe may have given up meanwhile.
                drop((&stream).write_all(answer.as_bytes()));
                drop(sender.send(head));
            }
        });
        Listener { port, healthy, asked, over, thread: Some(thread) }
    }

    /// Answers a path with success from now on, or with failure.
    pub(super) fn set(&self, path: &str, healthy: bool) {
        self.healthy.lock().expect("nobody panics with it").insert(path.to_owned(), healthy);
    }

    /// Waits for the next request and gives back its head.
    pub(super) fn next_request(&self) -> String {
        self.asked.recv_timeout(PATIENCE).expect("a probe asks")
    }

    /// Waits for a request for this path; gives back the requests up to it.
    pub(super) fn until_asked_for(&self, path: &str) -> Vec<String> {
        let mut heads = vec![self.next_request()];
        while !heads.iter().any(|head| head.starts_with(&format!("GET {path} "))) {
            heads.push(self.next_request());
        }
        heads
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // It waits for a connection: this one it takes to look up.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    http::read_head(&mut BufReader::new(stream)).ok()
}
