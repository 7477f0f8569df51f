//! Kubernetes manifests as Purser reads them: what is accepted, what is refused and where, and what survives.

mod claims;
#[path = "../support/document.rs"]
mod document;
mod examples;
mod fields;
mod gpus;
mod hostile;
mod kubernetes_docs;
mod pools;
mod reference;
mod round_trip;
mod rules;
mod sample;
