//! What was executed and moved, and the bound model over it.

/// What one launch executed and moved.
#[derive(Clone, Debug, Default)]
pub struct Counters;
