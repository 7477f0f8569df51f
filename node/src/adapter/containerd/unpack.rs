//! From layers to a root file system: containerd's snapshots.

use std::collections::BTreeMap;

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::types::Mount;
use tokio::sync::Mutex;
use tonic::{Code, Status};

use super::connection::{CALL_LIMIT, Connection, LAYER_LIMIT, within};
use super::content;
use super::document::{ImageConfig, Link, Manifest};
use super::failure::is_absent;
use super::orphan::{self, folder_in_the_way};

/// Unpacks an image's layers, as far as they are not there, and ties them to its configuration, so that they
/// stay as long as it does. Must be called under a lease. `ticket` is a word that no other try has.
pub(super) async fn unpack(
    line: &Connection,
    snapshotter: &str,
    manifest: &Manifest,
    config: &ImageConfig,
    ticket: &str,
) -> Result<(), Status> {
    let chain = config.chain_ids();
    let mut parent = "";
    for ((layer, diff), name) in manifest.layers.iter().zip(&config.rootfs.diff_ids).zip(&chain) {
        // First: what an earlier try left may be collected at any moment.
        line.keep(&format!("snapshots/{snapshotter}"), name).await?;
        if !exists(line, snapshotter, name).await? {
            let key = format!("extract-{ticket} {name}");
            let step = Step { line, snapshotter, layer, diff, name, key: &key };
            step.run(parent).await?;
        }
        parent = name;
    }
    if let Some(top) = chain.last() {
        let label = format!("containerd.io/gc.ref.snapshot.{snapshotter}");
        content::label(line, &manifest.config.digest, BTreeMap::from([(label, top.clone())])).await?;
    }
    Ok(())
}

/// Whether every layer of an image is unpacked.
pub(super) async fn is_unpacked(
    line: &Connection,
    snapshotter: &str,
    config: &ImageConfig,
) -> Result<bool, Status> {
    match config.chain_ids().last() {
        Some(top) => exists(line, snapshotter, top).await,
        None => Ok(true),
    }
}

/// Makes a writable snapshot on another.
pub(super) async fn prepare(
    line: &Connection,
    request: PrepareSnapshotRequest,
) -> Result<Vec<Mount>, Status> {
    let try_it = || {
        let (mut client, request) = (line.snapshots(), line.request(request.clone()));
        async move { client.prepare(request).await }
    };
    let first = within(CALL_LIMIT, try_it()).await;
    let in_the_way = first.as_ref().err().and_then(|status| folder_in_the_way(status, &request.snapshotter));
    let prepared = match in_the_way {
        Some(folder) => {
            // One at a time, and asked again first: another may have cleared it, and the number been given out.
            static CLEARING: Mutex<()> = Mutex::const_new(());
            let _mine = CLEARING.lock().await;
            match within(CALL_LIMIT, try_it()).await {
                Err(status) if folder_in_the_way(&status, &request.snapshotter).as_ref() == Some(&folder) => {
                    if let Err(error) = orphan::clear(&folder) {
                        tracing::warn!(folder = %folder.display(), %error, "failed to clear a folder in the way");
                    }
                    within(CALL_LIMIT, try_it()).await
                }
                result => result,
            }
        }
        None => first,
    };
    prepared.map(|reply| reply.mounts)
}

async fn exists(line: &Connection, snapshotter: &str, key: &str) -> Result<bool, Status> {
    let request = StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
    match within(CALL_LIMIT, line.snapshots().stat(line.request(request))).await {
        Ok(_) => Ok(true),
        Err(status) if is_absent(&status) => Ok(false),
        Err(status) => Err(status),
    }
}

/// One layer on its way to being a snapshot.
struct Step<'a> {
    line: &'a Connection,
    snapshotter: &'a str,
    layer: &'a Link,
    diff: &'a str,
    name: &'a str,
    key: &'a str,
}

impl Step<'_> {
    async fn run(&self, parent: &str) -> Result<(), Status> {
        let labels: std::collections::HashMap<String, String> =
            [("containerd.io/snapshot.ref".to_owned(), self.name.to_owned())].into();
        let request = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.to_owned(),
            key: self.key.to_owned(),
            parent: parent.to_owned(),
            labels: labels.clone(),
        };
        let mounts = match prepare(self.line, request).await {
            // Another pull was first, and has the layer whole already.
            Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
            prepared => prepared?,
        };
        let commit = CommitSnapshotRequest {
            snapshotter: self.snapshotter.to_owned(),
            name: self.name.to_owned(),
            key: self.key.to_owned(),
            labels,
        };
        let done = self.apply(mounts, commit).await;
        if done.is_err() {
            let request =
                RemoveSnapshotRequest { snapshotter: self.snapshotter.to_owned(), key: self.key.to_owned() };
            if let Err(status) =
                within(CALL_LIMIT, self.line.snapshots().remove(self.line.request(request))).await
            {
                tracing::debug!(code = ?status.code(), "failed to remove a half-unpacked layer; its lease will");
            }
        }
        match done {
            // Another pull was first; its result is the same.
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            other => other,
        }
    }

    async fn apply(&self, mounts: Vec<Mount>, commit: CommitSnapshotRequest) -> Result<(), Status> {
        let request = ApplyRequest { diff: Some(self.layer.descriptor()), mounts, ..ApplyRequest::default() };
        let applied = within(LAYER_LIMIT, self.line.diff().apply(self.line.request(request))).await?;
        let found = applied.applied.map(|descriptor| descriptor.digest).unwrap_or_default();
        if found != self.diff {
            let message = format!("a layer unpacked to {found:.80}, and the image says {}", self.diff);
            return Err(Status::data_loss(message));
        }
        within(CALL_LIMIT, self.line.snapshots().commit(self.line.request(commit))).await?;
        let label = ("containerd.io/uncompressed".to_owned(), self.diff.to_owned());
        content::label(self.line, &self.layer.digest, BTreeMap::from([label])).await
    }
}
