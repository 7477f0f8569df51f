//! Pools end to end: a real service, real pods of processes, and the real agent in them.

mod agents;
mod between;
mod face;
mod kills;
mod preempted;
mod resizes;
mod slots;
mod stage;
mod together;
mod upkeep;
