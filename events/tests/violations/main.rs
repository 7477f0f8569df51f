//! Violations, from samples to episodes: scenarios, and 1,000 random scripts with what must hold of each.

mod cases;
mod comes_back;
mod laws;
mod scene;
