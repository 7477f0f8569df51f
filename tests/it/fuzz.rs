//! Hostile bytes for every decoder of the service: none panics. `PURSER_FUZZ=SEED:COUNT` says what mutations begin with and
//! how many each decoder gets.

#[path = "../../fuzz/mutations.rs"]
mod mutations;
#[path = "../../fuzz/service.rs"]
mod service;

use std::fs;
use std::path::Path;

use purser_node::api::exec::ExecRequest;
use purser_node::api::ledger::reservations::ReserveBody;
use purser_node::api::pools::task_routes::TaskRequest;
use purser_node::api::resize::ResizeBody;
use purser_node::api::state;

/// A file of the checkout.
fn file(path: &str) -> Vec<u8> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read(top.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn no_decoder_of_the_service_panics() {
    let connect = r#"{"protocol":1,"session":"019a0000-0000-7000-8000-000000000001","version":"1.0","fresh":false,
        "has":[{"task":"019a0000-0000-7000-8000-000000000002","token":7,"slot":0}],"keeps":[]}"#;
    let report = r#"{"session":"019a0000-0000-7000-8000-000000000001","task":"019a0000-0000-7000-8000-000000000002",
        "token":7,"progress":{"finished":{"exit":{"code":3},"message":"it did","timedOut":false,"cancelled":false}}}"#;
    let cdi = r#"{"cdiVersion":"0.6.0","kind":"nvidia.com/gpu","containerEdits":{"env":["A=b"]},"devices":[{"name":"0",
        "containerEdits":{"deviceNodes":[{"path":"/dev/nvidia0","type":"c","major":195,"minor":0,"permissions":"rw"}],
        "mounts":[{"hostPath":"/a","containerPath":"/b","options":["ro"]}],
        "hooks":[{"hookName":"createContainer","path":"/h","args":["h"],"timeout":3}]}}]}"#;
    let log = "4,1,2,-;NVRM: Xid (PCI:0000:1a:00): 79, pid='<unknown>'\n3,1,2,c,caller=T1;NVRM: Xid (0000:1a:00.0): 31\n";
    let cgroup = "usage_usec 42\nuser_usec 40\nnr_periods 1\ninactive_file 1200\ntotal_inactive_file 300\n";
    let stat =
        "42 (a) R 1 (b)) 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24\nNSpid:\t28007\t1\n";
    let task = r#"{"kind":"work","argv":["true"],"env":{"A":"b"},"timeoutSeconds":5,"labels":{}}"#;
    let reserve = r#"{"ttlMs":60000,"resources":{"cpu":"500m","memory":"64Mi","gpuShare":"50%"}}"#;
    let exec = r#"{"command":["ls","-l"],"container":"main"}"#;
    let resize = r#"{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"2"}}}]}}"#;
    assert!(state::json::<TaskRequest>(&Default::default(), task.as_bytes()).is_ok());
    assert!(state::json::<ReserveBody>(&Default::default(), reserve.as_bytes()).is_ok());
    assert!(state::json::<ExecRequest>(&Default::default(), exec.as_bytes()).is_ok());
    assert!(state::json::<ResizeBody>(&Default::default(), resize.as_bytes()).is_ok());
    let inputs = [
        ("api", task.into()),
        ("api", reserve.into()),
        ("api", exec.into()),
        ("api", resize.into()),
        ("api", b"app=web,tier!=cache,!old".to_vec()),
        ("manifest", file("examples/job.yaml")),
        ("manifest", file("examples/probes.yaml")),
        ("manifest", file("examples/pools/runners.yaml")),
        ("agent", connect.into()),
        ("agent", report.into()),
        ("cdi", cdi.into()),
        ("cgroup", cgroup.into()),
        ("cgroup", b"25000 100000\n".to_vec()),
        ("cgroup", b"max 100000\n".to_vec()),
        ("cgroup", stat.into()),
        ("kernel_log", log.into()),
        ("world", file("actors/golden/world.v3.json")),
    ];
    mutations::run(service::TARGETS, &inputs);
}

#[test]
fn cargo_fuzz_runs_every_decoder_of_the_service() {
    mutations::are_run_by_cargo_fuzz(service::TARGETS, "service");
}
