//! The scheduled jobs. Each has a `run_once` that does a bounded piece of work and reports; the lease, the history and
//! the metrics around it are the same for all and stand in [`crate::app`].

mod ahead;
pub mod import;
pub mod ingest;
pub mod learning;
pub mod reconcile;
pub mod report;
mod spool;
pub mod transition;

use crate::progress::Progress;

pub use report::{Body, JobReport, Outcome};

/// A job by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Job {
    /// Count the accesses in new log files, then reconcile.
    Ingest,
    /// Compare the ledger with what is in the buckets.
    Reconcile,
    /// Move objects to the storage class that their use deserves.
    Transition,
    /// Find users without a bucket, drifted bucket settings and unfinished restores, and mend them.
    Sweep,
}

impl Job {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Reconcile => "reconcile",
            Self::Transition => "transition",
            Self::Sweep => "sweep",
        }
    }
}

/// Whether a run may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Real,
    /// Looks, decides and reports, and changes nothing.
    DryRun,
}

/// How a job is to be run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub mode: Mode,
    /// Whether a reconcile follows an ingest.
    pub reconcile_after: ReconcileAfter,
    /// Whether somebody asked for this run, rather than a schedule: then an ingest looks as far back as it ever does.
    pub asked_by: AskedBy,
    /// Where a sweep looks for restores.
    pub sweep: SweepScope,
    pub progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconcileAfter {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepScope {
    /// In the index of requests.
    Index,
    /// There, and in the listings of all buckets.
    Listings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedBy {
    Person,
    /// A slot of a schedule, as text.
    Slot(String),
}

/// What a run came to.
#[derive(Debug)]
pub enum Ran {
    Done(Box<JobReport>),
    /// Another daemon holds the lease for this job.
    HeldBy(String),
    /// Told to stop before it had begun, while it was watched whether the holder of the lease is alive.
    Stopped,
}
