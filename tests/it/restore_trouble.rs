//! Restores in the trouble that the documentation of S3 and SQS speaks of, one kind a test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_s3::operation::get_object_tagging::GetObjectTaggingOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object_tagging::PutObjectTaggingOutput;
use aws_sdk_s3::operation::restore_object::RestoreObjectOutput;
use aws_sdk_s3::types::{ArchiveStatus, StorageClass as SdkClass, Tag, Tier as SdkTier};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tierd::restore::{Asked, Completion};
use tierd::s3::S3;
use tierd::state::quarantine::QuarantineKind;
use tierd::state::restores::RestoreRow;
use tierd::tiering::object::{ETag, ObjectId};
use tierd::tiering::restore::{RequestRecord, RestoreRequest, Tier};
use tierd::tiering::storage_class::StorageClass;
use tokio_util::sync::CancellationToken;

use crate::harness;
use crate::proxy::{Fault, Proxy, Request};
use crate::restore::{
    ALONE, archived, ask, assert_back, class, id, own_tags, put_tags, restore_at_s3, set_restores_take, sweep, tags,
};
use crate::world::{World, eventually};

const MARKED: [(&str, &str); 3] = [("owner", "somebody"), ("path", "a+b /c=d.e@f"), ("RestoreRequested", "true")];

/// A row of the index as if S3 had been asked `hours` ago.
fn row(id: &ObjectId, etag: ETag, hours: i64, attempts: u64) -> RestoreRow {
    let requested_at = tierd::clock::now_secs() - TimeDelta::hours(hours);
    let record = RequestRecord { id: id.clone(), requested_at, days: 1, tier: Tier::Standard, etag: Some(etag) };
    RestoreRow { record, asked_at: requested_at, attempts }
}

/// S3 has deleted the restored copy: the object is archived as it was.
async fn expire(world: &World, id: &ObjectId) {
    let source = format!("{}/{}", id.bucket, id.key);
    let copy = world.s3().copy_object().bucket(id.bucket.as_str()).key(id.key.as_str()).copy_source(source);
    copy.storage_class(SdkClass::Glacier).send().await.expect("an expiry");
}

#[tokio::test]
async fn expedited_that_cannot_be_had_becomes_standard_at_once_and_it_is_said() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let world = World::at(&proxy.endpoint, "rtexp", ALONE).await;
    let bucket = world.bucket("b").await;
    let object = id(&bucket, "k");
    archived(&world, &object, "GLACIER").await;
    proxy.take_requests();
    proxy.fault(|request| {
        let expedited = request.path.contains("restore") && request.body.windows(9).any(|w| w == b"Expedited");
        expedited.then(|| Fault::s3_error(503, "GlacierExpeditedRetrievalNotAvailable"))
    });
    let (code, said) = world.run_json(&["restore", &object.to_string(), "--tier", "expedited"]).await;
    assert_eq!((code, &said["objects"][0]["tier"]), (0, &json!("Standard")), "{said}");
    let asked = proxy.take_requests().iter().filter(|request| request.path.contains("restore")).count();
    assert_eq!(asked, 2, "once Expedited and once Standard: S3 is not pressed for what it does not have");
    let row = world.app.state.restore_row(&object).await.unwrap().expect("its row");
    assert_eq!(row.record.tier, Tier::Standard, "what is waited for is what was granted");

    let other = id(&bucket, "other");
    archived(&world, &other, "GLACIER").await;
    let output = world.run(&["restore", &other.to_string(), "--tier", "expedited"]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("asked for at tier Standard, as S3 has no Expedited capacity now"), "{said}");
}

#[tokio::test]
async fn an_object_that_may_not_be_seen_is_a_line_among_the_others() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let world = World::at(&proxy.endpoint, "rtdenied", ALONE).await;
    let bucket = world.bucket("b").await;
    let (ours, other) = (id(&bucket, "ours"), id(&bucket, "not-ours"));
    archived(&world, &ours, "GLACIER").await;
    proxy.fault(|request| {
        let hidden = request.method == "HEAD" && request.path.contains("not-ours");
        hidden.then_some(Fault::Answer(403, "application/xml", ""))
    });
    let both = [ours.to_string(), other.to_string()];
    let (code, said) = world.run_json(&["restore", &both[0], &both[1]]).await;
    let outcomes = [&said["objects"][0]["outcome"], &said["objects"][1]["outcome"]];
    assert_eq!((code, outcomes), (1, [&json!("requested"), &json!("refused")]), "{said}");
    let (code, said) = world.run_json(&["restore", "--status", &both[1], &both[0]]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said["objects"][0]["reason"].as_str().unwrap().contains("HTTP 403"), "{said}");
    assert_eq!(said["objects"][1]["class"], "GLACIER", "{said}");
}

#[tokio::test]
async fn an_archive_of_intelligent_tiering_is_asked_without_days_and_settled_where_it_is() {
    let mut world = World::new("rtint", ALONE).await;
    let object = id(&world.named("b"), "k");
    let head = |archive: Option<ArchiveStatus>| {
        HeadObjectOutput::builder()
            .e_tag("\"e1\"")
            .content_length(10)
            .storage_class(SdkClass::IntelligentTiering)
            .set_archive_status(archive)
            .build()
    };
    let tag = |key: &str| Tag::builder().key(key).value("true").build().unwrap();
    let archived =
        mock!(aws_sdk_s3::Client::head_object).then_output(move || head(Some(ArchiveStatus::DeepArchiveAccess)));
    let own = mock!(aws_sdk_s3::Client::get_object_tagging)
        .then_output(move || GetObjectTaggingOutput::builder().tag_set(tag("owner")).build().unwrap());
    let marks = mock!(aws_sdk_s3::Client::put_object_tagging)
        .match_requests(|request| request.tagging().is_some_and(|tagging| tagging.tag_set().len() == 2))
        .then_output(|| PutObjectTaggingOutput::builder().build());
    let restore = mock!(aws_sdk_s3::Client::restore_object)
        .match_requests(|request| {
            let asked = request.restore_request().expect("a request");
            asked.days().is_none()
                && asked.glacier_job_parameters().is_none()
                && asked.tier() == Some(&SdkTier::Standard)
        })
        .then_output(|| RestoreObjectOutput::builder().build());
    let client = mock_client!(aws_sdk_s3, RuleMode::MatchAny, [&archived, &own, &marks, &restore]);
    world.app.s3 = S3::new(client.clone(), client);
    let stop = CancellationToken::new();
    let request = RestoreRequest { days: Some(7), ..ask(&object) };
    let asked = world.app.restorer().request(&request, &stop).await.unwrap();
    let Asked::Begun { tier: Tier::Standard, expected_by: Some(by), .. } = asked else { panic!("{asked:?}") };
    assert!((by - tierd::clock::now_secs()).num_hours() >= 11, "twelve hours are typical of its deep archive");
    assert_eq!((restore.num_calls(), marks.num_calls()), (1, 1));

    // It is back for good, in its class: nothing is copied.
    let back = mock!(aws_sdk_s3::Client::head_object).then_output(move || head(None));
    let marked = mock!(aws_sdk_s3::Client::get_object_tagging).then_output(move || {
        GetObjectTaggingOutput::builder().tag_set(tag("owner")).tag_set(tag("RestoreRequested")).build().unwrap()
    });
    let cleared = mock!(aws_sdk_s3::Client::put_object_tagging)
        .match_requests(|request| request.tagging().is_some_and(|tagging| tagging.tag_set().len() == 1))
        .then_output(|| PutObjectTaggingOutput::builder().build());
    let client = mock_client!(aws_sdk_s3, RuleMode::MatchAny, [&back, &marked, &cleared]);
    world.app.s3 = S3::new(client.clone(), client);
    assert_eq!(world.app.restorer().complete(&object, &stop).await.unwrap(), Completion::Settled);
    assert_eq!(cleared.num_calls(), 1);
    assert_eq!(world.app.state.restore_row(&object).await.unwrap(), None);
}

#[tokio::test]
async fn a_copy_that_expired_before_it_was_copied_back_is_asked_for_again() {
    let world = World::new("rtagain", ALONE).await;
    let object = id(&world.bucket("b").await, "k");
    archived(&world, &object, "GLACIER").await;
    let (restorer, stop) = (world.app.restorer(), CancellationToken::new());
    let request = RestoreRequest { days: Some(3), tier: Some(Tier::Bulk), ..ask(&object) };
    restorer.request(&request, &stop).await.unwrap();
    expire(&world, &object).await;
    assert_eq!(restorer.complete(&object, &stop).await.unwrap(), Completion::Repeated);
    let row = world.app.state.restore_row(&object).await.unwrap().expect("its row");
    assert_eq!((row.attempts, row.record.days, row.record.tier), (2, 3, Tier::Bulk), "as the request said");
    expire(&world, &object).await;
    assert_eq!(sweep(&world).await.restores_repeated, 1, "the sweep does the same");
    assert_eq!(restorer.complete(&object, &stop).await.unwrap(), Completion::CopiedBack);
    assert_back(&world, &object).await;
}

#[tokio::test]
async fn what_expires_time_and_again_is_set_aside_with_its_reason_and_can_be_tried_again() {
    let world = World::new("rtgive", ALONE).await;
    let object = id(&world.bucket("b").await, "k");
    let etag = archived(&world, &object, "GLACIER").await;
    put_tags(&world, &object, &MARKED).await;
    world.app.state.keep_restore(&row(&object, etag, 1, 5)).await.unwrap();
    let (code, report) = world.run_json(&["job", "sweep"]).await;
    assert_eq!((code, &report["failed"]), (1, &json!(1)), "{report}");
    assert!(report["problems"][0].as_str().unwrap().contains("expired each time"), "{report}");
    assert_eq!(world.app.state.restore_row(&object).await.unwrap(), None);
    assert_eq!(tags(&world, &object).await, own_tags());
    let (_, listed) = world.run_json(&["quarantine", "list"]).await;
    assert!(listed.to_string().contains("expired each time"), "{listed}");
    assert_eq!(world.run(&["quarantine", "retry", &object.to_string()]).await.status.code(), Some(0));
    let (code, report) = world.run_json(&["job", "sweep"]).await;
    assert_eq!((code, &report["restores_repeated"]), (0, &json!(1)), "{report}");
    assert!(world.app.state.quarantined(Some(QuarantineKind::Restore)).await.unwrap().is_empty());
    assert_eq!(sweep(&world).await.restores_finished, 1);
    assert_back(&world, &object).await;
}

#[tokio::test]
async fn a_request_that_s3_does_not_take_is_no_attempt() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let world = World::at(&proxy.endpoint, "rtbusy", ALONE).await;
    let object = id(&world.bucket("b").await, "k");
    archived(&world, &object, "GLACIER").await;
    proxy.fault(|request| request.path.contains("restore").then(|| Fault::s3_error(400, "Astonishment")));
    for _ in 0..7 {
        let error = world.app.restorer().request(&ask(&object), &CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains("Astonishment"), "{error}");
    }
    let report = sweep(&world).await;
    assert!(report.failed == 1 && report.problems[0].contains("Astonishment"), "each sweep says so: {report:?}");
    assert_eq!(world.app.state.restore_row(&object).await.unwrap().expect("its row").attempts, 0);
    proxy.heal();
    assert_eq!(sweep(&world).await.restores_repeated, 1);
    assert_eq!(sweep(&world).await.restores_finished, 1);
    assert_back(&world, &object).await;
}

#[tokio::test]
async fn a_restore_that_takes_longer_than_its_tier_may_is_reported_and_waited_for() {
    let emulator = harness::own_emulator();
    let world = World::at(&emulator.endpoint, "rtlate", ALONE).await;
    set_restores_take(&emulator.endpoint, 3600).await;
    let object = id(&world.bucket("b").await, "k");
    let etag = archived(&world, &object, "GLACIER").await;
    restore_at_s3(&world, &object).await;
    put_tags(&world, &object, &MARKED).await;
    // Five hours are typical and ten are too long.
    world.app.state.keep_restore(&row(&object, etag.clone(), 9, 1)).await.unwrap();
    let (code, report) = world.run_json(&["job", "sweep"]).await;
    assert_eq!((code, &report["failed"]), (0, &json!(0)), "{report}");
    world.app.state.keep_restore(&row(&object, etag, 11, 1)).await.unwrap();
    let (code, report) = world.run_json(&["job", "sweep"]).await;
    assert_eq!((code, &report["failed"]), (1, &json!(1)), "{report}");
    assert!(report["problems"][0].as_str().unwrap().contains("should have been restored by"), "{report}");
    let (_, status) = world.run_json(&["restore", "--status", &object.to_string()]).await;
    assert_eq!(status["objects"][0]["state"], "overdue", "{status}");
    assert!(world.app.state.restore_row(&object).await.unwrap().is_some(), "it is looked after still");
    // S3 gets there in the end.
    set_restores_take(&emulator.endpoint, 0).await;
    eventually(Duration::from_secs(20), "the sweep finishes it", async || {
        (sweep(&world).await.restores_finished == 1).then_some(())
    })
    .await;
    assert_back(&world, &object).await;
}

#[tokio::test]
async fn credentials_that_expire_and_a_queue_that_vanishes_are_seen_by_the_healthcheck() {
    let proxy = Proxy::start(harness::endpoint()).await;
    // Only a poll that ends can tell of the trouble; AWS's would take twenty seconds.
    proxy.change(|request| {
        if request.operation() == "ReceiveMessage" {
            let mut body: Value = serde_json::from_slice(&request.body).expect("SQS speaks JSON");
            body["WaitTimeSeconds"] = json!(1);
            request.body = body.to_string().into_bytes();
        }
    });
    let world = World::at(&proxy.endpoint, "rthealth", ALONE).await;
    let mut daemon = world.tierd(&["run"]).spawn().expect("the daemon");
    let health = async |what: &str, well: bool, says: &str| {
        eventually(Duration::from_secs(90), what, async || {
            let output = world.run(&["healthcheck"]).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            println!("{what}? {} {said}", output.status);
            (output.status.success() == well && said.contains(says)).then_some(())
        })
        .await;
    };
    health("the daemon is well", true, "ok").await;
    // It is well from its start; a queue that it has not come to yet is an illness of another name.
    let mut polled = BTreeSet::new();
    eventually(Duration::from_secs(90), "both queues are polled", async || {
        let polls = proxy.take_requests().into_iter().filter(|request| request.operation() == "ReceiveMessage");
        let queue =
            |poll: Request| serde_json::from_slice::<Value>(&poll.body).expect("SQS speaks JSON")["QueueUrl"].clone();
        polled.extend(polls.map(|poll| queue(poll).to_string()));
        (polled.len() == 2).then_some(())
    })
    .await;
    proxy.fault(|request| {
        request.target.starts_with("AmazonSQS").then_some(Fault::Answer(
            403,
            "application/x-amz-json-1.0",
            r#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"The security token is expired"}"#,
        ))
    });
    health("expired credentials are an illness", false, "may not be read with these credentials").await;
    let (_, status) = world.run_json(&["status"]).await;
    assert_eq!(status["daemon"]["healthy"], json!(false), "{status}");
    proxy.heal();
    health("it gets well by itself", true, "ok").await;
    let url = world.sqs().get_queue_url().queue_name(&world.settings().restore.event_queue).send().await.unwrap();
    world.sqs().delete_queue().queue_url(url.queue_url.unwrap()).send().await.unwrap();
    health("a vanished queue is an illness", false, "restore-events: the queue is gone").await;
    daemon.kill().await.unwrap();
}

#[tokio::test]
async fn a_full_sweep_finds_what_the_index_has_lost_and_looks_at_archived_objects_only() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let world = World::at(&proxy.endpoint, "rtfull", ALONE).await;
    let bucket = world.bucket("b").await;
    let [restored, expired, known, unasked] =
        ["restored 한", "expired+", "known", "unasked"].map(|key| id(&bucket, key));
    let mut etags = BTreeMap::new();
    for object in [&restored, &expired, &known, &unasked] {
        etags.insert(object.to_string(), archived(&world, object, "GLACIER").await);
    }
    world.put(&bucket, "hot", 10, "STANDARD").await;
    restore_at_s3(&world, &restored).await;
    restore_at_s3(&world, &known).await;
    for object in [&restored, &expired, &known] {
        put_tags(&world, object, &MARKED).await;
    }
    world.app.state.keep_restore(&row(&known, etags[&known.to_string()].clone(), 1, 1)).await.unwrap();
    let figures = |report: &Value| {
        ["restores_found", "restores_finished", "restores_repeated", "failed"]
            .map(|name| report[name].as_u64().unwrap())
    };

    let (code, report) = world.run_json(&["job", "sweep", "--full", "--dry-run"]).await;
    assert_eq!((code, figures(&report)), (0, [2, 2, 1, 0]), "{report}");
    for object in [&restored, &expired] {
        assert_eq!(world.app.state.restore_row(object).await.unwrap(), None, "a dry run changes nothing");
    }
    let (code, report) = world.run_json(&["job", "sweep"]).await;
    assert_eq!((code, figures(&report)), (0, [0, 1, 0, 0]), "the index knows of one: {report}");
    proxy.take_requests();
    let (code, report) = world.run_json(&["job", "sweep", "--full"]).await;
    assert_eq!((code, figures(&report)), (0, [2, 1, 1, 0]), "{report}");
    assert_eq!(report["archived_objects"], json!(3), "{report}");
    let tags_read = proxy.take_requests();
    let tags_read = tags_read.iter().filter(|r| r.method == "GET" && r.path.contains("tagging"));
    assert!(tags_read.clone().count() >= 3 && tags_read.clone().all(|r| !r.path.contains("/hot")));
    let (code, report) = world.run_json(&["job", "sweep"]).await;
    assert_eq!((code, figures(&report)), (0, [0, 1, 0, 0]), "from now on the index knows: {report}");
    for object in [&restored, &expired, &known] {
        assert_back(&world, object).await;
    }
    assert_eq!((class(&world, &unasked).await, tags(&world, &unasked).await), (StorageClass::Glacier, own_tags()));
    assert_eq!(world.run(&["job", "ingest", "--full"]).await.status.code(), Some(64));
}
