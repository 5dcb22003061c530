//! A job's run, the same for the daemon and the command line: the lease before it, the report, the history and the metrics
//! after it.

use anyhow::Result;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::App;
use crate::clock;
use crate::jobs::{AskedBy, Body, Job, JobReport, Mode, Outcome, Ran, RunOptions};
use crate::metrics::{About, Metric, Unit};
use crate::state::lease::{Lease, Taken};
use crate::state::runs::RunOutcome;

impl App {
    /// Runs a job once, under its lease. `stop` ends it at its next safe point; what it left undone is for the next run.
    ///
    /// Fails only where nothing can be said of the job at all (the state table cannot be reached); a job that failed is a
    /// report with [`Outcome::Failed`].
    pub async fn run_job(&self, job: Job, options: &RunOptions, stop: &CancellationToken) -> Result<Ran> {
        self.run_under_lease(job, options, stop, |stop| async move { self.work(job, options, &stop).await }).await
    }

    /// The same around another piece of work that counts as a run of the job. The work is told by its token when to stop.
    pub(super) async fn run_under_lease<F: Future<Output = Result<Body>> + Send>(
        &self,
        job: Job,
        options: &RunOptions,
        stop: &CancellationToken,
        work: impl FnOnce(CancellationToken) -> F + Send,
    ) -> Result<Ran> {
        let held = match self.hold_job(job, stop).await? {
            Hold::Mine(held) => held,
            Hold::HeldBy(holder) => return Ok(Ran::HeldBy(holder)),
            Hold::Stopped => return Ok(Ran::Stopped),
        };
        let started_at = clock::now();
        let slot = match &options.asked_by {
            AskedBy::Slot(slot) => slot.clone(),
            AskedBy::Person => "none".to_owned(),
        };
        tracing::info!(
            event = "job.started",
            job = job.as_str(),
            slot,
            dry_run = options.mode == Mode::DryRun,
            "job started"
        );
        let body = work(held.stop().clone()).await;
        let mut report = JobReport::new(job, options.mode, started_at, clock::now(), body);
        if stop.is_cancelled() {
            report.cut_short(Outcome::Partial, "told to stop; what is not done waits for the next run");
        } else if held.stop().is_cancelled() {
            // Nobody else need have taken it: the run is to be made again, and is no evidence that the job works.
            report.cut_short(Outcome::Failed, "the job's lease was lost, so the run ended early; it is made again");
        }
        let lease = held.into_lease();
        failpoint!("job.worked");
        self.finish(job, &slot, &report, started_at).await;
        failpoint!("job.recorded");
        give_back(lease, job).await;
        Ok(Ran::Done(Box::new(report)))
    }

    /// Takes the lease of `job`, so that neither a run of it nor anything else that must not run beside it begins meanwhile.
    /// A holder that is silent is watched for a lease's life; `stop` ends that.
    pub(super) async fn hold_job(&self, job: Job, stop: &CancellationToken) -> Result<Hold> {
        match self.state.take_lease_unless(stop, &format!("job#{}", job.as_str())).await? {
            Some(Taken::Mine(lease)) => Ok(Hold::Mine(Held::new(lease, stop))),
            Some(Taken::HeldBy(holder)) => Ok(Hold::HeldBy(holder)),
            None => Ok(Hold::Stopped),
        }
    }

    async fn finish(&self, job: Job, slot: &str, report: &JobReport, started_at: DateTime<Utc>) {
        let json = serde_json::to_value(report).expect("a report is plain data");
        if report.outcome == Outcome::Ok {
            tracing::info!(event = "job.finished", job = job.as_str(), slot, outcome = report.outcome.as_str(), duration_ms = report.duration_ms, report = %json, "job finished");
        } else {
            tracing::warn!(event = "job.finished", job = job.as_str(), slot, outcome = report.outcome.as_str(), duration_ms = report.duration_ms, problems = report.problems().join("; "), report = %json, "job finished, not all well");
        }
        let mut metrics: Vec<Metric> = vec![
            ("JobDuration", Unit::Milliseconds, report.duration_ms as f64),
            ("JobFailures", Unit::Count, if report.outcome == Outcome::Failed { 1.0 } else { 0.0 }),
        ];
        if !report.dry_run {
            metrics.extend(report.metrics());
        }
        self.metrics.emit(About::Job(job.as_str()), &metrics);
        if report.dry_run {
            return;
        }
        let ok = if report.outcome == Outcome::Ok { RunOutcome::Ok } else { RunOutcome::NotOk };
        if let Err(error) = self.state.record_run(job.as_str(), started_at, clock::now(), ok, &json).await {
            tracing::warn!(event = "job.history_failed", job = job.as_str(), %error, "the run could not be noted");
        }
    }
}

/// What an attempt to hold a job came to.
pub(super) enum Hold {
    Mine(Held),
    /// Another daemon holds it and is alive.
    HeldBy(String),
    /// Told to stop before that was known.
    Stopped,
}

/// A job's lease, and the word to stop for whoever works under it.
pub(super) struct Held {
    lease: Lease,
    stop: CancellationToken,
    _watch: AbortOnDropHandle<()>,
}

impl Held {
    fn new(lease: Lease, stop: &CancellationToken) -> Self {
        // Work that lost its lease stops as if it had been told to.
        let stop = stop.child_token();
        let (lost, on_loss) = (lease.lost().clone(), stop.clone());
        let watch = AbortOnDropHandle::new(tokio::spawn(async move {
            lost.cancelled().await;
            on_loss.cancel();
        }));
        Self { lease, stop, _watch: watch }
    }

    /// Cancelled when the work is told to stop, and when the lease is lost.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The lease, no longer watched.
    pub(super) fn into_lease(self) -> Lease {
        self.lease
    }
}

/// Gives a job's lease back, so that whoever waits for it need not wait for its life to pass.
pub(super) async fn give_back(lease: Lease, job: Job) {
    if let Err(error) = lease.release().await {
        tracing::warn!(event = "lease.release_failed", job = job.as_str(), %error, "the lease could not be given back; it runs out by itself");
    }
}
