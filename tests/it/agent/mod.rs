//! The agent of a pool's pod: what it does with its tasks, and what it makes of a service that fails. The service here
//! follows a script but for `container`; more of what both do together is in `pools`.

mod container;
mod ends;
mod faults;
mod place;
mod runs;
mod script;
