//! `purser import quotas`: what is taken, changed and refused, and what reaches the service.

mod convert;
#[path = "../support/document.rs"]
mod document;
mod documented;
mod hostile;
mod service;
mod verb;
