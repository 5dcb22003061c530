//! The pure core: every decision, no I/O.
pub mod bucket_name;
pub mod object;
pub mod shards;
pub mod storage_class;
pub mod user_event;
