//! How many messages may wait for an actor.

/// Messages that an actor may have waiting before senders are held back: a few times what one pod's containers,
/// probes and callers can have under way at once.
pub(crate) const LEN_MAX: usize = 256;
