//! The journal on real folders, and on stores that fail.

mod append;
mod damage;
mod exports;
mod faults;
mod folders;
mod support;
