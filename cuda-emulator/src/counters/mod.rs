//! What was executed and moved, and the bound model over it.
