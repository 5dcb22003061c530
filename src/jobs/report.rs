//! What a job did, as the command line prints it, the history keeps it and the metrics count it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Job, Mode};
use crate::clock::rfc3339;
use crate::metrics::{Metric, Unit};

/// How a run ended. Ordered: the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// Done, but not all of it; the report says what is missing.
    Partial,
    Failed,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// A job's report: the same head for all, then the job's own figures.
#[derive(Debug, Clone, Serialize)]
pub struct JobReport {
    pub job: &'static str,
    pub outcome: Outcome,
    pub dry_run: bool,
    pub started_at: String,
    pub duration_ms: u64,
    #[serde(flatten)]
    pub body: Body,
    /// Whether the failure was that AWS cannot be used at all (exit code 69 rather than 1).
    #[serde(skip)]
    pub outage: bool,
}

/// The figures of each job.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Body {
    Ingest(IngestReport),
    Reconcile(ReconcileReport),
    Transition(TransitionReport),
    Sweep(SweepReport),
    /// The job failed before it had any figures.
    None {
        problems: Vec<String>,
    },
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct IngestReport {
    /// Files counted by this run.
    pub files: u64,
    /// Files that were counted already.
    pub files_skipped: u64,
    /// Files set aside by this run.
    pub files_failed: u64,
    pub bytes_compressed: u64,
    pub bytes: u64,
    pub records: u64,
    pub records_bad: u64,
    /// Accesses counted.
    pub accesses: u64,
    /// Accesses that another file of the same batch had already.
    pub duplicates: u64,
    /// Distinct objects.
    pub objects: u64,
    pub batches: u64,
    pub problems: Vec<String>,
    /// A file or batch that was neither counted nor set aside waits for the next run.
    #[serde(skip)]
    pub outcome: Option<Outcome>,
    /// Whether it failed because AWS cannot be used or something is missing.
    #[serde(skip)]
    pub outage: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Box<JobReport>>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct ReconcileReport {
    pub buckets: u64,
    pub buckets_failed: u64,
    pub buckets_gone: u64,
    pub rows: u64,
    pub objects: u64,
    pub refreshed: u64,
    pub replaced: u64,
    pub dropped: u64,
    pub adopted: u64,
    /// Rows that the breaker kept from being dropped.
    pub held_back: u64,
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct TransitionReport {
    pub policy: String,
    pub considered: u64,
    pub planned: u64,
    pub moved: u64,
    pub failed: u64,
    /// Reason → count.
    pub skipped: BTreeMap<String, u64>,
    pub bytes_moved: u64,
    pub cost_usd: f64,
    pub monthly_saving_usd: f64,
    pub problems: Vec<String>,
    /// Why the run ended early: too many errors, or it was told to. What a cap keeps back is in `skipped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SweepReport {
    pub users: u64,
    pub provisioned: u64,
    pub repaired: u64,
    pub restores_finished: u64,
    pub restores_repeated: u64,
    /// Restores that a full sweep found by their tags and the index did not know; they are finished or repeated as well.
    pub restores_found: u64,
    /// Archived objects that a full sweep looked at.
    pub archived_objects: u64,
    /// Users or restores that could not be mended.
    pub failed: u64,
    pub problems: Vec<String>,
}

impl JobReport {
    /// Puts the head on a job's figures. A job that could not even begin is [`Outcome::Failed`].
    pub fn new(
        job: Job,
        mode: Mode,
        started_at: DateTime<Utc>,
        ended_at: DateTime<Utc>,
        body: anyhow::Result<Body>,
    ) -> Self {
        let outage;
        let (outcome, body) = match body {
            Ok(body) => {
                outage = matches!(&body, Body::Ingest(r) if r.outage);
                (body.outcome(), body)
            }
            Err(error) => {
                outage = error.chain().any(|e| {
                    e.downcast_ref::<crate::aws::AwsError>()
                        .is_some_and(|e| e.is_outage() || e.kind == crate::aws::Kind::NotFound)
                });
                (Outcome::Failed, Body::None { problems: vec![format!("{error:#}")] })
            }
        };
        Self {
            job: job.as_str(),
            outcome,
            dry_run: mode == Mode::DryRun,
            started_at: rfc3339(started_at),
            duration_ms: (ended_at - started_at).num_milliseconds().max(0).unsigned_abs(),
            body,
            outage,
        }
    }

    /// Notes that the run was cut short: whatever its figures say, its outcome is no better than `at_best`.
    pub fn cut_short(&mut self, at_best: Outcome, why: &str) {
        self.outcome = self.outcome.max(at_best);
        let problems = match &mut self.body {
            Body::Ingest(r) => &mut r.problems,
            Body::Reconcile(r) => &mut r.problems,
            Body::Transition(r) => &mut r.problems,
            Body::Sweep(r) => &mut r.problems,
            Body::None { problems } => problems,
        };
        if !problems.iter().any(|problem| problem == why) {
            problems.push(why.to_owned());
        }
    }

    /// What went wrong, a line each.
    pub fn problems(&self) -> &[String] {
        match &self.body {
            Body::Ingest(r) => &r.problems,
            Body::Reconcile(r) => &r.problems,
            Body::Transition(r) => &r.problems,
            Body::Sweep(r) => &r.problems,
            Body::None { problems } => problems,
        }
    }

    /// The metrics of the contract that this report carries.
    pub fn metrics(&self) -> Vec<Metric> {
        let count = |name, value: u64| (name, Unit::Count, value as f64);
        match &self.body {
            Body::Ingest(r) => vec![
                count("FilesIngested", r.files),
                count("RecordsParsed", r.records),
                count("AccessesCounted", r.accesses),
                count("Quarantined", r.files_failed),
            ],
            Body::Reconcile(r) => vec![count("LedgerRowsDropped", r.dropped)],
            Body::Transition(r) => vec![
                count("ObjectsMoved", r.moved),
                ("BytesMoved", Unit::Bytes, r.bytes_moved as f64),
                ("MonthlySaving", Unit::None, r.monthly_saving_usd),
            ],
            Body::Sweep(_) | Body::None { .. } => Vec::new(),
        }
    }
}

impl Body {
    fn outcome(&self) -> Outcome {
        let partial_if = |troubled: bool| if troubled { Outcome::Partial } else { Outcome::Ok };
        match self {
            Self::Ingest(r) => {
                let own = r.outcome.unwrap_or_else(|| partial_if(r.files_failed > 0));
                own.max(r.reconcile.as_ref().map_or(Outcome::Ok, |nested| nested.outcome))
            }
            Self::Reconcile(r) => partial_if(r.buckets_failed > 0 || r.held_back > 0),
            Self::Transition(r) => partial_if(r.failed > 0 || r.stopped.is_some()),
            Self::Sweep(r) => partial_if(r.failed > 0),
            Self::None { .. } => Outcome::Failed,
        }
    }
}
