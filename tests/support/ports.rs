//! Ports of loopback for programs that are told where to listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The first port that is given, and how many there are. The kernel gives none of them out by itself, nor does a node that is
/// not told to.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;

/// An address of loopback on which nobody listens, another one each time: it is still free when the program comes that is to
/// have it.
///
/// # Panics
/// None is free.
#[must_use]
pub fn free_address() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let next = |_| {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        // Test programs that run at once begin at different places.
        let number = std::process::id().wrapping_mul(31).wrapping_add(given) % u32::from(COUNT);
        let port = FIRST + u16::try_from(number).expect("it is less than their count");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    (0..COUNT).map(next).find(is_free).expect("a port of loopback is free")
}
