//! Reports for the tests of the renderers.

use chrono::{DateTime, TimeDelta, Utc};

use super::Report;
use super::history::Run;
use crate::prices::PriceList;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};
use crate::tiering::policy::guard::{Bench, Evidence, Guards};
use crate::tiering::policy::recency::Recency;
use crate::tiering::storage_class::StorageClass;
use crate::tiering::usage::Tally;

const GIB: u64 = 1 << 30;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn report(rows: &[LedgerRow], ingests: Vec<Run>) -> Report {
    let list = PriceList::of_region("us-east-1");
    let guards = Guards::usual();
    let bench = Bench { now: now(), guards: &guards, evidence: Evidence::default(), prices: &list.prices };
    let mut tally = Tally::new(bench, 5);
    for row in rows {
        tally.add(row, Recency::default().decide(row, now()));
    }
    Report {
        made_at: now(),
        ledger_table: "file_access".to_owned(),
        usage: tally.finish(),
        prices_warning: None,
        prices: list.prices,
        policy: "recency".to_owned(),
        transitions: ingests.clone(),
        ingests,
    }
}

fn row(bucket: &str, i: u64) -> LedgerRow {
    let classes = [StorageClass::Standard, StorageClass::StandardIa, StorageClass::Glacier, StorageClass::Standard];
    let id = ObjectId::new(BucketName::new(bucket).unwrap(), ObjectKey::new(format!("key-{i:04}")).unwrap());
    LedgerRow {
        etag: Some(ETag::new("e").unwrap()),
        count: i % 3,
        event_time: Some(now() - TimeDelta::hours(i64::try_from(i * i % 9600).unwrap())),
        class: Some(classes[(i % 4) as usize]),
        size: Some(i * i * i * 1000),
        class_since: Some(now() - TimeDelta::days(200)),
        ..LedgerRow::new(id)
    }
}

fn run(day: i64, outcome: &str) -> Run {
    Run {
        started_at: now() - TimeDelta::days(day),
        outcome: outcome.to_owned(),
        duration_ms: 12_345,
        accesses: 1000,
        files: 10,
        moved: 5,
        bytes_moved: GIB,
        monthly_saving_usd: 1.5,
        skipped: vec![("versioned".to_owned(), 1200), ("changed".to_owned(), 3)],
        problem: None,
    }
}

/// Some buckets with objects of all kinds.
pub fn sample() -> Report {
    let rows: Vec<LedgerRow> = (0..8)
        .flat_map(|bucket| (1..200).map(move |i| row(&format!("siuu{bucket}-1700000000"), i * (bucket + 1))))
        .collect();
    report(&rows, vec![run(60, "ok"), run(30, "failed"), run(0, "partial")])
}

/// Nothing at all.
pub fn empty() -> Report {
    report(&[], Vec::new())
}

/// Names as somebody would choose them who means harm.
pub fn hostile() -> Report {
    let problem = "s3://b/<script>alert(1)</script>\u{202e}gpj.\u{0}\u{1b}[2J cannot be read".to_owned();
    let skipped = vec![("<img src=x onerror=alert(6)>,=1".to_owned(), 1)];
    let bad = Run { skipped, outcome: "\" onload=\"alert(2)".to_owned(), problem: Some(problem), ..run(1, "ok") };
    let mut report = report(&[row("-2-cmd", 100), row(&"x".repeat(255), 200)], vec![bad]);
    report.ledger_table = "<img src=x onerror=alert(3)>".to_owned();
    report.policy = "'><script>alert(4)</script>".to_owned();
    report.prices.source = "=cmd|' /C calc'!A0,\"</style><script>\u{1b}[31m".to_owned();
    report.prices_warning = Some("<script>alert(5)</script>".to_owned());
    report
}
