//! How long an admission takes: deciding, and carrying out what was decided, of one pod that finds room, with so many on
//! the ledger already. Beside it, turn by turn, a reference that sums over all holders at each decision. Prints figures
//! and never fails on a time: machines differ.
//!
//! `make bench ONLY=ledger` runs this alone; `PURSER_BENCH_ROUNDS` sets the rounds.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use purser_events::cpu::{Cpu, CpuTopology};
use purser_events::decider::Decider;
use purser_events::ledger::capacity::PortRange;
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{
    Admit, Amounts, Capacity, Demand, GpuClaim, GpuDevice, GpuUuid, Ledger, LedgerCommand, LedgerPolicy,
    Limits, ResourceKind, Tenant, TenantId, WhenFull,
};
use purser_events::{Bytes, Context, MilliCpu, PodUid, Policy, Timestamp};
use uuid::Uuid;

const TENANTS: u64 = 64;
const GPUS: u64 = 8;
const CPUS: u16 = 192;
const OVERCOMMIT: u64 = 10;
const MIB: u64 = 1 << 20;
/// Pods that fill a node.
const HOLDERS: u64 = 1_000;
/// Decisions of one contender in one turn.
const TURN: u64 = 500;

fn main() {
    let only = std::env::var("ONLY").unwrap_or_default();
    if !only.is_empty() && only != "ledger" {
        return;
    }
    let rounds =
        std::env::var("PURSER_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_u64);
    println!("admission of one pod, {TENANTS} tenants, {GPUS} GPUs, {} decisions each, in us", rounds * TURN);
    println!(
        "{:>8} {:>14} {:>11} {:>17} {:>14}",
        "pods", "ledger median", "ledger p99", "reference median", "reference p99"
    );
    for pods in [100, 1_000, 10_000] {
        let (mut ledger, mut reference) = (filled(pods), Reference::filled(pods));
        let (mut ours, mut theirs) = (vec![], vec![]);
        for round in 0..rounds.max(1) {
            for turn in 0..TURN {
                ours.push(admission(&mut ledger, pods + round * TURN + turn));
            }
            for turn in 0..TURN {
                theirs.push(reference.admission(pods + round * TURN + turn));
            }
        }
        let [(median, p99), (their_median, their_p99)] = [ours, theirs].map(figures);
        println!("{pods:>8} {median:>14.2} {p99:>11.2} {their_median:>17.2} {their_p99:>14.2}");
    }
    held_back(rounds);
    println!("on a full node with {HOLDERS} pods while others wait, in us");
    println!(
        "{:>8} {:>15} {:>12} {:>15} {:>12}",
        "waiting", "arrival median", "arrival p99", "release median", "release p99"
    );
    for waiting in [0, 100, 1_000] {
        let (mut ledger, mut arrivals, mut releases) = (crowded(waiting), vec![], vec![]);
        for turn in 0..rounds.max(1) * TURN / 10 {
            arrivals.push(arrival(&mut ledger, HOLDERS + waiting + turn));
            releases.push(release(&mut ledger, turn));
        }
        let [(arrival, arrival_p99), (release, release_p99)] = [arrivals, releases].map(figures);
        println!("{waiting:>8} {arrival:>15.2} {arrival_p99:>12.2} {release:>15.2} {release_p99:>12.2}");
    }
}

/// An admission while many pods of one tenant wait for its quota, or many of all wait for ports.
fn held_back(rounds: u64) {
    println!("beside pods that wait and are held back by something else, in us");
    println!(
        "{:>8} {:>14} {:>14} {:>14} {:>14}",
        "waiting", "quota median", "quota p99", "ports median", "ports p99"
    );
    for waiting in [0, 100, 1_000] {
        let (mut by_quota, mut by_ports) = (beside_a_quota(waiting), beside_ports(waiting));
        let (mut quota, mut ports) = (vec![], vec![]);
        for turn in 0..rounds.max(1) * TURN / 10 {
            let pod = 2 * HOLDERS + waiting + turn;
            quota.push(admission(&mut by_quota, pod - pod % TENANTS));
            ports.push(admission(&mut by_ports, pod - pod % 4 + 1));
        }
        let [(quota, quota_p99), (ports, ports_p99)] = [quota, ports].map(figures);
        println!("{waiting:>8} {quota:>14.2} {quota_p99:>14.2} {ports:>14.2} {ports_p99:>14.2}");
    }
}

/// A node on which so many pods of a tenant wait that has used up its quota.
fn beside_a_quota(waiting: u64) -> Ledger {
    let mut ledger = filled(HOLDERS);
    let id = TenantId::new(&namespace(1)).expect("a name");
    let quota = Amounts::bounds([(ResourceKind::Pods, 1)]);
    let tenant = Tenant { quota: Some(quota), ..Tenant::default() };
    does(&mut ledger, &LedgerCommand::SetTenant { id, tenant: Box::new(tenant) });
    for number in 0..waiting {
        arrival(&mut ledger, (HOLDERS + number) * TENANTS + 1);
    }
    ledger
}

/// A node on which so many pods wait for ports, of which none is left.
fn beside_ports(waiting: u64) -> Ledger {
    let mut ledger = filled(HOLDERS);
    let used = HOLDERS / 4;
    let ports = PortRange { first: 30_000, last: 30_000 + u16::try_from(used - 1).expect("a port") };
    does(&mut ledger, &LedgerCommand::SetCapacity(Box::new(Capacity { ports, ..capacity() })));
    for number in 0..waiting {
        arrival(&mut ledger, 4 * (HOLDERS + number));
    }
    ledger
}

/// Median and 99th percentile in microseconds.
fn figures(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}

fn context() -> Context {
    Context { now: Timestamp(1_750_000_000_000_000), policy: Policy::default(), cordoned: None }
}

fn device(number: u64) -> GpuUuid {
    GpuUuid::new(&format!("GPU-8f6ad3c1-1f3f-4a5e-9c0e-0d6f3d6f2b{number:02}")).expect("a name of a GPU")
}

fn namespace(pod: u64) -> String {
    format!("tenant-{}", pod % TENANTS)
}

/// What pod number so and so asks for: all share processors and GPUs, every fourth has a port.
fn demand(pod: u64) -> Demand {
    let claim = GpuClaim {
        count: 1,
        share: Some(1),
        memory: Some(Bytes(64 * MIB)),
        uuids: BTreeSet::new(),
        tflops: None,
    };
    Demand {
        cpu: MilliCpu(100),
        memory: Bytes(256 * MIB),
        disk: Bytes(1024 * MIB),
        gpu: pod.is_multiple_of(2).then_some(claim),
        ports: u16::from(pod.is_multiple_of(4)),
        ..Demand::default()
    }
}

fn capacity() -> Capacity {
    let cpu = |id: u16| Cpu { id, core: u32::from(id), package: 0, node: 0 };
    let gpu = |number| GpuDevice {
        uuid: device(number),
        model: "80 GB".to_owned(),
        memory: Bytes(81_920 * MIB),
        tflops: None,
    };
    Capacity {
        cpus: CpuTopology { cpus: (0..CPUS).map(cpu).collect() },
        memory: Bytes(4 << 42),
        disk: Bytes(64 << 40),
        gpus: (0..GPUS).map(gpu).collect(),
        ..Capacity::default()
    }
}

fn does(ledger: &mut Ledger, command: &LedgerCommand) {
    let events = ledger.decide(command, &context()).expect("there is room");
    for event in &events {
        *ledger = ledger.evolve(event).expect("what was decided can happen");
    }
}

fn admit(pod: u64) -> LedgerCommand {
    LedgerCommand::Admit(Box::new(Admit {
        pod: PodUid(Uuid::from_u128(u128::from(pod))),
        namespace: namespace(pod),
        demand: demand(pod),
        priority: 0,
        when_full: WhenFull::Refuse,
        reservation: None,
        adopt: false,
        waited: false,
        stays: false,
    }))
}

/// A ledger with so many pods.
fn filled(pods: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let limits = Limits { overcommit_percent: 1_000, ..Limits::default() };
    let kinds = [ResourceKind::Cpu, ResourceKind::GpuShare];
    let policy = LedgerPolicy { limits: kinds.map(|kind| (kind, limits)).into(), ..LedgerPolicy::default() };
    does(&mut ledger, &LedgerCommand::SetCapacity(Box::new(capacity())));
    does(&mut ledger, &LedgerCommand::Configure(Box::new(policy)));
    for number in 0..TENANTS {
        let quota = Amounts::bounds(ResourceKind::KNOWN.map(|kind| (kind, u64::MAX)));
        let tenant = Tenant { quota: Some(quota), alert_percent: Some(80), ..Tenant::default() };
        let id = TenantId::new(&namespace(number)).expect("a name");
        does(&mut ledger, &LedgerCommand::SetTenant { id, tenant: Box::new(tenant) });
    }
    for pod in 0..pods {
        does(&mut ledger, &admit(pod));
    }
    ledger
}

/// A full node, with so many pods behind those that it has room for.
fn crowded(waiting: u64) -> Ledger {
    let mut ledger = filled(HOLDERS);
    let memory = Bytes(HOLDERS * 256 * MIB);
    does(&mut ledger, &LedgerCommand::SetCapacity(Box::new(Capacity { memory, ..capacity() })));
    for pod in HOLDERS..HOLDERS + waiting {
        arrival(&mut ledger, pod);
    }
    ledger
}

/// A pod comes and must wait.
fn arrival(ledger: &mut Ledger, pod: u64) -> Duration {
    let LedgerCommand::Admit(admit) = admit(pod) else { unreachable!("it admits") };
    let command = LedgerCommand::Admit(Box::new(Admit { when_full: WhenFull::Wait, ..*admit }));
    let begun = Instant::now();
    does(ledger, black_box(&command));
    begun.elapsed()
}

/// A pod goes, and the first of those who wait gets what it had.
fn release(ledger: &mut Ledger, pod: u64) -> Duration {
    let pod = PodUid(Uuid::from_u128(u128::from(pod)));
    let begun = Instant::now();
    does(ledger, black_box(&LedgerCommand::Release { pod, reason: ReleaseReason::Ended }));
    let took = begun.elapsed();
    assert_eq!(ledger.holdings.size() as u64, HOLDERS, "somebody waited and got nothing");
    took
}

/// Admits a pod, and lets it go again off the clock.
fn admission(ledger: &mut Ledger, pod: u64) -> Duration {
    let command = admit(pod);
    let begun = Instant::now();
    does(ledger, black_box(&command));
    let took = begun.elapsed();
    let pod = PodUid(Uuid::from_u128(u128::from(pod)));
    assert!(ledger.grant(pod).is_some(), "the pod found no room");
    does(ledger, &LedgerCommand::Release { pod, reason: ReleaseReason::Ended });
    took
}

/// What one pod has.
struct Held {
    tenant: String,
    cpu: u64,
    memory: u64,
    disk: u64,
    gpu: Option<(usize, u64, u64)>,
    port: Option<u16>,
}

/// A list of holders, and no sums.
#[derive(Default)]
struct Reference {
    held: Vec<Held>,
}

impl Reference {
    fn filled(pods: u64) -> Reference {
        let mut reference = Reference::default();
        for pod in 0..pods {
            reference.admit(&namespace(pod), &demand(pod));
        }
        reference
    }

    fn admission(&mut self, pod: u64) -> Duration {
        let (namespace, demand) = (namespace(pod), demand(pod));
        let begun = Instant::now();
        self.admit(black_box(&namespace), black_box(&demand));
        let took = begun.elapsed();
        self.held.pop();
        took
    }

    fn admit(&mut self, tenant: &str, demand: &Demand) {
        let sum = |of: fn(&Held) -> u64| self.held.iter().map(of).sum::<u64>();
        let own =
            |of: fn(&Held) -> u64| self.held.iter().filter(|it| it.tenant == tenant).map(of).sum::<u64>();
        for (of, asked, most) in [
            ((|it| it.cpu) as fn(&Held) -> u64, demand.cpu.0, u64::from(CPUS) * 1_000 * OVERCOMMIT),
            (|it| it.memory, demand.memory.0, 4 << 42),
            (|it| it.disk, demand.disk.0, 64 << 40),
        ] {
            assert!(sum(of) + asked <= most && own(of).checked_add(asked).is_some(), "there is room");
        }
        let gpu = demand.gpu.as_ref().map(|claim| {
            let (share, memory) = (u64::from(claim.share.unwrap_or(100)), claim.memory.map_or(0, |it| it.0));
            let given = |device: usize| {
                let of = self.held.iter().filter_map(|it| it.gpu).filter(|(held, ..)| *held == device);
                of.fold((0, 0), |(shares, memories), (_, share, memory)| (shares + share, memories + memory))
            };
            let devices = (0..8).map(|device| (given(device), device));
            let fits = |((shares, memories), _): &((u64, u64), usize)| {
                shares + share <= 100 * OVERCOMMIT && memories + memory <= 81_920 * MIB
            };
            let fullest = devices.filter(fits).max().expect("there is room");
            (fullest.1, share, memory)
        });
        let taken: BTreeSet<u16> = self.held.iter().filter_map(|it| it.port).collect();
        let port = (demand.ports != 0).then(|| (30_000..=40_000).find(|port| !taken.contains(port)));
        let (cpu, memory, disk) = (demand.cpu.0, demand.memory.0, demand.disk.0);
        self.held.push(Held { tenant: tenant.to_owned(), cpu, memory, disk, gpu, port: port.flatten() });
    }
}
