//! End to end: `purserd`, `purser` and `purser-replay` as they are installed, on plain processes and on a real
//! containerd with runc. Each scenario is played on both; after it the auditor's tool finds the journal sound and
//! folds it to the world that the service shows, and when its pods are deleted nothing is left of them.

mod auditor;
mod containers;
mod ends;
mod gpu_held;
mod gpu_mps;
mod gpu_processes;
mod gpus;
mod k8s_docs;
mod life;
mod listener;
mod probes;
mod processors;
mod resizes;
mod restarts;
mod stage;
