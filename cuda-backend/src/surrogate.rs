//! The clipped surrogate with its gradient and statistics in one pass.
