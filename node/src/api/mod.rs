//! The API: HTTP and JSON over a unix socket, and over TCP for those with a token.

#![expect(unused_qualifications, reason = "the macros that describe routes write full paths")]

pub mod admission;
pub mod caller;
mod description;
pub mod exec;
pub mod export;
pub mod feed;
pub mod footing;
pub mod gpu;
pub mod gpus;
pub mod history;
pub mod images;
pub mod ledger;
pub mod listen;
pub mod logs;
pub mod node;
pub mod pods;
pub mod pools;
pub mod problem;
pub mod processes;
pub mod projections;
pub mod resize;
pub mod router;
pub mod selector;
pub mod state;
pub mod token;
pub mod view;
pub mod violations;
