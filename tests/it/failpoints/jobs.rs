//! Deaths in the jobs, and around them.

use chrono::TimeDelta;
use serde_json::json;
use tierd::state::Written;
use tierd::tiering::object::ObjectId;

use super::{PATIENCE, daemon, dies_at, job_ends, stop};
use crate::import::{old_row, old_table};
use crate::logs::{self, Counts, Event, simple_key};
use crate::reconcile::row;
use crate::transition::adaptive;
use crate::world::{World, eventually};

const INGEST: [&str; 3] = ["job", "ingest", "--no-reconcile"];
const NO_GUARDS: &str = "transition.min_object_size = 0\ntransition.respect_minimum_duration = false\n\
    transition.require_saving = false\ntransition.require_recent_ingest = \"0d\"\n";

/// A world with a bucket of logs that tell of `counts`.
async fn with_logs(point: &str, extra: &str) -> (World, String, Counts) {
    let mut world = super::world(point, "").await;
    let bucket = world.bucket("logs").await;
    world.reconfigure(&with_source(extra, &bucket)).await;
    let mut counts = Counts::new();
    for file in 0..3 {
        let events: Vec<Event> = (0..20)
            .map(|i| {
                Event::put(
                    file * 100 + i,
                    &format!("2026-03-0{}T10:00:{i:02}Z", file + 1),
                    "siuu1",
                    &format!("k{}", i % 7),
                )
            })
            .collect();
        logs::count(&mut counts, &events);
        let key = simple_key(&format!("2026-03-0{}T10:05:00Z", file + 1), &format!("f{file}"));
        put(&world, &bucket, &key, logs::file(&events)).await;
    }
    (world, bucket, counts)
}

fn with_source(extra: &str, bucket: &str) -> String {
    format!("ingest.batch_files = 2\n{extra}\n[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{bucket}\"\n")
}

async fn put(world: &World, bucket: &str, key: &str, body: Vec<u8>) {
    world.s3().put_object().bucket(bucket).key(key).body(body.into()).send().await.expect("an object");
}

pub async fn ingest(point: &str) {
    let (world, _, counts) = with_logs(point, "").await;
    dies_at(&world, &INGEST, point).await;
    assert_eq!(job_ends(&world, &INGEST).await, 0);
    assert_eq!(crate::ingest::counted(&world).await, counts);
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["files"].as_u64(), report["files_skipped"].as_u64()), (0, Some(0), Some(3)), "{report:#}");
    assert_eq!(crate::ingest::counted(&world).await, counts, "each file once");
}

pub async fn unreadable_log(point: &str) {
    let (world, bucket, counts) = with_logs(point, "").await;
    let key = simple_key("2026-03-01T09:00:00Z", "bad");
    put(&world, &bucket, &key, b"no gzip".to_vec()).await;
    dies_at(&world, &INGEST, point).await;
    job_ends(&world, &INGEST).await;
    assert_eq!(crate::ingest::counted(&world).await, counts);
    let set_aside = world.app.state.quarantined(None).await.unwrap();
    assert!(matches!(&set_aside[..], [only] if only.id.contains("_bad.json.gz")), "{set_aside:?}");
    assert_eq!(job_ends(&world, &INGEST).await, 0, "it does not trouble later runs");
}

pub async fn retry_log(point: &str) {
    let (mut world, bucket, counts) = with_logs(point, "ingest.max_file_bytes = \"600B\"").await;
    job_ends(&world, &INGEST).await;
    assert_eq!(world.app.state.quarantined(None).await.unwrap().len(), 3, "all are too large");
    world.reconfigure(&with_source("", &bucket)).await;
    assert_eq!(world.run(&["quarantine", "retry"]).await.status.code(), Some(0));
    dies_at(&world, &INGEST, point).await;
    assert_eq!(job_ends(&world, &INGEST).await, 0);
    assert_eq!(crate::ingest::counted(&world).await, counts);
    assert_eq!(world.app.state.quarantined(None).await.unwrap(), []);
}

pub async fn reconcile(point: &str) {
    let world = super::world(point, "").await;
    let bucket = world.bucket("siuu").await;
    for key in ["stays", "goes", "changes"] {
        let used = [("count", "3"), ("event_time", "2026-01-01T00:00:00Z"), ("last_batch", "1")];
        row(&world, &bucket, key, &used).await;
    }
    for key in ["stays", "changes"] {
        world.put(&bucket, key, 100, "STANDARD_IA").await;
    }
    let job = ["job", "reconcile"];
    dies_at(&world, &job, point).await;
    assert_eq!(job_ends(&world, &job).await, 0);
    assert!(world.ledger_row(&bucket, "goes").await.is_none());
    for key in ["stays", "changes"] {
        let row = world.ledger_row(&bucket, key).await.expect("a row");
        assert_eq!(row["storage_class"].as_s().unwrap(), "STANDARD_IA");
        assert_eq!(row["count"].as_n().unwrap(), "3");
    }
}

/// An object that the policy wants in STANDARD_IA, with a row that says all of it.
async fn idle_object(world: &World, body: Vec<u8>) -> ObjectId {
    let bucket = world.bucket("siuu").await;
    let request = world.s3().put_object().bucket(&bucket).key("a b+c").body(body.into()).content_type("text/x-mine");
    request.metadata("mine", "a value").tagging("team=blue").send().await.expect("an object");
    let used = [("count", "1"), ("event_time", "2026-01-01T00:00:00Z"), ("last_batch", "1")];
    row(world, &bucket, "a b+c", &used).await;
    assert_eq!(job_ends(world, &["job", "reconcile"]).await, 0);
    format!("s3://{bucket}/a b+c").parse().unwrap()
}

/// It lies where it should, with all that it had, and the ledger knows.
async fn is_moved(world: &World, id: &ObjectId, body: &[u8]) {
    let got = world.s3().get_object().bucket(id.bucket.as_str()).key(id.key.as_str()).send().await.unwrap();
    assert_eq!(got.storage_class.as_ref().map(|class| class.as_str()), Some("STANDARD_IA"));
    assert_eq!(got.content_type.as_deref(), Some("text/x-mine"));
    assert_eq!(got.metadata.as_ref().and_then(|m| m.get("mine")).map(String::as_str), Some("a value"));
    let etag = got.e_tag.clone().unwrap();
    assert!(got.body.collect().await.unwrap().to_vec() == body, "its bytes");
    assert_eq!(world.app.s3.tags(id).await.unwrap(), [("team".to_owned(), "blue".to_owned())]);
    let row = world.ledger_row(id.bucket.as_str(), id.key.as_str()).await.expect("a row");
    assert_eq!(row["storage_class"].as_s().unwrap(), "STANDARD_IA");
    assert_eq!(row["entity_tag_value"].as_s().unwrap(), etag.trim_matches('"'));
    assert_eq!(row["count"].as_n().unwrap(), "1");
}

async fn move_of(point: &str, extra: &str, body: Vec<u8>) {
    let world =
        super::world(point, &format!("{NO_GUARDS}{extra}[[transition.recency]]\nclass = \"STANDARD_IA\"\n")).await;
    let id = idle_object(&world, body.clone()).await;
    let job = ["job", "transition"];
    dies_at(&world, &job, point).await;
    assert_eq!(job_ends(&world, &job).await, 0);
    is_moved(&world, &id, &body).await;
    let (_, report) = world.run_json(&job).await;
    assert_eq!(report["moved"].as_u64(), Some(0), "once is enough: {report:#}");
}

pub async fn move_object(point: &str) {
    move_of(point, "", b"some bytes".to_vec()).await;
}

pub async fn move_in_parts(point: &str) {
    let body = (0..6_000_000_u32).map(|i| (i % 251) as u8).collect();
    move_of(point, "transition.multipart_threshold = \"5MiB\"\ntransition.multipart_part_size = \"5MiB\"\n", body)
        .await;
}

pub async fn apply(point: &str) {
    let steps = format!("{NO_GUARDS}[[transition.recency]]\nclass = \"STANDARD_IA\"\n");
    let world = super::world(&format!("{point} apply"), &steps).await;
    let body = b"some bytes".to_vec();
    let id = idle_object(&world, body.clone()).await;
    let plan = world.dir.path().join("plan.jsonl").display().to_string();
    assert_eq!(world.run(&["plan", "--out", &plan]).await.status.code(), Some(0));
    dies_at(&world, &["apply", &plan], point).await;
    // The object is not what was planned any more, and lies where it was to lie: nothing is done twice.
    assert_eq!(job_ends(&world, &["apply", &plan]).await, 0);
    assert_eq!(job_ends(&world, &["job", "reconcile"]).await, 0);
    is_moved(&world, &id, &body).await;
}

pub async fn learn(point: &str) {
    let (world, bucket) = adaptive::world_of_200_days(&super::name_of(point), adaptive::SETTINGS).await;
    let job = ["job", "transition"];
    dies_at(&world, &job, point).await;
    assert_eq!(job_ends(&world, &job).await, 0);
    assert!(adaptive::classes(&world, &bucket, "cold").await.iter().all(|class| class != "STANDARD"));
    assert_eq!(adaptive::classes(&world, &bucket, "hot").await, ["STANDARD"; 6]);
    assert_eq!(adaptive::kept(&world).await, 2, "the bucket's shadows, and the open idle times");
    let (_, again) = world.run_json(&job).await;
    assert_eq!((&again["planned"], &again["failed"]), (&json!(0), &json!(0)), "{again}");
}

pub async fn import(point: &str) {
    const TIME: &str = "2023-05-06T07:08:09Z";
    let world = super::world(point, "ledger.write_concurrency = 2\n").await;
    let (bucket, table) = (world.bucket("siuu").await, old_table(&world).await);
    for i in 1..=5_usize {
        let etag = world.put(&bucket, &format!("k{i}"), i, "STANDARD").await;
        old_row(&world, &table, &etag, i.try_into().unwrap(), Some(TIME)).await;
    }
    let import = ["ledger", "import", "--table", &table, "--bucket", &bucket];
    dies_at(&world, &import, point).await;
    assert_eq!(job_ends(&world, &import).await, 0);
    for i in 1..=5 {
        let row = world.ledger_row(&bucket, &format!("k{i}")).await.expect("a row");
        assert_eq!(row["count"].as_n().unwrap(), &i.to_string(), "counted once");
        assert_eq!(row["event_time"].as_s().unwrap(), TIME);
    }
}

pub async fn schedule(point: &str) {
    const KEY: &str = "reconcile.schedule";
    // Due once, long ago: the next time is out of the test's sight.
    let config = "provision.enabled = false\nrestore.enabled = false\ntransition.enabled = false\n\
        reconcile.schedule = \"cron(0 0 1 1 ? *)\"\n";
    let world = super::world(point, config).await;
    let state = &world.app.state;
    let long_ago = tierd::clock::now() - TimeDelta::days(800);
    let _new: Written = state.set_baseline(KEY, long_ago).await.unwrap();
    dies_at(&world, &["run"], point).await;
    let daemon = daemon(&world).await;
    let slot = eventually(PATIENCE, "the slot is finished", async || {
        state.last_slot(KEY).await.unwrap().filter(|slot| slot.finished && slot.attempts > 0)
    })
    .await;
    assert_eq!(slot.attempts, if point == "schedule.slot-finished" { 1 } else { 2 });
    assert!(state.last_ok("reconcile").await.unwrap().is_some());
    stop(daemon).await;
    let held: Vec<_> = state.leases().await.unwrap().into_iter().filter(|lease| lease.holder.is_some()).collect();
    // The dead one's lease of the schedule is taken up only when something is due.
    assert!(
        held.iter().all(|lease| point == "schedule.slot-finished" && lease.name.starts_with("schedule#")),
        "{held:?}"
    );
}
