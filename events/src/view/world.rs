//! Placeholder while the core is written.
/// Everything.
#[derive(Debug, Default)]
pub struct World;
