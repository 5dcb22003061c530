//! Transition against the emulator: what is moved, what is not, and that nothing is lost by it. What the emulator cannot
//! answer (412, 409) is answered by mocks, and what it ignores (conditions) is read off the requests.

pub mod adaptive;
mod archives;
mod faults;
mod months;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::operation::copy_object::{CopyObjectError, CopyObjectOutput};
use aws_sdk_s3::operation::get_bucket_ownership_controls::GetBucketOwnershipControlsOutput;
use aws_sdk_s3::operation::get_bucket_versioning::GetBucketVersioningOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, CopyObjectResult, ObjectCannedAcl,
    ObjectOwnership, OwnershipControls, OwnershipControlsRule, ServerSideEncryption, VersioningConfiguration,
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::ErrorMetadata;
use futures::StreamExt;
use serde_json::{Value, json};
use tierd::jobs::{AskedBy, Job, Mode, Ran, ReconcileAfter, RunOptions, SweepScope};
use tierd::progress::Progress;
use tierd::s3::S3;
use tierd::tiering::storage_class::{Move, StorageClass};
use tokio_util::sync::CancellationToken;

use crate::reconcile::{read_row, row};
use crate::world::World;

/// Every guard down: what the policy wants is what happens.
const NO_GUARDS: &str = "
transition.min_object_size = 0
transition.respect_minimum_duration = false
transition.require_saving = false
transition.require_recent_ingest = \"0d\"
transition.concurrency = 4
ledger.write_concurrency = 4
";

const AWKWARD: [&str; 12] = [
    "a+b %20?#;한글",
    "\u{ff61}x",
    "\u{10000}x",
    "\u{1f600}",
    "a+b",
    "a b",
    "a%20b",
    "a%2Bb",
    "e\u{301}é",
    "//a/../b/./c",
    "!-_.*'()&$@=;:,",
    "quote\"<>\\^`{}|~[]",
];

/// All objects into one class.
fn always(class: &str) -> String {
    format!("{NO_GUARDS}\n[[transition.recency]]\nclass = \"{class}\"\n")
}

/// A row as ingest leaves it.
async fn used(world: &World, bucket: &str, key: &str, count: u64, days_ago: i64) -> String {
    let at = tierd::clock::rfc3339(tierd::clock::now() - chrono::TimeDelta::days(days_ago));
    row(world, bucket, key, &[("count", &count.to_string()), ("event_time", &at), ("last_batch", "1")]).await;
    at
}

async fn job(world: &World, name: &str) -> Value {
    let (code, report) = world.run_json(&["job", name]).await;
    assert_eq!(code, 0, "{report}");
    report
}

async fn class_of(world: &World, bucket: &str, key: &str) -> String {
    let head = world.s3().head_object().bucket(bucket).key(key).send().await.expect("an object");
    head.storage_class.map_or("STANDARD".to_owned(), |class| class.as_str().to_owned())
}

async fn bytes_of(world: &World, bucket: &str, key: &str) -> Vec<u8> {
    let object = world.s3().get_object().bucket(bucket).key(key).send().await.expect("an object");
    object.body.collect().await.expect("its bytes").to_vec()
}

async fn etag_of(world: &World, bucket: &str, key: &str) -> String {
    let head = world.s3().head_object().bucket(bucket).key(key).send().await.expect("an object");
    head.e_tag.expect("an ETag").trim_matches('"').to_owned()
}

#[tokio::test]
async fn every_class_goes_to_every_class_that_it_can_go_to() {
    let overrides: String = StorageClass::MANAGED
        .iter()
        .enumerate()
        .map(|(i, class)| {
            format!("[[transition.bucket]]\nprefix = \"c{i}-\"\n[[transition.bucket.recency]]\nclass = \"{class}\"\n")
        })
        .collect();
    let world = World::steady("traclasses", &format!("{NO_GUARDS}{overrides}")).await;
    let sources = StorageClass::MANAGED.into_iter().chain([StorageClass::ReducedRedundancy]);
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    let mut moved = 0;
    for (i, to) in StorageClass::MANAGED.into_iter().enumerate() {
        let bucket = world.bucket(&format!("c{i}")).await;
        for from in sources.clone() {
            world.put(&bucket, from.as_str(), 100, from.as_str()).await;
            used(&world, &bucket, from.as_str(), 1, 1).await;
            match from.move_to(to) {
                Move::Copy => moved += 1,
                Move::None => {}
                Move::RestoreThenCopy => *expected.entry("archived").or_default() += 1,
                Move::Impossible => *expected.entry("impossible-move").or_default() += 1,
            }
        }
    }
    job(&world, "reconcile").await;
    let report = job(&world, "transition").await;
    assert_eq!((&report["moved"], &report["skipped"]), (&json!(moved), &json!(expected)), "{report}");
    for (i, to) in StorageClass::MANAGED.into_iter().enumerate() {
        let bucket = world.named(&format!("c{i}"));
        for from in sources.clone() {
            let class = if from.move_to(to) == Move::Copy { to } else { from };
            assert_eq!(class_of(&world, &bucket, from.as_str()).await, class.as_str(), "{from} to {to}");
            let row = read_row(&world, &bucket, from.as_str()).await.unwrap();
            assert_eq!(row["storage_class"], class.as_str(), "{from} to {to}");
        }
    }
    // Requests that change nothing are not sent.
    let again = job(&world, "transition").await;
    assert_eq!((&again["planned"], &again["moved"]), (&json!(0), &json!(0)), "{again}");
}

/// Everything about an object that a move must not change, but for its ETag.
async fn likeness(world: &World, bucket: &str, key: &str) -> Value {
    let head = world.s3().head_object().bucket(bucket).key(key).send().await.expect("an object");
    let tags = world.s3().get_object_tagging().bucket(bucket).key(key).send().await.expect("tags");
    let acl = world.s3().get_object_acl().bucket(bucket).key(key).send().await.expect("an ACL");
    let mut tags: Vec<(String, String)> = tags.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect();
    tags.sort();
    let mut grants: Vec<String> = acl.grants.unwrap_or_default().iter().map(|grant| format!("{grant:?}")).collect();
    grants.sort();
    let metadata: BTreeMap<String, String> = head.metadata.clone().unwrap_or_default().into_iter().collect();
    json!({
        "size": head.content_length,
        "type": head.content_type,
        "cache": head.cache_control,
        "disposition": head.content_disposition,
        "encoding": head.content_encoding,
        "language": head.content_language,
        "expires": head.expires_string,
        "redirect": head.website_redirect_location,
        "encryption": head.server_side_encryption.map(|sse| sse.as_str().to_owned()),
        "key": head.ssekms_key_id,
        "bucket_key": head.bucket_key_enabled,
        "metadata": metadata,
        "tags": tags,
        "grants": grants,
    })
}

/// An object with everything on it.
async fn put_rich(world: &World, bucket: &str, key: &str, body: Vec<u8>) {
    let expires = aws_sdk_s3::primitives::DateTime::from_secs(1_900_000_000);
    world
        .s3()
        .put_object()
        .bucket(bucket)
        .key(key)
        .body(body.into())
        .content_type("text/x-odd; charset=utf-8")
        .cache_control("max-age=60")
        .content_disposition("attachment; filename=\"a b.txt\"")
        .content_encoding("identity")
        .content_language("ko")
        .expires(expires)
        .metadata("owner", "somebody")
        .metadata("two-words", "a b, c")
        .tagging("a%20b=1%2B2%3D3&path=x%2Fy%3A%40z&empty=")
        .website_redirect_location("/elsewhere")
        .server_side_encryption(ServerSideEncryption::AwsKms)
        .ssekms_key_id("arn:aws:kms:ap-northeast-1:123456789012:key/11111111-2222-3333-4444-555555555555")
        .bucket_key_enabled(true)
        .acl(ObjectCannedAcl::PublicRead)
        .send()
        .await
        .expect("an object");
}

#[tokio::test]
async fn a_move_keeps_everything() {
    let world = World::steady("trakeep", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    for key in AWKWARD {
        put_rich(&world, &bucket, key, key.as_bytes().to_vec()).await;
        used(&world, &bucket, key, 5, 40).await;
    }
    let before = likeness(&world, &bucket, AWKWARD[0]).await;
    assert_eq!(before["redirect"], "/elsewhere");
    assert_eq!(before["grants"].as_array().unwrap().len(), 2, "{before}");
    job(&world, "reconcile").await;
    let report = job(&world, "transition").await;
    assert_eq!(report["moved"], AWKWARD.len(), "{report}");
    for key in AWKWARD {
        let mut after = likeness(&world, &bucket, key).await;
        after["size"] = before["size"].clone();
        assert_eq!(after, before, "{key}");
        assert_eq!(bytes_of(&world, &bucket, key).await, key.as_bytes());
        assert_eq!(class_of(&world, &bucket, key).await, "STANDARD_IA", "{key}");
    }
}

#[tokio::test]
async fn a_copy_in_parts_keeps_everything() {
    let extra = "transition.multipart_threshold = \"5MiB\"\ntransition.multipart_part_size = \"5MiB\"";
    let world = World::steady("traparts", &format!("{extra}\n{}", always("GLACIER_IR"))).await;
    let bucket = world.bucket("b").await;
    let key = AWKWARD[0];
    let body: Vec<u8> = (0..12_345_678_u32).map(|i| (i % 251) as u8).collect();
    put_rich(&world, &bucket, key, body.clone()).await;
    world.put(&bucket, "just small enough", 5 << 20, "STANDARD").await;
    let at = used(&world, &bucket, key, 5, 40).await;
    used(&world, &bucket, "just small enough", 1, 1).await;
    // The emulator forgets the bucket key of what is uploaded in parts; that it is sent is seen in another test.
    let look = async || {
        let mut likeness = likeness(&world, &bucket, key).await;
        likeness["bucket_key"] = Value::Null;
        likeness
    };
    let before = look().await;
    job(&world, "reconcile").await;
    let report = job(&world, "transition").await;
    assert_eq!((&report["moved"], &report["bytes_moved"]), (&json!(2), &json!(12_345_678 + (5 << 20))), "{report}");
    assert_eq!(look().await, before);
    assert!(bytes_of(&world, &bucket, key).await == body, "the bytes are others");
    let etag = etag_of(&world, &bucket, key).await;
    assert!(etag.ends_with("-3"), "{etag}");
    assert!(!etag_of(&world, &bucket, "just small enough").await.contains('-'));
    let row = read_row(&world, &bucket, key).await.unwrap();
    assert_eq!((&row["entity_tag_value"], row["storage_class"].as_str()), (&etag, "GLACIER_IR"));
    assert_eq!((row["count"].as_str(), &row["event_time"], row["last_batch"].as_str()), ("5", &at, "1"));
    let left = world.s3().list_multipart_uploads().bucket(&bucket).send().await.unwrap();
    assert_eq!(left.uploads.unwrap_or_default().len(), 0);
}

#[tokio::test]
async fn the_ledger_follows_an_object_whose_etag_changes() {
    let world = World::steady("traetag", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    let s3 = world.s3();
    let upload = s3.create_multipart_upload().bucket(&bucket).key("k").send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 << 20), (2, 100)] {
        let part = s3.upload_part().bucket(&bucket).key("k").upload_id(&upload).part_number(number);
        let part = part.body(vec![b'x'; size].into()).send().await.unwrap();
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    s3.complete_multipart_upload()
        .bucket(&bucket)
        .key("k")
        .upload_id(&upload)
        .multipart_upload(parts)
        .send()
        .await
        .unwrap();
    let before = etag_of(&world, &bucket, "k").await;
    used(&world, &bucket, "k", 3, 40).await;
    job(&world, "reconcile").await;
    assert_eq!(job(&world, "transition").await["moved"], 1);
    let after = etag_of(&world, &bucket, "k").await;
    assert_ne!(before, after);
    let row = read_row(&world, &bucket, "k").await.unwrap();
    assert_eq!((&row["entity_tag_value"], row["count"].as_str()), (&after, "3"));
    let again = job(&world, "reconcile").await;
    assert_eq!((&again["replaced"], &again["refreshed"]), (&json!(0), &json!(0)), "{again}");
}

/// What the two policies are, said once more and naively.
fn model(rows: &[(String, u64, i64)]) -> (HashMap<String, &'static str>, HashMap<String, &'static str>) {
    let by_days = |days: i64| match days {
        0..=30 => "STANDARD",
        31..=90 => "STANDARD_IA",
        _ => "GLACIER",
    };
    let recency = rows.iter().map(|(key, _, days)| (key.clone(), by_days(*days))).collect();
    let mut ranked = rows.to_vec();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.2.cmp(&b.2)).then(a.0.as_bytes().cmp(b.0.as_bytes())));
    let top = ranked.len().div_ceil(2);
    let frequency = ranked
        .iter()
        .enumerate()
        .map(|(rank, (key, ..))| (key.clone(), if rank < top { "STANDARD" } else { "STANDARD_IA" }))
        .collect();
    (recency, frequency)
}

#[tokio::test]
async fn both_policies_do_what_a_naive_model_says() {
    let overrides = "[[transition.bucket]]\nprefix = \"freq-\"\npolicy = \"frequency\"\n";
    let world = World::steady("tramodel", &format!("{NO_GUARDS}{overrides}")).await;
    let buckets = [world.bucket("rec").await, world.bucket("freq").await];
    let mut keys: Vec<String> = AWKWARD.map(str::to_owned).to_vec();
    keys.extend((0..289).map(|i| format!("{}/{i:03}+{}", i % 7, char::from_u32(0x4e00 + i).unwrap())));
    // Few counts and few days, so that there are ties.
    let rows: Vec<(String, u64, i64)> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| (key.clone(), (i as u64 * 7919) % 5, [0, 29, 30, 31, 89, 90, 91, 400][(i * 31) % 8]))
        .collect();
    // One moment for all, or what are ties to the model would be none.
    let now = tierd::clock::now();
    for bucket in &buckets {
        let made = rows.iter().enumerate().map(|(i, (key, count, days))| {
            let (world, class) = (&world, ["STANDARD", "STANDARD_IA"][i % 2]);
            async move {
                world.put(bucket, key, 10, class).await;
                let at = tierd::clock::rfc3339(now - chrono::TimeDelta::days(*days));
                row(world, bucket, key, &[("count", &count.to_string()), ("event_time", &at)]).await;
            }
        });
        futures::stream::iter(made).buffer_unordered(4).collect::<Vec<()>>().await;
    }
    job(&world, "reconcile").await;
    let report = job(&world, "transition").await;
    let (recency, frequency) = model(&rows);
    let mut moved = 0;
    for (bucket, expected) in buckets.iter().zip([&recency, &frequency]) {
        for (i, (key, ..)) in rows.iter().enumerate() {
            let class = class_of(&world, bucket, key).await;
            assert_eq!(class, expected[key], "{bucket} {key:?}");
            moved += u64::from(class != ["STANDARD", "STANDARD_IA"][i % 2]);
        }
    }
    assert_eq!((&report["moved"], &report["failed"]), (&json!(moved), &json!(0)), "{report}");
    assert_eq!((&report["considered"], &report["policy"]), (&json!(2 * rows.len()), &json!("recency")));
    assert_eq!(job(&world, "transition").await["planned"], 0);
}

#[tokio::test]
async fn guards_name_what_they_keep_back() {
    let world = World::steady("traguards", "").await;
    let bucket = world.bucket("b").await;
    world.put(&bucket, "small", 1000, "STANDARD").await;
    world.put(&bucket, "unseen", 200_000, "STANDARD").await;
    world.put(&bucket, "hot again", 200_000, "STANDARD_IA").await;
    world.put(&bucket, "archived", 200_000, "GLACIER").await;
    world.put(&bucket, "right", 200_000, "STANDARD").await;
    for (key, days) in [("small", 40), ("unseen", 40), ("hot again", 1), ("archived", 1), ("right", 1), ("gone", 9)] {
        used(&world, &bucket, key, 1, days).await;
    }
    let expected = json!({"not-reconciled": 6});
    assert_eq!(job(&world, "transition").await["skipped"], expected);
    job(&world, "reconcile").await;
    let report = job(&world, "transition").await;
    let expected = json!({"minimum-duration": 2, "no-recent-ingest": 1, "under-minimum-size": 1});
    assert_eq!(report["skipped"], expected, "{report}");
    assert_eq!((&report["considered"], &report["planned"]), (&json!(5), &json!(0)));
}

#[tokio::test]
async fn an_archived_object_that_is_wanted_again_is_asked_for_and_comes_back() {
    let world =
        World::steady("trapromote", &format!("transition.promote_archived = true\n{}", always("STANDARD"))).await;
    let bucket = world.bucket("b").await;
    let key = "보관/a+b.bin";
    world.put(&bucket, key, 200_000, "GLACIER").await;
    used(&world, &bucket, key, 3, 1).await;
    job(&world, "reconcile").await;
    let asked = job(&world, "transition").await;
    assert_eq!((&asked["moved"], &asked["skipped"]), (&json!(0), &json!({"restore-requested": 1})), "{asked}");
    assert_eq!(class_of(&world, &bucket, key).await, "GLACIER");
    // Nobody sends the event here: the sweep knows of the request, and this emulator restores at once.
    let swept = job(&world, "sweep").await;
    assert_eq!(swept["restores_finished"], 1, "{swept}");
    assert_eq!(class_of(&world, &bucket, key).await, "STANDARD");
    assert_eq!(read_row(&world, &bucket, key).await.unwrap()["storage_class"], "STANDARD");
}

#[tokio::test]
async fn caps_are_kept_and_a_dry_run_changes_nothing() {
    let world = World::steady("tracaps", &format!("transition.max_objects = 2\n{}", always("GLACIER"))).await;
    let bucket = world.bucket("b").await;
    for key in ["a", "b", "c"] {
        world.put(&bucket, key, 1 << 20, "STANDARD").await;
        used(&world, &bucket, key, 1, 400).await;
    }
    job(&world, "reconcile").await;
    let (_, dry) = world.run_json(&["job", "transition", "--dry-run"]).await;
    assert_eq!((&dry["planned"], &dry["moved"], &dry["skipped"]), (&json!(2), &json!(0), &json!({"cap-reached": 1})));
    assert!(dry["cost_usd"].as_f64().unwrap() > 0.0 && dry["monthly_saving_usd"].as_f64().unwrap() > 0.0, "{dry}");
    assert_eq!(class_of(&world, &bucket, "a").await, "STANDARD");
    let real = job(&world, "transition").await;
    assert_eq!((&real["moved"], &real["bytes_moved"]), (&json!(2), &json!(2 << 20)));
    assert_eq!((&real["cost_usd"], &real["monthly_saving_usd"]), (&dry["cost_usd"], &dry["monthly_saving_usd"]));
    assert_eq!(job(&world, "transition").await["moved"], 1);
}

#[tokio::test]
async fn an_object_that_is_not_what_was_planned_is_left_alone() {
    let world = World::steady("trachanged", &always("STANDARD_IA")).await;
    let bucket = world.bucket("b").await;
    for key in ["changed", "gone", "there"] {
        world.put(&bucket, key, 10, "STANDARD").await;
        used(&world, &bucket, key, 1, 40).await;
    }
    job(&world, "reconcile").await;
    world.put(&bucket, "changed", 11, "STANDARD").await;
    let there = world.put(&bucket, "there", 12, "STANDARD_IA").await;
    world.s3().delete_object().bucket(&bucket).key("gone").send().await.unwrap();
    let report = job(&world, "transition").await;
    assert_eq!(report["skipped"], json!({"already-there": 1, "changed": 1, "gone": 1}), "{report}");
    assert_eq!(class_of(&world, &bucket, "changed").await, "STANDARD");
    let row = read_row(&world, &bucket, "there").await.unwrap();
    assert_eq!((&row["entity_tag_value"], row["size"].as_str()), (&there, "12"));
}

#[tokio::test]
async fn buckets_that_keep_versions_are_treated_as_configured() {
    for (how, moved, versions) in [("skip", 0, 1), ("copy", 1, 2), ("copy-and-delete-previous", 1, 1)] {
        let extra = format!("transition.versioned_buckets = \"{how}\"\n{}", always("STANDARD_IA"));
        let world = World::steady("traversions", &extra).await;
        let bucket = world.bucket("b").await;
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        world.s3().put_bucket_versioning().bucket(&bucket).versioning_configuration(enabled).send().await.unwrap();
        world.put(&bucket, "k", 10, "STANDARD").await;
        used(&world, &bucket, "k", 1, 40).await;
        job(&world, "reconcile").await;
        let report = job(&world, "transition").await;
        assert_eq!(report["moved"], moved, "{how}: {report}");
        if moved == 0 {
            assert_eq!(report["skipped"], json!({"versioned": 1}));
        }
        let listed = world.s3().list_object_versions().bucket(&bucket).send().await.unwrap();
        assert_eq!(listed.versions.unwrap_or_default().len(), versions, "{how}");
        assert_eq!(listed.delete_markers.unwrap_or_default().len(), 0, "{how}");
        assert_eq!(class_of(&world, &bucket, "k").await, if moved == 1 { "STANDARD_IA" } else { "STANDARD" });
    }
}

/// Method, URI and headers of every request.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Sent>>>);

/// A request: its method and path, and its headers.
type Sent = (String, HashMap<String, String>);

impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let headers = request.headers().iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        self.0.lock().unwrap().push((format!("{} {}", request.method(), request.uri()), headers));
        Ok(())
    }
}

/// A run within this process.
async fn run_here(world: &World) -> Value {
    run_until(world, &CancellationToken::new()).await
}

async fn run_until(world: &World, stop: &CancellationToken) -> Value {
    let options = RunOptions {
        mode: Mode::Real,
        reconcile_after: ReconcileAfter::No,
        asked_by: AskedBy::Person,
        sweep: SweepScope::Index,
        progress: Progress::default(),
    };
    match world.app.run_job(Job::Transition, &options, stop).await.unwrap() {
        Ran::Done(report) => serde_json::to_value(&*report).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_copy_carries_its_conditions() {
    let extra = "transition.multipart_threshold = \"5MiB\"\ntransition.multipart_part_size = \"5MiB\"";
    let mut world = World::steady("traconditions", &format!("{extra}\n{}", always("STANDARD_IA"))).await;
    let bucket = world.bucket("b").await;
    let mut etags = HashMap::new();
    for (key, size) in [("small", 10), ("large", 11 << 20)] {
        put_rich(&world, &bucket, key, vec![b'x'; size]).await;
        etags.insert(key, format!("\"{}\"", etag_of(&world, &bucket, key).await));
        used(&world, &bucket, key, 1, 40).await;
    }
    job(&world, "reconcile").await;
    let recorder = Recorder::default();
    world.app.s3 = world.app.s3.watched_by(recorder.clone());
    let report = run_here(&world).await;
    assert_eq!(report["moved"], 2, "{report}");
    let requests = recorder.0.lock().unwrap().clone();
    let mut seen = BTreeMap::new();
    for (line, headers) in &requests {
        let key = if line.contains("/small") { "small" } else { "large" };
        let kind = match line.split_once(' ').unwrap() {
            ("PUT", uri) if uri.contains("partNumber=") => "part",
            ("PUT", _) => "copy",
            ("POST", uri) if uri.contains("uploadId=") => "complete",
            ("POST", _) => "begin",
            ("DELETE", _) => panic!("{line}"),
            _ => "other",
        };
        *seen.entry(kind).or_insert(0) += 1;
        if matches!(kind, "copy" | "part") {
            assert_eq!(headers.get("x-amz-copy-source-if-match"), etags.get(key), "{line}");
        }
        if matches!(kind, "copy" | "complete") {
            assert_eq!(headers.get("if-match"), etags.get(key), "{line}");
        }
        if matches!(kind, "copy" | "begin") {
            for (name, value) in [
                ("x-amz-storage-class", "STANDARD_IA"),
                ("x-amz-server-side-encryption", "aws:kms"),
                ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
                ("x-amz-website-redirect-location", "/elsewhere"),
                ("x-amz-grant-read", "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\""),
            ] {
                assert_eq!(headers.get(name).map(String::as_str), Some(value), "{name} of {line}");
            }
        }
    }
    assert_eq!((seen["copy"], seen["part"], seen["begin"], seen["complete"]), (1, 3, 1, 1));
}

/// Rules for a bucket without ACLs and versions, with one object in it.
fn bucket_rules(etag: &'static str) -> Vec<Rule> {
    let controls = mock!(aws_sdk_s3::Client::get_bucket_ownership_controls).then_output(|| {
        let rule =
            OwnershipControlsRule::builder().object_ownership(ObjectOwnership::BucketOwnerEnforced).build().unwrap();
        let controls = OwnershipControls::builder().rules(rule).build().unwrap();
        GetBucketOwnershipControlsOutput::builder().ownership_controls(controls).build()
    });
    let versioning =
        mock!(aws_sdk_s3::Client::get_bucket_versioning).then_output(|| GetBucketVersioningOutput::builder().build());
    let head = mock!(aws_sdk_s3::Client::head_object)
        .then_output(move || HeadObjectOutput::builder().e_tag(format!("\"{etag}\"")).content_length(10).build());
    vec![controls, versioning, head]
}

fn refused(code: &'static str) -> CopyObjectError {
    CopyObjectError::generic(ErrorMetadata::builder().code(code).message("no").build())
}

fn copied() -> CopyObjectOutput {
    let result = CopyObjectResult::builder().e_tag("\"after\"").build();
    CopyObjectOutput::builder().copy_object_result(result).build()
}

#[tokio::test]
async fn a_concurrent_write_wins_and_a_conflict_is_looked_at_again() {
    for (copy, moved, skipped, copies) in [
        (
            mock!(aws_sdk_s3::Client::copy_object).then_error(|| refused("PreconditionFailed")),
            0,
            json!({"changed": 1}),
            1,
        ),
        (
            mock!(aws_sdk_s3::Client::copy_object)
                .sequence()
                .error(|| refused("ConditionalRequestConflict"))
                .times(1)
                .output(copied)
                .times(1)
                .build(),
            1,
            json!({}),
            2,
        ),
        (
            mock!(aws_sdk_s3::Client::copy_object).then_error(|| refused("ConditionalRequestConflict")),
            0,
            json!({"changed": 1}),
            3,
        ),
        (mock!(aws_sdk_s3::Client::copy_object).then_error(|| refused("NoSuchKey")), 0, json!({"gone": 1}), 1),
    ] {
        let mut world = World::steady("tramock", &always("STANDARD_IA")).await;
        let place = [
            ("count", "4"),
            ("event_time", "2024-01-02T03:04:05Z"),
            ("entity_tag_value", "before"),
            ("storage_class", "STANDARD"),
            ("size", "10"),
            ("class_since", "2024-01-02T03:04:05Z"),
        ];
        row(&world, "bucket", "key", &place).await;
        let mut rules = bucket_rules("before");
        rules.push(copy.clone());
        let client = mock_client!(aws_sdk_s3, RuleMode::MatchAny, &rules);
        world.app.s3 = S3::new(client.clone(), client);
        let report = run_here(&world).await;
        assert_eq!((&report["moved"], &report["skipped"]), (&json!(moved), &skipped), "{report}");
        assert_eq!(copy.num_calls(), copies);
        let row = read_row(&world, "bucket", "key").await.unwrap();
        let (etag, class) = if moved == 1 { ("after", "STANDARD_IA") } else { ("before", "STANDARD") };
        assert_eq!((row["entity_tag_value"].as_str(), row["storage_class"].as_str()), (etag, class));
        assert_eq!(row["count"], "4");
    }
}
