//! What the machine does behind the ledger's back: seen by one of the node's looks at it, told everywhere, and told again
//! when it is over. Looks are a minute apart, by a clock that the test moves on.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use purser_events::ledger::Capacity;
use purser_events::ledger::capacity::PortRange;
use purser_events::{Bytes, Cpu, CpuSet, CpuTopology};
use purser_node::adapter::topology;
use purser_tests::bounded;
use purser_tests::http::{self, Answer};
use purser_tests::stepped::SteppedNode;
use serde_json::{Value, json};

use super::manifest;

/// Time between two looks, in milliseconds.
const INTERVAL_MS: u64 = 60_000;

fn ask(node: &SteppedNode, method: &str, path: &str, body: &str) -> Answer {
    http::request(&node.socket(), method, path, None, body).expect("the node answers")
}

/// Two ports next to each other on which nobody listens now, below those that the kernel gives out by itself.
fn two_ports() -> (u16, u16) {
    let is_free =
        |port| TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let first = 20_000 + u16::try_from(std::process::id() % 4_000).unwrap() * 2;
    let mut firsts = (first..30_000).step_by(2);
    let first = firsts.find(|port| is_free(*port) && is_free(port + 1)).expect("some ports are free");
    (first, first + 1)
}

/// Two processors on which this process may run.
fn two_cpus() -> [u16; 2] {
    let own = topology::read_own(Path::new("/sys")).expect("the kernel tells of processors");
    let [first, second, ..] = own.cpus[..] else { panic!("this test needs two processors") };
    [first.id, second.id]
}

/// A node that has these ports to give out, and two processors.
fn node(first: u16, last: u16) -> SteppedNode {
    let cpu = |id| Cpu { id, core: u32::from(id), package: 0, node: 0 };
    SteppedNode::start(Capacity {
        cpus: CpuTopology { cpus: two_cpus().map(cpu).to_vec() },
        memory: Bytes(1 << 30),
        ports: PortRange { first, last },
        ..Capacity::default()
    })
}

/// Starts a pod with a port that the node chooses; gives the port.
fn run(node: &SteppedNode, name: &str, script: &str) -> u16 {
    let mut pod: Value = serde_json::from_str(&manifest("default", name, "1m", "1Mi")).unwrap();
    pod["metadata"]["annotations"] = json!({ "purser.dev/ports": "1" });
    pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
    let taken = ask(node, "POST", "/v1/pods", &pod.to_string());
    assert_eq!(taken.status, 201, "{}", taken.body);
    let shown = || ask(node, "GET", &format!("/v1/namespaces/default/pods/{name}"), "").body;
    bounded::until("it runs", || shown()["status"]["phase"] == "Running");
    port_of(node, name)
}

/// Has the node look at the machine until it shows just this drift.
fn look_until(node: &SteppedNode, drifts: &Value) {
    bounded::until("the node sees it", || {
        node.step_ms(INTERVAL_MS);
        ask(node, "GET", "/v1/resources", "").body["drifts"] == *drifts
    });
}

fn metric(node: &SteppedNode, kind: &str) -> String {
    let metrics = http::text(&node.socket(), "/metrics").expect("the node has metrics");
    let name = format!("purser_drift{{kind=\"{kind}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("it is not counted: {metrics}")).to_owned()
}

/// The payloads of every event of this type.
fn events(node: &SteppedNode, kind: &str) -> Vec<Value> {
    let lines = node.purser_ok(["events", "-t", kind, "-o", "json"]);
    let record = |line: &str| serde_json::from_str::<Value>(line).expect("a record is JSON");
    lines.lines().map(|line| record(line)["event"]["payload"].clone()).collect()
}

/// One after the other, by one node: its metrics are the process's.
#[test]
fn what_the_machine_does_behind_the_ledgers_back_is_told_of_until_it_is_over() {
    let (first, last) = two_ports();
    let node = node(first, last);
    a_stranger_listens(&node);
    no_port_of_a_stranger_is_given_out(&node);
    a_group_is_nobodys(&node);
    an_interface_is_nobodys(&node);
    a_pod_leaves_its_processors(&node);
}

fn a_stranger_listens(node: &SteppedNode) {
    let own = run(node, "own", "exec busybox nc -l -p $PURSER_PORT_0");
    bounded::until("the pod listens", || TcpListener::bind(("127.0.0.1", own)).is_err());
    let robbed = run(node, "robbed", "exec sleep 600");
    assert_ne!(own, robbed);
    // This process is none of any pod's.
    let stranger = TcpListener::bind(("127.0.0.1", robbed)).expect("nobody listens there");

    let subject = format!("{robbed}/TCP");
    look_until(node, &json!([{ "kind": "foreign-listener", "subject": subject }]));
    let found = events(node, "ledger.drift-found");
    assert_eq!(found.len(), 1, "a pod on its own port is no drift: {found:?}");
    let detail = found[0]["detail"].as_str().unwrap();
    assert!(detail.contains(&subject) && detail.contains(&std::process::id().to_string()), "{detail}");
    let shown = node.purser_ok(["get", "resources"]);
    assert!(shown.contains(&format!("drift: foreign-listener {subject} (")), "{shown}");
    assert_eq!(
        (metric(node, "foreign-listener"), events(node, "ledger.drift-resolved")),
        ("1".to_owned(), vec![])
    );

    drop(stranger);
    look_until(node, &json!([]));
    assert_eq!(events(node, "ledger.drift-found"), found, "it is told once");
    assert_eq!(events(node, "ledger.drift-resolved"), [json!({ "drift": found[0]["drift"] })]);
    assert_eq!(metric(node, "foreign-listener"), "0");
    assert!(!node.purser_ok(["get", "resources"]).contains("drift:"));
}

/// Both ports are leased: one pod goes, and a stranger takes its port before the next asks.
fn no_port_of_a_stranger_is_given_out(node: &SteppedNode) {
    let robbed = port_of(node, "robbed");
    end(node, "robbed");
    let stranger = UdpSocket::bind(("127.0.0.1", robbed)).expect("nobody is there");
    let mut pod: Value = serde_json::from_str(&manifest("default", "late", "1m", "1Mi")).unwrap();
    pod["metadata"]["annotations"] = json!({ "purser.dev/ports": "1" });
    let taken = ask(node, "POST", "/v1/pods", &pod.to_string());
    assert_eq!(taken.status, 201, "{}", taken.body);
    let shown = || ask(node, "GET", "/v1/namespaces/default/pods/late", "").body;
    let short = shown()["status"]["purser"]["waiting"]["shortages"][0].clone();
    assert_eq!((&short["resource"], &short["free"]), (&json!("ports"), &json!(0)), "{}", shown());
    pod["metadata"] = json!({ "name": "fixed", "annotations": { "purser.dev/when-full": "refuse" } });
    pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": robbed, "protocol": "UDP" }]);
    let refused = ask(node, "POST", "/v1/pods", &pod.to_string());
    let message = refused.body["shortages"][0]["message"].as_str().unwrap_or_default();
    assert_eq!(message, format!("port {robbed}/UDP is taken: a process that is no pod's listens on it"));

    drop(stranger);
    bounded::until("it gets the port", || {
        node.step_ms(INTERVAL_MS);
        shown()["status"]["purser"]["resources"]["ports"] == json!([robbed])
    });
    end(node, "late");
    assert_eq!(run(node, "robbed", "exec sleep 600"), robbed);
}

fn port_of(node: &SteppedNode, name: &str) -> u16 {
    let shown = ask(node, "GET", &format!("/v1/namespaces/default/pods/{name}"), "").body;
    serde_json::from_value(shown["status"]["purser"]["resources"]["ports"][0].clone()).expect("it has a port")
}

/// Deletes a pod and waits until it is gone.
fn end(node: &SteppedNode, name: &str) {
    let path = format!("/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0");
    assert_eq!(ask(node, "DELETE", &path, "").status, 202);
    bounded::until("it is gone", || {
        // Its time to end passes by the clock of the node.
        node.step_ms(1_000);
        ask(node, "GET", &format!("/v1/namespaces/default/pods/{name}"), "").status != 200
    });
}

/// The places in which pods of a node have control groups, one for each hierarchy of the machine that has one name.
fn group_folders(node: &SteppedNode) -> Vec<PathBuf> {
    let mount = Path::new("/sys/fs/cgroup");
    let entries = fs::read_dir(mount).expect("the machine has control groups").flatten();
    // Where `cpu` leads to `cpu,cpuacct`, the node tells of a group by either.
    let has_one_name = |entry: &fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !entry.file_name().to_string_lossy().contains(',')
    };
    let hierarchies = entries.filter(has_one_name).map(|entry| entry.path());
    let all = hierarchies.chain([mount.to_path_buf()]).map(|folder| folder.join(node.control_group()));
    let found: Vec<_> = all.filter(|path| path.is_dir()).collect();
    assert!(!found.is_empty(), "this test needs control groups that it may write");
    found
}

fn a_group_is_nobodys(node: &SteppedNode) {
    let groups = group_folders(node);
    let stray = groups[0].join("0199a1b2-0000-7000-8000-000000000001");
    fs::create_dir(&stray).expect("a group can be made");
    look_until(node, &json!([{ "kind": "stray-cgroup", "subject": stray.display().to_string() }]));
    let found = events(node, "ledger.drift-found");
    let detail = found.last().expect("it is recorded")["detail"].as_str().unwrap();
    assert!(detail.contains("rmdir") && detail.contains("0199a1b2"), "{detail}");
    assert_eq!(metric(node, "stray-cgroup"), "1");
    fs::remove_dir(&stray).expect("an empty group can be removed");
    look_until(node, &json!([]));
    assert_eq!(metric(node, "stray-cgroup"), "0");
}

fn an_interface_is_nobodys(node: &SteppedNode) {
    node.set_interface("eth0", true);
    node.set_interface("purser-left", true);
    look_until(node, &json!([{ "kind": "stray-interface", "subject": "purser-left" }]));
    let found = events(node, "ledger.drift-found");
    let detail = found.last().expect("it is recorded")["detail"].as_str().unwrap();
    assert!(detail.contains("ip link delete purser-left"), "{detail}");
    assert_eq!(metric(node, "stray-interface"), "1");
    node.set_interface("purser-left", false);
    look_until(node, &json!([]));
    assert_eq!(metric(node, "stray-interface"), "0");
}

fn both_cpus() -> CpuSet {
    two_cpus().into_iter().collect()
}

/// Lets a process run on both processors, whatever group held it to one.
fn let_out(pid: u64) {
    for group in ["/sys/fs/cgroup/cpuset/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"] {
        if Path::new(group).exists() {
            fs::write(group, pid.to_string()).expect("this test needs control groups that it may write");
        }
    }
    let mut command = Command::new("taskset");
    let output = bounded::output(command.args(["-apc", &both_cpus().to_string(), &pid.to_string()]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn a_pod_leaves_its_processors(node: &SteppedNode) {
    ["own", "robbed"].into_iter().for_each(|name| end(node, name));
    let mut alone: Value = serde_json::from_str(&manifest("default", "alone", "1", "1Mi")).unwrap();
    alone["metadata"]["annotations"] = json!({ "purser.dev/exclusive-cpus": "true" });
    alone["spec"]["containers"][0]["command"] = json!(["/bin/sleep", "600"]);
    assert_eq!(ask(node, "POST", "/v1/pods", &alone.to_string()).status, 201);
    run(node, "runaway", "exec sleep 600");
    let shown = ask(node, "GET", "/v1/namespaces/default/pods/runaway", "").body;
    let uid = shown["metadata"]["uid"].as_str().expect("it has a uid").to_owned();
    let pid = shown["status"]["containerStatuses"][0]["hostPid"].as_u64().expect("it has a process");
    bounded::until("the node sees it", || {
        let_out(pid);
        node.step_ms(INTERVAL_MS);
        ask(node, "GET", "/v1/resources", "").body["drifts"]
            == json!([{ "kind": "wrong-cpus", "subject": uid }])
    });
    let found = events(node, "ledger.drift-found");
    let detail = found.last().expect("it is recorded")["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("may run on processors {}, ", both_cpus())), "{detail}");
    assert_eq!(metric(node, "wrong-cpus"), "1");
    assert_eq!(
        ask(node, "DELETE", "/v1/namespaces/default/pods/runaway?gracePeriodSeconds=0", "").status,
        202
    );
    look_until(node, &json!([]));
}
