//! The outside as the actors see it: traits, and the values that cross them. Adapters are the node's.

pub mod archive;
pub mod clock;
pub mod containers;
pub mod gpus;
pub mod machine;
pub mod pools;
pub mod probes;

pub use archive::{Archive, ArchiveFailure};
pub use clock::{Clock, Ids};
pub use containers::{
    ContainerKey, ContainerPlan, ContainerUse, Containers, ExecChunk, ExecIo, FieldError, GpuSlice,
    LimitsInForce, LoadedImage, Notice, OutputStream, PodPlan, ResizePlan, RuntimeError, Signal, Standing,
    StartedContainer,
};
pub use gpus::{
    DriverState, GpuPart, GpuProcess, GpuReadings, GpuState, GpuUse, Gpus, ProcessOwner, Reading, SeenGpu,
    SeenGpus, SeenXid, Slowdown,
};
pub use machine::{Machine, MachineCapacity, MachineUse};
pub use pools::{MemberId, PoolHost};
pub use probes::{ProbeTransport, ProbeVerdict};
