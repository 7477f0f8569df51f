//! Probes over the network: HTTP asked through hyper, TCP through the kernel.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use purser_actors::port::{ProbeTransport, ProbeVerdict};
use tokio::net::TcpStream;

/// Longest message of a verdict, in bytes.
const MESSAGE_LEN_MAX: usize = 256;

/// Makes the checks from the node itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkProbes;

#[async_trait]
impl ProbeTransport for NetworkProbes {
    async fn http_get(
        &self,
        host: &str,
        port: u16,
        path: &str,
        headers: &[(String, String)],
        timeout: Duration,
    ) -> ProbeVerdict {
        match tokio::time::timeout(timeout, status_of(host, port, path, headers)).await {
            Ok(Ok(status @ 200..=399)) => verdict(true, format!("HTTP status {status}")),
            Ok(Ok(status)) => verdict(false, format!("HTTP status {status}")),
            Ok(Err(error)) => verdict(false, error.to_string()),
            Err(_) => verdict(false, format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    async fn tcp_connect(&self, host: &str, port: u16, timeout: Duration) -> ProbeVerdict {
        match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => verdict(true, format!("port {port} is open")),
            Ok(Err(error)) => verdict(false, format!("failed to connect to port {port}: {error}")),
            Err(_) => verdict(false, format!("port {port} did not open within {} ms", timeout.as_millis())),
        }
    }
}

/// Why a check over HTTP saw no status.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("failed to connect to port {port}: {source}")]
    Connect { port: u16, source: std::io::Error },
    #[error("path or headers cannot be sent: {0}")]
    Request(hyper::http::Error),
    #[error("the answer is not HTTP: {0}")]
    Answer(hyper::Error),
}

async fn status_of(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<u16, HttpError> {
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|source| HttpError::Connect { port, source })?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(HttpError::Answer)?;
    let request = request(host, port, path, headers).map_err(HttpError::Request)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        Ok(response.status().as_u16())
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection is driven here, and ends with this function: nothing is left behind by a probe. Where it ends
    // first, the answer may have come with its end; if none came, the exchange says so.
    let status = tokio::select! {
        status = exchange.as_mut() => status,
        _ = connection => exchange.await,
    };
    status.map_err(HttpError::Answer)
}

type Nothing = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

fn request(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<hyper::Request<Nothing>, hyper::http::Error> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = hyper::Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("purser-probe/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new().boxed())?;
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str())?;
        // A header of the manifest stands in place of ours: `Host` above all.
        request.headers_mut().insert(name, HeaderValue::try_from(value.as_str())?);
    }
    Ok(request)
}

fn verdict(success: bool, mut message: String) -> ProbeVerdict {
    let mut end = message.len().min(MESSAGE_LEN_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    ProbeVerdict { success, message }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that reads a request head, answers with `answer` and reports what it read.
    async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        (port, served)
    }

    async fn get(port: u16, headers: &[(String, String)]) -> ProbeVerdict {
        NetworkProbes.http_get("127.0.0.1", port, "/healthz?full=1", headers, PATIENCE).await
    }

    #[tokio::test]
    async fn statuses_below_400_are_success() {
        for (answer, success) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false),
            ("not http at all\r\n\r\n", false),
        ] {
            let (port, served) = server(answer).await;
            let verdict = get(port, &[]).await;
            assert_eq!(verdict.success, success, "{answer}: {}", verdict.message);
            assert!(served.await.unwrap().starts_with("GET /healthz?full=1 HTTP/1.1\r\n"));
        }
    }

    #[tokio::test]
    async fn headers_of_the_manifest_are_sent() {
        let (port, served) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        let headers = [("Host".to_owned(), "shop.example".to_owned()), ("X-A".to_owned(), "b".to_owned())];
        assert!(get(port, &headers).await.success);
        let head = served.await.unwrap().to_ascii_lowercase();
        assert!(head.contains("\r\nhost: shop.example\r\n") && head.contains("\r\nx-a: b\r\n"), "{head}");
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failed_check() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(NetworkProbes.tcp_connect("127.0.0.1", port, PATIENCE).await.success);
        drop(listener);
        // What another test starts has it open as well, until it runs its program.
        let is_left = async { while NetworkProbes.tcp_connect("127.0.0.1", port, PATIENCE).await.success {} };
        tokio::time::timeout(Duration::from_secs(60), is_left).await.unwrap();
        assert!(!get(port, &[]).await.success);
    }

    #[tokio::test]
    async fn headers_that_cannot_be_sent_are_a_failed_check() {
        let (port, _served) = server("HTTP/1.1 200 OK\r\n\r\n").await;
        let verdict = get(port, &[("X".to_owned(), "a\r\nb: c".to_owned())]).await;
        assert!(!verdict.success && verdict.message.contains("cannot be sent"), "{}", verdict.message);
    }
}
