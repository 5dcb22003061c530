//! Reads what a report is made of: the ledger, bucket by bucket, and the history of runs.

use anyhow::Result;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::history::Run;
use super::{Report, TOP_BUCKETS};
use crate::config::Settings;
use crate::jobs::learning::Learning;
use crate::ledger::{Columns, Ledger, UnreadableRow};
use crate::policies::{self, BucketPolicies, BucketPolicy};
use crate::progress::Progress;
use crate::state::State;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::BucketName;
use crate::tiering::policy::frequency::{Census, Frequency};
use crate::tiering::policy::guard::{Bench, Evidence};
use crate::tiering::usage::Tally;

/// Reads the whole ledger, a page at a time, and sums it up. Rows that change meanwhile are counted as they are met.
///
/// Fails where a table cannot be read. A row that makes no sense is in no sum, but among what is left where it is, and in a
/// line of the log: one of them must not cost the sight of all others.
pub async fn gather(
    settings: &Settings,
    ledger: &Ledger,
    state: &State,
    now: DateTime<Utc>,
    progress: &Progress,
) -> Result<Report> {
    let list = policies::prices(settings)?;
    let guards = policies::guards(&settings.transition, &settings.restore);
    let evidence =
        Evidence { last_ok_ingest: state.last_ok("ingest").await?, covered_since: state.log_coverage_since().await? };
    let bench = Bench { now, guards: &guards, evidence, prices: &list.prices };
    let mut tally = Tally::new(bench, TOP_BUCKETS);
    let policies = BucketPolicies::from_settings(&settings.transition)?;
    let learning = Learning::new(ledger.clone(), state.clone(), list.prices.clone(), guards.clone(), now);
    let buckets = ledger.buckets().await?;
    progress.phase("reading", Some(buckets.len() as u64));
    for bucket in &buckets {
        match policies.of_bucket(bucket) {
            BucketPolicy::Recency(recency) => {
                let mut rows = ledger.rows(bucket, Columns::All);
                while let Some(page) = rows.next_page().await? {
                    for row in &readable(page, &mut tally) {
                        tally.add(row, recency.decide(row, now));
                        progress.add_records(1);
                    }
                }
            }
            BucketPolicy::Frequency(frequency) => {
                by_frequency(ledger, bucket, frequency, &mut tally, progress).await?;
            }
            BucketPolicy::Adaptive { max_delayed_reads } => {
                let learned = learning.of_bucket(bucket, *max_delayed_reads, &CancellationToken::new()).await?;
                let mut rows = ledger.rows(bucket, Columns::All);
                while let Some(page) = rows.next_page().await? {
                    for row in &readable(page, &mut tally) {
                        tally.add(row, learned.as_ref().and_then(|learned| learned.decide(row)));
                        progress.add_records(1);
                    }
                }
            }
        }
        progress.add_done(1);
    }
    let usage = tally.finish();
    Ok(Report {
        made_at: now,
        ledger_table: ledger.table().to_owned(),
        usage,
        prices_warning: list.warning(now.date_naive()),
        prices: list.prices,
        policy: settings.transition.policy.as_str().to_owned(),
        ingests: Run::all(&state.history("ingest").await?),
        transitions: Run::all(&state.history("transition").await?),
    })
}

/// Two passes: a rank is known only when the whole bucket is.
async fn by_frequency(
    ledger: &Ledger,
    bucket: &BucketName,
    policy: &Frequency,
    tally: &mut Tally<'_>,
    progress: &Progress,
) -> Result<()> {
    let mut census = Census::default();
    let mut rows = ledger.rows(bucket, Columns::All);
    while let Some(page) = rows.next_page().await? {
        page.iter().flatten().for_each(|row| census.count(row));
    }
    let mut cut = census.cut(policy);
    let mut rows = ledger.rows(bucket, Columns::All);
    while let Some(page) = rows.next_page().await? {
        for row in &readable(page, tally) {
            let decision = cut.decide(row);
            tally.add(row, Some(decision));
            progress.add_records(1);
        }
    }
    Ok(())
}

/// The rows that can be read; the others are noted.
fn readable(page: Vec<Result<LedgerRow, UnreadableRow>>, tally: &mut Tally<'_>) -> Vec<LedgerRow> {
    let mut rows = Vec::with_capacity(page.len());
    for row in page {
        match row {
            Ok(row) => rows.push(row),
            Err(UnreadableRow { id, problem }) => {
                let (bucket, key) = (id.bucket.as_str(), id.key.as_str());
                tracing::warn!(event = "ledger.row_rejected", bucket, key, problem, "a row cannot be read");
                tally.unreadable(&id.bucket);
            }
        }
    }
    rows
}
