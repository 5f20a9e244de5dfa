//! From the syntax tree to operations on three register banks.
