//! One HTTP/1.1 request over a unix socket: all that it takes to ask a live node for an export.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Time without a byte after which the node is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Longest head of an answer, and longest text of a refusal, in bytes.
const HEAD_LEN_MAX: u64 = 16 * 1024;

/// Longest line that announces a chunk, in bytes.
const CHUNK_LINE_LEN_MAX: u64 = 256;

/// Why a node gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not HTTP.
    #[error("the answer is not HTTP")]
    Malformed,
    /// The node refused.
    #[error("it answered {status}: {text}")]
    Refused {
        /// The status code.
        status: u16,
        /// The body, in one line.
        text: String,
    },
}

/// Asks for a path and gives the body, to be read as it comes.
pub(crate) fn get(socket: &Path, path: &str) -> Result<Box<dyn Read>, HttpError> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: purser\r\nUser-Agent: purser-replay\r\nConnection: close\r\n\r\n"
    )?;
    body(BufReader::new(stream))
}

/// Reads the head of an answer and gives its body.
fn body<R: BufRead + 'static>(mut stream: R) -> Result<Box<dyn Read>, HttpError> {
    let Head { status, length } = read_head(&mut stream)?;
    let body: Box<dyn Read> = match length {
        Length::Chunked => Box::new(Chunked { stream, left: 0, state: ChunkState::First }),
        Length::Bytes(left) => Box::new(Exactly { stream, left }),
        Length::UntilClose => Box::new(stream),
    };
    if status == 200 {
        return Ok(body);
    }
    let mut text = Vec::new();
    body.take(HEAD_LEN_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text)
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    Err(HttpError::Refused { status, text })
}

struct Head {
    status: u16,
    length: Length,
}

enum Length {
    Chunked,
    Bytes(u64),
    UntilClose,
}

fn read_head(stream: &mut impl BufRead) -> Result<Head, HttpError> {
    let mut head = stream.take(HEAD_LEN_MAX);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let rest = line.strip_prefix("HTTP/1.").ok_or(HttpError::Malformed)?;
    let status =
        rest.split(' ').nth(1).and_then(|code| code.trim_end().parse().ok()).ok_or(HttpError::Malformed)?;
    let mut length = Length::UntilClose;
    loop {
        line.clear();
        // Without the empty line at its end the head was cut short, or is too long.
        if head.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(HttpError::Malformed);
        }
        let field = line.trim_end();
        if field.is_empty() {
            return Ok(Head { status, length });
        }
        let (name, value) = field.split_once(':').ok_or(HttpError::Malformed)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(HttpError::Malformed);
            }
            length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && !matches!(length, Length::Chunked) {
            length = Length::Bytes(value.parse().map_err(|_| HttpError::Malformed)?);
        }
    }
}

/// A body of a length that was announced; ending before it is an error.
struct Exactly<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let count = (&mut self.stream).take(self.left).read(buffer)?;
        if count == 0 {
            return Err(cut_short());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A body in chunks, each behind its length; ending without the empty one is an error.
struct Chunked<R> {
    stream: R,
    /// Bytes of the present chunk that are still to come.
    left: u64,
    state: ChunkState,
}

enum ChunkState {
    First,
    Following,
    Ended,
}

impl<R: BufRead> Chunked<R> {
    /// Reads the line in front of the next chunk.
    fn begin(&mut self) -> io::Result<()> {
        if let ChunkState::Following = self.state {
            let mut end = [0; 2];
            self.stream.read_exact(&mut end).map_err(|_| cut_short())?;
        }
        let mut line = String::new();
        (&mut self.stream).take(CHUNK_LINE_LEN_MAX).read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(cut_short());
        }
        let digits = line.split(';').next().unwrap_or_default().trim();
        let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "malformed chunk");
        self.left = u64::from_str_radix(digits, 16).map_err(malformed)?;
        self.state = if self.left == 0 { ChunkState::Ended } else { ChunkState::Following };
        Ok(())
    }
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 && !matches!(self.state, ChunkState::Ended) {
            self.begin()?;
        }
        if let ChunkState::Ended = self.state {
            return Ok(0);
        }
        let count = (&mut self.stream).take(self.left).read(buffer)?;
        if count == 0 {
            return Err(cut_short());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the node ended its answer early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Result<String, HttpError> {
        let mut text = String::new();
        body(io::Cursor::new(answer.to_owned()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn bodies_of_every_kind_are_read() {
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nWiki\r\n6;x=y\r\npedia \r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap(), "Wikipedia ");
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef").unwrap(), "abc");
        assert_eq!(read("HTTP/1.0 200 OK\r\n\r\nall of it").unwrap(), "all of it");
    }

    #[test]
    fn answers_that_end_early_are_errors() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
        ] {
            assert!(read(answer).is_err(), "{answer:?} passed for a whole answer");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000));
        assert!(matches!(read(&endless), Err(HttpError::Malformed)));
    }

    #[test]
    fn refusals_are_told_without_control_characters() {
        let refused = read("HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nno\x1b[2Jx").unwrap_err();
        assert_eq!(refused.to_string(), "it answered 403: no [2Jx");
    }
}
