//! What is stored, what it costs and what moving it would save, for people: a page ([`html`]), a table for spreadsheets
//! ([`csv`]) and a few tables for a terminal ([`text`]).
//!
//! [`gather()`] reads the ledger once (twice where the frequency policy or the adaptive one holds) and the history of runs, and sums both up in a
//! [`Report`]; nothing is written anywhere. The renderers are pure: the same report gives the same bytes. Names in it are
//! the work of strangers (buckets, problems with keys in them), so each renderer escapes everything that it did not write
//! itself.

pub mod csv;
mod gather;
pub mod history;
pub mod html;
pub(crate) mod human;
#[cfg(test)]
mod samples;
pub mod simulation;
mod svg;
pub(crate) mod tables;
pub mod text;

use chrono::{DateTime, Utc};

use crate::tiering::cost::Prices;
use crate::tiering::usage::Usage;

pub use gather::gather;
use history::Run;

/// Buckets that are shown by name.
const TOP_BUCKETS: usize = 20;

/// Everything that a report shows.
#[derive(Debug, Clone)]
pub struct Report {
    pub made_at: DateTime<Utc>,
    /// The table that was read.
    pub ledger_table: String,
    pub usage: Usage,
    pub prices: Prices,
    /// Why the prices may be off.
    pub prices_warning: Option<String>,
    /// The policy that holds where no override does.
    pub policy: String,
    /// Oldest first.
    pub ingests: Vec<Run>,
    pub transitions: Vec<Run>,
}
