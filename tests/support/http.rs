//! Plain requests to the API, for tests that must see every byte of an answer, or that none came.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::bounded::PATIENCE;

/// An answer of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Head with the status line.
    pub head: String,
    /// Body as JSON; null if there is none.
    pub body: serde_json::Value,
}

/// Sends one request and reads its whole answer; an error if the service went away in between.
///
/// # Errors
/// The service does not listen, or ended before it had answered.
pub fn request(
    socket: &Path,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    let len = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: purser\r\nConnection: close\r\n{key}\
         Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n"
    );
    // In one piece: a service that answers before it has read the body may hang up in between. What it answered is there
    // to be read also where it has.
    match stream.write_all(format!("{head}{body}").as_bytes()) {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        sent => sent?,
    }
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader)?;
    let body = read_body(&mut reader, &head)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let body = if body.is_empty() { serde_json::Value::Null } else { serde_json::from_slice(&body)? };
    Ok(Answer { status, head, body })
}

/// Reads what is at a path, as text.
///
/// # Errors
/// The service does not listen, refuses, or ended before it had answered.
pub fn text(socket: &Path, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: purser\r\nConnection: close\r\n\r\n")?;
    let mut answer = BufReader::new(stream);
    let head = read_head(&mut answer)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(std::io::Error::other(head));
    }
    String::from_utf8(read_body(&mut answer, &head)?).map_err(std::io::Error::other)
}

fn broken() -> std::io::Error {
    ErrorKind::UnexpectedEof.into()
}

/// Reads an answer's head, up to the empty line.
///
/// # Errors
/// The answer breaks off in it.
pub fn read_head(answer: &mut impl BufRead) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if answer.read_line(&mut head)? == 0 {
            return Err(broken());
        }
    }
    Ok(head)
}

/// Reads the body that belongs to `head`, to its end.
///
/// # Errors
/// The body breaks off.
pub fn read_body(answer: &mut impl BufRead, head: &str) -> std::io::Result<Vec<u8>> {
    let field = |wanted: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned()))
    };
    if field("transfer-encoding").is_some() {
        return read_chunks(answer);
    }
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(body)
}

/// Joins the pieces of a body of unknown length.
fn read_chunks(body: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut whole = vec![];
    loop {
        let mut size = String::new();
        body.read_line(&mut size)?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(|_| broken())?;
        if body.take(size).read_to_end(&mut whole)? as u64 != size {
            return Err(broken());
        }
        body.read_exact(&mut [0; 2])?;
        if size == 0 {
            return Ok(whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(answer: &str) -> std::io::Result<Vec<u8>> {
        let mut answer = answer.as_bytes();
        let head = read_head(&mut answer)?;
        read_body(&mut answer, &head)
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let pieces = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        for answer in [whole, pieces] {
            assert_eq!(body_of(answer).unwrap(), b"{}");
            for end in 0..answer.len() {
                assert!(body_of(&answer[..end]).is_err(), "{:?}", &answer[..end]);
            }
        }
    }
}
