//! What a pod learns of what it was given: variables for its containers.

use std::fmt::Display;

use super::capacity::{GpuUuid, SubnetRange};
use super::grant::Grant;

/// The variables that tell a pod what it was given, in a fixed order; what it was not given has none. `subnets` is the
/// node's range, in which the grant's subnet is a position.
///
/// Share and memory are what there is of each GPU at least: they differ only among whole GPUs of different sizes.
#[must_use]
pub fn environment(grant: &Grant, subnets: SubnetRange) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    if !grant.ports.is_empty() {
        set("PURSER_PORTS", list(&grant.ports));
        for (index, port) in grant.ports.iter().enumerate() {
            set(&format!("PURSER_PORT_{index}"), port.to_string());
        }
    }
    if let Some(subnet) = grant.subnet.and_then(|index| subnets.show(index)) {
        set("PURSER_SUBNET", subnet);
    }
    if let Some(cpus) = &grant.cpus {
        set("PURSER_CPUS", cpus.to_string());
    }
    let gpus = &grant.gpus;
    let share = gpus.iter().map(|gpu| gpu.share).min();
    let memory = gpus.iter().map(|gpu| gpu.memory.0).min();
    if let (Some(share), Some(memory)) = (share, memory) {
        set("PURSER_GPUS", list(gpus.iter().map(|gpu| &gpu.uuid)));
        set("PURSER_GPU_SHARE", share.to_string());
        set("PURSER_GPU_MEMORY_BYTES", memory.to_string());
    }
    variables
}

/// The variables by which CUDA and NVIDIA's tools learn which GPUs a process may use: these and no others, none if there
/// are none.
#[must_use]
pub fn visible_gpus(gpus: &[GpuUuid]) -> [(String, String); 2] {
    let listed = list(gpus);
    let void = if listed.is_empty() { "void".to_owned() } else { listed.clone() };
    [("CUDA_VISIBLE_DEVICES".to_owned(), listed), ("NVIDIA_VISIBLE_DEVICES".to_owned(), void)]
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::grant::GpuGrant;
    use crate::units::{Bytes, MilliCpu};

    fn gpu(uuid: &str, share: u32, memory: u64) -> GpuGrant {
        let uuid = GpuUuid::new(uuid).expect("a name");
        GpuGrant { uuid, share, memory: Bytes(memory), whole: share == 100 }
    }

    #[test]
    fn a_pod_is_told_all_that_it_was_given() {
        let grant = Grant {
            cpus: Some("2-3,8".parse().expect("a set")),
            gpus: vec![gpu("GPU-b", 100, 80), gpu("GPU-a", 100, 40)],
            ports: [30_007, 30_001].into(),
            subnet: Some(258),
            ..Grant::default()
        };
        let subnets = SubnetRange { first: [10, 88, 0], count: 1_024 };
        let told: Vec<String> =
            environment(&grant, subnets).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "PURSER_PORTS=30001,30007",
            "PURSER_PORT_0=30001",
            "PURSER_PORT_1=30007",
            "PURSER_SUBNET=10.89.2.0/24",
            "PURSER_CPUS=2-3,8",
            "PURSER_GPUS=GPU-b,GPU-a",
            "PURSER_GPU_SHARE=100",
            "PURSER_GPU_MEMORY_BYTES=40",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn tools_see_the_gpus_that_were_given_and_no_others() {
        let uuid = |name| GpuUuid::new(name).expect("a name");
        let told = |gpus: &[GpuUuid]| visible_gpus(gpus).map(|(name, value)| format!("{name}={value}"));
        let both = ["CUDA_VISIBLE_DEVICES=GPU-b,GPU-a", "NVIDIA_VISIBLE_DEVICES=GPU-b,GPU-a"];
        assert_eq!(told(&[uuid("GPU-b"), uuid("GPU-a")]), both);
        assert_eq!(told(&[]), ["CUDA_VISIBLE_DEVICES=", "NVIDIA_VISIBLE_DEVICES=void"]);
    }

    #[test]
    fn what_was_not_given_has_no_variable() {
        let shared = Grant { cpu: MilliCpu(1_500), memory: Bytes(1), disk: Bytes(1), ..Grant::default() };
        assert_eq!(environment(&shared, SubnetRange::default()), []);
        let outside = Grant { subnet: Some(256), ..Grant::default() };
        assert_eq!(environment(&outside, SubnetRange::default()), []);
    }
}
