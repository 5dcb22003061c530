//! The pure core: every decision, no I/O.
pub mod access;
pub mod access_log;
pub mod bucket_name;
pub mod cost;
pub mod ledger_row;
pub mod object;
pub mod plan;
pub mod policy;
pub mod reconcile;
pub mod replication;
pub mod restore;
pub mod s3_event;
pub mod schedule;
pub mod shards;
pub mod storage_class;
pub mod usage;
pub mod user_event;
