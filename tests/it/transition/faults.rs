//! Moves on a bad day: S3 that asks to slow down, copies that break off, rows that cannot be written, objects of which a copy
//! would lose something.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::operation::create_multipart_upload::CreateMultipartUploadOutput;
use aws_sdk_s3::operation::get_object_tagging::GetObjectTaggingOutput;
use aws_sdk_s3::operation::upload_part_copy::UploadPartCopyOutput;
use aws_sdk_s3::primitives::DateTime as SdkDateTime;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CopyPartResult, ObjectLockLegalHoldStatus, ObjectLockMode};
use tierd::ledger::{Change, Placement, Placing};
use tierd::tiering::object::{ETag, ObjectId};
use tokio::sync::mpsc;

use super::*;
use crate::proxy::{Fault, Proxy, Request};
use crate::world::eventually;

/// Copies in parts from 5 MiB on.
const IN_PARTS: &str = "transition.multipart_threshold = \"5MiB\"\ntransition.multipart_part_size = \"5MiB\"";
const LARGE: usize = 11 << 20;

/// A world behind a proxy.
async fn behind_proxy(test: &str, extra: &str) -> (Proxy, World) {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::steady_at(&proxy.endpoint, test, extra).await;
    (proxy, world)
}

/// Objects that are to be moved, and their rows.
async fn used_objects(world: &World, bucket: &str, keys: &[&str], size: usize) {
    for key in keys {
        world.put(bucket, key, size, "STANDARD").await;
        used(world, bucket, key, 5, 40).await;
    }
    job(world, "reconcile").await;
}

fn writes_rows(request: &Request, table: &str) -> bool {
    matches!(request.operation(), "UpdateItem" | "TransactWriteItems") && contains(&request.body, table)
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// No upload is left, and the object is as it was.
async fn check_untouched(world: &World, bucket: &str, key: &str, etag: &str) {
    let left = world.s3().list_multipart_uploads().bucket(bucket).send().await.unwrap();
    assert_eq!(left.uploads.unwrap_or_default().len(), 0);
    assert_eq!(
        (etag_of(world, bucket, key).await.as_str(), class_of(world, bucket, key).await.as_str()),
        (etag, "STANDARD")
    );
    let row = read_row(world, bucket, key).await.unwrap();
    assert_eq!((row["entity_tag_value"].as_str(), row["storage_class"].as_str()), (etag, "STANDARD"));
}

#[tokio::test]
async fn slow_down_halves_the_rate_of_its_prefix_and_the_run_completes() {
    let (proxy, world) = behind_proxy("traslow", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    used_objects(&world, &bucket, &["hot/a", "hot/b", "cool/a"], 10).await;
    let refusals = AtomicU32::new(2);
    proxy.fault(move |request| {
        let hot = request.method == "PUT" && request.path.contains("/hot/");
        let refused = hot && refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        refused.then(|| Fault::s3_error(503, "SlowDown"))
    });
    let output = world.run(&["job", "transition", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["moved"], &report["failed"]), (&json!(3), &json!(0)), "{report}");
    let log = String::from_utf8_lossy(&output.stderr);
    let slowed: Vec<&str> = log.lines().filter(|line| line.contains("transition.slowed_down")).collect();
    assert!(!slowed.is_empty() && slowed.iter().all(|line| line.contains(&format!("{bucket}/hot"))), "{log}");
    // The default is 3000 a second.
    assert!(slowed[0].contains("1500"), "{log}");
}

#[tokio::test]
async fn a_copy_in_parts_that_fails_leaves_no_parts_behind() {
    let (proxy, world) = behind_proxy("traabort", &format!("{IN_PARTS}\n{}", always("STANDARD_IA"))).await;
    let bucket = world.bucket("b").await;
    used_objects(&world, &bucket, &["large"], LARGE).await;
    let etag = etag_of(&world, &bucket, "large").await;
    proxy.take_requests();
    proxy.fault(|request| request.path.contains("partNumber=2").then(|| Fault::s3_error(403, "AccessDenied")));
    let (code, report) = world.run_json(&["job", "transition"]).await;
    assert_eq!((code, &report["failed"], &report["moved"]), (1, &json!(1), &json!(0)), "{report}");
    assert!(report["problems"][0].as_str().unwrap().contains("UploadPartCopy"), "{report}");
    let aborts = proxy.take_requests().iter().filter(|r| r.method == "DELETE" && r.path.contains("uploadId=")).count();
    assert_eq!(aborts, 1);
    check_untouched(&world, &bucket, "large", &etag).await;
}

#[tokio::test]
async fn a_copy_in_parts_is_given_up_when_the_program_ends_and_made_by_the_next_run() {
    let (proxy, world) = behind_proxy("trastop", &format!("{IN_PARTS}\n{}", always("STANDARD_IA"))).await;
    let bucket = world.bucket("b").await;
    used_objects(&world, &bucket, &["large"], LARGE).await;
    let etag = etag_of(&world, &bucket, "large").await;
    proxy.take_requests();
    let stop = CancellationToken::new();
    proxy.fault({
        let stop = stop.clone();
        move |request| {
            if request.method == "POST" && request.path.contains("uploads") {
                stop.cancel();
            }
            None
        }
    });
    let report = run_until(&world, &stop).await;
    assert_eq!((&report["moved"], &report["failed"]), (&json!(0), &json!(0)), "{report}");
    assert!(report["stopped"].is_string(), "{report}");
    let requests = proxy.take_requests();
    let count = |method, part| requests.iter().filter(|r| r.method == method && r.path.contains(part)).count();
    assert_eq!((count("PUT", "partNumber="), count("DELETE", "uploadId=")), (0, 1));
    check_untouched(&world, &bucket, "large", &etag).await;
    proxy.heal();
    assert_eq!(run_here(&world).await["moved"], 1);
}

#[tokio::test]
async fn too_many_failures_stop_a_run() {
    let (proxy, world) = behind_proxy("traerrors", &always("STANDARD_IA")).await;
    let place = [
        ("event_time", "2024-01-02T03:04:05Z"),
        ("entity_tag_value", "e"),
        ("storage_class", "STANDARD"),
        ("size", "10"),
        ("class_since", "2024-01-02T03:04:05Z"),
    ];
    let bucket = world.bucket("b").await;
    for i in 0..60 {
        row(&world, &bucket, &format!("{i:02}"), &place).await;
    }
    proxy.take_requests();
    proxy.fault(|request| (request.method == "HEAD").then_some(Fault::Answer(403, "application/xml", "")));
    let (code, report) = world.run_json(&["job", "transition"]).await;
    assert_eq!((code, &report["moved"]), (1, &json!(0)), "{report}");
    assert!(report["stopped"].as_str().unwrap().contains("max_error_fraction"), "{report}");
    // 20 give a verdict, and those that have begun (as many as `concurrency`, and the next ones) are finished.
    let failed = report["failed"].as_u64().unwrap();
    let heads = proxy.take_requests().iter().filter(|r| r.method == "HEAD").count() as u64;
    assert!((20..60).contains(&failed) && failed == heads, "{failed} failed, {heads} heads: {report}");
}

#[tokio::test]
async fn an_object_under_a_key_of_the_customer_stays_and_the_reason_is_said() {
    let (proxy, world) = behind_proxy("trassec", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    used_objects(&world, &bucket, &["secret", "open"], 10).await;
    proxy.take_requests();
    // As S3 answers who has not the key.
    proxy.fault(|request| match (request.method.as_str(), request.path.contains("/secret")) {
        ("HEAD", true) => Some(Fault::Answer(400, "application/xml", "")),
        ("GET", true) => Some(Fault::s3_error(400, "InvalidRequest")),
        _ => None,
    });
    let report = job(&world, "transition").await;
    assert_eq!((&report["moved"], &report["skipped"]), (&json!(1), &json!({"customer-key": 1})), "{report}");
    assert!(proxy.take_requests().iter().all(|r| r.method != "PUT" || !r.path.contains("/secret")));
}

#[tokio::test]
async fn rows_are_written_together_and_one_by_one_where_one_has_changed() {
    let (proxy, world) = behind_proxy("tratogether", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    let keys = ["a+b %20?#;한글", "b", "c"];
    used_objects(&world, &bucket, &keys, 10).await;
    let id = |key: &str| format!("s3://{bucket}/{key}").parse::<ObjectId>().unwrap();
    let etag = ETag::new(etag_of(&world, &bucket, "b").await).unwrap();
    let placing = |key: &str, expected: &ETag| Placing {
        id: id(key),
        expected: expected.clone(),
        now_at: Placement {
            etag: etag.clone(),
            class: StorageClass::GlacierIr,
            size: 10,
            // Before the reconcile begins, which takes a row of the same second for newer than its listing.
            class_since: tierd::clock::now_secs() - chrono::TimeDelta::minutes(1),
        },
    };
    let class = async |key: &str| read_row(&world, &bucket, key).await.unwrap()["storage_class"].clone();

    // All, or none.
    let other = ETag::new("other").unwrap();
    let ledger = &world.app.ledger;
    ledger.place_all(&[placing(keys[0], &etag), placing("b", &other)]).await.unwrap_err();
    assert_eq!((class(keys[0]).await.as_str(), class("b").await.as_str()), ("STANDARD", "STANDARD"));
    ledger.place_all(&[placing(keys[0], &etag), placing("b", &etag)]).await.unwrap();
    assert_eq!((class(keys[0]).await.as_str(), class("b").await.as_str()), ("GLACIER_IR", "GLACIER_IR"));
    ledger.place_all(&[placing("no such row", &etag), placing("c", &etag)]).await.unwrap_err();
    assert_eq!(read_row(&world, &bucket, "no such row").await, None);
    assert_eq!(ledger.place(&id("c"), Some(&other), &placing("c", &etag).now_at).await.unwrap(), Change::Refused);

    // A move whose rows cannot be written together writes them all the same.
    job(&world, "reconcile").await;
    proxy.take_requests();
    let cancelled = r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","message":"no"}"#;
    proxy.fault(move |request| {
        (request.operation() == "TransactWriteItems").then_some(Fault::Answer(
            400,
            "application/x-amz-json-1.0",
            cancelled,
        ))
    });
    assert_eq!(job(&world, "transition").await["moved"], 3);
    for key in keys {
        let row = read_row(&world, &bucket, key).await.unwrap();
        assert_eq!((row["storage_class"].as_str(), row["count"].as_str()), ("STANDARD_IA", "5"), "{key}");
    }
}

#[tokio::test]
async fn a_crash_between_copy_and_row_is_repaired_and_no_history_is_lost() {
    let (proxy, world) = behind_proxy("tracrash", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    used_objects(&world, &bucket, &["a", "b"], 10).await;
    let before = [read_row(&world, &bucket, "a").await.unwrap(), read_row(&world, &bucket, "b").await.unwrap()];
    let (sender, mut writing) = mpsc::unbounded_channel();
    let table = world.settings().ledger.table.clone();
    proxy.fault(move |request| {
        // Nothing is written, as if the process had died a moment earlier.
        writes_rows(request, &table).then(|| {
            sender.send(()).unwrap();
            Fault::Answer(500, "application/json", "{}")
        })
    });
    let mut run = world.tierd(&["job", "transition", "--json"]).spawn().unwrap();
    writing.recv().await.unwrap();
    // The copies of both may not be made yet; the crash comes when they are.
    eventually(Duration::from_secs(60), "both copies", async || {
        let both = [class_of(&world, &bucket, "a").await, class_of(&world, &bucket, "b").await];
        (both == ["STANDARD_IA", "STANDARD_IA"]).then_some(())
    })
    .await;
    run.kill().await.unwrap();
    for (key, before) in ["a", "b"].into_iter().zip(&before) {
        assert_eq!(read_row(&world, &bucket, key).await.as_ref(), Some(before));
    }
    proxy.heal_after_death().await;

    let repaired = job(&world, "reconcile").await;
    assert_eq!((&repaired["refreshed"], &repaired["dropped"]), (&json!(2), &json!(0)), "{repaired}");
    for (key, before) in ["a", "b"].into_iter().zip(&before) {
        let row = read_row(&world, &bucket, key).await.unwrap();
        assert_eq!(row["storage_class"], "STANDARD_IA");
        for kept in ["count", "event_time", "last_batch", "entity_tag_value", "size"] {
            assert_eq!(row[kept], before[kept], "{key}: {kept}");
        }
    }
}

#[tokio::test]
async fn what_a_run_that_died_has_moved_is_not_moved_again() {
    let (proxy, world) = behind_proxy("traresume", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    used_objects(&world, &bucket, &["a"], 10).await;
    let table = world.settings().ledger.table.clone();
    let lost = AtomicBool::new(false);
    proxy.fault(move |request| {
        let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}"#;
        (writes_rows(request, &table) && !lost.swap(true, Ordering::Relaxed)).then_some(Fault::Answer(
            400,
            "application/x-amz-json-1.0",
            denied,
        ))
    });
    let (code, first) = world.run_json(&["job", "transition"]).await;
    assert_eq!((code, &first["failed"]), (1, &json!(1)), "{first}");
    proxy.take_requests();
    let second = job(&world, "transition").await;
    assert_eq!((&second["moved"], &second["skipped"]), (&json!(0), &json!({"already-there": 1})), "{second}");
    assert!(proxy.take_requests().iter().all(|r| r.method != "PUT"), "a copy that changes nothing was sent");
    let row = read_row(&world, &bucket, "a").await.unwrap();
    assert_eq!((row["storage_class"].as_str(), row["count"].as_str()), ("STANDARD_IA", "5"));
}

const HELD_UNTIL: i64 = 4_000_000_000;

/// The rules of a bucket that keeps versions, with one object in it that is locked and has a checksum.
fn locked_rules(size: i64) -> Vec<Rule> {
    let mut rules = bucket_rules("before");
    rules.truncate(1);
    rules.push(
        mock!(aws_sdk_s3::Client::get_bucket_versioning)
            .then_output(|| GetBucketVersioningOutput::builder().status(BucketVersioningStatus::Enabled).build()),
    );
    rules.push(mock!(aws_sdk_s3::Client::head_object).then_output(move || {
        HeadObjectOutput::builder()
            .e_tag("\"before\"")
            .version_id("v1")
            .content_length(size)
            .object_lock_mode(ObjectLockMode::Governance)
            .object_lock_retain_until_date(SdkDateTime::from_secs(HELD_UNTIL))
            .object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On)
            .checksum_crc32_c("yZRlqg==")
            .checksum_type(ChecksumType::FullObject)
            .build()
    }));
    rules
}

/// A world whose ledger has the one object of [`locked_rules`].
async fn locked_world(versions: &str, size: i64, rules: &[Rule]) -> World {
    let extra = format!("transition.versioned_buckets = \"{versions}\"\n{IN_PARTS}\n{}", always("STANDARD_IA"));
    let mut world = World::steady("tralock", &extra).await;
    let place = [
        ("event_time", "2024-01-02T03:04:05Z"),
        ("entity_tag_value", "before"),
        ("storage_class", "STANDARD"),
        ("size", &size.to_string()),
        ("class_since", "2024-01-02T03:04:05Z"),
    ];
    row(&world, "bucket", "key", &place).await;
    let client = mock_client!(aws_sdk_s3, RuleMode::MatchAny, rules);
    world.app.s3 = S3::new(client.clone(), client);
    world
}

#[tokio::test]
async fn a_copy_carries_lock_and_checksum() {
    let copy = mock!(aws_sdk_s3::Client::copy_object)
        .match_requests(|copy| {
            copy.object_lock_mode() == Some(&ObjectLockMode::Governance)
                && copy.object_lock_retain_until_date() == Some(&SdkDateTime::from_secs(HELD_UNTIL))
                && copy.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On)
                && copy.checksum_algorithm() == Some(&ChecksumAlgorithm::Crc32C)
                && copy.copy_source() == Some("bucket/key?versionId=v1")
        })
        .then_output(copied);
    let mut rules = locked_rules(10);
    rules.push(copy.clone());
    let world = locked_world("copy", 10, &rules).await;
    let report = run_here(&world).await;
    assert_eq!((&report["moved"], copy.num_calls()), (&json!(1), 1), "{report}");
}

#[tokio::test]
async fn a_copy_in_parts_carries_lock_and_checksum_type() {
    let begin = mock!(aws_sdk_s3::Client::create_multipart_upload)
        .match_requests(|begin| {
            begin.object_lock_mode() == Some(&ObjectLockMode::Governance)
                && begin.object_lock_retain_until_date() == Some(&SdkDateTime::from_secs(HELD_UNTIL))
                && begin.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On)
                && begin.checksum_algorithm() == Some(&ChecksumAlgorithm::Crc32C)
                && begin.checksum_type() == Some(&ChecksumType::FullObject)
        })
        .then_output(|| CreateMultipartUploadOutput::builder().upload_id("u").build());
    let part = mock!(aws_sdk_s3::Client::upload_part_copy).then_output(|| {
        let result = CopyPartResult::builder().e_tag("\"part\"").build();
        UploadPartCopyOutput::builder().copy_part_result(result).build()
    });
    let complete = mock!(aws_sdk_s3::Client::complete_multipart_upload)
        .match_requests(|complete| complete.checksum_type() == Some(&ChecksumType::FullObject))
        .then_output(|| CompleteMultipartUploadOutput::builder().e_tag("\"after-3\"").build());
    let tags = mock!(aws_sdk_s3::Client::get_object_tagging)
        .then_output(|| GetObjectTaggingOutput::builder().set_tag_set(Some(Vec::new())).build().unwrap());
    let mut rules = locked_rules(LARGE as i64);
    rules.extend([begin.clone(), part.clone(), complete.clone(), tags]);
    let world = locked_world("copy", LARGE as i64, &rules).await;
    let report = run_here(&world).await;
    assert_eq!((&report["moved"], begin.num_calls(), part.num_calls()), (&json!(1), 1, 3), "{report}");
    assert_eq!(read_row(&world, "bucket", "key").await.unwrap()["entity_tag_value"], "after-3");
}

#[tokio::test]
async fn a_locked_version_that_was_to_be_deleted_is_left_and_not_copied() {
    let copy = mock!(aws_sdk_s3::Client::copy_object).then_output(copied);
    let mut rules = locked_rules(10);
    rules.push(copy.clone());
    let world = locked_world("copy-and-delete-previous", 10, &rules).await;
    let report = run_here(&world).await;
    assert_eq!((&report["moved"], &report["skipped"]), (&json!(0), &json!({"locked": 1})), "{report}");
    assert_eq!(copy.num_calls(), 0);
}
