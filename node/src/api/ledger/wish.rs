//! What is to be reserved, as a request says it.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ledger::{CustomName, Demand, GpuClaim, GpuUuid, Port, ResourceKind};
use purser_events::pod::spec::Protocol;
use purser_events::{Bytes, MilliCpu};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{amount_at, wrong};
use crate::api::problem::WrongField;

/// What is to be kept. Amounts are text, as in `1500m`, `64Gi` and `50%`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Wish {
    /// Processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Whether its processors, rounded up to whole ones, are its own alone.
    pub exclusive_cpus: bool,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Room on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// How many GPUs; 1 if absent and anything else is said of GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_count: Option<u32>,
    /// Percent of the compute of each, 1 to 100; the whole device if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_share: Option<String>,
    /// Memory of each GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<String>,
    /// The GPUs that will do; any if empty.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub gpu_uuids: BTreeSet<String>,
    /// How many ports of the host the node is to choose.
    pub ports: u16,
    /// Ports of the host, as in `8080/TCP` or `8080`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub fixed_ports: BTreeSet<String>,
    /// Whether a subnet is leased.
    pub subnet: bool,
    /// What the operator counts, as in `"example.com/dongle": "1"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, String>,
}

/// Reads fields one by one and keeps all that is wrong.
#[derive(Default)]
struct Reader {
    errors: Vec<WrongField>,
}

impl Reader {
    fn amount(&mut self, kind: &ResourceKind, field: &str, text: Option<&String>) -> Option<u64> {
        let read = amount_at(kind, &at(field), text?);
        read.map_err(|error| self.errors.push(error)).ok()
    }

    fn refuse(&mut self, field: &str, message: impl ToString) {
        self.errors.push(wrong(at(field), message));
    }
}

fn at(field: &str) -> String {
    if field.is_empty() { "resources".to_owned() } else { format!("resources.{field}") }
}

impl Wish {
    /// The wish as the ledger takes it.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn demand(&self) -> Result<Demand, Vec<WrongField>> {
        let mut reader = Reader::default();
        let cpu = reader.amount(&ResourceKind::Cpu, "cpu", self.cpu.as_ref()).unwrap_or(0);
        if self.exclusive_cpus && cpu == 0 {
            reader.refuse("exclusiveCpus", "needs `cpu` beside it");
        }
        let cpu = if self.exclusive_cpus { cpu.div_ceil(1_000).saturating_mul(1_000) } else { cpu };
        let demand = Demand {
            cpu: MilliCpu(cpu),
            exclusive_cpus: self.exclusive_cpus,
            memory: Bytes(reader.amount(&ResourceKind::Memory, "memory", self.memory.as_ref()).unwrap_or(0)),
            disk: Bytes(reader.amount(&ResourceKind::Disk, "disk", self.disk.as_ref()).unwrap_or(0)),
            gpu: self.gpu(&mut reader),
            fixed_ports: self.fixed_ports(&mut reader),
            ports: self.ports,
            subnet: self.subnet,
            custom: self.custom(&mut reader),
        };
        if reader.errors.is_empty() && demand.amounts().is_empty() {
            reader.refuse("", "must ask for something");
        }
        if reader.errors.is_empty() { Ok(demand) } else { Err(reader.errors) }
    }

    fn gpu(&self, reader: &mut Reader) -> Option<GpuClaim> {
        let share = reader.amount(&ResourceKind::GpuShare, "gpuShare", self.gpu_share.as_ref());
        let memory = reader.amount(&ResourceKind::GpuMemory, "gpuMemory", self.gpu_memory.as_ref());
        let mut uuids = BTreeSet::new();
        for uuid in &self.gpu_uuids {
            match GpuUuid::new(uuid) {
                Ok(uuid) => drop(uuids.insert(uuid)),
                Err(error) => reader.refuse("gpuUuids", error),
            }
        }
        let is_wanted = self.gpu_count.is_some() || share.is_some() || memory.is_some() || !uuids.is_empty();
        let share = share.and_then(|percent| {
            let fine = u32::try_from(percent).ok().filter(|percent| (1..=100).contains(percent));
            if fine.is_none() {
                reader.refuse("gpuShare", "must be 1 to 100 percent of one GPU");
            }
            fine
        });
        if memory.is_some() && share.is_none() && self.gpu_count.is_none() {
            reader.refuse(
                "gpuMemory",
                "needs gpuShare or gpuCount beside it: it could mean a part of a GPU or a whole one",
            );
        }
        let count = self.gpu_count.unwrap_or(1);
        if count == 0 {
            reader.refuse("gpuCount", "must be at least 1");
        }
        is_wanted.then(|| GpuClaim { count, share, memory: memory.map(Bytes), uuids, tflops: None })
    }

    fn fixed_ports(&self, reader: &mut Reader) -> BTreeSet<Port> {
        let mut ports = BTreeSet::new();
        for text in &self.fixed_ports {
            match port(text) {
                Some(port) => drop(ports.insert(port)),
                None => reader.refuse("fixedPorts", format!("`{text}` is no port such as 8080/TCP")),
            }
        }
        ports
    }

    fn custom(&self, reader: &mut Reader) -> BTreeMap<CustomName, u64> {
        let mut custom = BTreeMap::new();
        for (name, text) in &self.custom {
            let field = format!("custom.\"{name}\"");
            match CustomName::new(name) {
                Ok(known) => {
                    let kind = ResourceKind::Custom(known.clone());
                    custom.extend(reader.amount(&kind, &field, Some(text)).map(|amount| (known, amount)));
                }
                Err(error) => reader.refuse(&field, error),
            }
        }
        custom
    }
}

fn port(text: &str) -> Option<Port> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
    let protocol = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|known| known.to_string().eq_ignore_ascii_case(protocol))?;
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|number| *number != 0 && is_plain)?;
    Some(Port { number, protocol })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn demand(value: serde_json::Value) -> Result<Demand, Vec<String>> {
        let wish: Wish = serde_json::from_value(value).expect("a wish");
        wish.demand().map_err(|errors| errors.into_iter().map(|error| error.path).collect())
    }

    #[test]
    fn a_wish_is_a_demand() {
        let read = demand(json!({
            "cpu": "1500m", "exclusiveCpus": true, "memory": "1Gi", "gpuShare": "50%",
            "fixedPorts": ["8080", "53/udp"], "custom": { "example.com/dongle": "2" },
        }))
        .unwrap();
        assert_eq!((read.cpu, read.memory), (MilliCpu(2_000), Bytes(1 << 30)));
        let gpu = read.gpu.unwrap();
        assert_eq!((gpu.count, gpu.share), (1, Some(50)));
        let ports: Vec<String> =
            read.fixed_ports.iter().map(|it| format!("{}/{}", it.number, it.protocol)).collect();
        assert_eq!(ports, ["53/UDP", "8080/TCP"]);
        assert_eq!(read.custom.values().copied().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = |value| demand(value).unwrap_err();
        assert_eq!(wrong(json!({})), ["resources"]);
        let all = json!({
            "cpu": "-1", "exclusiveCpus": true, "memory": "1GB", "gpuShare": "0", "gpuCount": 0,
            "gpuUuids": ["a b"], "fixedPorts": ["0", "70000", "80/SCTP", "+1"], "custom": { "dongle": "1" },
        });
        let paths = wrong(all);
        let of = |field: &str| paths.iter().filter(|path| **path == format!("resources.{field}")).count();
        let counts =
            ["cpu", "exclusiveCpus", "memory", "gpuShare", "gpuCount", "gpuUuids", "fixedPorts"].map(of);
        assert_eq!(counts, [1, 1, 1, 1, 1, 1, 4]);
        assert_eq!(of("custom.\"dongle\""), 1);
    }
}
