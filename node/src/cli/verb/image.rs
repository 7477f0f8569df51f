//! `purser image`.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at};
use tokio_stream::wrappers::ReceiverStream;

use crate::api::images::{LoadedImageView, TAR};
use crate::cli::arguments::{Load, Output};
use crate::cli::client::{Client, Payload, with_query};
use crate::cli::failure::Failure;
use crate::cli::show::{line, structured};

/// Bytes that are read and sent at once.
const PIECE_LEN: usize = 256 * 1024;

/// Pieces that wait to be sent.
const PIECES_MAX: usize = 4;

/// What is done sooner needs no word on how far it is.
const SILENT: Duration = Duration::from_secs(1);

/// Time between two words on how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// Loads the image of an archive into the node's containerd.
pub(in crate::cli) async fn load(client: &Client, load: Load) -> Result<u8, Failure> {
    let (archive, len) = open(&load.file)?;
    let sent = Arc::new(AtomicU64::new(0));
    let (pieces, mut failed) = pieces(archive, sent.clone());
    let mut request =
        Request::post(with_query("/v1/images", &[("name", load.name)])).header(CONTENT_TYPE, TAR);
    if let Some(len) = len {
        request = request.header(CONTENT_LENGTH, len);
    }
    let request = request.body(pieces).map_err(|error| Failure::Usage(error.to_string()))?;
    let done = tokio::select! {
        done = client.send_once::<LoadedImageView>(request) => done,
        never = tell(&sent, len) => match never {},
    };
    forget_telling();
    // A file that cannot be read on shows as a broken connection: this is why it broke.
    let loaded = match (done, failed.try_recv()) {
        (Ok(loaded), _) => loaded,
        (Err(Failure::Broken(_)), Ok(source)) => return Err(Failure::File { path: load.file, source }),
        (Err(failure), _) => return Err(as_typed(failure)),
    };
    print(&loaded, load.output)?;
    Ok(0)
}

/// A failure in which the API's parameters are called as they are typed.
fn as_typed(mut failure: Failure) -> Failure {
    if let Failure::Refused(problem) = &mut failure {
        for field in problem.errors.iter_mut().filter(|field| field.path == "name") {
            "--name".clone_into(&mut field.path);
        }
    }
    failure
}

fn print(loaded: &LoadedImageView, output: Output) -> Result<(), Failure> {
    if structured(loaded, output)? {
        return Ok(());
    }
    match output {
        Output::Name => line(&loaded.reference),
        Output::Table | Output::Wide | Output::Json | Output::Yaml => {
            line(&format!("image {} loaded ({})", loaded.reference, loaded.digest))
        }
    }
}

/// The archive and, where it is a file, how many bytes will be sent.
fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let fail = |source| Failure::File { path: PathBuf::from(path), source };
    let file = File::open(path).map_err(fail)?;
    let held = file.metadata().map_err(fail)?;
    if held.is_dir() {
        return Err(fail(io::Error::other("it is a folder, not an archive")));
    }
    if held.is_file() {
        let len = held.len();
        // One that grows meanwhile must not send more than was announced.
        return Ok((Box::new(file.take(len)), Some(len)));
    }
    Ok((Box::new(file), None))
}

/// What is read, as a body, and why reading failed if it does. Read on a thread of its own: a pipe cannot be waited for.
fn pieces(
    mut archive: Box<dyn Read + Send>,
    sent: Arc<AtomicU64>,
) -> (Payload, oneshot::Receiver<io::Error>) {
    let (pieces, read) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let (failed, why) = oneshot::channel();
    std::thread::spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE_LEN);
            match archive.by_ref().take(PIECE_LEN as u64).read_to_end(&mut piece) {
                Ok(0) => return,
                Ok(len) => {
                    sent.fetch_add(len as u64, Ordering::Relaxed);
                    if pieces.blocking_send(Ok(piece.into())).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // Told first: whoever sees the body break looks for the reason at once.
                    let kind = error.kind();
                    let _nobody_asks = failed.send(error);
                    let _nobody_reads = pieces.blocking_send(Err(kind.into()));
                    return;
                }
            }
        }
    });
    let frames = ReceiverStream::new(read).map(|piece| piece.map(Frame::data));
    (BodyExt::boxed(StreamBody::new(frames)), why)
}

/// Says on a terminal how far it is, for as long as it is polled.
async fn tell(sent: &AtomicU64, len: Option<u64>) -> std::convert::Infallible {
    if !io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let mut ticks = interval_at(Instant::now() + SILENT, TOLD_EVERY);
    loop {
        ticks.tick().await;
        eprint!("\r\u{1b}[K{}", progress(sent.load(Ordering::Relaxed), len));
        // A terminal that cannot be written to is no reason to stop.
        drop(io::stderr().flush());
    }
}

fn forget_telling() {
    if io::stderr().is_terminal() {
        eprint!("\r\u{1b}[K");
    }
}

fn progress(sent: u64, len: Option<u64>) -> String {
    let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20);
    match len {
        Some(len) if sent < len => {
            let percent = u128::from(sent) * 100 / u128::from(len);
            format!("sending: {} of {} ({percent}%)", mib(sent), mib(len))
        }
        Some(_) => format!("sent {}; containerd takes it in", mib(sent)),
        None => format!("sending: {}", mib(sent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::{Problem, WrongField};

    /// A disk that fails after some bytes.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let len = self.0.min(bytes.len());
            self.0 -= len;
            if len == 0 { Err(io::Error::other("the disk is gone")) } else { Ok(len) }
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_on_breaks_the_body_and_says_why() {
        let (body, mut failed) = pieces(Box::new(Failing(PIECE_LEN)), Arc::default());
        assert!(body.collect().await.is_err(), "half an archive must not look like a whole one");
        assert_eq!(failed.try_recv().unwrap().to_string(), "the disk is gone");
    }

    #[test]
    fn an_archive_without_a_name_is_told_of_the_option() {
        let message = "the archive does not say what its image is called: give a name".to_owned();
        let problem = Problem::invalid([WrongField { path: "name".to_owned(), message }]);
        let said = as_typed(Failure::Refused(Box::new(problem))).sentence();
        assert!(
            said.ends_with("\n  --name: the archive does not say what its image is called: give a name"),
            "{said}"
        );
    }

    #[test]
    fn progress_is_short() {
        assert_eq!(progress(3 << 19, Some(6 << 20)), "sending: 1.5 MiB of 6.0 MiB (25%)");
        assert_eq!(progress(6 << 20, Some(6 << 20)), "sent 6.0 MiB; containerd takes it in");
        assert_eq!(progress(0, Some(0)), "sent 0.0 MiB; containerd takes it in");
        assert_eq!(progress(u64::MAX, None), "sending: 17592186044415.9 MiB");
    }
}
