//! `purser apply`.

use crate::api::pods::AcceptedView;
use crate::cli::arguments::Apply;
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::files::{self, Document};
use crate::cli::show::line;

/// Applies every document; one that is refused does not hold up the others.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    apply: Apply,
) -> Result<u8, Failure> {
    let documents = files::read_all(&apply.files)?;
    if documents.is_empty() {
        return Err(Failure::Usage("there is no document in what was given".to_owned()));
    }
    let mut refused = false;
    for document in documents {
        match send(client, namespace, &document, apply.dry_run).await {
            Ok(accepted) => line(&sentence(&accepted, apply.dry_run))?,
            Err(failure @ (Failure::Refused(_) | Failure::Senseless(_))) => {
                refused = true;
                eprintln!("{}: {}", document.place, failure.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    if refused { Err(Failure::Some) } else { Ok(0) }
}

async fn send(
    client: &Client,
    namespace: Option<&str>,
    document: &Document,
    dry_run: bool,
) -> Result<AcceptedView, Failure> {
    let parameters =
        [("namespace", namespace.map(str::to_owned)), ("dryRun", dry_run.then(|| "true".to_owned()))];
    let call = Call::post(with_query("/v1/pods", &parameters)).json(&document.value);
    client.change(&call).await
}

fn sentence(accepted: &AcceptedView, dry_run: bool) -> String {
    let suffix = if dry_run { " (dry run)" } else { "" };
    let space =
        if accepted.namespace == "default" { String::new() } else { format!("{}/", accepted.namespace) };
    format!("pod/{space}{} {}{suffix}", accepted.name, accepted.outcome)
}
