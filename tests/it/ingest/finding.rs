//! Which files are looked for, and what that costs.

use tierd::state::batches::{BatchStatus, LogPlace};

use super::{INGEST, check_figures, counted, put_log, scheduled_run, world, world_at};
use crate::logs::{self, Counts, Event, simple_key};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_late_file_is_counted_within_the_lookback_and_by_the_sweep_of_a_month() {
    let (world, logs) = world("late", "").await;
    let mut want = Counts::new();
    let mut deliver = async |id: u64, published: &str| {
        let events = [Event::put(id, published, "siuu1", &format!("k{id}"))];
        logs::count(&mut want, &events);
        put_log(&world, &logs, &simple_key(published, "f"), logs::file(&events)).await;
        want.clone()
    };
    deliver(1, "2026-03-02T12:00:00Z").await;
    let want = deliver(2, "2026-01-20T12:00:00Z").await;
    // The first run of a day sweeps, whoever asks for it.
    scheduled_run(&world).await;
    assert_eq!(counted(&world).await, want);

    let twenty_days = Event::put(3, "2026-02-10T12:00:00Z", "siuu1", "k3");
    put_log(&world, &logs, &simple_key("2026-02-10T12:00:00Z", "f"), logs::file(std::slice::from_ref(&twenty_days)))
        .await;
    let within = Event::put(4, "2026-02-28T12:00:00Z", "siuu1", "k4");
    put_log(&world, &logs, &simple_key("2026-02-28T12:00:00Z", "f"), logs::file(std::slice::from_ref(&within))).await;
    scheduled_run(&world).await;
    let mut want = want;
    logs::count(&mut want, &[within]);
    assert_eq!(counted(&world).await, want, "the second run of a day looks back two days, over the end of the month");

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 1), ("files_skipped", 2)]);
    logs::count(&mut want, &[twenty_days]);
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn manifests_expire_only_when_nothing_of_them_is_listed_again() {
    let (world, logs) = world("expiry", "ingest.batch_files = 1").await;
    for (id, published) in [(1, "2025-10-01T12:00:00Z"), (2, "2026-02-20T12:00:00Z"), (3, "2026-03-02T12:00:00Z")] {
        put_log(&world, &logs, &simple_key(published, "f"), logs::file(&[Event::put(id, published, "siuu1", "k")]))
            .await;
    }
    // The second run sees where the first one's cursor stands, and lets go of what lies below its floor.
    for files in [3, 0] {
        let (code, report) = world.run_json(&INGEST).await;
        assert_eq!(code, 0, "{report:#}");
        check_figures(&report, &[("files", files)]);
    }
    let mut expires = Vec::new();
    for number in 1..=3 {
        let batch = world.app.state.batch(number).await.unwrap().expect("a manifest");
        assert_eq!(batch.status, BatchStatus::Done);
        expires.push(batch.expires);
    }
    assert_eq!(expires, [true, false, false]);
    let place = LogPlace {
        bucket: logs.as_str().to_owned().try_into().unwrap(),
        prefix: "AWSLogs/111111111111/CloudTrail/ap-northeast-1/".to_owned(),
    };
    let cursor = world.app.state.cursors().await.unwrap()[&place];
    assert_eq!(cursor.last_day.to_string(), "2026-03-02");
    assert_eq!(cursor.first_day.to_string(), "2025-10-01");

    // As DynamoDB does when the time has come.
    world
        .dynamodb()
        .delete_item()
        .table_name(&world.settings().state.table)
        .key("pk", aws_sdk_dynamodb::types::AttributeValue::S("ingest".into()))
        .key("sk", aws_sdk_dynamodb::types::AttributeValue::S("batch#000000000001".into()))
        .send()
        .await
        .unwrap();
    let before = counted(&world).await;
    let (_, report) = world.run_json(&INGEST).await;
    check_figures(&report, &[("files", 0), ("files_skipped", 2)]);
    assert_eq!(counted(&world).await, before);
    assert_eq!(world.app.state.batch_sequence().await.unwrap().last, 3);
}

#[tokio::test]
async fn s3_is_asked_for_listings_and_once_for_each_new_file() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) = world_at(&proxy.endpoint, "calls", "").await;
    let mut objects = 0;
    for file in 0..6_u64 {
        let events: Vec<Event> = (0..50)
            .map(|i| Event::put(file * 100 + i, "2026-03-01T10:00:00Z", "siuu1", &format!("k{}", (file * 50 + i) % 90)))
            .collect();
        objects = objects.max(90);
        put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", &format!("f{file}")), logs::file(&events)).await;
    }
    proxy.take_requests();
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("accesses", 300), ("objects", objects)]);
    let requests = proxy.take_requests();
    let of = |operation: &str| requests.iter().filter(|r| r.operation() == operation).count();
    assert_eq!(of("GET"), 6, "one GET a file");
    assert_eq!(of("HEAD"), 0);
    // The account under AWSLogs/, the regions under its CloudTrail/, the files of the region.
    assert_eq!(of("LIST"), 3);
    let counting = requests
        .iter()
        .filter(|r| r.operation() == "UpdateItem" && String::from_utf8_lossy(&r.body).contains("event_time"))
        .count();
    assert_eq!(counting, 90, "one update an object");
    assert_eq!(of("BatchGetItem"), 1, "a hundred rows are read in one call");

    let (_, report) = world.run_json(&INGEST).await;
    check_figures(&report, &[("files", 0)]);
    let requests = proxy.take_requests();
    assert_eq!(requests.iter().filter(|r| r.operation() == "GET").count(), 0);
    assert_eq!(requests.iter().filter(|r| r.operation() == "LIST").count(), 3);
}
