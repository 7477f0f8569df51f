//! What is given out: kinds of resources, and amounts of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::check_subdomain;
use crate::units::{Bytes, MilliCpu};

/// A kind of resource. As text: its word, or the whole name of a custom one, as in `example.com/dongle`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "KindText", into = "KindText")]
pub enum ResourceKind {
    /// Pods, in number.
    Pods,
    /// Processor time, in thousandths of a core.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// Room on the disk of the pods' folders, in bytes.
    Disk,
    /// Whole GPUs, in number.
    Gpus,
    /// Compute of GPUs, in percent of one.
    GpuShare,
    /// Memory of GPUs, in bytes.
    GpuMemory,
    /// Ports of the host, in number.
    Ports,
    /// Subnets with 256 addresses, in number.
    Subnets,
    /// What the operator counts, in number.
    Custom(CustomName),
}

/// Name of a resource that the operator counts: a domain and a name, as Kubernetes has it for extended resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "CustomText", into = "CustomText")]
pub struct CustomName(Arc<str>);

impl TryFrom<CustomText> for CustomName {
    type Error = NotAResource;

    fn try_from(CustomText(text): CustomText) -> Result<CustomName, NotAResource> {
        CustomName::new(&text)
    }
}

impl From<CustomName> for CustomText {
    fn from(name: CustomName) -> CustomText {
        CustomText(name.0.as_ref().to_owned())
    }
}

/// Longest name of a custom resource, in bytes.
const CUSTOM_LEN_MAX: usize = 128;

/// A kind as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename = "ResourceKind")]
struct KindText(String);

/// A custom resource's name as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename = "CustomName")]
struct CustomText(String);

/// Why a text is no kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no resource: cpu, memory, disk, gpus, gpu-share, gpu-memory, ports, subnets, pods, or a custom one such as \
     example.com/dongle"
)]
pub struct NotAResource;

impl CustomName {
    /// A custom resource's name, checked.
    ///
    /// # Errors
    /// It is not a DNS subdomain, a slash and a name of letters, digits, `-`, `_` and `.`.
    pub fn new(text: &str) -> Result<CustomName, NotAResource> {
        let (domain, name) = text.split_once('/').ok_or(NotAResource)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_fine = text.len() <= CUSTOM_LEN_MAX
            && check_subdomain(domain).is_ok()
            && !name.is_empty()
            && name.bytes().all(plain);
        if is_fine { Ok(CustomName(text.into())) } else { Err(NotAResource) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ResourceKind {
    /// The kinds that every node knows, in the order in which they are shown.
    pub const KNOWN: [ResourceKind; 9] = [
        ResourceKind::Pods,
        ResourceKind::Cpu,
        ResourceKind::Memory,
        ResourceKind::Disk,
        ResourceKind::Gpus,
        ResourceKind::GpuShare,
        ResourceKind::GpuMemory,
        ResourceKind::Ports,
        ResourceKind::Subnets,
    ];

    /// Its word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            ResourceKind::Pods => "pods",
            ResourceKind::Cpu => "cpu",
            ResourceKind::Memory => "memory",
            ResourceKind::Disk => "disk",
            ResourceKind::Gpus => "gpus",
            ResourceKind::GpuShare => "gpu-share",
            ResourceKind::GpuMemory => "gpu-memory",
            ResourceKind::Ports => "ports",
            ResourceKind::Subnets => "subnets",
            ResourceKind::Custom(name) => name.as_str(),
        }
    }

    /// An amount of it as people write it: `1500m`, `64Mi`, `50%`, `3`.
    #[must_use]
    pub fn show(&self, amount: u64) -> String {
        match self {
            ResourceKind::Cpu => MilliCpu(amount).to_string(),
            ResourceKind::Memory | ResourceKind::Disk | ResourceKind::GpuMemory => Bytes(amount).to_string(),
            ResourceKind::GpuShare => format!("{amount}%"),
            ResourceKind::Pods
            | ResourceKind::Gpus
            | ResourceKind::Ports
            | ResourceKind::Subnets
            | ResourceKind::Custom(_) => amount.to_string(),
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for ResourceKind {
    type Err = NotAResource;

    fn from_str(text: &str) -> Result<ResourceKind, NotAResource> {
        let known = ResourceKind::KNOWN.into_iter().find(|kind| kind.word() == text);
        known.map_or_else(|| CustomName::new(text).map(ResourceKind::Custom), Ok)
    }
}

impl TryFrom<KindText> for ResourceKind {
    type Error = NotAResource;

    fn try_from(KindText(text): KindText) -> Result<ResourceKind, NotAResource> {
        text.parse()
    }
}

impl From<ResourceKind> for KindText {
    fn from(kind: ResourceKind) -> KindText {
        KindText(kind.word().to_owned())
    }
}

/// Amounts by kind, each in its unit; a kind that is absent stands for none, or for no bound, as the place says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amounts(pub BTreeMap<ResourceKind, u64>);

impl Amounts {
    /// The amount of a kind; 0 if it is absent.
    #[must_use]
    pub fn get(&self, kind: &ResourceKind) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// The amount of a kind, if it is there.
    #[must_use]
    pub fn bound(&self, kind: &ResourceKind) -> Option<u64> {
        self.0.get(kind).copied()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every kind in it with its amount.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceKind, u64)> {
        self.0.iter().map(|(kind, amount)| (kind, *amount))
    }

    /// Bounds: a kind with 0 is in it, and stands for none at all.
    #[must_use]
    pub fn bounds<I: IntoIterator<Item = (ResourceKind, u64)>>(items: I) -> Amounts {
        Amounts(items.into_iter().collect())
    }

    /// Puts an amount in; 0 takes the kind out.
    pub fn set(&mut self, kind: ResourceKind, amount: u64) {
        if amount == 0 {
            self.0.remove(&kind);
        } else {
            self.0.insert(kind, amount);
        }
    }

    /// These and those.
    ///
    /// # Errors
    /// A kind whose sum is more than can be counted; nothing was added then.
    pub fn add(&mut self, others: &Amounts) -> Result<(), ResourceKind> {
        let mut sum = self.clone();
        for (kind, amount) in others.iter() {
            let total = sum.get(kind).checked_add(amount).ok_or_else(|| kind.clone())?;
            sum.set(kind.clone(), total);
        }
        *self = sum;
        Ok(())
    }

    /// These without those.
    ///
    /// # Errors
    /// A kind of which more is to be taken than there is; nothing was taken then.
    pub fn take(&mut self, others: &Amounts) -> Result<(), ResourceKind> {
        let mut rest = self.clone();
        for (kind, amount) in others.iter() {
            let left = rest.get(kind).checked_sub(amount).ok_or_else(|| kind.clone())?;
            rest.set(kind.clone(), left);
        }
        *self = rest;
        Ok(())
    }
}

/// Sums: a kind with 0 is not in it. For bounds there is [`Amounts::bounds`].
impl FromIterator<(ResourceKind, u64)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (ResourceKind, u64)>>(items: I) -> Amounts {
        Amounts(items.into_iter().filter(|(_, amount)| *amount != 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        let custom = ResourceKind::Custom(CustomName::new("example.com/dongle").expect("a name"));
        for kind in ResourceKind::KNOWN.into_iter().chain([custom]) {
            assert_eq!(kind.word().parse(), Ok(kind));
        }
        for text in ["", "cores", "CPU", "/x", "example.com/", "Example.com/x", "example.com/a b"] {
            assert_eq!(text.parse::<ResourceKind>(), Err(NotAResource), "{text}");
        }
    }

    #[test]
    fn amounts_never_wrap() {
        let cpu = |amount| Amounts::from_iter([(ResourceKind::Cpu, amount)]);
        let mut held = cpu(u64::MAX);
        assert_eq!(held.add(&cpu(1)), Err(ResourceKind::Cpu));
        assert_eq!(held, cpu(u64::MAX));
        assert_eq!(held.take(&cpu(u64::MAX)), Ok(()));
        assert_eq!(held.take(&cpu(1)), Err(ResourceKind::Cpu));
        assert!(held.is_empty());
    }
}
