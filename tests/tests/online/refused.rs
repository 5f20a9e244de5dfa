//! Bad input: one clear error or one note for each.
