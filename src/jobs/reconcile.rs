//! Reconcile: the ledger made to say what the buckets' listings say.
//!
//! What is to be done to which row is decided in [`crate::tiering::reconcile`]; here are the streams and the effects. For
//! each bucket the listing and the ledger's rows are read side by side, each a page ahead ([`super::ahead`]), and the effects go to
//! a file without a name ([`super::spool`]). Only when both streams have been read to their ends, and the breaker has judged the
//! drops, is the file read back and each effect applied under its condition. So:
//!
//! - a listing that breaks off, is malformed or may not be read leaves its bucket exactly as it was;
//! - memory is constant, whatever the bucket's size and however many effects there are;
//! - a crash while effects are applied leaves some rows right and the others as they were, for the next run.
//!
//! Buckets are independent of each other, and some are worked on at once.

mod bucket;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream;
use tokio_util::sync::CancellationToken;

use self::bucket::{BucketOutcome, Ended};
use super::Mode;
use super::report::ReconcileReport;
use crate::config;
use crate::ledger::Ledger;
use crate::progress::Progress;
use crate::s3::S3;
use crate::tiering::object::BucketName;
use crate::tiering::reconcile::{Breaker, Unknown};
use crate::users::Users;

/// Lines of trouble that a report carries at most; the log has them all.
const MAX_PROBLEMS: usize = 100;

/// What reconciling needs.
#[derive(Debug)]
pub struct Reconcile {
    pub s3: S3,
    pub ledger: Ledger,
    /// Where buckets are named that may have no row yet.
    pub users: Users,
    pub unknown: Unknown,
    pub breaker: Breaker,
    /// Buckets at once.
    pub concurrency: usize,
    /// Writes to the ledger in flight at once, for each bucket.
    pub write_concurrency: usize,
}

impl Reconcile {
    pub fn new(s3: S3, ledger: Ledger, users: Users, settings: &config::Reconcile, write_concurrency: usize) -> Self {
        Self {
            s3,
            ledger,
            users,
            unknown: if settings.adopt { Unknown::Adopt } else { Unknown::Ignore },
            breaker: Breaker { max_drop_fraction: settings.max_drop_fraction, min_rows: settings.min_rows_for_breaker },
            concurrency: settings.concurrency,
            write_concurrency,
        }
    }

    /// Reconciles every bucket once. `stop` leaves the buckets that are not finished as they are.
    ///
    /// Fails only where it cannot even be said which buckets there are.
    pub async fn run_once(&self, mode: Mode, progress: &Progress, stop: &CancellationToken) -> Result<ReconcileReport> {
        let buckets = self.buckets().await?;
        progress.phase("reconciling", Some(buckets.len() as u64));
        let mut report = ReconcileReport::default();
        let mut outcomes = stream::iter(buckets)
            .map(|bucket| async move {
                let outcome = self.bucket(&bucket, mode, progress, stop).await;
                progress.add_done(1);
                (bucket, outcome)
            })
            .buffer_unordered(self.concurrency);
        while let Some((bucket, outcome)) = outcomes.next().await {
            note(&mut report, &bucket, outcome);
        }
        Ok(report)
    }

    /// The buckets that have rows, and, where unknown objects are adopted, those that users have.
    async fn buckets(&self) -> Result<BTreeSet<BucketName>> {
        let mut buckets = self.ledger.buckets().await.context("asking the ledger for its buckets")?;
        if self.unknown == Unknown::Adopt {
            buckets.extend(self.users.buckets().await.context("asking the users table for buckets")?);
        }
        Ok(buckets)
    }
}

/// Takes a bucket's outcome into the report, and logs what went wrong.
fn note(report: &mut ReconcileReport, bucket: &BucketName, outcome: BucketOutcome) {
    report.buckets += 1;
    report.rows += outcome.rows;
    report.objects += outcome.objects;
    report.refreshed += outcome.refreshed;
    report.replaced += outcome.replaced;
    report.dropped += outcome.dropped;
    report.adopted += outcome.adopted;
    report.held_back += outcome.held_back;
    for problem in outcome.problems {
        tracing::warn!(event = "reconcile.problem", bucket = bucket.as_str(), problem, "a bucket is not all well");
        add_problem(&mut report.problems, problem);
    }
    match outcome.ended {
        Ended::Done => {
            tracing::debug!(
                event = "reconcile.bucket.done",
                bucket = bucket.as_str(),
                rows = outcome.rows,
                objects = outcome.objects,
                "bucket reconciled"
            );
        }
        Ended::Gone => {
            report.buckets_gone += 1;
            tracing::info!(
                event = "reconcile.bucket.gone",
                bucket = bucket.as_str(),
                dropped = outcome.dropped,
                "the bucket is gone, and its rows with it"
            );
        }
        Ended::Failed(error) => {
            report.buckets_failed += 1;
            let problem = format!("s3://{bucket}: {error:#}");
            tracing::error!(
                event = "reconcile.bucket.failed",
                bucket = bucket.as_str(),
                error = problem,
                "bucket not reconciled"
            );
            add_problem(&mut report.problems, problem);
        }
    }
}

fn add_problem(problems: &mut Vec<String>, problem: String) {
    match problems.len() {
        0..MAX_PROBLEMS => problems.push(problem),
        MAX_PROBLEMS => problems.push("and more, which the log tells".to_owned()),
        _ => {}
    }
}
