//! The pure core: every decision, no I/O.
pub mod access;
pub mod access_log;
pub mod object;
pub mod storage_class;
