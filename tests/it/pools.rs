//! Pools end to end: a real service, real pods of processes, and the real agent in them.

mod agents;
mod between;
mod ends;
mod face;
mod freezes;
mod kills;
mod preempted;
mod renewed;
mod resizes;
mod slots;
mod stage;
mod taken_over;
mod together;
mod upkeep;
