//! A job's run, the same for the daemon and the command line: the lease before it, the report, the history and the metrics
//! after it.

use anyhow::Result;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::App;
use crate::clock;
use crate::jobs::{AskedBy, Job, JobReport, Mode, Outcome, Ran, RunOptions};
use crate::metrics::{About, Metric, Unit};
use crate::state::lease::Taken;
use crate::state::runs::RunOutcome;

impl App {
    /// Runs a job once, under its lease. `stop` ends it at its next safe point; what it left undone is for the next run.
    ///
    /// Fails only where nothing can be said of the job at all (the state table cannot be reached); a job that failed is a
    /// report with [`Outcome::Failed`].
    pub async fn run_job(&self, job: Job, options: &RunOptions, stop: &CancellationToken) -> Result<Ran> {
        let lease = match self.state.take_lease(&format!("job#{}", job.as_str())).await? {
            Taken::Mine(lease) => lease,
            Taken::HeldBy(holder) => return Ok(Ran::HeldBy(holder)),
        };
        // A job that lost its lease stops as if it had been told to.
        let token = stop.child_token();
        let lost = lease.lost().clone();
        let on_loss = token.clone();
        let watch = AbortOnDropHandle::new(tokio::spawn(async move {
            lost.cancelled().await;
            on_loss.cancel();
        }));
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
        let body = self.work(job, options, &token).await;
        let mut report = JobReport::new(job, options.mode, started_at, clock::now(), body);
        if stop.is_cancelled() {
            report.cut_short(Outcome::Partial, "told to stop; what is not done waits for the next run");
        } else if token.is_cancelled() {
            // Nobody else need have taken it: the run is to be made again, and is no evidence that the job works.
            report.cut_short(Outcome::Failed, "the job's lease was lost, so the run ended early; it is made again");
        }
        drop(watch);
        failpoint!("job.worked");
        self.finish(job, &slot, &report, started_at).await;
        failpoint!("job.recorded");
        if let Err(error) = lease.release().await {
            tracing::warn!(event = "lease.release_failed", job = job.as_str(), %error, "the lease could not be given back; it runs out by itself");
        }
        Ok(Ran::Done(Box::new(report)))
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
