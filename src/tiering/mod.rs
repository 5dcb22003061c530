//! The pure core: every decision, no I/O. Synchronous; `now` is an argument; no AWS SDK, no clock, no configuration file.
pub mod bucket_name;
pub mod ledger_row;
pub mod object;
pub mod replication;
pub mod restore;
pub mod s3_event;
pub mod schedule;
pub mod shards;
pub mod storage_class;
