//! The output of a container: from the start or the last lines of it, and on as it comes.

use std::io::SeekFrom;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::Stream;
use futures_util::stream::unfold;
use nix::errno::Errno;
use purser_actors::port::ContainerKey;
use purser_events::pod::{Pod, PodState};
use purser_events::{ContainerName, PodId};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;
use utoipa::IntoParams;

use super::listen::stopped;
use super::pods::not_found;
use super::problem::Problem;
use super::state::{Api, Params, PodPath, container_name};

/// Bytes that are read at a time.
const CHUNK_LEN: usize = 64 * 1024;

/// Time after which a file is looked at again: the kernel tells of writes only those who watch every one.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Which output to send.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogParams {
    /// The container; the pod's only one if absent.
    container: Option<String>,
    /// Whether to go on until the container ends.
    #[serde(default)]
    follow: bool,
    /// Whether to send the output of the try before the present one.
    #[serde(default)]
    previous: bool,
    /// Begin with so many lines before the end.
    tail_lines: Option<u64>,
    /// Send at most so many bytes.
    limit_bytes: Option<u64>,
}

/// Sends the output of a container, standard output and error as they came.
#[utoipa::path(
    get, path = "/v1/namespaces/{namespace}/pods/{name}/log", tag = "pods",
    params(("namespace" = String, Path), ("name" = String, Path), LogParams),
    responses((status = 200, description = "the output", body = String, content_type = "text/plain"))
)]
pub(super) async fn log(
    State(api): State<Api>,
    PodPath(id): PodPath,
    Params(params): Params<LogParams>,
) -> Result<Response, Problem> {
    let container = container_name(params.container)?;
    let found = api.service.world(|world| {
        let entry = world.registry.entries.get(&id)?;
        world.pod(entry.uid).and_then(Pod::live).map(|pod| key_of(pod, container, params.previous))
    });
    let key = found.ok_or_else(|| not_found(&id))??;
    let mut file = match File::open(api.service.paths().log(&key)).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(no_log(&id, &key)),
        Err(error) => return Err(unreadable(&error)),
    };
    let sought = match params.tail_lines {
        Some(lines) => seek_to_tail(&mut file, lines).await,
        None => seek_to_start(&mut file).await,
    };
    let position = sought.map_err(|error| unreadable(&error))?;
    let reader = Reader {
        follow: params.follow && !params.previous,
        left: params.limit_bytes.unwrap_or(u64::MAX),
        file,
        position,
        key,
        api,
        over: false,
    };
    let mut response = Response::new(Body::from_stream(reader.into_stream()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// The try whose output is asked for.
fn key_of(pod: &PodState, named: Option<ContainerName>, previous: bool) -> Result<ContainerKey, Problem> {
    let known = || {
        let names: Vec<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        names.join(", ")
    };
    let container = match named {
        Some(name) => pod.container(&name).ok_or_else(|| {
            let detail = format!("pod has no container `{name}`; it has {}", known());
            Problem::new(StatusCode::NOT_FOUND, "no-such-container", detail)
        })?,
        None => match pod.apps().collect::<Vec<_>>().as_slice() {
            [only] => only,
            _ => {
                let detail = format!("pod has several containers ({}); name one", known());
                return Err(Problem::bad_request("ambiguous-container", detail));
            }
        },
    };
    let attempt = container.attempts.checked_sub(u32::from(previous)).filter(|attempt| *attempt > 0);
    let attempt = attempt.ok_or_else(|| {
        let which = if previous { "was not started before" } else { "has not been started yet" };
        let detail = format!("container `{}` {which}", container.name);
        Problem::new(StatusCode::NOT_FOUND, "no-log", detail)
    })?;
    Ok(ContainerKey { pod: pod.uid, container: container.name.clone(), attempt })
}

fn no_log(id: &PodId, key: &ContainerKey) -> Problem {
    let detail = format!("container `{}` of `{id}` has no output of try {}", key.container, key.attempt);
    Problem::new(StatusCode::NOT_FOUND, "no-log", detail)
}

fn unreadable(error: &std::io::Error) -> Problem {
    let detail = format!("the log cannot be read: {error}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log-unreadable", detail)
}

/// Moves to the first byte that is kept and gives its place: what an output had too much of was given back to the
/// file system, and reads as zeros.
async fn seek_to_start(file: &mut File) -> std::io::Result<u64> {
    let kept = nix::unistd::lseek(&*file, 0, nix::unistd::Whence::SeekData);
    // No data at all: an empty file, or a file system that cannot tell.
    let start = kept.ok().and_then(|start| u64::try_from(start).ok()).unwrap_or(0);
    file.seek(SeekFrom::Start(start)).await
}

/// Moves to the beginning of the last `lines` lines, reading backwards, and gives its place.
async fn seek_to_tail(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let start = seek_to_start(file).await?;
    let mut position = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(position);
    }
    let mut chunk = vec![0; CHUNK_LEN];
    let mut breaks = 0;
    let mut at_end = true;
    while position > start {
        let len = (position - start).min(CHUNK_LEN as u64);
        position -= len;
        file.seek(SeekFrom::Start(position)).await?;
        let part = &mut chunk[..usize::try_from(len).unwrap_or(CHUNK_LEN)];
        file.read_exact(part).await?;
        for (offset, byte) in part.iter().enumerate().rev() {
            // The line break that ends the file ends the last line; it does not begin another.
            let counts = *byte == b'\n' && !std::mem::take(&mut at_end);
            at_end = false;
            breaks += u64::from(counts);
            if breaks == lines {
                return file.seek(SeekFrom::Start(position + offset as u64 + 1)).await;
            }
        }
    }
    file.seek(SeekFrom::Start(start)).await
}

/// The first place at or after `position` that holds data; none if no data is there (yet).
fn data_at(file: &File, position: u64) -> std::io::Result<Option<u64>> {
    let from = i64::try_from(position).map_err(std::io::Error::other)?;
    match nix::unistd::lseek(file, from, nix::unistd::Whence::SeekData) {
        Ok(place) => Ok(Some(u64::try_from(place).map_err(std::io::Error::other)?)),
        Err(Errno::ENXIO) => Ok(None),
        // A file system that cannot tell has no holes.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(position)),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads up to `len` bytes and moves `position` behind them. What was given back to the file system in the meantime
/// is left out: a slow reader goes on with what is kept.
async fn read_kept(file: &mut File, position: &mut u64, len: u64) -> std::io::Result<Vec<u8>> {
    while let Some(start) = data_at(file, *position)? {
        file.seek(SeekFrom::Start(start)).await?;
        let mut chunk = Vec::new();
        (&mut *file).take(len).read_to_end(&mut chunk).await?;
        // Always given back from the start of the file: if the first byte is still kept, so is the rest.
        if chunk.is_empty() || data_at(file, start)? == Some(start) {
            *position = start + chunk.len() as u64;
            return Ok(chunk);
        }
        *position = start;
    }
    Ok(Vec::new())
}

/// Reads a log at the pace of whoever asked.
struct Reader {
    file: File,
    /// Where the next byte is read.
    position: u64,
    key: ContainerKey,
    api: Api,
    follow: bool,
    left: u64,
    /// Whether the try was over before the last look: what is in the file then is all of it.
    over: bool,
}

impl Reader {
    fn into_stream(self) -> impl Stream<Item = std::io::Result<Bytes>> {
        unfold(self, |mut reader| async {
            let chunk = reader.next().await?;
            Some((chunk, reader))
        })
    }

    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        let mut stop = self.api.stop.clone();
        loop {
            if self.left == 0 {
                return None;
            }
            match self.read().await {
                Ok(chunk) if chunk.is_empty() => {}
                read => return Some(read),
            }
            if !self.follow || self.over {
                return None;
            }
            self.over = self.is_over();
            if self.over {
                continue;
            }
            if *stop.borrow() {
                return Some(Err(self.cut_off()));
            }
            tokio::select! {
                () = tokio::time::sleep_until(Instant::now() + LOOK_AGAIN) => {}
                // Looked at once more: the container may have ended in the meantime.
                () = stopped(&mut stop) => {}
            }
        }
    }

    /// Ends an output that is not whole, so that its reader can tell: the container goes on and the service does not.
    fn cut_off(&mut self) -> std::io::Error {
        self.follow = false;
        std::io::Error::other("the service is stopping, and the container has not ended")
    }

    async fn read(&mut self) -> std::io::Result<Bytes> {
        let len = self.left.min(CHUNK_LEN as u64);
        let chunk = read_kept(&mut self.file, &mut self.position, len).await?;
        self.left -= chunk.len() as u64;
        Ok(chunk.into())
    }

    /// Whether the try has ended, or its pod is gone.
    fn is_over(&self) -> bool {
        self.api.service.world(|world| {
            let pod = world.pod(self.key.pod).and_then(Pod::live);
            let container = pod.and_then(|pod| pod.container(&self.key.container));
            container.is_none_or(|container| container.attempts != self.key.attempt || container.is_down())
        })
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FallocateFlags, fallocate};

    use super::*;

    async fn tail(text: &str, lines: u64) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut file = File::open(file.path()).await.unwrap();
        seek_to_tail(&mut file, lines).await.unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2).await, "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2).await, "b\nc");
        assert_eq!(tail("a\nb\n", 9).await, "a\nb\n");
        assert_eq!(tail("a\nb\n", 0).await, "");
        assert_eq!(tail("", 3).await, "");
        let long = format!("{}\nlast\n", "x".repeat(200_000));
        assert_eq!(tail(&long, 1).await, "last\n");
        assert_eq!(tail(&long, 2).await, long);
    }

    /// Gives the first `len` bytes back to the file system.
    fn punch(path: &std::path::Path, len: i64) {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, how, 0, len).unwrap();
    }

    #[tokio::test]
    async fn a_slow_reader_goes_on_with_what_is_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: Vec<u8> = (0..60_000_u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        std::fs::write(file.path(), &text).unwrap();
        let mut slow = File::open(file.path()).await.unwrap();
        let mut position = 0;
        assert_eq!(read_kept(&mut slow, &mut position, 1_000).await.unwrap(), text[..1_000]);
        punch(file.path(), 65_536 * 3);
        let mut rest = Vec::new();
        loop {
            let chunk = read_kept(&mut slow, &mut position, CHUNK_LEN as u64).await.unwrap();
            if chunk.is_empty() {
                break;
            }
            rest.extend(chunk);
        }
        assert!(rest == text[65_536 * 3..], "{} bytes, of which {} zeros", rest.len(), zeros(&rest));
        punch(file.path(), 1 << 20);
        let mut nothing = 0;
        assert!(read_kept(&mut slow, &mut nothing, 1_000).await.unwrap().is_empty());
    }

    fn zeros(bytes: &[u8]) -> usize {
        bytes.iter().filter(|byte| **byte == 0).count()
    }
}
