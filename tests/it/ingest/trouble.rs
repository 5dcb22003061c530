//! Files that cannot be read, sources that cannot be listed, and an AWS that has a bad day.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use tokio::time::Instant;

use super::{INGEST, check_figures, counted, put_log, quarantine, source, world, world_at};
use crate::logs::{self, Counts, Event, simple_key};
use crate::proxy::{Fault, Proxy, Request};
use tierd::state::quarantine::QuarantineKind;

#[tokio::test]
async fn a_file_that_cannot_be_read_is_set_aside_and_stops_nothing() {
    let (world, logs) = world("setaside", "").await;
    let good = [Event::put(1, "2026-03-01T10:00:00Z", "siuu1", "good")];
    let hidden = [Event::put(2, "2026-03-01T11:00:00Z", "siuu1", "hidden")];
    let whole = logs::file(&hidden);
    let broken_key = simple_key("2026-03-01T11:05:00Z", "broken");
    put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", "good"), logs::file(&good)).await;
    // A readable member, then one that is cut: not even the readable part counts.
    let cut = [&logs::file(&[Event::put(9, "2026-03-01T11:00:00Z", "siuu1", "part")])[..], &whole[..whole.len() / 2]];
    put_log(&world, &logs, &broken_key, cut.concat()).await;
    put_log(&world, &logs, &simple_key("2026-03-01T11:06:00Z", "text"), b"{\"Records\":[]}".to_vec()).await;

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (1, Some("partial")), "{report:#}");
    check_figures(&report, &[("files", 1), ("files_failed", 2), ("accesses", 1), ("batches", 1)]);
    let mut want = Counts::new();
    logs::count(&mut want, &good);
    assert_eq!(counted(&world).await, want);
    let aside = quarantine(&world).await;
    assert_eq!(aside.len(), 2);
    let broken = aside.iter().find(|e| e.id.starts_with(&format!("s3://{logs}/{broken_key}#"))).expect("an entry");
    assert!(broken.reason.contains("truncated"), "{broken:?}");

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (0, Some("ok")), "later runs are not troubled: {report:#}");
    check_figures(&report, &[("files", 0), ("files_failed", 0), ("files_skipped", 1)]);

    // Mended, it is another file: another ETag.
    put_log(&world, &logs, &broken_key, whole).await;
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 1), ("accesses", 1)]);
    logs::count(&mut want, &hidden);
    assert_eq!(counted(&world).await, want);

    // The old one is to be tried again, and is not there any more: what replaced it is counted, so nothing is left to do.
    let asked = world.app.state.ask_retry(QuarantineKind::LogFile, &broken.id, broken.at).await.unwrap();
    assert_eq!(asked, tierd::state::Written::Yes);
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 0), ("files_failed", 0)]);
    assert!(quarantine(&world).await.iter().all(|e| e.id != broken.id), "the old entry is settled");
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn a_file_is_tried_again_when_somebody_asks_and_then_counts_once() {
    let (mut world, logs) = world("retry", "ingest.max_file_bytes = \"1KiB\"").await;
    let events: Vec<Event> =
        (0..20).map(|i| Event::put(i, "2026-03-01T10:00:00Z", "siuu1", &format!("k{}", i % 7))).collect();
    put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", "big"), logs::file(&events)).await;
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 1, "{report:#}");
    check_figures(&report, &[("files", 0), ("files_failed", 1)]);

    world.reconfigure(&source(&logs, "")).await;
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 0), ("files_failed", 0)]);

    let entry = quarantine(&world).await.remove(0);
    let _asked = world.app.state.ask_retry(QuarantineKind::LogFile, &entry.id, entry.at).await.unwrap();
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 1), ("accesses", 20), ("objects", 7)]);
    assert!(quarantine(&world).await.is_empty());
    let mut want = Counts::new();
    logs::count(&mut want, &events);
    assert_eq!(counted(&world).await, want);

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 0), ("files_skipped", 1)]);
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_counted_from_nothing_and_stops_nothing() {
    let (world, logs) = world("oddrows", "").await;
    let bucket = world.bucket("siuu").await;
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let number = |value: &str| AttributeValue::N(value.to_owned());
    let odd = [
        ("count-text", vec![("count", text("7"))]),
        ("count-null", vec![("count", AttributeValue::Null(true)), ("event_time", AttributeValue::Null(true))]),
        ("count-huge", vec![("count", number(&"9".repeat(38)))]),
        ("time-garbage", vec![("event_time", text("yesterday")), ("count", number("2"))]),
        ("time-number", vec![("event_time", number("1700000000"))]),
        ("batch-text", vec![("last_batch", text("x"))]),
        ("batch-negative", vec![("last_batch", number("-1"))]),
        ("size-text", vec![("size", text("12"))]),
        ("nothing", vec![]),
    ];
    let mut events = Vec::new();
    for (at, (key, attributes)) in odd.iter().enumerate() {
        let mut row = HashMap::from([("bucket_name".to_owned(), text(&bucket)), ("object_key".to_owned(), text(key))]);
        row.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let ledger = &world.settings().ledger.table;
        world.dynamodb().put_item().table_name(ledger).set_item(Some(row)).send().await.expect("a row");
        world.s3().put_object().bucket(&bucket).key(*key).send().await.expect("an object");
        events.push(Event::put(at as u64, "2026-03-01T10:00:00Z", &bucket, key));
    }
    put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", "f"), logs::file(&events)).await;
    let (code, report) = world.run_json(&["job", "ingest"]).await;
    assert_eq!((code, report["outcome"].as_str()), (0, Some("ok")), "{report:#}");

    let mut want = Counts::new();
    logs::count(&mut want, &events);
    // A count that makes sense beside a time that makes none goes on.
    want.get_mut(&(bucket.clone(), "time-garbage".to_owned())).expect("counted").0 += 2;
    assert_eq!(counted(&world).await, want);
    // The reconcile behind it has made all of them whole.
    let (code, report) = world.run_json(&["job", "transition", "--dry-run"]).await;
    assert_eq!((code, report["considered"].as_u64()), (0, Some(odd.len() as u64)), "{report:#}");
    assert!(report["skipped"].get("unreadable").is_none(), "{report:#}");
    assert!(report["skipped"].get("not-reconciled").is_none(), "{report:#}");
}

#[tokio::test]
async fn a_source_that_cannot_be_listed_keeps_the_others_from_nothing() {
    let (mut world, logs) = world("nosource", "").await;
    world.reconfigure(&format!("{}\n{}", source("nobody-has-this-bucket", ""), source(&logs, ""))).await;
    let events = [Event::put(1, "2026-03-01T10:00:00Z", "siuu1", "k")];
    put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", "f"), logs::file(&events)).await;
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (1, Some("partial")), "{report:#}");
    assert!(report["problems"][0].as_str().unwrap().contains("nobody-has-this-bucket"), "{report:#}");
    check_figures(&report, &[("files", 1), ("accesses", 1)]);
    assert_eq!(world.app.state.log_coverage_since().await.unwrap(), None);

    // Where no source can be listed at all, nothing is evidence of anything.
    world.reconfigure(&source("nobody-has-this-bucket", "")).await;
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (69, Some("failed")), "{report:#}");
}

#[tokio::test]
async fn a_get_that_fails_leaves_the_batch_for_the_next_run() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) = world_at(&proxy.endpoint, "getfails", "").await;
    let mut want = Counts::new();
    for i in 0..3_u64 {
        let events = [Event::put(i, "2026-03-01T10:00:00Z", "siuu1", "k")];
        logs::count(&mut want, &events);
        put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", &format!("f{i}")), logs::file(&events)).await;
    }
    let victim = simple_key("2026-03-01T10:05:00Z", "f1");
    proxy.fault(move |r| {
        (r.operation() == "GET" && r.path.contains(&victim)).then(|| Fault::s3_error(403, "AccessDenied"))
    });
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (69, Some("failed")), "{report:#}");
    assert!(report["problems"][0].as_str().unwrap().contains("AccessDenied"), "{report:#}");
    check_figures(&report, &[("files", 0), ("files_failed", 0)]);
    assert!(quarantine(&world).await.is_empty());
    assert!(counted(&world).await.is_empty(), "nothing is counted of a batch that is not read whole");

    proxy.heal();
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 3), ("accesses", 3)]);
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn counts_are_exact_while_dynamodb_throttles_and_loses_answers() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) =
        world_at(&proxy.endpoint, "badday", "ingest.batch_files = 3\nledger.write_concurrency = 8").await;
    let mut want = Counts::new();
    for file in 0..6_u64 {
        let events: Vec<Event> = (0..40)
            .map(|i| Event::put(file * 100 + i, "2026-03-01T10:00:00Z", "siuu1", &format!("k{}", (file * 7 + i) % 50)))
            .collect();
        logs::count(&mut want, &events);
        put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", &format!("f{file}")), logs::file(&events)).await;
    }
    let mut at = 0;
    proxy.fault(move |request| {
        let writes = matches!(request.operation(), "UpdateItem" | "TransactWriteItems" | "PutItem");
        let is_lease = String::from_utf8_lossy(&request.body).contains("job#ingest");
        if !writes || is_lease {
            return None;
        }
        at += 1;
        match at % 7 {
            1 => Some(Fault::dynamodb_throttles()),
            3 => Some(Fault::ResetAfter),
            5 => Some(Fault::ResetBefore),
            6 => Some(Fault::Answer(500, "application/x-amz-json-1.0", r#"{"__type":"InternalServerError"}"#)),
            _ => None,
        }
    });
    // Each run takes up where the one before it gave up.
    let mut runs = 0;
    loop {
        runs += 1;
        let (code, report) = world.run_json(&INGEST).await;
        if code == 0 {
            break;
        }
        assert!(runs < 10, "{report:#}");
    }
    proxy.heal();
    assert_eq!(counted(&world).await, want);
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0);
    check_figures(&report, &[("files", 0)]);
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn rows_that_dynamodb_did_not_come_to_are_asked_for_again_before_they_are_written() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) = world_at(&proxy.endpoint, "leftout", "").await;
    let put = |id: u64, at: &str, n: u64| Event::put(id, at, "siuu1", &format!("k{n}"));
    // Every second row is there already, with a history that the new batch must not lose.
    let old: Vec<Event> = (0..75).map(|n| put(n, "2026-03-01T10:00:00Z", 2 * n)).collect();
    put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", "old"), logs::file(&old)).await;
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    let new: Vec<Event> = (0..150).map(|n| put(1000 + n, "2026-03-03T10:00:00Z", n)).collect();
    put_log(&world, &logs, &simple_key("2026-03-03T10:05:00Z", "new"), logs::file(&new)).await;

    proxy.take_requests();
    let looks = Arc::new(Mutex::new(Vec::new()));
    proxy.fault({
        let looks = looks.clone();
        move |request| {
            if request.operation() != "BatchGetItem" {
                return None;
            }
            let mut looks = looks.lock().unwrap();
            looks.push((Instant::now(), keys_of(&request.body)));
            // All but a few, then all but one, then none: of the first hundred, and of the second.
            match looks.len() % 3 {
                1 => Some(Fault::LeaveOut { but: 7 }),
                2 => Some(Fault::LeaveOut { but: 1 }),
                _ => None,
            }
        }
    });
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 1), ("accesses", 150), ("objects", 150), ("batches", 1)]);
    let mut want = Counts::new();
    logs::count(&mut want, &old);
    logs::count(&mut want, &new);
    assert_eq!(counted(&world).await, want);

    let looks: Vec<(Instant, BTreeSet<String>)> = std::mem::take(&mut *looks.lock().unwrap());
    let sizes: Vec<usize> = looks.iter().map(|(_, keys)| keys.len()).collect();
    assert_eq!(sizes, [100, 93, 92, 50, 43, 42], "what was left out, and nothing else, is asked for again");
    for (again, millis) in [(1, 100), (2, 200), (4, 100), (5, 200)] {
        let [(before, all), (then, some)] = &looks[again - 1..=again] else { unreachable!() };
        assert!(some.is_subset(all), "{some:?}");
        assert!(*then - *before >= Duration::from_millis(millis), "DynamoDB is given time");
    }
    // Not one row is written as if it were not there.
    let updates: Vec<Value> = proxy.take_requests().iter().filter_map(row_update).collect();
    assert!(updates.len() >= 150);
    for update in updates {
        let is_old = update["Key"]["object_key"]["S"].as_str().unwrap()[1..].parse::<u64>().unwrap().is_multiple_of(2);
        assert_eq!(update["ExpressionAttributeValues"][":seen"]["N"] == "1", is_old, "{update:#}");
    }
}

/// The keys of the rows that a BatchGetItem asks for.
fn keys_of(body: &[u8]) -> BTreeSet<String> {
    let request: Value = serde_json::from_slice(body).expect("JSON");
    let tables = request["RequestItems"].as_object().expect("tables");
    let keys = tables.values().flat_map(|wanted| wanted["Keys"].as_array().expect("keys"));
    keys.map(|key| key["object_key"]["S"].as_str().expect("a key").to_owned()).collect()
}

/// The update of a row of the ledger, if a request is one.
fn row_update(request: &Request) -> Option<Value> {
    let update: Value = serde_json::from_slice(&request.body).ok()?;
    let is_row = request.operation() == "UpdateItem" && update["Key"].get("object_key").is_some();
    is_row.then_some(update)
}
