//! What an instruction does to its numbers, lane by lane.
