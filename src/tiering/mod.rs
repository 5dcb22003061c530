//! The pure core: every decision, no I/O.
pub mod bucket_name;
pub mod cost;
pub mod ledger_row;
pub mod object;
pub mod schedule;
pub mod storage_class;
pub mod user_event;
