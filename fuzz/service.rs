//! What the service and the agent do with bytes from outside, one function for each decoder, see `targets.rs`. They are run
//! by cargo-fuzz, and for a bounded number of mutations by a test of `tests`.

use std::fs;
use std::path::PathBuf;

use purser_actors::LiveWorld;
use purser_events::pool::PoolName;
use purser_events::{PodId, Seq};
use purser_node::adapter::cdi::Cdi;
use purser_node::adapter::gpu::KernelLines;
use purser_node::adapter::usage::Measured;
use purser_node::adapter::{sizes, stat};
use purser_node::agent::protocol;
use purser_node::api::ledger::limits::LimitsRequest;
use purser_node::api::ledger::reservations::ReserveBody;
use purser_node::api::ledger::resources::StopRequest;
use purser_node::api::ledger::wish::Wish;
use purser_node::api::pools::routes::UnfreezeRequest;
use purser_node::api::pools::task_routes::TaskRequest;
use purser_node::api::selector::Selector;
use purser_node::api::{exec, gpu, node, resize, state};
use purser_node::manifest::{self, Defaults, Limits};
use purser_storage::{Snapshots, StoredSnapshot};

/// A decoder by its name.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every decoder.
pub(crate) const TARGETS: &[Target] = &[
    ("manifest", manifest),
    ("agent", agent),
    ("cdi", cdi),
    ("cgroup", cgroup),
    ("kernel_log", kernel_log),
    ("world", world),
    ("api", api),
];

/// Manifests of pods and pools; what is made of one is shown again.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(documents) = manifest::documents(bytes, &Limits::default()) else { return };
    let defaults = Defaults::default();
    for document in documents {
        if manifest::is_pool(&document) {
            let _ = manifest::pool_spec(document, &defaults);
        } else if let Ok(spec) = manifest::pod_spec(document, &defaults) {
            let _ = manifest::to_manifest(&spec);
        }
    }
}

/// What agents say to the service, and the service to them.
pub(crate) fn agent(bytes: &[u8]) {
    macro_rules! read {
        ($($message:ident)*) => { $(let _ = serde_json::from_slice::<protocol::$message>(bytes);)* };
    }
    read!(Connect Connected Heartbeat Beat Poll Orders Report At OutputTaken);
}

/// A folder of its own with one file in it.
fn folder_with(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    fs::write(dir.path().join(name), bytes).expect("a file can be written");
    dir
}

/// A specification of devices for containers.
pub(crate) fn cdi(bytes: &[u8]) {
    let dir = folder_with("gpus.json", bytes);
    let cdi = Cdi::new(vec![dir.path().to_owned()]);
    cdi.tell(&cdi.look());
}

/// The kernel's files about control groups and processes: every one of them says the same.
pub(crate) fn cgroup(bytes: &[u8]) {
    const FILES: [&str; 12] = [
        "cpu.stat",
        "cpu.max",
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpuacct.usage",
        "memory.current",
        "memory.max",
        "memory.peak",
        "memory.stat",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "memory.max_usage_in_bytes",
    ];
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    // All of version 2, and all of both.
    for files in [&FILES[..2], &FILES[..]] {
        for file in files {
            fs::write(dir.path().join(file), bytes).expect("a file can be written");
        }
        let groups: Vec<PathBuf> = vec![dir.path().to_owned()];
        let _ = Measured::of(&groups).whole();
        let _ = sizes::in_force(&groups);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = (stat::start_time_ticks(&text), stat::innermost_pid(&text), stat::inner_pid(&text));
}

/// What the kernel's log says, in two pieces.
pub(crate) fn kernel_log(bytes: &[u8]) {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut lines = KernelLines::default();
    let told = [lines.faults(first), lines.faults(second)].concat();
    assert_eq!(told, KernelLines::default().faults(bytes), "it does not matter how much is read at once");
}

/// The world as a snapshot has it, of today and of an older release.
pub(crate) fn world(bytes: &[u8]) {
    for (layout, is_only_way) in [(3, false), (1, true)] {
        let _ = LiveWorld::new().restore(&StoredSnapshot { layout, seq: Seq(7), body: bytes, is_only_way });
    }
}

/// Bodies of requests, and the texts in their addresses.
pub(crate) fn api(bytes: &[u8]) {
    macro_rules! read {
        ($($body:ty),*) => { $(let _ = state::json::<$body>(&Default::default(), bytes);)* };
    }
    read!(
        exec::ExecRequest,
        resize::ResizeBody,
        gpu::DrainRequest,
        node::CordonRequest,
        ReserveBody,
        StopRequest,
        LimitsRequest,
        TaskRequest,
        UnfreezeRequest
    );
    if let Ok(wish) = state::json::<Wish>(&Default::default(), bytes) {
        let _ = wish.demand();
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Selector::parse(text);
        let _ = (text.parse::<PodId>(), text.parse::<PoolName>());
    }
}
