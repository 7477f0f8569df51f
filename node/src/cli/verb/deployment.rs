//! `purser import deployment`.

use serde::Serialize;
use serde_json::Value;

use super::pool;
use crate::cli::arguments::Output;
use crate::cli::arguments::pool::Deployments;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::files;
use crate::cli::show::{line, structured};
use crate::import::deployment::{self, Converted, Note, Wish};
use crate::manifest::{Limits, documents};

/// What became of a Deployment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    deployment: &'a str,
    namespace: &'a str,
    manifest: &'a Value,
    notes: &'a [Note],
}

/// Turns the Deployments of a file into pools, and prints or applies them. What is said of them goes to standard error.
pub(in crate::cli) async fn run(client: &Client, file: Deployments) -> Result<u8, Failure> {
    let limits = Limits::default();
    let (place, text) = files::read_text(&file.file, limits.text_bytes_max)?;
    let wrong = |message: String| Failure::Manifest { place: place.clone(), message };
    let documents = documents(&text, &limits).map_err(|error| wrong(error.to_string()))?;
    let wish = Wish { name: file.name.clone(), min: file.min, max: file.max };
    let found = deployment::convert(documents, &wish);
    if found.pools.is_empty() {
        return Err(wrong("there is no apps/v1 Deployment in it".to_owned()));
    }
    if file.name.is_some() && found.pools.len() > 1 {
        return Err(wrong("there are several Deployments in it: --name is for one".to_owned()));
    }
    if file.json {
        let report = |pool| Report::of(pool);
        structured(&found.pools.iter().map(report).collect::<Vec<_>>(), Output::Json)?;
    } else {
        found.others.iter().for_each(|other| eprintln!("{other}: not looked at, it is no Deployment"));
        found.pools.iter().for_each(tell);
    }
    let is_open = found.pools.iter().any(|pool| pool.open().next().is_some());
    match (file.apply, is_open) {
        (true, true) => {
            eprintln!("nothing was applied: see to the fields above first, and apply the manifest by hand");
            return Err(Failure::Some);
        }
        (true, false) => {
            for pool in &found.pools {
                pool::apply(client, None, &pool.manifest, false).await?;
            }
        }
        (false, _) if file.json => {}
        (false, _) => print(&found.pools)?,
    }
    if !file.json {
        found.pools.iter().for_each(|pool| next(pool, file.apply));
    }
    if is_open { Err(Failure::Some) } else { Ok(0) }
}

impl Report<'_> {
    fn of(pool: &Converted) -> Report<'_> {
        let Converted { deployment, namespace, manifest, notes } = pool;
        Report { deployment, namespace, manifest, notes }
    }
}

fn tell(pool: &Converted) {
    for note in &pool.notes {
        eprintln!("deployment/{}: {note}", pool.deployment);
    }
}

fn print(pools: &[Converted]) -> Result<(), Failure> {
    for (index, pool) in pools.iter().enumerate() {
        if index > 0 {
            line("---")?;
        }
        let text = serde_saphyr::to_string(&pool.manifest);
        line(text.map_err(|error| Failure::Senseless(error.to_string()))?.trim_end())?;
    }
    Ok(())
}

/// What to do next: old and new run side by side until tasks go to the new one.
fn next(pool: &Converted, applied: bool) {
    let name = pool.manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("NAME");
    let (deployment, namespace) = (&pool.deployment, &pool.namespace);
    let mut steps = vec![];
    if !applied {
        steps.push("put what was printed into a file, see that the pods run `purser-agent`, and apply it: `purser apply -f FILE`".to_owned());
    }
    steps.extend([
        format!("wait until agents are connected: `purser describe pool {name}`"),
        format!("hand new tasks to the pool: `purser submit {name} -- COMMAND`; the Deployment goes on with its own"),
        format!("once it has none left: `kubectl -n {namespace} scale deployment {deployment} --replicas=0`, and back if need be"),
        format!("when nobody misses it: `kubectl -n {namespace} delete deployment {deployment}`"),
    ]);
    eprintln!("deployment/{deployment} and pool/{name} share nothing: both may run until you switch. Next:");
    for (index, step) in steps.iter().enumerate() {
        eprintln!("  {}. {step}", index + 1);
    }
}
