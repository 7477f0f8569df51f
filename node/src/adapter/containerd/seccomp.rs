//! Which system calls a container may not make.
//!
//! What changes the kernel, the clock, mounts or other processes' memory is refused with EPERM; new namespaces
//! too, because they open the parts of the kernel with the worst record. Everything else is allowed.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

const REFUSED: [&str; 53] = [
    "_sysctl",
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "umount",
    "umount2",
    "unshare",
    "userfaultfd",
    "vm86",
];

/// Flags of `clone` that make namespaces: mount, cgroup, uts, ipc, user, pid, network. That of time is the
/// signal's for `clone`.
const NAMESPACE_FLAGS: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

/// The filter that every container gets.
pub(super) fn filter() -> Result<LinuxSeccomp, OciSpecError> {
    let refused = LinuxSyscallBuilder::default()
        .names(REFUSED.map(str::to_owned))
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(EPERM)
        .build()?;
    // Its flags are behind a pointer that a filter cannot follow; libraries fall back to `clone` on ENOSYS.
    let clone3 = LinuxSyscallBuilder::default()
        .names(["clone3".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(ENOSYS)
        .build()?;
    let mut syscalls = vec![refused, clone3];
    for flag in &NAMESPACE_FLAGS {
        syscalls.push(clone_with(*flag)?);
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .architectures(architectures())
        .syscalls(syscalls)
        .build()
}

fn clone_with(flag: u64) -> Result<LinuxSyscall, OciSpecError> {
    let has_flag = LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .value(flag)
        .value_two(flag)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .build()?;
    LinuxSyscallBuilder::default()
        .names(["clone".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(EPERM)
        .args([has_flag])
        .build()
}

fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        // Without a list runc filters the architecture that it runs on.
        _ => Vec::new(),
    }
}
