//! `purser import`: what is taken, changed and refused, and what reaches the service.

mod convert;
mod deployments;
#[path = "../support/document.rs"]
mod document;
mod documented;
mod hostile;
mod service;
mod verb;
