//! What the logs hold, counted to the last one.

use serde_json::json;

use super::{INGEST, check_figures, counted, put_log, source, state_items, world};
use crate::logs::{self, Counts, Event, cloudtrail_key, simple_key};

/// One of everything that logs hold, by the key of its file, and what of it counts.
fn corpus() -> (Vec<(String, Vec<u8>)>, Counts) {
    let mut counts = Counts::new();
    let here = |published: &str, id: &str| cloudtrail_key("AWSLogs/", "111111111111", "ap-northeast-1", published, id);
    let there = |published: &str, id: &str| cloudtrail_key("AWSLogs/", "222222222222", "us-east-1", published, id);

    // The last second of a year lies under the first day of the next.
    let first = vec![
        Event::put(1, "2025-12-31T23:59:59Z", "siuu1", "사진/a+b 100%.jpg"),
        Event::download(2, "2026-01-01T00:00:01Z", "siuu1", "사진/a+b 100%.jpg"),
        Event::put(3, "2025-12-31T22:00:00Z", "siuu2", "k"),
    ];
    // Neither of these counts, nor stops the rest.
    let plain_get = Event { parameter: None, ..Event::download(4, "2026-01-01T00:00:02Z", "siuu1", "x") };
    let failed = Event { error: Some("AccessDenied"), ..Event::put(5, "2026-01-01T00:00:02Z", "siuu1", "x") };
    let list = Event { name: "ListObjects", key: None, ..Event::put(6, "2026-01-01T00:00:02Z", "siuu1", "x") };
    let elsewhere = Event::put(7, "2026-01-01T00:00:02Z", "other", "x");
    let own = Event {
        arn: "arn:aws:sts::123456789012:user/moto".to_owned(),
        ..Event::put(8, "2026-01-01T00:00:02Z", "siuu1", "x")
    };
    let excluded = Event {
        arn: "arn:aws:sts::111111111111:assumed-role/backup/i-1".to_owned(),
        ..Event::put(9, "2026-01-01T00:00:02Z", "siuu1", "x")
    };
    let not_counting = [plain_get, failed, list, elsewhere, own, excluded];
    logs::count(&mut counts, &first);
    let mut records: Vec<_> = first.iter().chain(&not_counting).map(Event::record).collect();
    records.push(json!(null));
    records.push(json!({"eventName": "PutObject", "eventTime": "not a time", "eventSource": "s3.amazonaws.com",
        "eventID": "x", "requestParameters": {"bucketName": "siuu1", "key": "x"}}));
    let mixed = serde_json::to_vec(&json!({ "Records": records })).unwrap();

    // Two members in one file; the second repeats an event of the first file.
    let second =
        [Event::put(20, "2026-01-01T05:00:00Z", "siuu2", "k"), Event::put(21, "2026-01-01T05:00:00Z", "siuu3", "m")];
    logs::count(&mut counts, &second);
    let members = [logs::file(&second[..1]), logs::file(&[second[1].clone(), first[0].clone()])].concat();

    // One access across accounts: two records, two event ids, one shared id.
    let twin =
        Event { shared_id: Some("shared-1".to_owned()), ..Event::put(30, "2026-02-28T23:59:00Z", "siuu2", "shared") };
    let other_twin = Event { id: "00000000-0000-4000-8000-ffffffffffff".to_owned(), ..twin.clone() };
    logs::count(&mut counts, std::slice::from_ref(&twin));

    let files = vec![
        (here("2026-01-01T00:05:00Z", "aaaa"), logs::gzip(&mixed)),
        (here("2026-01-01T05:05:00Z", "bbbb"), members),
        (here("2026-03-01T00:05:00Z", "cccc"), logs::file(&[twin])),
        (there("2026-03-01T00:06:00Z", "dddd"), logs::file(&[other_twin])),
        (here("2026-03-01T00:10:00Z", "eeee"), Vec::new()),
    ];
    (files, counts)
}

#[tokio::test]
async fn every_access_counts_once_and_a_second_run_counts_nothing() {
    let (world, logs) = world("exact", "ingest.exclude_principals = [\"arn:aws:*:assumed-role/backup/*\"]").await;
    let (files, want) = corpus();
    for (key, content) in &files {
        put_log(&world, &logs, key, content.clone()).await;
    }
    for beside in [
        "AWSLogs/111111111111/CloudTrail-Digest/ap-northeast-1/2026/01/01/x.json.gz",
        "AWSLogs/111111111111/CloudTrail-Insight/ap-northeast-1/2026/01/01/x.json.gz",
        "AWSLogs/111111111111/CloudTrail/ap-northeast-1/2026/01/01/readme.txt",
        "AWSLogs/111111111111/Config/ap-northeast-1/2026/1/1/x.json.gz",
    ] {
        put_log(&world, &logs, beside, b"no log of ours".to_vec()).await;
    }
    let figures = [
        ("files", 5),
        ("files_skipped", 0),
        ("files_failed", 0),
        ("bytes_compressed", files.iter().map(|(_, content)| content.len() as u64).sum()),
        ("records", 11 + 3 + 1 + 1),
        ("records_bad", 2),
        ("accesses", 6),
        ("duplicates", 2),
        ("objects", 4),
        ("batches", 1),
    ];

    let mut dry = INGEST.to_vec();
    dry.push("--dry-run");
    let (code, report) = world.run_json(&dry).await;
    check_figures(&report, &figures);
    assert_eq!((code, &report["dry_run"]), (0, &json!(true)));
    assert!(counted(&world).await.is_empty());
    assert!(state_items(&world).await.is_empty(), "a dry run writes nothing");

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (0, Some("ok")), "{report:#}");
    check_figures(&report, &figures);
    assert_eq!(counted(&world).await, want);

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    // The files of January lie further back than is listed again.
    check_figures(&report, &[("files", 0), ("files_skipped", 3), ("accesses", 0), ("objects", 0), ("batches", 0)]);
    assert_eq!(counted(&world).await, want);
    assert_eq!(world.app.state.log_coverage_since().await.unwrap(), Some("2026-01-01T00:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn organizations_prefixes_and_filters_are_heeded() {
    let (mut world, logs) = world("layouts", "").await;
    let wanted = Event::put(1, "2026-02-01T00:00:00Z", "siuu1", "org");
    let also = Event::put(2, "2026-02-01T00:00:00Z", "siuu1", "plain");
    let other = Event::put(3, "2026-02-01T00:00:00Z", "siuu1", "unwanted");
    let published = "2026-02-01T00:05:00Z";
    let org = "some/prefix/AWSLogs/o-abc123/";
    for (before, account, region, event) in [
        (org, "111111111111", "us-east-1", &wanted),
        (org, "333333333333", "us-east-1", &other),
        (org, "111111111111", "eu-west-1", &other),
        ("AWSLogs/", "111111111111", "us-east-1", &other),
        ("more/AWSLogs/", "111111111111", "us-east-1", &also),
    ] {
        let key = cloudtrail_key(before, account, region, published, "abcd");
        put_log(&world, &logs, &key, logs::file(std::slice::from_ref(event))).await;
    }
    let first =
        source(&logs, "prefix = \"some/prefix/\"\naccount_ids = [\"111111111111\"]\nregions = [\"us-east-1\"]\n");
    world.reconfigure(&format!("{first}\n{}", source(&logs, "prefix = \"more\""))).await;
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    let mut want = Counts::new();
    logs::count(&mut want, &[wanted, also]);
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn files_go_through_in_as_many_batches_as_the_limits_make() {
    let (world, logs) = world("batches", "ingest.batch_files = 2").await;
    let mut want = Counts::new();
    for i in 0..5_u64 {
        let events = [Event::put(i, &format!("2026-02-0{}T00:00:00Z", i + 1), "siuu1", "same")];
        logs::count(&mut want, &events);
        put_log(&world, &logs, &simple_key(&format!("2026-02-0{}T00:05:00Z", i + 1), "a"), logs::file(&events)).await;
    }
    let figures = [("files", 5), ("batches", 3), ("accesses", 5), ("objects", 1)];
    let mut dry = INGEST.to_vec();
    dry.push("--dry-run");
    let (code, report) = world.run_json(&dry).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &figures);
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &figures);
    assert_eq!(counted(&world).await, want);
}
