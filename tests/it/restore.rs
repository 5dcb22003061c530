//! Restores: every one that was asked for ends with its object back in its class, whatever is lost on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::{
    Event, GlacierJobParameters, NotificationConfiguration, QueueConfiguration, RestoreRequest as SdkRequest,
    StorageClass as SdkClass, Tag, Tagging, Tier as SdkTier,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tierd::jobs::Mode;
use tierd::jobs::report::SweepReport;
use tierd::ledger::Change;
use tierd::progress::Progress;
use tierd::restore::{Asked, Completion};
use tierd::tiering::object::{ETag, ObjectId};
use tierd::tiering::restore::{RefuseReason, RequestRecord, RestoreRequest, Tier};
use tierd::tiering::storage_class::StorageClass;
use tokio_util::sync::CancellationToken;

use crate::harness;
use crate::world::{World, eventually};

pub const ALONE: &str = "provision.enabled = false\ntransition.enabled = false";
pub const ODD_KEYS: [&str; 6] =
    ["plain.txt", "a+b c.txt", "100% 50%25.txt", "한글/파일 이름.txt", "a&b=c?d#e.txt", "x/é+%2B.txt"];

pub fn id(bucket: &str, key: &str) -> ObjectId {
    format!("s3://{bucket}/{key}").parse().unwrap()
}

pub fn ask(id: &ObjectId) -> RestoreRequest {
    RestoreRequest { id: id.clone(), days: None, tier: None }
}

/// An object with tags of its own and a row in the ledger.
pub async fn archived(world: &World, id: &ObjectId, class: &str) -> ETag {
    let etag = world.put(id.bucket.as_str(), id.key.as_str(), 1000, class).await;
    put_tags(world, id, &[("owner", "somebody"), ("path", "a+b /c=d.e@f")]).await;
    let etag = ETag::new(etag).unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    world
        .dynamodb()
        .put_item()
        .table_name(&world.settings().ledger.table)
        .item("bucket_name", text(id.bucket.as_str()))
        .item("object_key", text(id.key.as_str()))
        .item("entity_tag_value", text(etag.as_str()))
        .item("storage_class", text(class))
        .item("size", AttributeValue::N("1000".to_owned()))
        .item("count", AttributeValue::N("3".to_owned()))
        .item("event_time", text("2020-01-01T00:00:00Z"))
        .item("class_since", text("2020-01-01T00:00:00Z"))
        .send()
        .await
        .expect("a row of the ledger");
    etag
}

pub async fn put_tags(world: &World, id: &ObjectId, tags: &[(&str, &str)]) {
    let set = tags.iter().map(|(k, v)| Tag::builder().key(*k).value(*v).build().unwrap()).collect();
    world
        .s3()
        .put_object_tagging()
        .bucket(id.bucket.as_str())
        .key(id.key.as_str())
        .tagging(Tagging::builder().set_tag_set(Some(set)).build().unwrap())
        .send()
        .await
        .expect("tags");
}

pub async fn tags(world: &World, id: &ObjectId) -> BTreeMap<String, String> {
    world.app.s3.tags(id).await.expect("tags").into_iter().collect()
}

pub fn own_tags() -> BTreeMap<String, String> {
    BTreeMap::from([("owner".to_owned(), "somebody".to_owned()), ("path".to_owned(), "a+b /c=d.e@f".to_owned())])
}

pub async fn class(world: &World, id: &ObjectId) -> StorageClass {
    world.app.s3.head(id).await.unwrap().expect("the object").class
}

/// S3 is asked by somebody else than tierd; the emulator restores at once.
pub async fn restore_at_s3(world: &World, id: &ObjectId) {
    world
        .s3()
        .restore_object()
        .bucket(id.bucket.as_str())
        .key(id.key.as_str())
        .restore_request(
            SdkRequest::builder()
                .days(1)
                .glacier_job_parameters(GlacierJobParameters::builder().tier(SdkTier::Standard).build().unwrap())
                .build(),
        )
        .send()
        .await
        .expect("a restore");
}

pub async fn is_back(world: &World, id: &ObjectId) -> bool {
    class(world, id).await == StorageClass::Standard
        && !tags(world, id).await.contains_key("RestoreRequested")
        && world.app.state.restore_row(id).await.unwrap().is_none()
}

/// What must hold of an object that came back.
pub async fn assert_back(world: &World, id: &ObjectId) {
    assert_eq!(class(world, id).await, StorageClass::Standard, "{id}");
    assert_eq!(tags(world, id).await, own_tags(), "{id}: its own tags and no other");
    assert_eq!(world.app.state.restore_row(id).await.unwrap(), None, "{id}: its row is gone");
    let head = world.app.s3.head(id).await.unwrap().unwrap();
    let row = world.app.ledger.row(id).await.unwrap().expect("the ledger's row");
    assert_eq!(row.class, Some(StorageClass::Standard), "{id}: the ledger follows");
    assert_eq!(row.etag, Some(head.etag), "{id}: the ledger follows");
    let since = row.class_since.expect("class_since");
    assert!(since > "2021-01-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap(), "{id}: {since}");
}

async fn queue_url(world: &World, queue: &str) -> String {
    world.sqs().get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap()
}

pub async fn send(world: &World, queue: &str, body: &str) {
    let url = queue_url(world, queue).await;
    world.sqs().send_message().queue_url(url).message_body(body).send().await.expect("a message");
}

/// Messages in a queue, received ones too.
pub async fn depth(world: &World, queue: &str) -> u32 {
    let answer = world
        .sqs()
        .get_queue_attributes()
        .queue_url(queue_url(world, queue).await)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let attributes = answer.attributes.unwrap();
    [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible]
        .iter()
        .map(|name| attributes.get(name).map_or(0, |n| n.parse::<u32>().unwrap()))
        .sum()
}

/// Has the bucket tell of its restores as provisioning does.
pub async fn notify(world: &World, bucket: &str) {
    let queue = QueueConfiguration::builder()
        .queue_arn(format!(
            "arn:aws:sqs:{}:123456789012:{}",
            crate::world::REGION,
            world.settings().restore.event_queue
        ))
        .events(Event::from("s3:ObjectRestore:*"))
        .build()
        .unwrap();
    world
        .s3()
        .put_bucket_notification_configuration()
        .bucket(bucket)
        .notification_configuration(NotificationConfiguration::builder().queue_configurations(queue).build())
        .send()
        .await
        .expect("a notification");
}

pub async fn sweep(world: &World) -> SweepReport {
    let mut report = SweepReport::default();
    world
        .app
        .restorer()
        .sweep(Mode::Real, &Progress::default(), &CancellationToken::new(), &mut report)
        .await
        .expect("a sweep");
    report
}

pub fn form_encoded(key: &str) -> String {
    tierd::tiering::s3_event::form_encode(key)
}

#[tokio::test]
async fn the_daemon_brings_back_what_both_kinds_of_request_ask_for() {
    let world = World::new("rsloop", ALONE).await;
    let bucket = world.bucket("b").await;
    notify(&world, &bucket).await;
    let objects: Vec<ObjectId> = ODD_KEYS.iter().map(|key| id(&bucket, key)).collect();
    for (i, object) in objects.iter().enumerate() {
        archived(&world, object, if i % 2 == 0 { "GLACIER" } else { "DEEP_ARCHIVE" }).await;
    }
    let requests = world.settings().restore.request_queue.clone();
    let (plain, shaped) = objects.split_at(3);
    for object in plain {
        let body = json!({"bucket": bucket, "key": object.key, "days": 3, "tier": "Bulk"});
        send(&world, &requests, &body.to_string()).await;
        send(&world, &requests, &body.to_string()).await;
    }
    let records: Vec<Value> = shaped
        .iter()
        .map(|o| json!({"s3": {"bucket": {"name": bucket}, "object": {"key": form_encoded(o.key.as_str())}}}))
        .collect();
    send(&world, &requests, &json!({"Records": records}).to_string()).await;
    let mut daemon = world.tierd(&["run"]).spawn().expect("the daemon");
    for object in &objects {
        eventually(Duration::from_secs(60), "the object comes back", async || {
            is_back(&world, object).await.then_some(())
        })
        .await;
        assert_back(&world, object).await;
    }
    for queue in [&requests, &world.settings().restore.event_queue] {
        eventually(Duration::from_secs(20), "the queue is empty", async || {
            (depth(&world, queue).await == 0).then_some(())
        })
        .await;
    }
    daemon.kill().await.unwrap();
}

#[tokio::test]
async fn events_are_understood_in_every_envelope_and_nonsense_stays_in_the_queue() {
    let world = World::new("rsenv", ALONE).await;
    let bucket = world.bucket("b").await;
    let objects: Vec<ObjectId> = (0..4).map(|i| id(&bucket, &format!("{i} a+b/한.txt"))).collect();
    for object in &objects {
        archived(&world, object, "GLACIER").await;
        put_tags(&world, object, &[("owner", "somebody"), ("path", "a+b /c=d.e@f"), ("RestoreRequested", "true")])
            .await;
        restore_at_s3(&world, object).await;
    }
    let record = |o: &ObjectId| {
        json!({"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectRestore:Completed",
               "s3": {"bucket": {"name": bucket}, "object": {"key": form_encoded(o.key.as_str())}}})
    };
    let notification = |o: &ObjectId| json!({"Records": [record(o)]}).to_string();
    let bridge = json!({"version": "0", "source": "aws.s3", "detail-type": "Object Restore Completed",
        "detail": {"bucket": {"name": bucket}, "object": {"key": objects[2].key}}});
    let events = world.settings().restore.event_queue.clone();
    send(&world, &events, &notification(&objects[0])).await;
    let sns = json!({"Type": "Notification", "TopicArn": "arn:aws:sns:r:1:t", "Message": notification(&objects[1])});
    send(&world, &events, &sns.to_string()).await;
    send(&world, &events, &bridge.to_string()).await;
    // A good record beside a broken one acts, and the message stays.
    send(
        &world,
        &events,
        &json!({"Records": [record(&objects[3]), {"eventName": "ObjectRestore:Completed"}]}).to_string(),
    )
    .await;
    send(&world, &events, &json!({"Event": "s3:TestEvent", "Bucket": bucket}).to_string()).await;
    send(&world, &events, "no JSON at all").await;
    let log = world.dir.path().join("log");
    let mut daemon = world.tierd(&["run"]).stdout(std::fs::File::create(&log).unwrap()).spawn().expect("the daemon");
    for object in &objects {
        eventually(Duration::from_secs(60), "the object comes back", async || {
            is_back(&world, object).await.then_some(())
        })
        .await;
        assert_back(&world, object).await;
    }
    eventually(Duration::from_secs(20), "two messages are left", async || {
        (depth(&world, &events).await == 2).then_some(())
    })
    .await;
    daemon.kill().await.unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    let rejected: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"))
        .filter(|line| line["event"] == "message.rejected")
        .collect();
    assert_eq!(rejected.len(), 2, "{log}");
    assert!(rejected.iter().any(|line| line["reason"].as_str().unwrap().contains("not JSON")), "{rejected:?}");
    assert!(rejected.iter().any(|line| line["reason"].as_str().unwrap().starts_with("record 1:")), "{rejected:?}");
}

#[tokio::test]
async fn requests_that_need_nothing_or_cannot_be_granted_say_so() {
    let world = World::new("rsno", ALONE).await;
    let bucket = world.bucket("b").await;
    for (key, class) in [("hot", "STANDARD"), ("ia", "STANDARD_IA"), ("ir", "GLACIER_IR"), ("deep", "DEEP_ARCHIVE")] {
        world.put(&bucket, key, 10, class).await;
    }
    let uri = |key: &str| format!("s3://{bucket}/{key}");
    let (code, said) = world.run_json(&["restore", &uri("hot"), &uri("ia"), &uri("ir")]).await;
    assert_eq!(code, 0, "{said}");
    for object in said["objects"].as_array().unwrap() {
        assert_eq!(object["outcome"], "nothing-to-do", "{object}");
    }
    let (code, said) = world.run_json(&["restore", &uri("deep"), "--tier", "expedited"]).await;
    assert_eq!((code, &said["objects"][0]["outcome"]), (1, &json!("refused")), "{said}");
    assert!(said["objects"][0]["reason"].as_str().unwrap().contains("no Expedited"), "{said}");
    let (code, said) = world.run_json(&["restore", &uri("nothing"), "s3://no-such-bucket-at-all/k"]).await;
    assert_eq!(code, 1, "{said}");
    assert_eq!(said["objects"][0]["outcome"], "missing", "{said}");
    assert_eq!(said["objects"][1]["reason"], "the bucket does not exist", "{said}");
    let output = world.run(&["restore", &uri("nothing")]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no such object"), "{output:?}");
    assert_eq!(world.run(&["restore", "not-a-uri"]).await.status.code(), Some(64));
    assert!(world.app.state.restores().next_page().await.unwrap().unwrap().is_empty(), "nothing is in flight");
}

#[tokio::test]
async fn a_prefix_is_asked_for_and_the_sweep_finishes_what_no_event_told_of() {
    let world = World::new("rspre", ALONE).await;
    let bucket = world.bucket("b").await;
    let objects: Vec<ObjectId> = (0..5).map(|i| id(&bucket, &format!("p/{i}+ 한"))).collect();
    for object in &objects {
        archived(&world, object, "GLACIER").await;
    }
    world.put(&bucket, "p/hot", 10, "STANDARD").await;
    let outside = id(&bucket, "q/other");
    archived(&world, &outside, "GLACIER").await;
    let (code, said) = world.run_json(&["restore", "--recursive", &format!("s3://{bucket}/p/")]).await;
    assert_eq!((code, &said["requested"], &said["readable"]), (0, &json!(5), &json!(1)), "{said}");
    for object in &objects {
        assert!(tags(&world, object).await.contains_key("RestoreRequested"));
    }
    let (code, status) = world.run_json(&["restore", "--status", "--recursive", &format!("s3://{bucket}/p/")]).await;
    assert_eq!(code, 0);
    assert!(status["objects"].as_array().unwrap().iter().all(|o| o["state"] == "restored"), "{status}");
    let (code, report) = world.run_json(&["job", "sweep"]).await;
    assert_eq!((code, &report["restores_finished"]), (0, &json!(5)), "{report}");
    for object in &objects {
        assert_back(&world, object).await;
    }
    assert_eq!(class(&world, &outside).await, StorageClass::Glacier);
}

#[tokio::test]
async fn repeated_requests_and_events_are_harmless() {
    let world = World::new("rsrep", ALONE).await;
    let bucket = world.bucket("b").await;
    let object = id(&bucket, "k");
    archived(&world, &object, "GLACIER").await;
    let (restorer, stop) = (world.app.restorer(), CancellationToken::new());
    assert!(matches!(restorer.request(&ask(&object), &stop).await.unwrap(), Asked::Begun { .. }));
    // The emulator restores at once, so that a second request finds the copy there.
    assert_eq!(restorer.request(&ask(&object), &stop).await.unwrap(), Asked::Finished);
    assert_eq!(restorer.request(&ask(&object), &stop).await.unwrap(), Asked::NothingToDo(StorageClass::Standard));
    for _ in 0..2 {
        assert_eq!(restorer.complete(&object, &stop).await.unwrap(), Completion::NotOurs);
    }
    assert_back(&world, &object).await;
}

#[tokio::test]
async fn somebody_elses_restore_is_left_alone() {
    let world = World::new("rsoth", ALONE).await;
    let bucket = world.bucket("b").await;
    let object = id(&bucket, "k");
    archived(&world, &object, "GLACIER").await;
    restore_at_s3(&world, &object).await;
    let completion = world.app.restorer().complete(&object, &CancellationToken::new()).await.unwrap();
    assert_eq!(completion, Completion::NotOurs);
    assert_eq!(class(&world, &object).await, StorageClass::Glacier);
}

/// Every place at which a daemon can be killed leaves one of these states behind; the sweep alone must end each well.
#[tokio::test]
async fn whatever_a_crash_leaves_is_mended_by_the_sweep() {
    let world = World::new("rskill", ALONE).await;
    let bucket = world.bucket("b").await;
    let row = async |object: &ObjectId, etag: &ETag| {
        let record = RequestRecord {
            id: object.clone(),
            requested_at: tierd::clock::now_secs(),
            days: 1,
            tier: Tier::Standard,
            etag: Some(etag.clone()),
        };
        world.app.state.note_restore(None, record).await.unwrap();
    };
    let tag = async |object: &ObjectId| {
        put_tags(&world, object, &[("owner", "somebody"), ("path", "a+b /c=d.e@f"), ("RestoreRequested", "true")])
            .await;
    };
    let copied = async |object: &ObjectId| {
        let source = format!("{bucket}/{}", object.key);
        let copy = world.s3().copy_object().bucket(&bucket).key(object.key.as_str()).copy_source(source);
        copy.storage_class(SdkClass::Standard).send().await.expect("a copy");
    };
    // After the row; after RestoreObject; after the tag; after the copy; after the tag's removal.
    let steps = ["noted", "asked", "tagged", "copied", "untagged"];
    for (reached, step) in steps.iter().enumerate() {
        let object = id(&bucket, step);
        let etag = archived(&world, &object, "GLACIER").await;
        row(&object, &etag).await;
        if reached >= 1 {
            restore_at_s3(&world, &object).await;
        }
        if reached >= 2 {
            tag(&object).await;
        }
        if reached >= 3 {
            copied(&object).await;
        }
        if reached >= 4 {
            put_tags(&world, &object, &[("owner", "somebody"), ("path", "a+b /c=d.e@f")]).await;
        }
    }
    let report = sweep(&world).await;
    assert_eq!((report.restores_finished, report.restores_repeated, report.failed), (4, 1, 0), "{report:?}");
    let report = sweep(&world).await;
    assert_eq!((report.restores_finished, report.restores_repeated, report.failed), (1, 0, 0), "{report:?}");
    for step in steps {
        assert_back(&world, &id(&bucket, step)).await;
    }
    let report = sweep(&world).await;
    assert_eq!((report.restores_finished, report.restores_repeated, report.failed), (0, 0, 0), "{report:?}");
}

#[tokio::test]
async fn an_object_that_was_overwritten_or_deleted_meanwhile_is_the_users() {
    let world = World::new("rsover", ALONE).await;
    let bucket = world.bucket("b").await;
    let (written, deleted) = (id(&bucket, "written"), id(&bucket, "deleted"));
    let (restorer, stop) = (world.app.restorer(), CancellationToken::new());
    for object in [&written, &deleted] {
        archived(&world, object, "GLACIER").await;
        restorer.request(&ask(object), &stop).await.unwrap();
    }
    let etag = world.put(&bucket, "written", 77, "STANDARD_IA").await;
    put_tags(&world, &written, &[("theirs", "1")]).await;
    world.s3().delete_object().bucket(&bucket).key("deleted").send().await.unwrap();
    assert_eq!(restorer.complete(&written, &stop).await.unwrap(), Completion::NotOurs);
    assert_eq!(restorer.complete(&deleted, &stop).await.unwrap(), Completion::Gone);
    let head = world.app.s3.head(&written).await.unwrap().unwrap();
    assert_eq!((head.etag.as_str(), head.class, head.size), (etag.as_str(), StorageClass::StandardIa, 77));
    assert_eq!(tags(&world, &written).await, BTreeMap::from([("theirs".to_owned(), "1".to_owned())]));
    for object in [&written, &deleted] {
        assert_eq!(world.app.state.restore_row(object).await.unwrap(), None);
    }
    let ledger = world.app.ledger.row(&written).await.unwrap().unwrap();
    assert_eq!((ledger.class, ledger.size), (Some(StorageClass::StandardIa), Some(77)));
}

#[tokio::test]
async fn an_object_with_ten_tags_comes_back_by_the_index_alone() {
    let world = World::new("rsten", ALONE).await;
    let bucket = world.bucket("b").await;
    let object = id(&bucket, "k");
    world.put(&bucket, "k", 10, "GLACIER").await;
    let names: Vec<String> = (0..10).map(|i| format!("t{i}")).collect();
    let ten: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    put_tags(&world, &object, &ten).await;
    let (restorer, stop) = (world.app.restorer(), CancellationToken::new());
    restorer.request(&ask(&object), &stop).await.unwrap();
    assert_eq!(tags(&world, &object).await.len(), 10);
    assert_eq!(restorer.complete(&object, &stop).await.unwrap(), Completion::CopiedBack);
    assert_eq!((class(&world, &object).await, tags(&world, &object).await.len()), (StorageClass::Standard, 10));
}

#[tokio::test]
async fn a_restore_that_takes_its_time_is_joined_shown_and_waited_for() {
    // Of its own, because how long restores take holds for the whole emulator.
    let emulator = harness::own_emulator();
    let world = World::at(&emulator.endpoint, "rsslow", ALONE).await;
    set_restores_take(&emulator.endpoint, 4).await;
    let bucket = world.bucket("b").await;
    let object = id(&bucket, "k");
    archived(&world, &object, "GLACIER").await;
    // The emulator counts from the object's making.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (restorer, stop) = (world.app.restorer(), CancellationToken::new());
    let now = tierd::clock::now_secs();
    let Asked::Begun { tier, expected_by: Some(by), instead_of: None } =
        restorer.request(&ask(&object), &stop).await.unwrap()
    else {
        panic!("the restore is begun")
    };
    assert_eq!(tier, Tier::Standard);
    assert!((by - now).num_minutes() >= 299, "{by}");
    assert!(tags(&world, &object).await.contains_key("RestoreRequested"));
    let uri = object.to_string();
    let (code, status) = world.run_json(&["restore", "--status", &uri]).await;
    assert_eq!((code, &status["objects"][0]["state"]), (0, &json!("restoring")), "{status}");
    let table = world.run(&["restore", "--status", &uri]).await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("restoring"), "{table:?}");
    assert!(matches!(restorer.request(&ask(&object), &stop).await.unwrap(), Asked::Joined { .. }));
    assert_eq!(restorer.complete(&object, &stop).await.unwrap(), Completion::Waiting);
    let report = sweep(&world).await;
    assert_eq!((report.restores_finished, report.restores_repeated, report.failed), (0, 0, 0), "{report:?}");
    eventually(Duration::from_secs(20), "the restore is done", async || {
        (restorer.complete(&object, &stop).await.unwrap() == Completion::CopiedBack).then_some(())
    })
    .await;
    assert_back(&world, &object).await;
}

/// What the emulator's own interface takes; the SDK has no call for it.
pub async fn set_restores_take(endpoint: &str, seconds: u32) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body =
        json!({"model_name": "s3::keyrestore", "transition": {"progression": "time", "seconds": seconds}}).to_string();
    let address = endpoint.trim_start_matches("http://");
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("the emulator");
    let request = format!(
        "POST /moto-api/state-manager/set-transition HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn a_refusal_names_its_reason() {
    let world = World::new("rsref", ALONE).await;
    let bucket = world.bucket("b").await;
    let object = id(&bucket, "k");
    archived(&world, &object, "DEEP_ARCHIVE").await;
    let request = RestoreRequest { tier: Some(Tier::Expedited), ..ask(&object) };
    let asked = world.app.restorer().request(&request, &CancellationToken::new()).await.unwrap();
    assert_eq!(asked, Asked::Refused(RefuseReason::NoExpedited(StorageClass::DeepArchive)));
    assert_eq!(tags(&world, &object).await, own_tags(), "nothing is left of it");
}

#[tokio::test]
async fn whoever_waits_for_an_object_is_noted_once_a_day_and_only_where_the_ledger_knows_the_object() {
    let world = World::new("rswait", ALONE).await;
    let object = id(&world.bucket("b").await, "k");
    archived(&world, &object, "GLACIER").await;
    let ledger = &world.app.ledger;
    let note = async |object: &ObjectId, time: &str| ledger.note_wait(object, time.parse().unwrap()).await.unwrap();
    assert_eq!(note(&object, "2026-03-01T23:59:59Z").await, Change::Made);
    assert_eq!(note(&object, "2026-03-01T23:59:59Z").await, Change::Refused);
    assert_eq!(note(&object, "2026-03-02T00:00:00Z").await, Change::Made);
    assert_eq!(note(&object, "2026-03-02T08:00:00Z").await, Change::Refused);
    let row = ledger.row(&object).await.unwrap().unwrap();
    assert_eq!((row.waits.days, row.waits.last), (2, Some("2026-03-02T00:00:00Z".parse().unwrap())));
    assert_eq!((row.count, row.class), (3, Some(StorageClass::Glacier)), "nothing else is touched");
    let unknown = id(object.bucket.as_str(), "unknown");
    assert_eq!(note(&unknown, "2026-03-01T00:00:00Z").await, Change::Refused);
    assert_eq!(ledger.row(&unknown).await.unwrap(), None);

    // A transition that brings an object back by itself is nobody who waits; a reader is.
    let (restorer, stop) = (world.app.restorer(), CancellationToken::new());
    let other = id(object.bucket.as_str(), "other");
    archived(&world, &other, "GLACIER").await;
    restorer.request(&ask(&other), &stop).await.unwrap();
    assert_eq!(ledger.row(&other).await.unwrap().unwrap().waits.days, 0);
    let third = id(object.bucket.as_str(), "third");
    archived(&world, &third, "GLACIER").await;
    assert!(matches!(restorer.request_for_reader(&ask(&third), &stop).await.unwrap(), Asked::Begun { .. }));
    assert_eq!(ledger.row(&third).await.unwrap().unwrap().waits.days, 1);
}
