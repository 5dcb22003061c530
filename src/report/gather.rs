//! Reads what a report is made of: the ledger, bucket by bucket, and the history of runs.

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::history::Run;
use super::{Report, TOP_BUCKETS};
use crate::config::Settings;
use crate::ledger::Ledger;
use crate::policies::{self, BucketPolicies, BucketPolicy};
use crate::prices;
use crate::progress::Progress;
use crate::state::State;
use crate::tiering::cost::Prices;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::BucketName;
use crate::tiering::policy::frequency::Census;
use crate::tiering::policy::guard::{Bench, Evidence};
use crate::tiering::usage::Tally;

/// Reads the whole ledger, a page at a time, and sums it up. Rows that change meanwhile are counted as they are met.
///
/// Fails where a table cannot be read, and on a row that is none: a sum without it would be wrong without a sign of it.
pub async fn gather(
    settings: &Settings,
    ledger: &Ledger,
    state: &State,
    now: DateTime<Utc>,
    progress: &Progress,
) -> Result<Report> {
    let prices = prices::of_region(&settings.aws.region)?;
    let guards = policies::guards(settings);
    let policies = BucketPolicies::from_settings(&settings.transition)?;
    let evidence = Evidence { last_ok_ingest: state.last_ok("ingest").await?, covered_since: None };
    let mut tally = Tally::new(Bench { now, guards: &guards, evidence, prices: &prices }, TOP_BUCKETS);
    let buckets = ledger.buckets().await?;
    progress.phase("reading", Some(buckets.len() as u64));
    for bucket in &buckets {
        let rows = match policies.of_bucket(bucket) {
            BucketPolicy::Recency(recency) => {
                each_row(ledger, bucket, |row| tally.add(row, recency.decide(row, now))).await?
            }
            // A rank is known only when the whole bucket is.
            BucketPolicy::Frequency(frequency) => {
                let mut census = Census::default();
                each_row(ledger, bucket, |row| census.count(row)).await?;
                let mut cut = census.cut(frequency);
                each_row(ledger, bucket, |row| {
                    let decision = cut.decide(row);
                    tally.add(row, Some(decision));
                })
                .await?
            }
        };
        progress.add_records(rows);
        progress.add_done(1);
    }
    let usage = tally.finish();
    Ok(Report {
        made_at: now,
        ledger_table: ledger.table().to_owned(),
        usage,
        prices_warning: warning(&prices, &settings.aws.region, now),
        prices,
        policy: policies.default_name().as_str().to_owned(),
        ingests: Run::all(&state.history("ingest").await?),
        transitions: Run::all(&state.history("transition").await?),
    })
}

/// Shows every row of a bucket, in the order of the keys, and gives their number.
async fn each_row(ledger: &Ledger, bucket: &BucketName, mut look: impl FnMut(&LedgerRow)) -> Result<u64> {
    let mut number = 0;
    let mut pages = ledger.rows(bucket);
    while let Some(page) = pages.next_page().await? {
        for row in page {
            look(&row);
            number += 1;
        }
    }
    Ok(number)
}

/// Why the figures may be off: another region's prices, or prices over a year old.
fn warning(prices: &Prices, region: &str, now: DateTime<Utc>) -> Option<String> {
    let Prices { region: of, as_of, .. } = prices;
    if of != region {
        return Some(format!(
            "there are none for {region}: these are those of {of}, so take the amounts as a rough guide"
        ));
    }
    prices.is_stale(now.date_naive()).then(|| format!("they are of {as_of}, over a year old"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_of_another_region_and_old_prices_are_named_as_such() {
        let of = |region: &str, secs| {
            let now = DateTime::from_timestamp(secs, 0).unwrap();
            warning(&prices::of_region(region).unwrap(), region, now)
        };
        assert_eq!(of("us-east-1", 1_790_000_000), None);
        assert!(of("us-east-1", 1_900_000_000).unwrap().contains("over a year old"));
        assert!(of("eu-nowhere-9", 1_790_000_000).unwrap().contains("those of us-east-1"));
    }
}
