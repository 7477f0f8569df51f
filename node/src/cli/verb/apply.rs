//! `purser apply`.

use super::pool;
use crate::api::ledger::grant::WaitingView;
use crate::api::pods::AcceptedView;
use crate::cli::arguments::Apply;
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::files::{self, Document};
use crate::cli::show::line;
use crate::manifest::is_pool;

/// Applies every document; one that is refused, or a file that cannot be read, does not hold up the others.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    apply: Apply,
) -> Result<u8, Failure> {
    let mut documents = files::read_each(&apply.files);
    if documents.len() == 1 {
        // A file alone that cannot be read is all there is to say.
        documents = documents.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().map(Ok).collect();
    }
    let mut refused = false;
    for document in documents {
        let document = match document {
            Ok(document) => document,
            Err(failure) => {
                refused = true;
                eprintln!("{}", failure.sentence());
                continue;
            }
        };
        match one(client, namespace, &document, apply.dry_run).await {
            Ok(()) => {}
            Err(failure @ (Failure::Refused(_) | Failure::Senseless(_))) => {
                refused = true;
                eprintln!("{}: {}", document.place, failure.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    if refused { Err(Failure::Some) } else { Ok(0) }
}

/// Applies one document, by its kind.
async fn one(
    client: &Client,
    namespace: Option<&str>,
    document: &Document,
    dry_run: bool,
) -> Result<(), Failure> {
    if is_pool(&document.value) {
        return pool::apply(client, namespace, &document.value, dry_run).await;
    }
    let accepted = send(client, namespace, document, dry_run).await?;
    line(&sentence(&accepted, dry_run))?;
    accepted.would_wait.iter().try_for_each(would_wait)
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

/// Says for what a pod would have to wait.
fn would_wait(waiting: &WaitingView) -> Result<(), Failure> {
    let behind = match waiting.rank {
        0 => String::new(),
        1 => ", behind 1 pod".to_owned(),
        more => format!(", behind {more} pods"),
    };
    line(&format!("  it would wait now{behind}:"))?;
    for shortage in &waiting.shortages {
        line(&format!("    {}", shortage.sentence()))?;
    }
    waiting.make_way.iter().try_for_each(|pod| line(&format!("    {pod} would make way")))
}
