//! The pure core: every decision, no I/O.
pub mod object;
pub mod replication;
pub mod restore;
pub mod s3_event;
pub mod storage_class;
