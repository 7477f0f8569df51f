//! The process runtime against the real kernel: one concept a file.

mod adoption;
mod commands;
mod limits;
mod processors;
mod running;
mod scene;
mod storage;
mod unprivileged;
