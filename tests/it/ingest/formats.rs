//! Sources of every kind, from the log bucket to the ledger: server access logs, a load balancer's, and CloudTrail's beside
//! them.

use serde_json::Value;

use super::{INGEST, check_figures, counted, put_log, world, world_at};
use crate::logs::{self, AccessLine, AlbLine, Counts, Event, alb_key, simple_key};
use crate::proxy::Proxy;

/// A source of this kind.
fn source_of(kind: &str, bucket: &str, more: &str) -> String {
    format!("[[ingest.source]]\nkind = \"{kind}\"\nbucket = \"{bucket}\"\nbucket_prefix = \"siuu\"\n{more}\n")
}

fn lines(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\n"]).flatten().copied().collect()
}

/// The lines of these that have this event, as the program logs them to stderr.
fn log_lines(stderr: &[u8], event: &str) -> Vec<Value> {
    let text = String::from_utf8_lossy(stderr).into_owned();
    let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|line| line["event"] == event).collect()
}

fn want(objects: &[(&str, u64, &str)]) -> Counts {
    objects.iter().map(|(key, n, at)| (("siuu1".to_owned(), (*key).to_owned()), (*n, logs::time(at)))).collect()
}

const AWKWARD: &str = "사진/a+b 100% \"x\"&y=z.jpg";

/// The file of the flat layout: lines of every age, and of all that does not count; with what does.
fn flat_file() -> (Vec<String>, Counts) {
    let put = AccessLine::put("2026-03-31T23:59:58Z", "siuu1", "k");
    let mut all: Vec<String> = (18..=26)
        .map(|fields| AccessLine { request_id: format!("AGE{fields}"), fields, ..put.clone() }.to_string())
        .collect();
    let download = AccessLine::download("2026-03-31T23:59:59Z", "siuu1", AWKWARD);
    let own = "arn:aws:sts::123456789012:user/moto".to_owned();
    let excluded = "arn:aws:sts::111111111111:assumed-role/backup/i-1".to_owned();
    let not = |change: AccessLine| AccessLine { key: "not this".to_owned(), ..change }.to_string();
    all.extend([
        download.to_string(),
        // The same request told twice is one.
        download.to_string(),
        AccessLine { request_id: "SITE".to_owned(), operation: "WEBSITE.GET.OBJECT", ..download.clone() }.to_string(),
        // A move of the daemon's: what it reads and what it writes; and the same by anybody else.
        not(AccessLine { operation: "REST.COPY.OBJECT_GET", requester: own.clone(), ..put.clone() }),
        not(AccessLine { operation: "REST.COPY.OBJECT", requester: own.clone(), ..put.clone() }),
        not(AccessLine { operation: "REST.COPY.OBJECT_GET", ..download.clone() }),
        not(AccessLine { operation: "REST.COPY.OBJECT", ..put.clone() }),
        not(AccessLine { requester: own.clone(), ..put.clone() }),
        not(AccessLine { requester: own, ..download.clone() }),
        not(AccessLine { requester: excluded, ..put.clone() }),
        not(AccessLine { status: 403, ..put.clone() }),
        not(AccessLine { status: 304, ..download.clone() }),
        not(AccessLine { query: String::new(), ..download.clone() }),
        not(AccessLine { operation: "REST.HEAD.OBJECT", ..put.clone() }),
        not(AccessLine { bucket: "other".to_owned(), ..put.clone() }),
        AccessLine { user_agent: "odd \" quotes \"".to_owned(), key: "odd".to_owned(), ..put }.to_string(),
    ]);
    let counts = want(&[
        ("k", 9, "2026-03-31T23:59:58Z"),
        (AWKWARD, 2, "2026-03-31T23:59:59Z"),
        ("odd", 1, "2026-03-31T23:59:58Z"),
    ]);
    (all, counts)
}

#[tokio::test]
async fn server_access_logs_of_both_layouts_and_all_ages_count_once() {
    let (mut world, logs) = world("accesslogs", "").await;
    let sources = [
        "ingest.exclude_principals = [\"arn:aws:*:assumed-role/backup/*\"]".to_owned(),
        source_of("s3-access-log", &logs, "prefix = \"flat/\""),
        source_of("s3-access-log", &logs, "prefix = \"dated/\"\nregions = [\"ap-northeast-1\"]"),
    ];
    world.reconfigure(&sources.join("\n")).await;
    let (flat, mut counts) = flat_file();
    // The 31st lies under the 1st, in either layout; of the second, gzip is what people make of it later.
    put_log(&world, &logs, "flat/2026-04-01-00-10-01-0123456789ABCDEF", lines(&flat)).await;
    let dated = [AccessLine::put("2025-12-31T23:59:59Z", "siuu1", "new year").to_string()];
    counts.extend(want(&[("new year", 1, "2025-12-31T23:59:59Z")]));
    let dated_key = "dated/111111111111/ap-northeast-1/siuu1/2026/01/01/2026-01-01-00-20-30-0123456789ABCDEF";
    put_log(&world, &logs, dated_key, logs::gzip(&lines(&dated))).await;
    let elsewhere = [AccessLine::put("2026-01-01T00:00:00Z", "siuu1", "another region").to_string()];
    let beside = "dated/111111111111/us-east-1/siuu1/2026/01/01/2026-01-01-00-20-30-0123456789ABCDEF";
    put_log(&world, &logs, beside, lines(&elsewhere)).await;
    for no_log in ["flat/readme.txt", "flat/2026-04-01", "other/2026-04-01-00-10-01-0123456789ABCDEF"] {
        put_log(&world, &logs, no_log, lines(&elsewhere)).await;
    }

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (0, Some("ok")), "{report:#}");
    let records = flat.len() as u64 + 1;
    check_figures(
        &report,
        &[("files", 2), ("records", records), ("records_bad", 0), ("accesses", 13), ("duplicates", 1), ("objects", 4)],
    );
    assert_eq!(counted(&world).await, counts);

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 0), ("files_skipped", 2), ("accesses", 0)]);
    assert_eq!(counted(&world).await, counts);
}

#[tokio::test]
async fn a_line_that_cannot_be_read_is_told_with_its_place_and_the_others_count() {
    let (mut world, logs) = world("badlines", "").await;
    let alb = "path_pattern = \"^/files/(?<bucket>[^/]+)/(?<key>.+)$\"\nprefix = \"lb\"";
    world
        .reconfigure(
            &[source_of("s3-access-log", &logs, "prefix = \"flat/\""), source_of("alb", &logs, alb)].join("\n"),
        )
        .await;
    let good = |key: &str| AccessLine::put("2026-03-01T10:00:00Z", "siuu1", key).to_string();
    let broken = good("broken").replace("[01/Mar/2026", "[no time");
    let access_key = "flat/2026-03-01-10-10-01-0123456789ABCDEF";
    // A blank line is no record, but it is a line.
    put_log(&world, &logs, access_key, lines(&[good("a"), String::new(), broken, good("b")])).await;
    let lb_good = AlbLine::put("2026-03-01T10:00:00Z", "/files/siuu1/c").to_string();
    let lb_key = alb_key("lb/AWSLogs/", "2026-03-01T10:05:00Z", "x1");
    put_log(&world, &logs, &lb_key, logs::gzip(&lines(&[lb_good.clone(), "h2 garbage".to_owned()]))).await;

    let output = world.run(&["job", "ingest", "--no-reconcile", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(output.status.code(), Some(0), "bad lines stop nothing: {report:#}");
    check_figures(&report, &[("files", 2), ("records", 5), ("records_bad", 2), ("accesses", 3)]);
    let at = "2026-03-01T10:00:00Z";
    assert_eq!(counted(&world).await, want(&[("a", 1, at), ("b", 1, at), ("c", 1, at)]));

    let mut rejected = log_lines(&output.stderr, "record.rejected");
    rejected.sort_by_key(|line| line["file"].as_str().unwrap_or_default().to_owned());
    let place = |line: &Value| {
        let file = line["file"].as_str().expect("the file").split('#').next().unwrap_or_default().to_owned();
        (file, line["record"].as_u64(), line["offset"].as_u64())
    };
    let first = good("a").len() as u64;
    assert_eq!(
        rejected.iter().map(place).collect::<Vec<_>>(),
        [
            (format!("s3://{logs}/{access_key}"), Some(3), Some(first + 2)),
            (format!("s3://{logs}/{lb_key}"), Some(2), Some(lb_good.len() as u64 + 1)),
        ]
    );
    assert!(rejected[0]["reason"].as_str().is_some_and(|reason| reason.contains("time")), "{rejected:?}");
}

#[tokio::test]
async fn a_load_balancers_requests_count_for_the_objects_in_their_paths() {
    let (mut world, logs) = world("alblogs", "").await;
    let alb = "path_pattern = \"^/files/(?<bucket>[^/]+)/(?<key>.+)$\"";
    world.reconfigure(&source_of("alb", &logs, alb)).await;
    let put = AlbLine::put("2026-03-01T10:00:00.987654Z", "/files/siuu1/%EC%82%AC%EC%A7%84/a+b%20100%25.jpg");
    let get = AlbLine {
        method: "GET",
        path: "/files/siuu1/read?response-content-disposition=attachment".to_owned(),
        ..put.clone()
    };
    let file = [
        put.to_string(),
        // Nothing tells two requests apart: each counts.
        put.to_string(),
        get.to_string(),
        AlbLine { fields: AlbLine::OLDEST, status: 206, ..get.clone() }.to_string(),
        AlbLine { method: "POST", ..put.clone() }.to_string(),
        AlbLine { method: "HEAD", ..get.clone() }.to_string(),
        AlbLine { path: "/files/siuu1/read".to_owned(), ..get.clone() }.to_string(),
        AlbLine { path: "/health".to_owned(), ..put.clone() }.to_string(),
        AlbLine { path: "/files/other/read".to_owned(), ..put.clone() }.to_string(),
        AlbLine { status: 302, ..get.clone() }.to_string(),
        AlbLine { status: 404, ..get.clone() }.to_string(),
        AlbLine { status: 500, ..put }.to_string(),
        // The load balancer answered though no target did: it is its own status that is asked.
        AlbLine { status: 503, ..get }.to_string(),
    ];
    put_log(&world, &logs, &alb_key("AWSLogs/", "2026-03-01T10:05:00Z", "x1"), logs::gzip(&lines(&file))).await;
    // A network load balancer's, and a classic one's.
    for name in ["net.n.1_20260301T1005Z_x", "20260301T1005Z_192.0.2.1_x"] {
        let beside = format!(
            "AWSLogs/111111111111/elasticloadbalancing/ap-northeast-1/2026/03/01/\
             111111111111_elasticloadbalancing_ap-northeast-1_{name}.log.gz"
        );
        put_log(&world, &logs, &beside, logs::gzip(&lines(&file))).await;
    }
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (0, Some("ok")), "{report:#}");
    check_figures(&report, &[("files", 1), ("records", file.len() as u64), ("records_bad", 0), ("accesses", 4)]);
    let at = "2026-03-01T10:00:00Z";
    assert_eq!(counted(&world).await, want(&[("사진/a+b 100%.jpg", 2, at), ("read", 2, at)]));
}

#[tokio::test]
async fn sources_of_every_kind_and_region_cost_their_listings_and_one_get_a_file() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (mut world, trail) = world_at(&proxy.endpoint, "kinds", "").await;
    let (access, lb) = (world.bucket("access").await, world.named("lb"));
    let far = world.app.clients.s3_in("eu-west-1");
    let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
        .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::EuWest1)
        .build();
    far.create_bucket().bucket(&lb).create_bucket_configuration(place).send().await.expect("a bucket");
    let alb = "region = \"eu-west-1\"\npath_pattern = \"^/files/(?<bucket>[^/]+)/(?<key>.+)$\"";
    let sources = [
        source_of("cloudtrail", &trail, ""),
        source_of("s3-access-log", &access, "prefix = \"flat/\""),
        source_of("alb", &lb, alb),
    ];
    world.reconfigure(&sources.join("\n")).await;

    // The same object in the logs of all three.
    let mut counts = Counts::new();
    let events = [Event::put(1, "2026-03-01T10:00:00Z", "siuu1", "k")];
    logs::count(&mut counts, &events);
    for id in ["f1", "f2"] {
        let other = [Event { id: id.to_owned(), ..events[0].clone() }];
        put_log(&world, &trail, &simple_key("2026-03-01T10:05:00Z", id), logs::file(&other)).await;
        let line = AccessLine { request_id: id.to_owned(), ..AccessLine::put("2026-03-01T11:00:00Z", "siuu1", "k") };
        put_log(&world, &access, &format!("flat/2026-03-01-11-10-01-{id}"), lines(&[line.to_string()])).await;
        let line = AlbLine::put("2026-03-01T12:00:00Z", "/files/siuu1/k").to_string();
        let key = alb_key("AWSLogs/", "2026-03-01T12:05:00Z", id);
        far.put_object()
            .bucket(&lb)
            .key(key)
            .body(logs::gzip(&lines(&[line])).into())
            .send()
            .await
            .expect("a log file");
    }

    proxy.take_requests();
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!((code, report["outcome"].as_str()), (0, Some("ok")), "{report:#}");
    check_figures(&report, &[("files", 6), ("accesses", 6), ("objects", 1), ("batches", 1)]);
    assert_eq!(counted(&world).await, want(&[("k", 6, "2026-03-01T12:00:00Z")]));
    let coverage = world.app.state.log_coverage_since().await.expect("the state");
    assert_eq!(coverage, Some(logs::time("2026-03-01T00:00:00Z")), "every source is covered");

    // The second run lists the same and gets nothing.
    for gets in [2, 0] {
        let requests = proxy.take_requests();
        let of = |bucket: &str, operation: &str| {
            let theirs = |path: &str| path.trim_start_matches('/').split(['/', '?']).next() == Some(bucket);
            requests.iter().filter(|r| theirs(&r.path) && r.operation() == operation).count()
        };
        // The account, the region, the files; the year, the files.
        for (bucket, listings) in [(&trail, 3), (&access, 2), (&lb, 3)] {
            assert_eq!((of(bucket, "LIST"), of(bucket, "GET"), of(bucket, "HEAD")), (listings, gets, 0), "{bucket}");
        }
        let of_lb = requests.iter().filter(|r| r.path.trim_start_matches('/').starts_with(lb.as_str()));
        assert!(of_lb.clone().all(|r| r.region == "eu-west-1"), "{:?}", of_lb.map(|r| &r.region).collect::<Vec<_>>());
        assert!(requests.iter().filter(|r| r.path.contains(&trail)).all(|r| r.region == "ap-northeast-1"));
        let (code, report) = world.run_json(&INGEST).await;
        assert_eq!(code, 0, "{report:#}");
        check_figures(&report, &[("files", 0), ("files_skipped", 6)]);
    }
    assert_eq!(counted(&world).await, want(&[("k", 6, "2026-03-01T12:00:00Z")]));
}
