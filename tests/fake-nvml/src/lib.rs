//! A stand-in for NVIDIA's management library (NVML): the C interface of `libnvidia-ml.so.1`, answered from a script.
//! The real wrapper loads it as it would load the driver's own, so that struct layouts, counts before lists, errors and
//! calls that never return are tried as they are. It knows no GPU but those of its script.
//!
//! The script is a JSON file, see [`script::Script`]: the one that `PURSER_FAKE_NVML` names, or the one beside the
//! library, with `.json` behind the library's name. It is looked for at every call, so a driver changes when its script
//! is replaced. A process that needs several of them loads a copy of the file for each.

mod abi;
mod answer;
mod change;
mod events;
mod figures;
mod instances;
mod layout;
mod place;
pub mod script;
