//! What runc is told to run: the OCI runtime specification of one container.

use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder,
    LinuxDeviceCgroupBuilder, LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, Mount, MountBuilder, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use purser_events::CpuSet;
use purser_events::pod::spec::Resources;

use super::seccomp;
use super::user::Account;
use crate::adapter::throttle::{CPU_PERIOD_US, quota_us};

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container without further rights may do: the set that container engines commonly give.
const CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// A folder or file of the host as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) source: PathBuf,
    pub(super) target: String,
    pub(super) read_only: bool,
}

/// Everything that was decided about a container.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    pub(super) hostname: String,
    pub(super) account: Account,
    pub(super) no_new_privileges: bool,
    pub(super) resources: Resources,
    pub(super) cpus: Option<CpuSet>,
    pub(super) pids_max: u32,
    pub(super) limits_swap: bool,
    pub(super) cgroup_path: String,
    pub(super) binds: Vec<Bind>,
}

/// Writes the specification. The container shares the node's network.
pub(super) fn build(decided: &Decided) -> Result<Spec, OciSpecError> {
    SpecBuilder::default()
        .version("1.0.2")
        .process(process(decided)?)
        .root(RootBuilder::default().path("rootfs").readonly(false).build()?)
        .hostname(decided.hostname.clone())
        .mounts(mounts(decided)?)
        .linux(linux(decided)?)
        .build()
}

fn process(decided: &Decided) -> Result<Process, OciSpecError> {
    let capabilities: Capabilities = CAPABILITIES.into_iter().collect();
    let none = Capabilities::new();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable(none.clone())
        .ambient(none)
        .build()?;
    let user = UserBuilder::default()
        .uid(decided.account.uid)
        .gid(decided.account.gid)
        .additional_gids(decided.account.groups.clone())
        .build()?;
    // oci-spec's default would limit open files to 1,024; without any, containerd's own limits go on.
    ProcessBuilder::default()
        .terminal(false)
        .user(user)
        .args(decided.argv.clone())
        .env(decided.env.clone())
        .cwd(decided.cwd.clone())
        .capabilities(capabilities)
        .no_new_privileges(decided.no_new_privileges)
        .rlimits(Vec::new())
        .build()
}

fn linux(decided: &Decided) -> Result<Linux, OciSpecError> {
    LinuxBuilder::default()
        .namespaces(namespaces()?)
        .resources(resources(decided)?)
        .cgroups_path(decided.cgroup_path.clone())
        .masked_paths(MASKED.map(str::to_owned).to_vec())
        .readonly_paths(READ_ONLY.map(str::to_owned).to_vec())
        .seccomp(seccomp::filter()?)
        .build()
}

fn namespaces() -> Result<Vec<LinuxNamespace>, OciSpecError> {
    use LinuxNamespaceType as T;
    // Without a cgroup namespace a container sees the names of its neighbours' cgroups.
    let cgroup = Path::new("/proc/self/ns/cgroup").exists().then_some(T::Cgroup);
    let types = [T::Pid, T::Ipc, T::Uts, T::Mount].into_iter().chain(cgroup);
    types.map(|typ| LinuxNamespaceBuilder::default().typ(typ).build()).collect()
}

fn resources(decided: &Decided) -> Result<LinuxResources, OciSpecError> {
    let Resources { cpu_limit, cpu_request, memory_limit, .. } = &decided.resources;
    // Nothing but the devices that runc always allows (null, zero, random, tty …).
    let no_devices = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    let mut cpu = LinuxCpuBuilder::default().shares(shares(cpu_request.or(*cpu_limit).map(|cpu| cpu.0)));
    if let Some(limit) = cpu_limit {
        cpu = cpu.period(CPU_PERIOD_US).quota(i64::try_from(quota_us(*limit)).unwrap_or(i64::MAX));
    }
    if let Some(cpus) = &decided.cpus {
        cpu = cpu.cpus(cpus.to_string());
    }
    let mut resources = LinuxResourcesBuilder::default()
        .devices(vec![no_devices])
        .cpu(cpu.build()?)
        .pids(LinuxPidsBuilder::default().limit(i64::from(decided.pids_max)).build()?);
    if let Some(limit) = memory_limit {
        let limit = i64::try_from(limit.0).unwrap_or(i64::MAX);
        let mut memory = LinuxMemoryBuilder::default().limit(limit);
        if decided.limits_swap {
            // Memory and swap together: a container gets no swap, so that its limit is its limit.
            memory = memory.swap(limit);
        }
        resources = resources.memory(memory.build()?);
    }
    resources.build()
}

/// The weight of a container in cgroup version 1 by the thousandths of a core that it asks for.
pub(super) fn shares(milli_cpu: Option<u64>) -> u64 {
    (milli_cpu.unwrap_or(0).saturating_mul(1_024) / 1_000).clamp(2, 262_144)
}

fn mounts(decided: &Decided) -> Result<Vec<Mount>, OciSpecError> {
    let kernel = [
        ("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ];
    let kernel =
        kernel.map(|(target, kind, source, options)| mount(Path::new(source), target, kind, options));
    let binds = decided.binds.iter().map(|bind| {
        let options = if bind.read_only { "rbind,rprivate,ro" } else { "rbind,rprivate,rw" };
        mount(&bind.source, &bind.target, "bind", options)
    });
    kernel.into_iter().chain(binds).collect()
}

fn mount(source: &Path, target: &str, kind: &str, options: &str) -> Result<Mount, OciSpecError> {
    let options: Vec<String> = options.split(',').map(str::to_owned).collect();
    MountBuilder::default().source(source).destination(target).typ(kind).options(options).build()
}

/// A pod's name as a host name: at most 63 characters, and no separator at the end.
pub(super) fn hostname(pod: &str) -> String {
    // A pod's name is ASCII, checked when it was admitted.
    let cut: String = pod.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use purser_events::{Bytes, MilliCpu};

    use super::*;

    fn decided() -> Decided {
        Decided {
            argv: vec!["sh".into()],
            env: vec!["A=1".into()],
            cwd: "/".into(),
            hostname: "web".into(),
            account: Account { uid: 5, gid: 6, groups: vec![7] },
            no_new_privileges: true,
            resources: Resources {
                cpu_limit: Some(MilliCpu(250)),
                cpu_request: Some(MilliCpu(100)),
                memory_limit: Some(Bytes(64 << 20)),
                memory_request: None,
                ..Resources::default()
            },
            cpus: Some("0-1,3".parse().unwrap()),
            pids_max: 99,
            limits_swap: true,
            cgroup_path: "/p/u/c-1".into(),
            binds: vec![Bind { source: "/src".into(), target: "/dst".into(), read_only: true }],
        }
    }

    #[test]
    fn limits_are_those_of_the_manifest() {
        let spec = serde_json::to_value(build(&decided()).unwrap()).unwrap();
        let resources = &spec["linux"]["resources"];
        assert_eq!(resources["cpu"]["quota"], 25_000);
        assert_eq!(resources["cpu"]["period"], 100_000);
        assert_eq!(resources["cpu"]["shares"], 102);
        assert_eq!(resources["cpu"]["cpus"], "0-1,3");
        assert_eq!(resources["memory"]["limit"], 64 << 20);
        assert_eq!(resources["memory"]["swap"], 64 << 20);
        assert_eq!(resources["pids"]["limit"], 99);
        assert_eq!(spec["linux"]["cgroupsPath"], "/p/u/c-1");
    }

    #[test]
    fn no_limit_means_no_limit() {
        let spec = build(&Decided { resources: Resources::default(), cpus: None, ..decided() }).unwrap();
        let spec = serde_json::to_value(spec).unwrap();
        assert!(spec["linux"]["resources"]["memory"].is_null());
        assert!(spec["linux"]["resources"]["cpu"]["quota"].is_null());
        assert!(spec["linux"]["resources"]["cpu"]["cpus"].is_null());
        assert_eq!(spec["linux"]["resources"]["cpu"]["shares"], 2);
    }

    #[test]
    fn a_container_is_confined() {
        let spec = serde_json::to_value(build(&decided()).unwrap()).unwrap();
        assert_eq!(spec["process"]["noNewPrivileges"], true);
        assert_eq!(spec["process"]["user"]["additionalGids"][0], 7);
        assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ALLOW");
        assert!(!spec["process"]["capabilities"]["bounding"].to_string().contains("SYS_ADMIN"));
        let network =
            spec["linux"]["namespaces"].as_array().unwrap().iter().any(|ns| ns["type"] == "network");
        assert!(!network, "a pod shares the node's network");
        let mounts = spec["mounts"].as_array().unwrap();
        let bind = mounts.iter().find(|mount| mount["destination"] == "/dst").unwrap();
        assert!(bind["options"].as_array().unwrap().iter().any(|option| option == "ro"));
    }

    #[test]
    fn a_host_name_fits_the_kernel() {
        assert_eq!(hostname("web-1"), "web-1");
        assert_eq!(hostname(&format!("{}-tail", "a".repeat(62))), "a".repeat(62));
    }
}
