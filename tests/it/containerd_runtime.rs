//! The containerd runtime on a real containerd, runc and registry.

mod commands;
mod failures;
mod image_sources;
mod life;
mod processors;
mod restarts;
mod rig;
