//! Views: read-only folds over records.

pub mod world;
