//! What tests share: real services and components, started for one test and gone after it.

pub mod bench;
pub mod binaries;
pub mod bounded;
pub mod containerd;
pub mod counts;
pub mod evidence;
pub mod gpus;
pub mod images;
pub mod leftovers;
pub mod no_pools;
pub mod pools;
pub mod ports;
pub mod power;
pub mod promtool;
pub mod purserd;
#[path = "../../storage/tests/seed/mod.rs"]
pub mod random;
pub mod registry;
pub mod sealed;
pub mod sim;

pub mod feed;
pub mod http;
pub mod journal;
pub mod scenario;
pub mod specs;
pub mod stepped;
pub mod upkeep;
#[path = "../../storage/tests/versions/mod.rs"]
pub mod versions;
