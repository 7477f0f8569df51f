//! `purser logs`.

use std::io::Write;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;

use crate::cli::arguments::Logs;
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::name;

/// Prints a container's output.
pub(in crate::cli) async fn run(client: &Client, namespace: Option<&str>, logs: Logs) -> Result<u8, Failure> {
    let id = name::parse(&logs.name, namespace)?;
    let flag = |set: bool| set.then(|| "true".to_owned());
    let target = with_query(
        &name::path(&id, "/log"),
        &[
            ("container", logs.container),
            ("follow", flag(logs.follow)),
            ("previous", flag(logs.previous)),
            ("tailLines", logs.tail.map(|lines| lines.to_string())),
        ],
    );
    let answer = client.open(&Call::get(target)).await?;
    copy_output(answer, &mut 0, |error| broken(logs.follow && !logs.previous, error)).await?;
    Ok(0)
}

/// Prints an output as it comes, to its end, without the bytes that were `printed` before.
pub(super) async fn copy_output(
    answer: Response<Incoming>,
    printed: &mut u64,
    broken: impl Fn(&hyper::Error) -> Failure,
) -> Result<(), Failure> {
    let mut body = answer.into_body();
    let mut at = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        if let Some(bytes) = frame.data_ref() {
            let known = usize::try_from(printed.saturating_sub(at)).unwrap_or(usize::MAX);
            at += bytes.len() as u64;
            *printed = at.max(*printed);
            let mut out = std::io::stdout().lock();
            out.write_all(bytes.get(known..).unwrap_or_default())?;
            out.flush()?;
        }
    }
    Ok(())
}

/// Why an output broke off. One that is followed ends with its container: before that, the service has gone.
fn broken(follow: bool, error: &hyper::Error) -> Failure {
    Failure::Broken(if follow { "the container had not ended".to_owned() } else { error.to_string() })
}
