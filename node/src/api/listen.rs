//! Sockets: binding them with care, and serving the connections that come in.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::{Gid, Group};
use purser_events::Principal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::admission::Entrance;
use super::token::Tokens;

/// Largest request head, in bytes.
const HEAD_LEN_MAX: usize = 64 * 1024;

/// Wait after a connection could not be accepted: it is for want of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another service answers there.
    #[error("the socket `{path}` is in use: another purserd answers there")]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no socket is there.
    #[error("`{path}` exists and is not a socket; remove it or set `api.socket`")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The group is not known.
    #[error("there is no group `{group}` (`api.socket-group`)")]
    NoSuchGroup {
        /// The name or number.
        group: String,
    },
    /// The system refused.
    #[error("failed to listen on `{place}`")]
    Io {
        /// Path or address.
        place: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds the unix socket with mode 0660. A socket that nobody answers on any more is removed first.
///
/// # Errors
/// Somebody answers there, something else is there, or the system refuses.
pub async fn bind_socket(path: &Path, group: Option<&str>) -> Result<UnixListener, ListenError> {
    let fail = |source| ListenError::Io { place: path.display().to_string(), source };
    let group = group.map(find_group).transpose()?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    remove_stale(path).await?;
    // The socket is made beside its place and moved there ready: nobody connects to it with looser rights. The
    // draft's name is shorter than any sensible one, so that a path at the length limit still works.
    let draft = path.with_file_name(".new");
    remove_stale(&draft).await?;
    let listener = UnixListener::bind(&draft).map_err(fail)?;
    restrict(&draft, group).and_then(|()| std::fs::rename(&draft, path)).map_err(fail)?;
    Ok(listener)
}

fn restrict(path: &Path, group: Option<Gid>) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    match group {
        Some(group) => Ok(nix::unistd::chown(path, None, Some(group))?),
        None => Ok(()),
    }
}

async fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let fail = |source| ListenError::Io { place: path.display().to_string(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_path_buf() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::InUse { path: path.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(fail)
        }
        Err(error) => Err(fail(error)),
    }
}

fn find_group(group: &str) -> Result<Gid, ListenError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(group).ok().flatten().map(|found| found.gid);
    found.ok_or_else(|| ListenError::NoSuchGroup { group: group.to_owned() })
}

/// Binds a TCP address.
///
/// # Errors
/// The system refuses.
pub async fn bind_tcp(address: std::net::SocketAddr) -> Result<TcpListener, ListenError> {
    let fail = |source| ListenError::Io { place: address.to_string(), source };
    TcpListener::bind(address).await.map_err(fail)
}

/// Serves connections until told to stop, then lets the open ones finish what they are at.
#[derive(Clone)]
pub struct Server {
    /// The routes.
    pub router: Router,
    /// Time within which the head of a request must have come.
    pub head_timeout: Duration,
    /// Turns true when no more connections are to be taken.
    pub stop: watch::Receiver<bool>,
    /// The connections that are open.
    pub connections: TaskTracker,
}

impl Server {
    /// Serves those who connect to the unix socket.
    pub async fn serve_socket(self, listener: UnixListener) {
        self.serve(listener, |uid| Entrance::Socket(Principal::new(&format!("uid:{uid}")))).await;
    }

    /// Serves those who connect to a unix socket, and come in as the user they are makes them.
    pub async fn serve(mut self, listener: UnixListener, entrance: impl Fn(u32) -> Entrance) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut self.stop) => return,
            };
            match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
                Ok((uid, stream)) => self.spawn(stream, entrance(uid)),
                Err(error) => pause(error).await,
            }
        }
    }

    /// Serves those who connect over TCP and have a token.
    pub async fn serve_tcp(mut self, listener: TcpListener, tokens: Arc<Tokens>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut self.stop) => return,
            };
            match accepted {
                Ok((stream, _)) => self.spawn(stream, Entrance::Tcp(Arc::clone(&tokens))),
                Err(error) => pause(error).await,
            }
        }
    }

    fn spawn(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, entrance: Entrance) {
        let server = self.clone();
        self.connections.spawn(async move { server.converse(stream, entrance).await });
    }

    async fn converse(mut self, stream: impl AsyncRead + AsyncWrite + Unpin, entrance: Entrance) {
        let router = self.router;
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(entrance.clone());
            let router = router.clone();
            async move { Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.into_ok_response()) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HEAD_LEN_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stopped(&mut self.stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended early");
        }
    }
}

/// Returns when no more is to be served; also when whoever would say so is gone.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A router cannot fail: says so without a panic.
trait IntoOkResponse<T> {
    fn into_ok_response(self) -> T;
}

impl<T> IntoOkResponse<T> for Result<T, Infallible> {
    fn into_ok_response(self) -> T {
        match self {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

async fn pause(error: io::Error) {
    tracing::warn!(%error, "failed to accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purser.sock");
        drop(UnixListener::bind(&path).unwrap());
        // What another test starts has it open as well, until it runs its program.
        let is_left = async { while UnixStream::connect(&path).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), is_left).await.unwrap();
        let live = bind_socket(&path, None).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind_socket(&path, None).await, Err(ListenError::InUse { .. })));
        UnixStream::connect(&path).await.unwrap();
        drop(live);
    }

    #[tokio::test]
    async fn something_else_at_the_path_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purser.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind_socket(&path, None).await, Err(ListenError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let other = folder.path().join("other.sock");
        let unknown = bind_socket(&other, Some("no such group")).await;
        assert!(matches!(unknown, Err(ListenError::NoSuchGroup { .. })));
    }
}
