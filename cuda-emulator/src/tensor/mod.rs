//! Matrix instructions: which lane holds which element.
