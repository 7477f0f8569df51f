//! Processors, from the manifest to the kernel: a pod runs where the service says and alone there, and others make room for
//! it and come back.

use purser_events::CpuSet;
use purser_tests::bounded;
use serde_json::{Value, json};

use super::containers::limit;
use super::stage::{Stage, alone, on_both, pid_of, read};

on_both!(a_pod_has_its_processor_alone_until_it_is_deleted);

/// Where the kernel lets a process run.
fn allowed(pid: i32) -> CpuSet {
    let status = read(format!("/proc/{pid}/status"));
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.expect("the kernel says where").trim().parse().expect("it is a list of processors")
}

/// Where the kernel lets the control group of a process run.
fn group_allows(pid: i32) -> CpuSet {
    limit(pid, "cpuset", "cpuset.cpus", "cpuset.cpus").parse().expect("it is a list of processors")
}

/// A pod that asks for a processor of its own, and for limits.
fn exclusive(stage: &Stage) -> String {
    let mut spec = alone("exec sleep 600");
    spec["containers"][0]["resources"] = json!({ "limits": { "cpu": "1", "memory": "48Mi" } });
    let mut manifest: Value = serde_json::from_str(&stage.manifest("alone", &spec)).expect("it is JSON");
    manifest["metadata"]["annotations"] = json!({ "purser.dev/exclusive-cpus": "true" });
    manifest.to_string()
}

fn a_pod_has_its_processor_alone_until_it_is_deleted(stage: &mut Stage) {
    stage.apply("sharing", &alone("exec sleep 600"));
    let sharing = pid_of(&stage.until_ready("sharing"), "main");
    let all = allowed(sharing);
    assert!(1 < all.len(), "this test needs two processors");

    stage.purserd.apply(&exclusive(stage));
    let pid = pid_of(&stage.until_ready("alone"), "main");
    let shown: Value = serde_json::from_str(&stage.purser("get pods alone -o json")).expect("a pod is JSON");
    let own = shown["status"]["purser"]["resources"]["cpus"].as_str().expect("it is shown").to_owned();
    assert!(stage.purser("describe pod alone").contains(&format!("  own processors   {own}\n")));
    let own: CpuSet = own.parse().expect("it is a list of processors");
    let rest = all.difference(&own);
    assert_eq!(own.len(), 1);
    assert_eq!((allowed(pid), group_allows(pid)), (own.clone(), own.clone()));
    assert_eq!(limit(pid, "memory", "memory.limit_in_bytes", "memory.max"), (48 << 20).to_string());
    let quota = limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("100000"), "the whole of a window of 100 ms");
    bounded::until("who shares makes room", || allowed(sharing) == rest);
    // A command in a pod runs where the pod does, and one that comes later stays away as well.
    let said = stage.shell("sharing", "main", "while read line; do echo $line; done < /proc/self/status");
    assert!(said.contains(&format!("Cpus_allowed_list: {rest}\n")), "{said}");
    assert_eq!(stage.shell("alone", "main", "echo $PURSER_CPUS"), format!("{own}\n"));
    stage.apply("later", &alone("exec sleep 600"));
    let later = pid_of(&stage.until_ready("later"), "main");
    assert_eq!((allowed(later), group_allows(later)), (rest.clone(), rest.clone()));

    stage.purserd.kill9();
    stage.purserd.restart();
    stage.until_ready("alone");
    assert_eq!([pid, sharing, later].map(allowed), [own, rest.clone(), rest]);

    stage.purser("delete alone --wait --grace-period 0");
    let everywhere = [all.clone(), all];
    bounded::until("who shares may run everywhere", || {
        [sharing, later].map(allowed) == everywhere && [sharing, later].map(group_allows) == everywhere
    });
}
