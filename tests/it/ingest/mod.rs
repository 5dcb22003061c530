//! Ingest, as a user runs it and as its parts: exact counts against a model, whatever the logs hold and whatever happens.

mod counting;
mod crashes;
mod finding;
mod formats;
mod months;
mod terminal;
mod trouble;
mod writers;

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use tierd::app::App;
use tierd::jobs::ingest::{Ingest, Limits, LogSource, counting_rules};
use tierd::jobs::report::IngestReport;
use tierd::jobs::{AskedBy, Job, JobReport, Mode, Ran, ReconcileAfter, RunOptions, SweepScope};
use tierd::progress::Progress;
use tierd::state::quarantine::{QuarantineKind, Quarantined};
use tokio_util::sync::CancellationToken;

use crate::logs::{self, Counts};
use crate::world::World;

/// The commands line of every run: what follows the ingest is tested elsewhere.
const INGEST: [&str; 3] = ["job", "ingest", "--no-reconcile"];

/// For runs that die, or that others take over from.
const DYING: &str = "state.lease = \"5s\"\n";

/// A source of CloudTrail logs in `bucket`, and what else the configuration should say.
fn source(bucket: &str, more: &str) -> String {
    format!("[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{bucket}\"\nbucket_prefix = \"siuu\"\n{more}")
}

/// A world with one log bucket, `logs-NAME`. `dotted` are dotted keys for the configuration.
async fn world(test: &str, dotted: &str) -> (World, String) {
    world_at(crate::harness::endpoint(), test, dotted).await
}

async fn world_at(endpoint: &str, test: &str, dotted: &str) -> (World, String) {
    // The source names a bucket, and the bucket is named after the world.
    let mut world = World::steady_at(endpoint, test, &format!("{dotted}\n{}", source("not-yet-named", ""))).await;
    let bucket = world.bucket("logs").await;
    world.reconfigure(&format!("{dotted}\n{}", source(&bucket, ""))).await;
    (world, bucket)
}

async fn put_log(world: &World, bucket: &str, key: &str, content: Vec<u8>) {
    world.s3().put_object().bucket(bucket).key(key).body(content.into()).send().await.expect("a log file");
}

/// The whole ledger, as the model has it.
pub async fn counted(world: &World) -> Counts {
    let mut counts = BTreeMap::new();
    let mut pages = world
        .dynamodb()
        .scan()
        .table_name(&world.settings().ledger.table)
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    while let Some(item) = pages.next().await {
        let item = item.expect("the ledger");
        let text = |name: &str| item[name].as_s().expect("a string").clone();
        let count = item.get("count").and_then(|c| c.as_n().ok()).and_then(|n| n.parse().ok()).expect("a count");
        counts.insert((text("bucket_name"), text("object_key")), (count, logs::time(&text("event_time"))));
    }
    counts
}

/// Everything in the state table but leases and job runs.
async fn state_items(world: &World) -> Vec<std::collections::HashMap<String, AttributeValue>> {
    let answer = world.dynamodb().scan().table_name(&world.settings().state.table).send().await.expect("the state");
    let pk = |item: &std::collections::HashMap<String, AttributeValue>| item["pk"].as_s().expect("a string").clone();
    answer.items.unwrap_or_default().into_iter().filter(|i| pk(i) == "ingest" || pk(i) == "quarantine").collect()
}

async fn quarantine(world: &World) -> Vec<Quarantined> {
    world.app.state.quarantined(Some(QuarantineKind::LogFile)).await.expect("the quarantine")
}

/// Fails unless the report has these figures.
fn check_figures(report: &Value, figures: &[(&str, u64)]) {
    for (name, want) in figures {
        assert_eq!(report[name].as_u64(), Some(*want), "{name} in {report:#}");
    }
}

/// A run as the scheduler makes it.
async fn scheduled_run(world: &World) -> JobReport {
    match world.app.run_job(Job::Ingest, &by_schedule(), &CancellationToken::new()).await.expect("a run") {
        Ran::Done(report) => *report,
        other => panic!("{other:?}"),
    }
}

/// As the scheduler asks for a run.
fn by_schedule() -> RunOptions {
    RunOptions {
        mode: Mode::Real,
        reconcile_after: ReconcileAfter::No,
        asked_by: AskedBy::Slot("2026-01-01T00:00:00Z".to_owned()),
        sweep: SweepScope::Index,
        progress: Progress::default(),
    }
}

/// Ingest as a daemon has it, but under no lease.
fn ingest_of(app: &App) -> Ingest {
    let settings = &app.settings.ingest;
    let rules = counting_rules(&settings.count);
    let source = |source| LogSource::new(source, &rules, Vec::new(), app.s3.clone()).expect("a source");
    Ingest {
        state: app.state.clone(),
        ledger: app.ledger.clone(),
        sources: settings.source.iter().map(source).collect(),
        limits: Limits {
            lookback: settings.lookback,
            batch_files: settings.batch_files,
            batch_bytes: settings.batch_bytes,
            max_file_bytes: settings.max_file_bytes,
            concurrency: settings.concurrency,
            write_concurrency: app.settings.ledger.write_concurrency,
        },
    }
}

/// A run of a schedule, under no lease, at whatever time a test likes.
async fn run_at(app: &App, now: &str) -> IngestReport {
    ingest_of(app).run_once(&by_schedule(), logs::time(now), &CancellationToken::new()).await.expect("a run")
}
