//! What the machine has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::resource::CustomName;
use crate::cpu::CpuTopology;
use crate::units::{Bytes, MilliTflops};

/// What the node can give out at most, before limits and reserves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Processors that the service may use.
    pub cpus: CpuTopology,
    /// Memory of the host.
    pub memory: Bytes,
    /// Room on the disk of the pods' folders.
    pub disk: Bytes,
    /// GPUs, in the order of their uuids.
    pub gpus: Vec<GpuDevice>,
    /// Ports that are given to pods that ask for a number of them.
    pub ports: PortRange,
    /// Subnets that pods may lease.
    pub subnets: SubnetRange,
    /// What the operator counts.
    pub custom: BTreeMap<CustomName, u64>,
}

/// One GPU that can be given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuDevice {
    /// Which.
    pub uuid: GpuUuid,
    /// What it is called.
    pub model: String,
    /// Its memory.
    pub memory: Bytes,
    /// Its compute; none if the figure of its model is not known.
    #[serde(default)]
    pub tflops: Option<MilliTflops>,
}

/// Name of a GPU, as its driver has it: `GPU-` or `MIG-` and a uuid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GpuUuid(Arc<str>);

/// Why a text is no GPU's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 96 letters, digits, `-`, `/` and `_`, as in GPU-8f6ad3c1-1f3f-4a5e-9c0e-0d6f3d6f2b11")]
pub struct NotAGpu;

impl GpuUuid {
    /// A GPU's name, checked.
    ///
    /// # Errors
    /// It is empty, too long or has other characters.
    pub fn new(text: &str) -> Result<GpuUuid, NotAGpu> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
        let is_fine = (1..=96).contains(&text.len()) && text.bytes().all(plain);
        if is_fine { Ok(GpuUuid(text.into())) } else { Err(NotAGpu) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GpuUuid {
    type Error = NotAGpu;

    fn try_from(text: String) -> Result<GpuUuid, NotAGpu> {
        GpuUuid::new(&text)
    }
}

impl From<GpuUuid> for String {
    fn from(uuid: GpuUuid) -> String {
        uuid.0.as_ref().to_owned()
    }
}

impl fmt::Display for GpuUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; not before the first.
    pub last: u16,
}

impl PortRange {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> u64 {
        u64::from(self.last.saturating_sub(self.first)) + 1
    }

    /// Whether there are none: never.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.last < self.first
    }
}

impl Default for PortRange {
    /// 30000 to 40000.
    fn default() -> PortRange {
        PortRange { first: 30_000, last: 40_000 }
    }
}

/// Subnets with 256 addresses each, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetRange {
    /// The first: the three numbers of `a.b.c.0/24`.
    pub first: [u8; 3],
    /// How many, up to 65,536.
    pub count: u32,
}

impl SubnetRange {
    /// The subnet at this position as `a.b.c.0/24`, if it is in the range.
    #[must_use]
    pub fn show(self, index: u32) -> Option<String> {
        let [a, b, c] = self.first;
        let third = (u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c)).checked_add(index)?;
        let is_in = index < self.count && third < 1 << 24;
        is_in.then(|| format!("{}.{}.{}.0/24", third >> 16, (third >> 8) & 255, third & 255))
    }
}

impl Default for SubnetRange {
    /// 10.88.0.0/16.
    fn default() -> SubnetRange {
        SubnetRange { first: [10, 88, 0], count: 256 }
    }
}
