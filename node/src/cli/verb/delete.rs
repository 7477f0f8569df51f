//! `purser delete`.

use purser_events::PodId;
use serde_json::Value;
use tokio::time::Instant;

use super::wait::until;
use super::{pool, tenant};
use crate::api::pods::{AcceptedView, PodList};
use crate::cli::arguments::{Delete, Goal};
use crate::cli::client::{Call, Client, with_query};
use crate::cli::failure::Failure;
use crate::cli::files::{self, Document};
use crate::cli::name::{self, DEFAULT_NAMESPACE};
use crate::cli::show::line;

/// Removes pods for good.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    delete: Delete,
) -> Result<u8, Failure> {
    if let [kind, names @ ..] = delete.names.as_slice()
        && matches!(&**kind, "tenant" | "tenants")
        && !names.is_empty()
    {
        return tenant::delete(client, names).await;
    }
    if let [kind, names @ ..] = delete.names.as_slice()
        && matches!(&**kind, "pool" | "pools")
        && !names.is_empty()
    {
        return pool::delete(client, names, &delete).await;
    }
    let deadline = Instant::now() + delete.timeout;
    let Wanted { ids, pools, mut refused } = wanted(client, namespace, &delete).await?;
    let grace = [("gracePeriodSeconds", delete.grace_period.map(|seconds| seconds.to_string()))];
    let mut going = Vec::new();
    for id in ids {
        let call = Call::delete(with_query(&name::path(&id, ""), &grace));
        match client.change::<AcceptedView>(&call).await {
            Ok(_) if delete.wait => going.push(id),
            Ok(_) => line(&format!("pod/{} is being deleted", id.name()))?,
            Err(failure @ Failure::Refused(_)) => {
                refused = true;
                eprintln!("{} ({id})", failure.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    for id in going {
        until(client, &id, &Goal::Delete, deadline).await?;
        line(&format!("pod/{} deleted", id.name()))?;
    }
    let of_pools = pool::delete(client, &pools, &delete).await?;
    if refused { Err(Failure::Some) } else { Ok(of_pools) }
}

/// The pods and pools that a command line means.
struct Wanted {
    ids: Vec<PodId>,
    pools: Vec<String>,
    /// Whether some of what was named cannot be read, which has been told.
    refused: bool,
}

async fn wanted(client: &Client, namespace: Option<&str>, delete: &Delete) -> Result<Wanted, Failure> {
    if delete.all {
        let space = namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned();
        let target = with_query("/v1/pods", &[("namespace", Some(space))]);
        let list: PodList = client.read(&Call::get(target)).await?;
        let ids = list.items.iter().map(|pod| PodId::new(&*pod.metadata.namespace, &*pod.metadata.name));
        let ids = ids.collect::<Result<_, _>>().map_err(|error| Failure::Senseless(error.to_string()))?;
        return Ok(Wanted { ids, pools: vec![], refused: false });
    }
    // `purser delete pod NAME`, as in kubectl.
    let names = match delete.names.as_slice() {
        [kind, names @ ..] if kind == "pod" && !names.is_empty() => names,
        names => names,
    };
    let mut ids = names.iter().map(|text| name::parse(text, namespace)).collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<Result<Meant, Failure>> =
        files::read_each(&delete.files).into_iter().map(|document| meant(&document?, namespace)).collect();
    if names.is_empty() && found.len() == 1 {
        // What is named alone and cannot be read is all there is to say.
        found = vec![Ok(found.remove(0)?)];
    }
    let (mut pools, mut refused) = (vec![], false);
    for meant in found {
        match meant {
            Ok(Meant::Pod(id)) => ids.push(id),
            Ok(Meant::Pool(name)) => pools.push(name),
            Err(failure) => {
                refused = true;
                eprintln!("{}", failure.sentence());
            }
        }
    }
    Ok(Wanted { ids, pools, refused })
}

/// What a document is about.
enum Meant {
    Pod(PodId),
    Pool(String),
}

fn meant(document: &Document, namespace: Option<&str>) -> Result<Meant, Failure> {
    match pool::named(document) {
        Some(name) => name.map(Meant::Pool),
        None => named(document, namespace).map(Meant::Pod),
    }
}

fn named(document: &Document, namespace: Option<&str>) -> Result<PodId, Failure> {
    let metadata = |field| document.value.pointer(field).and_then(Value::as_str);
    let wrong = |message: String| Failure::Manifest { place: document.place.clone(), message };
    let name = metadata("/metadata/name").ok_or_else(|| wrong("metadata.name: is missing".to_owned()))?;
    let space = metadata("/metadata/namespace").or(namespace).unwrap_or(DEFAULT_NAMESPACE);
    PodId::new(space, name).map_err(|error| wrong(format!("metadata.name: {error}")))
}
