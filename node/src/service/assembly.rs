//! Every part of the node, made from the config: each value is read here once and passed on as an argument.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use purser_actors::history::History;
use purser_actors::paths::PodPaths;
use purser_actors::port::containers::Runtimes;
use purser_actors::port::{Archive, Clock, Ids};
use purser_actors::redaction::{self, Finished, Offline};
use purser_actors::{DiskWork, Keeping, LiveWorld, Parts, ReserveLimits, Shell};
use purser_events::Principal;
use purser_events::pod::spec::RuntimeClass;
use purser_storage::disk::SystemDisk;
use purser_storage::retention::Retention;
use purser_storage::subjects::SubjectsConfig;
use purser_storage::{Journal, JournalConfig, JournalError};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::exit::Failure;
use super::{host, keys, resources, sealing};
use crate::adapter::archive::{CommandArchive, FolderArchive};
use crate::adapter::cdi::Cdi;
use crate::adapter::cgroups;
use crate::adapter::clock::{SystemClock, UuidV7};
use crate::adapter::containerd::{ContainerdConfig, ContainerdRuntime};
use crate::adapter::machine::ProcMachine;
use crate::adapter::owners::Owners;
use crate::adapter::probes::NetworkProbes;
use crate::adapter::process::{ProcessRuntime, Settings};
use crate::agents::Agents;
use crate::config::{self, Codec, Config, Encryption};
use crate::metrics::journal::JournalMeter;

/// Makes the data folder for the service alone.
pub(super) fn make_data_dir(path: &Path) -> Result<(), Failure> {
    crate::adapter::volumes::private_folder(path)
        .map_err(|source| Failure::Folder { path: path.to_path_buf(), source })
}

/// Opens the journal, replays it and makes the parts of the node around it. Blocks on the disk.
pub(super) fn parts(config: &Config) -> Result<Parts, Failure> {
    let host = host::facts()?;
    let (journal, live) = open_journal(config, host.boot_id)?;
    journal.observe(JournalMeter::new());
    sealing::begin(config, &journal);
    journal.project(Arc::new(History)).map_err(Failure::Open)?;
    let paths = pod_paths(config);
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(UuidV7));
    let runtimes = runtimes(config, &paths, &clock, &ids)?;
    let default_runtime = config.runtime.default.resolve(runtimes.contains_key(&RuntimeClass::Containerd));
    let probes = Arc::new(NetworkProbes);
    let owners = Arc::new(Owners::new(Path::new("/proc"), &node_name(&config.data_dir)));
    let machine = Arc::new(ProcMachine::own(&config.data_dir, Arc::clone(&owners)));
    let gpus = Arc::new(resources::sensor(config, owners, Arc::clone(&clock))?);
    let keeping = keeping(&config.journal);
    let resources = resources::resources(config, &machine, &gpus)?;
    let pools = Arc::new(agents(config)?);
    let shell = Shell { journal, live, clock, ids, runtimes, machine, gpus, probes, pools, paths };
    let monitor = config.policy.monitor.in_force()?;
    Ok(Parts { shell, host, policy: config.policy.in_force(), monitor, resources, default_runtime, keeping })
}

/// Where pods' files are.
fn pod_paths(config: &Config) -> PodPaths {
    PodPaths::new(config.data_dir.join("pods"))
}

/// The place of pools' agents. Blocks on the disk.
pub(super) fn agents(config: &Config) -> Result<Agents, Failure> {
    let root = pod_paths(config).agents();
    Agents::open(&root, config.pools.references_dir.clone(), keys::fill)
        .map_err(|source| Failure::Folder { path: root, source })
}

/// How the journal's past is kept.
fn keeping(config: &config::Journal) -> Keeping {
    let mut archives: Vec<Arc<dyn Archive>> = Vec::new();
    let config::JournalArchive { folder, command, command_timeout_ms } = &config.archive;
    if let Some(folder) = folder {
        archives.push(Arc::new(FolderArchive { folder: folder.clone() }));
    }
    if let Some(argv) = command {
        let timeout = Duration::from_millis(command_timeout_ms.get());
        archives.push(Arc::new(CommandArchive { argv: argv.clone(), timeout }));
    }
    let config::Retention { age_ms, bytes, segments_min, without_archive } = config.retention;
    let retention = Retention {
        age_ms,
        bytes,
        segments_min: usize::try_from(segments_min).unwrap_or(usize::MAX),
        archive: !archives.is_empty() || !without_archive,
    };
    Keeping {
        retention: Some(retention),
        archives,
        check_every_ms: Some(config.check_every_ms).filter(|interval| *interval > 0),
        disk_work: DiskWork::Beside,
    }
}

/// How full the journal's disk may be.
pub(super) fn reserve_limits(config: &Config) -> ReserveLimits {
    let reserve = &config.journal.reserve;
    ReserveLimits { warn_percent: reserve.warn_percent, refuse_percent: reserve.refuse_percent }
}

/// Opens the journal. A redaction that was asked for and that a stop cut short is finished first.
fn open_journal(config: &Config, boot_id: Uuid) -> Result<(Journal, LiveWorld), Failure> {
    let settings = journal_config(config, boot_id);
    let opened = open_live(&settings).map_err(Failure::Open)?;
    let (journal, live) = opened;
    if live.read(redaction::pending).is_none() {
        return Ok((journal, live));
    }
    journal.close().map_err(Failure::Close)?;
    let finished = offline(config, boot_id, Principal::node()).finish().map_err(Failure::Offline)?;
    if let Some(Finished { asked, done, .. }) = finished {
        tracing::info!(redaction = %asked.id, records = done.records(), "a redaction was finished");
    }
    open_live(&settings).map_err(Failure::Open)
}

fn open_live(settings: &JournalConfig) -> Result<(Journal, LiveWorld), JournalError> {
    let live = LiveWorld::new();
    let (replayed, committed) = (live.clone(), live.clone());
    let replay = move |record| replayed.replay(record);
    let commit = move |records: &[_]| committed.commit(records);
    let clock = || SystemClock.now();
    let journal = Journal::open_with_snapshots(settings.clone(), clock, replay, commit, live.clone())?;
    Ok((journal, live))
}

/// What it takes to work on the journal while no service runs.
pub(super) fn offline(config: &Config, boot_id: Uuid, principal: Principal) -> Offline {
    Offline {
        config: journal_config(config, boot_id),
        disk: Arc::new(SystemDisk),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UuidV7),
        principal,
    }
}

/// Where and how the journal is kept.
pub(super) fn journal_config(config: &Config, boot_id: Uuid) -> JournalConfig {
    let codec = match config.journal.codec {
        Codec::Bincode => purser_storage::Codec::Bincode,
        Codec::Postcard => purser_storage::Codec::Postcard,
    };
    JournalConfig {
        codec,
        backend: config.journal.backend.into(),
        cache_bytes: config.journal.cache_bytes.get(),
        group_wait_us_max: config.journal.group_wait_us_max,
        segment_bytes: config.journal.segment_bytes.get(),
        segment_age_ms: config.journal.segment_age_ms.get(),
        snapshot_every: config.journal.snapshot_every,
        command_ids_kept_ms: config.journal.command_ids_kept_ms,
        boot_id: Some(boot_id),
        subjects: Some(SubjectsConfig {
            dir: config.subject_keys_dir(),
            seals: config.journal.encryption == Encryption::Subjects,
            random: keys::fill,
        }),
        ballast_bytes: config.journal.reserve.ballast_bytes,
        ..JournalConfig::new(config.data_dir.join("journal"))
    }
}

fn runtimes(
    config: &Config,
    paths: &PodPaths,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
) -> Result<Runtimes, Failure> {
    let own = node_name(&config.data_dir);
    let settings = Settings {
        host_path_roots: config.runtime.host_path_roots.clone(),
        pids_max: Some(config.runtime.pids_max.get()),
        unlimited_ok: config.runtime.unlimited_ok,
        cgroup_prefix: own.clone(),
        mps: config.gpu.mps(),
        ..Settings::with_shim(std::env::current_exe().map_err(Failure::OwnProgram)?)
    };
    let mut runtimes = Runtimes::new();
    runtimes.insert(RuntimeClass::Process, Arc::new(ProcessRuntime::new(paths.clone(), settings)));
    if config.containerd.is_used() {
        let runtime = ContainerdRuntime::new(
            containerd_config(config, &own),
            paths.clone(),
            config.runtime.host_path_roots.clone(),
            Arc::clone(clock),
            Arc::clone(ids),
        );
        runtimes.insert(RuntimeClass::Containerd, Arc::new(runtime.map_err(Failure::Containerd)?));
    }
    Ok(runtimes)
}

fn containerd_config(config: &Config, own: &str) -> ContainerdConfig {
    let given = &config.containerd;
    let run = Path::new("/run").join(own);
    ContainerdConfig {
        socket: given.socket.clone(),
        namespace: given.namespace.clone(),
        snapshotter: given.snapshotter.clone(),
        runc_root: run.join("runc"),
        runtime_dir: run.join("containerd"),
        cgroup_prefix: own.to_owned(),
        node_label: own.to_owned(),
        pids_max: config.runtime.pids_max,
        plain_http_registries: given.plain_http.clone(),
        mirrors: given.mirrors.clone(),
        images_dir: given.images_dir.clone(),
        cdi_dirs: config.gpu.cdi_folders(),
        mps: config.gpu.mps(),
    }
}

/// How devices of containers are described, for who shows it.
pub(super) fn cdi(config: &Config) -> Option<Arc<Cdi>> {
    let folders = config.gpu.cdi_folders().filter(|_| config.containerd.is_used())?;
    Some(Arc::new(Cdi::new(folders)))
}

/// Removes the folders in which pods had their control groups, if no pod has one any more: for a service that stops.
pub(super) fn leave_cgroups(config: &Config) {
    cgroups::remove_unused(Path::new("/sys/fs/cgroup"), &node_name(&config.data_dir));
}

/// What marks this node's control groups and containers among those of other nodes on the host: the same data
/// folder is the same node.
fn node_name(data_dir: &Path) -> String {
    if data_dir == Path::new("/var/lib/purser") {
        return "purser".to_owned();
    }
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let short: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("purser-{short}")
}
