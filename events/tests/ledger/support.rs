//! Machines, demands and pods for the tests of the ledger.

use std::collections::BTreeMap;

use purser_events::cpu::{Cpu, CpuTopology};
use purser_events::decider::Decider;
use purser_events::ledger::capacity::{PortRange, SubnetRange};
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{
    self, Admit, Capacity, CustomName, Demand, GpuClaim, GpuDevice, GpuUuid, Grant, Ledger, LedgerCommand,
    LedgerEvent, LedgerPolicy, LedgerRejection, Tenant, TenantId, WhenFull,
};
use purser_events::{Bytes, Context, MilliCpu, PodUid, Policy, Timestamp};
use uuid::Uuid;

/// Noon of a day.
pub(crate) const NOON: Timestamp = Timestamp(1_750_000_000_000_000);

pub(crate) fn at(now: Timestamp) -> Context {
    Context { now, policy: Policy::default(), cordoned: None }
}

pub(crate) fn uid(number: u64) -> PodUid {
    PodUid(Uuid::from_u128(u128::from(number)))
}

pub(crate) fn gpu(number: u32) -> GpuUuid {
    GpuUuid::new(&format!("GPU-{number}")).expect("what the test is made of")
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("what the test is made of")
}

pub(crate) fn dongle() -> CustomName {
    CustomName::new("example.com/dongle").expect("what the test is made of")
}

/// So many cores in each of two sockets, each socket a NUMA node, with so many threads each: numbered as the kernel
/// does, first threads of all cores first.
pub(crate) fn sockets(cores: u16, threads: u16) -> CpuTopology {
    let place = |id: u16| {
        let core = id % (2 * cores);
        let package = u32::from(core / cores);
        Cpu { id, core: u32::from(core % cores), package, node: package }
    };
    CpuTopology { cpus: (0..2 * cores * threads).map(place).collect() }
}

/// So many processors in one socket, each a core.
pub(crate) fn cores(count: u16) -> CpuTopology {
    let place = |id: u16| Cpu { id, core: u32::from(id), package: 0, node: 0 };
    CpuTopology { cpus: (0..count).map(place).collect() }
}

pub(crate) fn device(number: u32, memory: u64) -> GpuDevice {
    GpuDevice { uuid: gpu(number), model: "T1000".to_owned(), memory: Bytes(memory), tflops: None }
}

/// 8 cores, 64 of memory, 100 of disk, 2 GPUs with 80 each, 11 ports, 4 subnets, 3 dongles.
pub(crate) fn machine() -> Capacity {
    Capacity {
        cpus: cores(8),
        memory: Bytes(64),
        disk: Bytes(100),
        gpus: vec![device(0, 80), device(1, 80)],
        ports: PortRange { first: 30_000, last: 30_010 },
        subnets: SubnetRange { first: [10, 88, 0], count: 4 },
        custom: BTreeMap::from([(dongle(), 3)]),
    }
}

pub(crate) fn admit(pod: u64, namespace: &str, demand: Demand) -> Admit {
    Admit {
        pod: uid(pod),
        namespace: namespace.to_owned(),
        demand,
        priority: 0,
        when_full: WhenFull::AsPolicy,
        reservation: None,
        adopt: false,
        waited: false,
        stays: false,
    }
}

pub(crate) fn cpu(milli: u64) -> Demand {
    Demand { cpu: MilliCpu(milli), ..Demand::default() }
}

pub(crate) fn alone(count: u64) -> Demand {
    Demand { exclusive_cpus: true, ..cpu(count * 1_000) }
}

pub(crate) fn memory(bytes: u64) -> Demand {
    Demand { memory: Bytes(bytes), ..Demand::default() }
}

pub(crate) fn gpus(count: u32, share: Option<u32>) -> Demand {
    let claim = GpuClaim { count, share, memory: None, uuids: [].into(), tflops: None };
    Demand { gpu: Some(claim), ..Demand::default() }
}

/// A ledger that is asked things at a time.
pub(crate) struct Scene {
    pub(crate) ledger: Ledger,
    pub(crate) context: Context,
}

impl Scene {
    /// A machine with a policy, at noon.
    pub(crate) fn of(capacity: Capacity, policy: LedgerPolicy) -> Scene {
        let mut scene = Scene { ledger: Ledger::default(), context: at(NOON) };
        scene.does(&LedgerCommand::SetCapacity(Box::new(capacity)));
        scene.does(&LedgerCommand::Configure(Box::new(policy)));
        scene
    }

    /// Carries a command out.
    pub(crate) fn asks(&mut self, command: &LedgerCommand) -> Result<Vec<LedgerEvent>, LedgerRejection> {
        let events = self.ledger.decide(command, &self.context)?;
        for event in &events {
            self.ledger = self.ledger.evolve(event).expect("what the test is made of");
        }
        assert_eq!(ledger::check(&self.ledger), Vec::<String>::new());
        Ok(events)
    }

    /// Carries a command out that is taken.
    #[track_caller]
    pub(crate) fn does(&mut self, command: &LedgerCommand) -> Vec<LedgerEvent> {
        self.asks(command).unwrap_or_else(|refused| panic!("{refused}"))
    }

    pub(crate) fn passes_ms(&mut self, ms: u64) {
        self.context.now = self.context.now.plus_ms(ms);
    }

    pub(crate) fn admits(&mut self, admit: Admit) -> Result<Vec<LedgerEvent>, LedgerRejection> {
        self.asks(&LedgerCommand::Admit(Box::new(admit)))
    }

    /// A pod that gets what it asks for at once.
    #[track_caller]
    pub(crate) fn runs(&mut self, pod: u64, demand: Demand) -> Grant {
        self.runs_as(admit(pod, "red", demand))
    }

    #[track_caller]
    pub(crate) fn runs_as(&mut self, admit: Admit) -> Grant {
        let pod = admit.pod;
        self.admits(admit).unwrap_or_else(|refused| panic!("{refused}"));
        self.ledger.grant(pod).unwrap_or_else(|| panic!("waits: {:?}", self.ledger.reason(pod))).clone()
    }

    /// A pod for which there is no room, and that waits.
    #[track_caller]
    pub(crate) fn waits_as(&mut self, admit: Admit) -> Vec<LedgerEvent> {
        let pod = admit.pod;
        let events = self.admits(admit).unwrap_or_else(|refused| panic!("{refused}"));
        assert!(self.ledger.waits(pod).is_some(), "{pod} does not wait: {events:?}");
        events
    }

    /// What a pod that is refused is short of, in words.
    #[track_caller]
    pub(crate) fn refuses(&mut self, pod: u64, demand: Demand) -> String {
        let admit = Admit { when_full: WhenFull::Refuse, ..admit(pod, "red", demand) };
        self.admits(admit).expect_err("there is no room").to_string()
    }

    pub(crate) fn ends(&mut self, pod: u64) -> Vec<LedgerEvent> {
        self.does(&LedgerCommand::Release { pod: uid(pod), reason: ReleaseReason::Ended })
    }

    pub(crate) fn has(&self, pod: u64) -> bool {
        self.ledger.grant(uid(pod)).is_some()
    }

    pub(crate) fn sets_tenant(&mut self, id: &str, it: Tenant) -> Result<Vec<LedgerEvent>, LedgerRejection> {
        self.asks(&LedgerCommand::SetTenant { id: tenant(id), tenant: Box::new(it) })
    }
}
