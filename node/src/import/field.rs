//! The fields of a legacy quota: what each is by default, and where it goes.

use purser_events::ledger::ResourceKind;
use purser_events::ledger::tenant::{Operation, Period};

/// Where a field goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A bound of what the tenant's pods have together: of this kind, so many of its units each.
    Quota(ResourceKind, u64),
    /// A second bound of the tenant's pods: the tighter of both holds.
    PodsOfNode,
    /// How often an operation may be asked for.
    Rate(Operation, Period),
    /// How many requests at once after a pause.
    Burst,
    /// How many requests under way at once.
    Concurrent,
    /// Whether there are bounds at all.
    Enabled,
    /// Nowhere.
    Nowhere,
}

/// A field of a legacy quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyField {
    /// Where it is, as in `vm_limits.max_vms`.
    pub path: &'static str,
    /// What held without it; none if nothing did.
    pub default: Option<&'static str>,
    /// What becomes of it, or why nothing does.
    pub note: &'static str,
    pub(super) place: Place,
}

const fn field(path: &'static str, default: &'static str, place: Place, note: &'static str) -> LegacyField {
    LegacyField { path, default: Some(default), note, place }
}

const fn nowhere(path: &'static str, default: Option<&'static str>, note: &'static str) -> LegacyField {
    LegacyField { path, default, note, place: Place::Nowhere }
}

/// The field that names the tenant.
pub(super) const TENANT_ID: &str = "tenant_id";
/// The field that says whether there are bounds at all.
pub(super) const ENABLED: &str = "enabled";
/// The bound of pods in the whole cluster.
pub(super) const MAX_PODS: &str = "vm_limits.max_vms";
/// The bound of pods on each node.
pub(super) const MAX_PODS_OF_NODE: &str = "vm_limits.max_vms_per_node";
/// Maps in which further fields are.
pub(super) const GROUPS: [&str; 4] =
    ["vm_limits", "api_limits", "api_limits.operation_limits", "storage_limits"];

const MEBIBYTE: u64 = 1 << 20;
const GIBIBYTE: u64 = 1 << 30;

static FIELDS: [LegacyField; 23] = [
    field(
        ENABLED,
        "true",
        Place::Enabled,
        "if false, the tenant has no bounds, not even the node's default ones",
    ),
    field(MAX_PODS, "50", Place::Quota(ResourceKind::Pods, 1), "quota of pods"),
    field(
        "vm_limits.max_vcpus",
        "200",
        Place::Quota(ResourceKind::Cpu, 1_000),
        "quota of processor time, in cores",
    ),
    field(
        "vm_limits.max_memory_mb",
        "204800",
        Place::Quota(ResourceKind::Memory, MEBIBYTE),
        "quota of memory; a MB counted as 1024 KiB",
    ),
    field(
        "vm_limits.max_disk_gb",
        "2048",
        Place::Quota(ResourceKind::Disk, GIBIBYTE),
        "quota of disk; a GB counted as 1024 MiB",
    ),
    field(
        MAX_PODS_OF_NODE,
        "25",
        Place::PodsOfNode,
        "on this node a bound of pods like max_vms: the tighter of the two is the quota of pods",
    ),
    nowhere(
        "vm_limits.overcommit_ratio",
        Some("1.2"),
        "the node's limits say how much of a resource is given out, for all tenants alike",
    ),
    nowhere(
        "vm_limits.priority",
        Some("100"),
        "each pod has a priority of its own: spec.priority in its manifest",
    ),
    field(
        "api_limits.requests_per_second",
        "100",
        Place::Rate(Operation::Any, Period::Second),
        "rate of `any` request",
    ),
    field("api_limits.burst_capacity", "200", Place::Burst, "burst of `any` request"),
    field("api_limits.max_concurrent_requests", "50", Place::Concurrent, "requests under way at once"),
    field(
        "api_limits.operation_limits.vm_create_per_minute",
        "10",
        Place::Rate(Operation::Create, Period::Minute),
        "rate of `create`",
    ),
    field(
        "api_limits.operation_limits.vm_delete_per_minute",
        "20",
        Place::Rate(Operation::Delete, Period::Minute),
        "rate of `delete`",
    ),
    nowhere("api_limits.operation_limits.cluster_join_per_hour", Some("5"), "a node joins no cluster"),
    field(
        "api_limits.operation_limits.status_query_per_second",
        "50",
        Place::Rate(Operation::Read, Period::Second),
        "rate of `read`",
    ),
    field(
        "api_limits.operation_limits.config_change_per_hour",
        "10",
        Place::Rate(Operation::Change, Period::Hour),
        "rate of `change`: no longer changes of the configuration count, but stops and starts of pods and commands in them",
    ),
    nowhere(
        "storage_limits.max_storage_gb",
        Some("1024"),
        "the disk of a tenant's pods is bounded by max_disk_gb; nothing else is counted by tenant",
    ),
    nowhere("storage_limits.max_disk_images", Some("100"), "the node keeps images once for all tenants"),
    nowhere("storage_limits.max_image_size_gb", Some("100"), "the node keeps images once for all tenants"),
    nowhere("storage_limits.max_backup_storage_gb", Some("512"), "the node keeps no backups"),
    nowhere("storage_limits.max_iops", Some("10000"), "operations on disks are not limited"),
    nowhere("created_at", None, "the journal says when a tenant was set"),
    nowhere("updated_at", None, "the journal says when a tenant was set"),
];

/// Every field of a legacy quota beside the tenant's name, in the order in which they are reported.
#[must_use]
pub fn legacy_fields() -> &'static [LegacyField] {
    &FIELDS
}

/// The path of a field that is written without its groups, as columns may be.
pub(super) fn full_path(name: &str) -> String {
    let found = FIELDS.iter().find(|field| field.path.rsplit('.').next() == Some(name));
    found.map_or_else(|| name.to_owned(), |field| field.path.to_owned())
}

impl LegacyField {
    /// Whether anything becomes of it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.place != Place::Nowhere
    }
}
