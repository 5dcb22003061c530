//! The pure core: every decision, no I/O.
pub mod cost;
pub mod ledger_row;
pub mod object;
pub mod plan;
pub mod policy;
pub mod reconcile;
pub mod storage_class;
