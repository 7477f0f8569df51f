//! The output of a task, of all its tries one after the other: what there is, and on as it comes.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::stream::unfold;
use purser_events::pool::{PoolName, TaskId};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::task_routes::{TaskPath, not_found};
use crate::agents::output::TaskOutputs;
use crate::api::listen::stopped;
use crate::api::problem::Problem;
use crate::api::state::{Api, Params};

/// Bytes that are read at a time.
const CHUNK_LEN: usize = 64 * 1024;

/// Time after which a file is looked at again: the kernel tells of writes only those who watch every one.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Which output to send.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogParams {
    /// Whether to go on until the task has ended.
    #[serde(default)]
    follow: bool,
}

/// Sends the output of a task, standard output and error as they came, one try after the other.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/log", tag = "tasks", params(("id" = String, Path), LogParams),
    responses(
        (status = 200, description = "the output", body = String, content_type = "text/plain"),
        (status = 404, description = "there is no such task", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn log(
    State(api): State<Api>,
    TaskPath(task): TaskPath,
    Params(params): Params<LogParams>,
) -> Result<Response, Problem> {
    let pool = api.service.pool_of(task).ok_or_else(|| not_found(task))?;
    let mut reader = Reader { api, pool, task, open: None, read: vec![], follow: params.follow, over: false };
    // Whether the files can be read at all shows before an answer begins.
    reader.advance().await.map_err(|error| {
        let detail = format!("the output cannot be read: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log-unreadable", detail)
    })?;
    let stream = unfold(reader, |mut reader| async {
        let chunk = reader.next().await?;
        Some((chunk, reader))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// Reads output at the pace of whoever asked.
struct Reader {
    api: Api,
    pool: PoolName,
    task: TaskId,
    /// The try that is read.
    open: Option<File>,
    /// Tries that are read or were.
    read: Vec<PathBuf>,
    follow: bool,
    /// Whether the task had ended before the last look: what is there then is all of it.
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        let mut stop = self.api.stop.clone();
        loop {
            match self.piece().await {
                Ok(piece) if piece.is_empty() => {}
                piece => return Some(piece),
            }
            if !self.follow || self.over {
                return None;
            }
            self.over = self.is_over();
            if self.over {
                continue;
            }
            if *stop.borrow() {
                self.follow = false;
                // Its reader must be able to tell that it is not whole.
                let message = "the service is stopping, and the task has not ended";
                return Some(Err(std::io::Error::other(message)));
            }
            tokio::select! {
                () = tokio::time::sleep_until(Instant::now() + LOOK_AGAIN) => {}
                () = stopped(&mut stop) => {}
            }
        }
    }

    /// The next bytes; none if there are none now.
    async fn piece(&mut self) -> std::io::Result<Bytes> {
        loop {
            // Looked for first: once there is a later try, nothing more comes of this one.
            let later = self.later().await?;
            if let Some(file) = &mut self.open {
                let mut piece = Vec::with_capacity(CHUNK_LEN);
                file.take(CHUNK_LEN as u64).read_to_end(&mut piece).await?;
                if !piece.is_empty() {
                    return Ok(piece.into());
                }
            }
            let Some(path) = later else { return Ok(Bytes::new()) };
            self.open(path).await?;
        }
    }

    /// Opens the first try, if there is one.
    async fn advance(&mut self) -> std::io::Result<()> {
        match self.later().await? {
            Some(path) => self.open(path).await,
            None => Ok(()),
        }
    }

    async fn open(&mut self, path: PathBuf) -> std::io::Result<()> {
        self.open = match File::open(&path).await {
            Ok(file) => Some(file),
            // It is gone with its task.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        self.read.push(path);
        Ok(())
    }

    /// The first try that was not read yet.
    async fn later(&self) -> std::io::Result<Option<PathBuf>> {
        let (outputs, pool, task) = (TaskOutputs::of(&self.api.config), self.pool.clone(), self.task);
        let listed = tokio::task::spawn_blocking(move || outputs.files(&pool, task)).await;
        let files = listed.map_err(std::io::Error::other)??;
        Ok(files.into_iter().find(|file| !self.read.contains(file)))
    }

    /// Whether the task has ended, or is forgotten.
    fn is_over(&self) -> bool {
        self.api.service.world(|world| {
            let task = world.pools.get(&self.pool).and_then(|pool| pool.task(self.task));
            task.is_none_or(purser_events::pool::Task::is_over)
        })
    }
}
