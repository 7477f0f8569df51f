//! Images: an OCI archive comes in as a stream and is handed to containerd.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use futures_util::StreamExt;
use hyper::body::Body as _;
use purser_actors::port::{Ids, LoadedImage, RuntimeError};
use purser_actors::service::{self, ServiceError};
use purser_events::pod::event::FailureClass;
use serde::{Deserialize, Serialize};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use utoipa::{IntoParams, ToSchema};

use super::listen::stopped;
use super::problem::{Problem, WrongField};
use super::state::{Api, By, Params, media_type, unsupported};
use crate::adapter::clock::UuidV7;

/// The media type of an archive.
pub const TAR: &str = "application/x-tar";

/// Longest wait for the next piece of an archive: whatever makes it may be at work, as `podman save` is.
const PIECE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Bytes after which the room on the disk is looked at again.
const DISK_CHECK_LEN: u64 = 1 << 20;

/// How an image is to be loaded.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LoadParams {
    /// What the image is to be called; what the archive says if absent.
    name: Option<String>,
}

/// An image that is on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoadedImageView {
    /// The whole name that containers can ask for.
    pub reference: String,
    /// Digest of its manifest for this machine.
    pub digest: String,
}

impl From<LoadedImage> for LoadedImageView {
    fn from(LoadedImage { reference, digest }: LoadedImage) -> LoadedImageView {
        LoadedImageView { reference, digest }
    }
}

/// Loads the image of an OCI archive into containerd. Doing it again is harmless; nothing is recorded.
#[utoipa::path(
    post, path = "/v1/images", tag = "images", params(LoadParams),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses(
        (status = 200, description = "it is there", body = LoadedImageView),
        (status = 409, description = "the node has no containerd", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the archive is larger than `containerd.archive-bytes-max`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "it is no archive, or has no name", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "containerd does not answer", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "there is no room for it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn load(
    State(api): State<Api>,
    Params(params): Params<LoadParams>,
    request: Request,
) -> Result<Json<LoadedImageView>, Problem> {
    let media = media_type(request.headers());
    if media != TAR {
        return Err(unsupported(&media, TAR));
    }
    api.service.check_images()?;
    let (parts, body) = request.into_parts();
    let caller = By::of(&parts);
    let by = service::Request { principal: caller.principal, correlation: caller.correlation, command: None };
    let archive = receive(&api, body).await?;
    // On a task of its own: a caller that goes away now must not leave half an image to containerd.
    let loading = tokio::spawn(async move {
        // The file has no other name. The handle must outlive the load.
        let path = PathBuf::from(format!("/proc/self/fd/{}", archive.as_raw_fd()));
        let loaded = api.service.load_image(&path, params.name.as_deref(), by).await;
        drop(archive);
        loaded
    });
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the load did not end");
    Ok(Json(loading.await.map_err(failed)??.into()))
}

/// Writes a body to a file, which is complete when this returns.
async fn receive(api: &Api, body: Body) -> Result<File, Problem> {
    let len_max = api.config.containerd.archive_bytes_max.get();
    // One that says its length is not asked to go on.
    if len_max < body.size_hint().lower() {
        return Err(too_large(len_max));
    }
    let mut file = nameless_file(api).await.map_err(|error| write_problem(&error))?;
    let mut pieces = body.into_data_stream();
    let mut stop = api.stop.clone();
    let (mut len, mut next_check) = (0_u64, 0_u64);
    loop {
        let piece = tokio::select! {
            piece = tokio::time::timeout(PIECE_WAIT_MAX, pieces.next()) => piece.map_err(|_| too_slow())?,
            () = stopped(&mut stop) => return Err(ServiceError::Stopping.into()),
        };
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|_| Problem::bad_request("malformed-body", "the body ended early"))?;
        len = len.saturating_add(piece.len() as u64);
        if len_max < len {
            return Err(too_large(len_max));
        }
        if next_check <= len {
            // The journal is on the same disk, and a journal that cannot be written ends the service.
            api.check_disk()?;
            next_check = len + DISK_CHECK_LEN;
        }
        file.write_all(&piece).await.map_err(|error| write_problem(&error))?;
    }
    file.flush().await.map_err(|error| write_problem(&error))?;
    Ok(file)
}

/// A file in the data folder that is gone with its last handle, also after a crash.
async fn nameless_file(api: &Api) -> io::Result<File> {
    let path = api.config.data_dir.join(format!(".archive-{}", UuidV7.uuid()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).await?;
    tokio::fs::remove_file(&path).await?;
    Ok(file)
}

fn too_large(len_max: u64) -> Problem {
    let detail = format!("an archive has at most {len_max} bytes here (`containerd.archive-bytes-max`)");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}

fn too_slow() -> Problem {
    let detail = format!("nothing of the body came for {} s", PIECE_WAIT_MAX.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail)
}

fn write_problem(error: &io::Error) -> Problem {
    let detail = format!("failed to keep the archive in the data folder: {error}");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", detail)
        }
        _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail),
    }
}

/// What a runtime's failure to take an image means to whoever sent it.
pub(super) fn load_problem(error: RuntimeError) -> Problem {
    let RuntimeError { class, message } = error;
    // containerd has only words for it.
    if message.contains("no space left on device") {
        return Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", message);
    }
    match class {
        FailureClass::Invalid => Problem::invalid([WrongField { path: "name".to_owned(), message }]),
        FailureClass::ImageNotFound | FailureClass::ImagePull => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unusable-archive", message)
        }
        FailureClass::Unavailable => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "runtime-unavailable", message).retry_after(1_000)
        }
        FailureClass::Volume | FailureClass::Runtime => {
            Problem::new(StatusCode::BAD_GATEWAY, "runtime-failed", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_bad_archive() {
        let problem = |class, message: &str| {
            let problem = load_problem(RuntimeError::new(class, message));
            (problem.status, problem.code.into_string())
        };
        let full = "failed to fetch `x`: write /var/lib/containerd/…/data: no space left on device";
        assert_eq!(problem(FailureClass::ImagePull, full), (507, "disk-full".to_owned()));
        let broken = "failed to read the archive: it is not a tar";
        assert_eq!(problem(FailureClass::ImagePull, broken), (422, "unusable-archive".to_owned()));
        let kept = write_problem(&io::Error::from_raw_os_error(nix::libc::ENOSPC));
        assert_eq!((kept.status, &*kept.code), (507, "disk-full"));
    }
}
