//! Ports and subnets have one holder each, whenever the service is killed: several nodes with very few of both are killed
//! amid admissions again and again, and every record that they ever wrote is looked at.
//!
//! A failing run prints its seed; `PURSER_LEASES_SEED` repeats it and `PURSER_LEASES_ROUNDS` makes it longer: `make leases`
//! kills 1,000 times.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use purser_events::ledger::{Grant, HolderId, LedgerEvent, Port, check};
use purser_events::{Event, Record, World};
use purser_tests::purserd::Purserd;
use purser_tests::random::{Random, Seed, number_from};
use serde_json::{Value, json};

use super::rounds::{Folded, Load, Request};
use super::{configured, resource};

/// Times that a service is killed, all nodes together.
const ROUNDS: u64 = 240;
/// Nodes that are killed side by side.
const NODES: u64 = 12;
/// Most answers that a round awaits before the service is killed.
const ANSWERS_MAX: u64 = 10;
/// Longest that it goes on after these, in microseconds.
const LOAD_US_MAX: u64 = 5_000;
/// Ports that a node gives out, and the first of them.
const PORTS: u16 = 4;
const FIRST_PORT: u16 = 30_000;
/// Subnets that a node gives out.
const SUBNETS: u32 = 2;

/// A node with so little that nearly everybody has to wait, or is refused.
fn small_node() -> Purserd {
    let last = FIRST_PORT + PORTS - 1;
    configured(format!(
        "[resources]\nports = \"{FIRST_PORT}-{last}\"\nsubnets = \"10.88.0.0/23\"\n\n[journal]\nsnapshot-every = 500\n"
    ))
}

/// Ports and subnets are asked for in every way, by pods and by reservations, and given back.
fn choose(random: &mut Random) -> Request {
    let name = format!("pod-{}", random.below(8));
    let path = format!("/v1/namespaces/default/pods/{name}");
    match random.below(16) {
        0..=6 => ("POST", "/v1/pods".to_owned(), pod(&name, random).to_string()),
        7 => ("POST", format!("{path}/stop"), "{}".to_owned()),
        8 => ("POST", format!("{path}/start"), "{}".to_owned()),
        9..=12 => ("POST", "/v1/reservations".to_owned(), reservation(random).to_string()),
        _ => ("DELETE", format!("{path}?gracePeriodSeconds=0"), String::new()),
    }
}

/// A port that somebody chooses himself.
fn chosen(random: &mut Random) -> (u64, &'static str) {
    (u64::from(FIRST_PORT) + random.below(PORTS.into()), if random.percent(50) { "TCP" } else { "UDP" })
}

/// A pod that wants ports, a subnet or both; it runs for a moment, or until it is ended.
fn pod(name: &str, random: &mut Random) -> Value {
    let mut annotations = json!({});
    let mut ports = json!([]);
    if random.percent(40) {
        annotations["purser.dev/ports"] = json!((1 + random.below(3)).to_string());
    }
    if random.percent(50) {
        annotations["purser.dev/subnet"] = json!("true");
    }
    if random.percent(50) {
        let (port, protocol) = chosen(random);
        ports = json!([{ "containerPort": port, "protocol": protocol }]);
    }
    let (command, policy) = if random.percent(60) {
        (json!(["/bin/true"]), "Never")
    } else {
        (json!(["/bin/sleep", "600"]), "Always")
    };
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "runtimeClassName": "process",
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "command": command, "ports": ports }],
        },
    })
}

/// A reservation that is soon over.
fn reservation(random: &mut Random) -> Value {
    let ttl_ms = 1 + random.below(100);
    let resources = match random.below(3) {
        0 => json!({ "ports": 1 + random.below(2) }),
        1 => {
            let (port, protocol) = chosen(random);
            json!({ "fixedPorts": [format!("{port}/{protocol}")] })
        }
        _ => json!({ "subnet": true }),
    };
    json!({ "ttlMs": ttl_ms, "resources": resources })
}

/// Something of which there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lease {
    Port(Port),
    Subnet(u32),
}

/// Who has which port and subnet, from the records alone and as plainly as can be; and how much there was to get wrong.
#[derive(Debug, Default)]
struct Leases {
    holders: BTreeMap<Lease, HolderId>,
    given: u64,
    reserved: u64,
    waited: u64,
}

impl Leases {
    /// Looks at a record and at the world after it.
    fn look(&mut self, world: &World, record: &Record) {
        use LedgerEvent as E;
        let Event::Ledger(event) = &record.event else { return };
        let seq = record.header.seq;
        match event {
            E::Allocated(it) => {
                self.given += 1;
                self.give(HolderId::Pod(it.pod), &it.grant, seq.0);
            }
            E::Reserved(it) => {
                self.reserved += 1;
                self.give(HolderId::Reservation(it.reservation), &it.grant, seq.0);
            }
            E::Released(it) => self.take(HolderId::Pod(it.pod)),
            E::ReservationExpired(it) => self.take(HolderId::Reservation(it.reservation)),
            E::Queued(_) => self.waited += 1,
            E::ReservationActivated(_) | E::ReservationCancelled(_) => panic!("nobody asked for {event:?}"),
            E::CapacitySet(_)
            | E::PolicySet(_)
            | E::TenantSet(_)
            | E::TenantRemoved(_)
            | E::Withdrawn(_)
            | E::PreemptionRequested(_)
            | E::StaleTokenRefused(_)
            | E::ManagerStopped(_)
            | E::ManagerStarted(_)
            | E::AlertRaised(_)
            | E::AlertCleared(_)
            | E::DriftFound(_)
            | E::DriftResolved(_)
            | E::UseRecorded(_)
            | E::ForeignPortsSeen(_)
            | E::ResizeGranted(_)
            | E::ResizeSettled(_) => {}
        }
        assert_eq!(check(&world.ledger), Vec::<String>::new(), "record {seq}");
        let network = &world.ledger.managers.network;
        let ports = network.ports().map(|(port, holder)| (Lease::Port(port), holder));
        let subnets = network.subnets().map(|(index, holder)| (Lease::Subnet(index), holder));
        let booked: BTreeMap<Lease, HolderId> = ports.chain(subnets).collect();
        assert_eq!(booked, self.holders, "record {seq}");
    }

    fn give(&mut self, holder: HolderId, grant: &Grant, seq: u64) {
        let leases = grant.all_ports().map(Lease::Port).chain(grant.subnet.map(Lease::Subnet));
        for lease in leases {
            let is_there = match lease {
                Lease::Port(port) => (FIRST_PORT..FIRST_PORT + PORTS).contains(&port.number),
                Lease::Subnet(index) => index < SUBNETS,
            };
            assert!(is_there, "record {seq}: {holder} was given {lease:?}, which is not there to be given");
            match self.holders.entry(lease) {
                Entry::Vacant(free) => drop(free.insert(holder)),
                Entry::Occupied(had) => {
                    panic!("record {seq}: {lease:?} is {}'s and was given to {holder}", had.get())
                }
            }
        }
    }

    fn take(&mut self, from: HolderId) {
        self.holders.retain(|_, holder| *holder != from);
    }
}

/// Kills one node so many times, and takes everything back at the end.
fn kill_often(rounds: u64, mut random: Random) -> Leases {
    let mut purserd = small_node();
    let load = Load { callers: 3, answers_max: ANSWERS_MAX, us_max: LOAD_US_MAX, choose };
    let (mut folded, mut leases) = (Folded::default(), Leases::default());
    for _ in 0..rounds {
        load.kill_amid(&mut purserd, &mut random);
        folded.follow(&purserd, |world, record| leases.look(world, record));
    }
    // One that was being deleted when the service was killed may be gone before it is its turn: that is told, and fine.
    drop(purserd.purser(["delete", "--all", "--wait", "--grace-period", "0", "--timeout", "170s"]));
    folded.until_agreed(
        &purserd,
        |world| world.ledger.holdings.is_empty(),
        |world, record| {
            leases.look(world, record);
        },
    );
    assert_eq!(leases.holders, BTreeMap::new());
    assert_eq!(
        (&resource(&purserd, "ports")["free"], &resource(&purserd, "subnets")["free"]),
        (&json!(PORTS), &json!(SUBNETS))
    );
    leases
}

#[test]
fn no_port_and_no_subnet_has_two_holders_however_often_the_service_is_killed() {
    let seed = Seed::chosen("PURSER_LEASES_SEED");
    let rounds = number_from("PURSER_LEASES_ROUNDS").unwrap_or(ROUNDS);
    println!("{rounds} rounds from seed {}", seed.number);
    let mut random = seed.random();
    let since = Instant::now();
    let all: Vec<Leases> = std::thread::scope(|scope| {
        let node = |number| {
            let (share, random) =
                (rounds / NODES + u64::from(number < rounds % NODES), Random(random.number()));
            scope.spawn(move || kill_often(share, random))
        };
        let nodes: Vec<_> = (0..NODES).map(node).collect();
        nodes.into_iter().map(|node| node.join().expect("no node gave anything twice")).collect()
    });
    let sum = |of: fn(&Leases) -> u64| all.iter().map(of).sum::<u64>();
    let (given, reserved, waited) = (sum(|it| it.given), sum(|it| it.reserved), sum(|it| it.waited));
    println!("{given} times given to pods, {reserved} reserved, {waited} waited; {:?}", since.elapsed());
    assert!(rounds < given + reserved + waited && 0 < waited, "hardly anything happened");
}
