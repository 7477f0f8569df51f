mod adoption;
mod commands;
mod limits;
mod running;
mod scene;
mod storage;
mod unprivileged;
