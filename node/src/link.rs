//! The way to a service on a unix socket: one connection for each request, as a request sees it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nobody listens.
    Unreachable(io::Error),
    /// The connection ended before the answer had begun.
    Broken(hyper::Error),
}

/// Sends a request over a connection of its own, and gives the answer, whatever it says.
///
/// # Errors
/// Nobody listens, or the connection ends before the answer begins.
pub(crate) async fn send<B>(socket: &Path, mut request: Request<B>) -> Result<Response<Incoming>, Unanswered>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = UnixStream::connect(socket).await.map_err(Unanswered::Unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(Link(stream)))
        .await
        .map_err(Unanswered::Broken)?;
    // The connection ends with the answer's body; an error of it is an error of that body too.
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::from_static("purser"));
    sender.send_request(request).await.map_err(Unanswered::Broken)
}

/// A connection whose reader may have gone: what is written then goes nowhere, and what it said before can be read.
///
/// A service that refuses a long body answers before all of it was sent, and closes. Without this, the failure to
/// write would hide the reason.
#[derive(Debug)]
struct Link(UnixStream);

/// Makes a write to somebody who has gone a success of nothing.
fn unheard<T>(written: io::Result<T>, nothing: T) -> io::Result<T> {
    match written {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Ok(nothing)
        }
        written => written,
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(context, bytes));
        Poll::Ready(unheard(written, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_last_word_of_one_who_has_gone_is_heard() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut link = Link(ours);
        link.write_all(b"unread").await.unwrap();
        theirs.write_all(b"no").await.unwrap();
        drop(theirs);
        link.write_all(&[0; 1 << 20]).await.unwrap();
        let mut said = [0; 2];
        link.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"no");
    }
}
