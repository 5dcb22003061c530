//! What a guard says when a row may not move: the reason by its stable name, and what it goes by.
//!
//! [`SkipReason`] is what reports count. [`Objection`] is the same with its figures, for whoever asks about one object. A
//! reason never changes its name; adding one is fine.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::tiering::storage_class::StorageClass;

/// Why a row is skipped, by the name that reports use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    NotReconciled,
    NoLastUse,
    UnmanagedClass,
    ImpossibleMove,
    UnderMinimumSize,
    NoRecentIngest,
    LogsTooShort,
    MinimumDuration,
    Archived,
    NoSaving,
    PaybackTooLong,
    /// The reads that are to be expected would cost more than the storage saves.
    ReadsCostMore,
    /// The run's cap was reached before this move.
    CapReached,
    /// The ledger's row makes no sense.
    Unreadable,
    // What only the object itself tells, when it is about to be moved:
    /// There is no such object any more.
    Gone,
    /// The object is no longer what the move was decided for, or somebody writes to it.
    Changed,
    /// Uses were counted since a plan wanted it in a colder class.
    UsedSincePlanned,
    /// It is in the class already; only the ledger did not know.
    AlreadyThere,
    /// Encrypted with a key that only the customer has (SSE-C).
    CustomerKey,
    /// The bucket keeps versions, and the configuration leaves such buckets alone.
    Versioned,
    /// The version could not be deleted after the move, and would be billed beside the new one.
    Locked,
    /// Something of it would be lost by a copy.
    CannotBeCarried,
    /// Its restore was asked for; it is moved when that is done.
    RestoreRequested,
}

impl SkipReason {
    /// All reasons, in the order in which they are asked.
    pub const ALL: [SkipReason; 23] = [
        Self::NotReconciled,
        Self::NoLastUse,
        Self::UnmanagedClass,
        Self::ImpossibleMove,
        Self::UnderMinimumSize,
        Self::NoRecentIngest,
        Self::LogsTooShort,
        Self::MinimumDuration,
        Self::Archived,
        Self::NoSaving,
        Self::PaybackTooLong,
        Self::ReadsCostMore,
        Self::CapReached,
        Self::Unreadable,
        Self::Gone,
        Self::Changed,
        Self::UsedSincePlanned,
        Self::AlreadyThere,
        Self::CustomerKey,
        Self::Versioned,
        Self::Locked,
        Self::CannotBeCarried,
        Self::RestoreRequested,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReconciled => "not-reconciled",
            Self::NoLastUse => "no-last-use",
            Self::UnmanagedClass => "unmanaged-class",
            Self::ImpossibleMove => "impossible-move",
            Self::UnderMinimumSize => "under-minimum-size",
            Self::NoRecentIngest => "no-recent-ingest",
            Self::LogsTooShort => "logs-too-short",
            Self::MinimumDuration => "minimum-duration",
            Self::Archived => "archived",
            Self::NoSaving => "no-saving",
            Self::PaybackTooLong => "payback-too-long",
            Self::ReadsCostMore => "reads-cost-more",
            Self::CapReached => "cap-reached",
            Self::Unreadable => "unreadable",
            Self::Gone => "gone",
            Self::Changed => "changed",
            Self::UsedSincePlanned => "used-since-planned",
            Self::AlreadyThere => "already-there",
            Self::CustomerKey => "customer-key",
            Self::Versioned => "versioned",
            Self::Locked => "locked",
            Self::CannotBeCarried => "cannot-be-carried",
            Self::RestoreRequested => "restore-requested",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A guard's objection, with what it goes by; [`fmt::Display`] says it in a sentence.
#[derive(Debug, Clone, PartialEq)]
pub enum Objection {
    NotReconciled,
    NoLastUse,
    UnmanagedClass,
    ImpossibleMove { from: StorageClass, to: StorageClass },
    UnderMinimumSize { bytes: u64, minimum_bytes: u64 },
    NoRecentIngest { last_ok: Option<DateTime<Utc>>, within: TimeDelta },
    LogsTooShort { covered_since: Option<DateTime<Utc>>, needed_since: DateTime<Utc> },
    MinimumDuration { class: StorageClass, served_days: Option<u64> },
    Archived { class: StorageClass },
    NoSaving { monthly_saving_usd: f64 },
    PaybackTooLong { months: f64, maximum_months: f64 },
    ReadsCostMore { monthly_reads_usd: f64, monthly_saving_usd: f64 },
}

impl Objection {
    pub fn reason(&self) -> SkipReason {
        match self {
            Self::NotReconciled => SkipReason::NotReconciled,
            Self::NoLastUse => SkipReason::NoLastUse,
            Self::UnmanagedClass => SkipReason::UnmanagedClass,
            Self::ImpossibleMove { .. } => SkipReason::ImpossibleMove,
            Self::UnderMinimumSize { .. } => SkipReason::UnderMinimumSize,
            Self::NoRecentIngest { .. } => SkipReason::NoRecentIngest,
            Self::LogsTooShort { .. } => SkipReason::LogsTooShort,
            Self::MinimumDuration { .. } => SkipReason::MinimumDuration,
            Self::Archived { .. } => SkipReason::Archived,
            Self::NoSaving { .. } => SkipReason::NoSaving,
            Self::PaybackTooLong { .. } => SkipReason::PaybackTooLong,
            Self::ReadsCostMore { .. } => SkipReason::ReadsCostMore,
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReconciled => f.write_str("its ETag, class or size is not known before the next reconcile"),
            Self::NoLastUse => f.write_str("no use of it is known, nor when it was written"),
            Self::UnmanagedClass => f.write_str("it is in a class that is not managed"),
            Self::ImpossibleMove { from, to } => write!(f, "there is no move from {from} to {to}"),
            Self::UnderMinimumSize { bytes, minimum_bytes } => {
                write!(f, "{bytes} bytes are under the minimum of {minimum_bytes}")
            }
            Self::NoRecentIngest { last_ok: None, .. } => f.write_str("no ingest has ended well yet"),
            Self::NoRecentIngest { last_ok: Some(last), within } => {
                write!(
                    f,
                    "the last ingest that ended well was on {}, over {} days ago",
                    last.date_naive(),
                    within.num_days()
                )
            }
            Self::LogsTooShort { covered_since: None, needed_since } => {
                write!(f, "no logs are known to reach back to {}", needed_since.date_naive())
            }
            Self::LogsTooShort { covered_since: Some(since), needed_since } => {
                write!(f, "the logs begin on {}, not on {}", since.date_naive(), needed_since.date_naive())
            }
            Self::MinimumDuration { class, served_days: Some(days) } => {
                write!(f, "{days} of the {} days of {class} are served", class.minimum_days())
            }
            Self::MinimumDuration { class, served_days: None } => {
                write!(f, "since when it is in {class} is not known, and {} days are billed", class.minimum_days())
            }
            Self::Archived { class } => write!(f, "it would have to be restored from {class}, which is not enabled"),
            Self::NoSaving { monthly_saving_usd } => write!(f, "it would save {monthly_saving_usd:.9} dollars a month"),
            Self::PaybackTooLong { months, maximum_months } => {
                write!(f, "it would pay back after {months:.1} months, and {maximum_months} are allowed")
            }
            Self::ReadsCostMore { monthly_reads_usd, monthly_saving_usd } => write!(
                f,
                "its reads would cost {monthly_reads_usd:.9} dollars a month more, and its storage {monthly_saving_usd:.9} less"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skip_reasons_are_written_as_they_are_named() {
        for reason in SkipReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
