//! The pure core: every decision, no I/O.
pub mod object;
pub mod schedule;
pub mod storage_class;
