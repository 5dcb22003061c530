//! Ingest, made of what it may touch, and the reconcile that follows it.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::clock;
use crate::jobs::ingest::history::History;
use crate::jobs::ingest::{Ingest, Limits, LogSource, counting_rules};
use crate::jobs::report::{IngestReport, Outcome};
use crate::jobs::{Body, Job, Ran, ReconcileAfter, RunOptions};
use crate::s3::S3;
use crate::tiering::access::{CountRule, PrincipalPattern};
use crate::tiering::simulate::logs;

impl App {
    pub(super) async fn ingest(&self, options: &RunOptions, stop: &CancellationToken) -> Result<Body> {
        let ingest = self.ingest_parts().await?;
        let mut report = ingest.run_once(options, clock::now_secs(), stop).await?;
        let failed = report.outcome == Some(Outcome::Failed);
        if options.reconcile_after == ReconcileAfter::Yes && !failed && !stop.is_cancelled() {
            self.reconcile_after(options, stop, &mut report).await?;
        }
        Ok(Body::Ingest(report))
    }

    async fn ingest_parts(&self) -> Result<Ingest> {
        Ok(Ingest {
            state: self.state.clone(),
            ledger: self.ledger.clone(),
            sources: self.log_sources(&counting_rules(&self.settings.ingest.count)).await?,
            limits: self.ingest_limits(),
        })
    }

    /// The logs of the configured sources, to be read for a trace. Nothing can be counted or written with it.
    pub async fn history(&self) -> Result<History> {
        let counting = counting_rules(&self.settings.ingest.count);
        Ok(History {
            sources: self.log_sources(&logs::rules(&counting)).await?,
            limits: self.ingest_limits(),
            buckets: self.s3.clone(),
            counting,
        })
    }

    async fn log_sources(&self, rules: &[CountRule]) -> Result<Arc<[LogSource]>> {
        let settings = &self.settings.ingest;
        let mut exclude: Vec<PrincipalPattern> =
            settings.exclude_principals.iter().map(PrincipalPattern::new).collect();
        exclude.push(PrincipalPattern::own_identity(&self.clients.own_arn().await?));
        let sources: Vec<LogSource> = settings
            .source
            .iter()
            .enumerate()
            .map(|(at, source)| {
                let s3 = match &source.region {
                    Some(region) => S3::new(self.clients.s3_in(region), self.clients.s3_copy.clone()),
                    None => self.s3.clone(),
                };
                LogSource::new(source, rules, exclude.clone(), s3).with_context(|| format!("ingest.source.{at}"))
            })
            .collect::<Result<_>>()?;
        Ok(sources.into())
    }

    fn ingest_limits(&self) -> Limits {
        let settings = &self.settings.ingest;
        Limits {
            lookback: settings.lookback,
            batch_files: settings.batch_files,
            batch_bytes: settings.batch_bytes,
            max_file_bytes: settings.max_file_bytes,
            concurrency: settings.concurrency,
            write_concurrency: self.settings.ledger.write_concurrency,
        }
    }

    async fn reconcile_after(
        &self,
        options: &RunOptions,
        stop: &CancellationToken,
        report: &mut IngestReport,
    ) -> Result<()> {
        match self.boxed_run(Job::Reconcile, options, stop).await? {
            Ran::Done(nested) => report.reconcile = Some(nested),
            Ran::HeldBy(holder) => no_reconcile(report, &format!("{holder} runs one now")),
            Ran::Stopped => no_reconcile(report, "told to stop before it had begun"),
        }
        Ok(())
    }

    /// A job that runs within another: boxed, for its type would hold itself.
    fn boxed_run<'a>(
        &'a self,
        job: Job,
        options: &'a RunOptions,
        stop: &'a CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<Ran>> + Send + 'a>> {
        Box::pin(self.run_job(job, options, stop))
    }
}

fn no_reconcile(report: &mut IngestReport, why: &str) {
    report.problems.push(format!("no reconcile: {why}"));
    report.outcome = Some(report.outcome.map_or(Outcome::Partial, |own| own.max(Outcome::Partial)));
}
