//! Reconcile against real listings and a real table: what becomes of rows and of objects without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::StreamExt;
use serde_json::json;
use tierd::ledger::{Counted, Usage};
use tokio::sync::{Notify, Semaphore};

use crate::proxy::{Fault, Proxy};
use crate::world::World;

/// Long before any test: events of this time are older than every listing.
const LONG_AGO: &str = "2024-01-02T03:04:05Z";

/// A row with a history, as ingest leaves it: no ETag, class or size.
async fn ingested(world: &World, bucket: &str, key: &str, count: u64) {
    row(world, bucket, key, &[("count", &count.to_string()), ("event_time", LONG_AGO), ("last_batch", "7")]).await;
}

/// A row with these attributes; `count`, `size` and `last_batch` are numbers.
pub async fn row(world: &World, bucket: &str, key: &str, attributes: &[(&str, &str)]) {
    let mut put = world
        .dynamodb()
        .put_item()
        .table_name(&world.settings().ledger.table)
        .item("bucket_name", AttributeValue::S(bucket.to_owned()))
        .item("object_key", AttributeValue::S(key.to_owned()));
    for (name, value) in attributes {
        let value = match *name {
            "count" | "size" | "last_batch" => AttributeValue::N((*value).to_owned()),
            _ => AttributeValue::S((*value).to_owned()),
        };
        put = put.item(*name, value);
    }
    put.send().await.expect("a row");
}

/// A row as text, attribute by attribute.
pub async fn read_row(world: &World, bucket: &str, key: &str) -> Option<BTreeMap<String, String>> {
    let row = world.ledger_row(bucket, key).await?;
    let text = |value: AttributeValue| match value {
        AttributeValue::S(s) | AttributeValue::N(s) => s,
        AttributeValue::B(bytes) => format!("{:02x?}", bytes.as_ref()),
        other => panic!("{other:?}"),
    };
    Some(row.into_iter().map(|(name, value)| (name, text(value))).collect())
}

async fn attribute(world: &World, bucket: &str, key: &str, name: &str) -> Option<String> {
    read_row(world, bucket, key).await?.remove(name)
}

#[tokio::test]
async fn rows_follow_the_listing_and_keep_their_history() {
    let world = World::steady("recfollow", "").await;
    let bucket = world.bucket("b").await;
    let fresh = world.put(&bucket, "fresh", 10, "STANDARD_IA").await;
    let new = world.put(&bucket, "replaced", 20, "STANDARD").await;
    world.put(&bucket, "unknown", 5, "STANDARD").await;
    ingested(&world, &bucket, "fresh", 3).await;
    ingested(&world, &bucket, "gone", 4).await;
    let known = [
        ("count", "9"),
        ("event_time", LONG_AGO),
        ("entity_tag_value", "older"),
        ("storage_class", "GLACIER"),
        ("size", "1"),
        ("class_since", LONG_AGO),
    ];
    row(&world, &bucket, "replaced", &known).await;

    // A dry run says the same and does nothing.
    for (args, gone_is_there) in [(&["job", "reconcile", "--dry-run"][..], true), (&["job", "reconcile"], false)] {
        let (code, report) = world.run_json(args).await;
        assert_eq!(code, 0, "{report}");
        let expected = json!({"buckets": 1, "buckets_failed": 0, "buckets_gone": 0, "rows": 3, "objects": 3,
            "refreshed": 1, "replaced": 1, "dropped": 1, "adopted": 0, "held_back": 0});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&report[name], value, "{name} of {report}");
        }
        assert_eq!(read_row(&world, &bucket, "gone").await.is_some(), gone_is_there);
    }

    let refreshed = read_row(&world, &bucket, "fresh").await.unwrap();
    assert_eq!(refreshed["entity_tag_value"], fresh);
    assert_eq!(refreshed["storage_class"], "STANDARD_IA");
    assert_eq!(refreshed["size"], "10");
    assert_eq!((refreshed["count"].as_str(), refreshed["event_time"].as_str()), ("3", LONG_AGO));
    assert_eq!(refreshed["last_batch"], "7");
    let replaced = read_row(&world, &bucket, "replaced").await.unwrap();
    assert_eq!(replaced["entity_tag_value"], new);
    assert_eq!((replaced["storage_class"].as_str(), replaced["size"].as_str()), ("STANDARD", "20"));
    assert_eq!((replaced["count"].as_str(), replaced["event_time"].as_str()), ("9", LONG_AGO));
    assert_ne!(replaced["class_since"], LONG_AGO);
    assert_eq!(read_row(&world, &bucket, "unknown").await, None);

    // Nothing is left to do.
    let (_, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((&report["refreshed"], &report["replaced"], &report["dropped"]), (&json!(0), &json!(0), &json!(0)));
}

#[tokio::test]
async fn unknown_objects_are_adopted_in_buckets_with_rows_and_in_those_of_users() {
    let world = World::steady("recadopt", "reconcile.adopt = true").await;
    let (with_rows, of_user) = (world.bucket("rows").await, world.bucket("user").await);
    world.put(&world.bucket("foreign").await, "not ours", 5, "STANDARD").await;
    world.put(&with_rows, "new", 5, "STANDARD").await;
    ingested(&world, &with_rows, "old", 1).await;
    let etag = world.put(&of_user, "a+b %20?#;한글", 7, "GLACIER").await;
    world
        .dynamodb()
        .put_item()
        .table_name(&world.settings().users.table)
        .item("userId", AttributeValue::S("u".to_owned()))
        .item("s3_bucket_uri", AttributeValue::S(format!("s3://{of_user}")))
        .send()
        .await
        .unwrap();
    world.put_user("without a bucket").await;

    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["buckets"], &report["adopted"]), (0, &json!(2), &json!(2)), "{report}");
    let adopted = read_row(&world, &of_user, "a+b %20?#;한글").await.unwrap();
    assert_eq!((adopted["count"].as_str(), adopted["entity_tag_value"].as_str()), ("0", etag.as_str()));
    assert_eq!((adopted["storage_class"].as_str(), adopted["size"].as_str()), ("GLACIER", "7"));
    assert_eq!(adopted["event_time"], adopted["class_since"]);
    assert!(read_row(&world, &with_rows, "new").await.is_some());
}

#[tokio::test]
async fn a_used_row_outlives_a_listing_that_is_older() {
    let world = World::steady("recyoung", "").await;
    let bucket = world.bucket("b").await;
    let later = "2999-01-01T00:00:00Z";
    row(&world, &bucket, "just used", &[("count", "1"), ("event_time", later)]).await;
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["dropped"], &report["held_back"]), (0, &json!(0), &json!(0)), "{report}");
    assert!(read_row(&world, &bucket, "just used").await.is_some());
}

#[tokio::test]
async fn the_breaker_keeps_rows_and_lets_the_rest_be_done() {
    let world =
        World::steady("recbreak", "reconcile.max_drop_fraction = 0.5\nreconcile.min_rows_for_breaker = 4").await;
    let bucket = world.bucket("b").await;
    world.put(&bucket, "there", 5, "STANDARD").await;
    for key in ["a", "b", "c", "there"] {
        ingested(&world, &bucket, key, 1).await;
    }
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!(code, 1);
    assert_eq!((&report["outcome"], &report["held_back"]), (&json!("partial"), &json!(3)), "{report}");
    assert_eq!((&report["dropped"], &report["refreshed"]), (&json!(0), &json!(1)));
    assert!(report["problems"][0].as_str().unwrap().contains("max_drop_fraction"), "{report}");
    assert!(read_row(&world, &bucket, "a").await.is_some());
    assert!(attribute(&world, &bucket, "there", "entity_tag_value").await.is_some());
}

#[tokio::test]
async fn a_bucket_that_is_gone_loses_its_rows() {
    let world = World::steady("recgone", "reconcile.min_rows_for_breaker = 0").await;
    let bucket = world.named("never-made");
    for key in ["a", "b", "c"] {
        ingested(&world, &bucket, key, 1).await;
    }
    row(&world, &bucket, "used since", &[("count", "1"), ("event_time", "2999-01-01T00:00:00Z")]).await;
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["buckets_gone"], &report["dropped"]), (0, &json!(1), &json!(3)), "{report}");
    assert_eq!(read_row(&world, &bucket, "a").await, None);
    assert!(read_row(&world, &bucket, "used since").await.is_some());
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_alone_and_told_of() {
    let world = World::steady("recbad", "reconcile.adopt = true").await;
    let bucket = world.bucket("b").await;
    world.put(&bucket, "bad and there", 5, "STANDARD").await;
    world.put(&bucket, "good", 5, "STANDARD").await;
    for key in ["bad and there", "bad and gone"] {
        row(&world, &bucket, key, &[("event_time", "yesterday, I think")]).await;
    }
    ingested(&world, &bucket, "good", 1).await;
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["refreshed"], &report["adopted"]), (0, &json!(1), &json!(0)), "{report}");
    for key in ["bad and there", "bad and gone"] {
        assert!(report["problems"].to_string().contains(key), "{report}");
        assert_eq!(attribute(&world, &bucket, key, "event_time").await.as_deref(), Some("yesterday, I think"));
        assert_eq!(attribute(&world, &bucket, key, "entity_tag_value").await, None);
    }
}

#[tokio::test]
async fn a_thousand_keys_in_awkward_order_are_matched_one_by_one() {
    let world = World::steady("recorder", "ledger.write_concurrency = 4").await;
    let bucket = world.bucket("b").await;
    // UTF-16 and UTF-8 disagree about U+FFxx and U+1xxxx; encodings disagree about the others.
    let mut keys: Vec<String> = [
        "\u{ff61}x",
        "\u{10000}x",
        "\u{ffee}",
        "\u{1f600}",
        "a+b",
        "a b",
        "a%20b",
        "a%2Bb",
        "한글/키",
        "é",
        "e\u{301}",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.extend((0..1000).map(|i| format!("{}/{i:04}+{}", i % 7, char::from_u32(0x4e00 + i).unwrap())));
    let client = world.s3().clone();
    let put = |key: String| {
        let (client, bucket) = (client.clone(), bucket.clone());
        async move { client.put_object().bucket(bucket).key(key).body(b"x".to_vec().into()).send().await.unwrap() }
    };
    futures::stream::iter(keys.clone()).map(put).buffer_unordered(4).collect::<Vec<_>>().await;
    for (i, key) in keys.iter().enumerate() {
        if i % 2 == 0 || i < 11 {
            ingested(&world, &bucket, key, 1).await;
        }
    }
    let rows = keys.iter().enumerate().filter(|(i, _)| i % 2 == 0 || *i < 11).count();
    ingested(&world, &bucket, "\u{fffd}gone", 1).await;
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!(code, 0, "{report}");
    assert_eq!((&report["refreshed"], &report["dropped"]), (&json!(rows), &json!(1)), "{report}");
    for key in &keys[..11] {
        assert!(attribute(&world, &bucket, key, "entity_tag_value").await.is_some(), "{key}");
    }
}

/// A bucket with one object and rows of it and of three that are gone.
async fn with_rows(world: &World, what: &str) -> String {
    let bucket = world.bucket(what).await;
    world.put(&bucket, "there", 5, "STANDARD").await;
    for key in ["a", "b", "c", "there"] {
        ingested(world, &bucket, key, 1).await;
    }
    bucket
}

async fn rows_of(world: &World, bucket: &str) -> Vec<Option<BTreeMap<String, String>>> {
    let mut rows = Vec::new();
    for key in ["a", "b", "c", "there"] {
        rows.push(read_row(world, bucket, key).await);
    }
    rows
}

/// A page of a listing with one object, and what stands before and after it.
fn page(before: &str, after: &str) -> Fault {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>b</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys>{before}\
         <Contents><Key>there</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag>\
         <Size>5</Size><StorageClass>STANDARD</StorageClass></Contents>{after}"
    );
    Fault::Answer(200, "application/xml", text.leak())
}

#[tokio::test]
async fn a_listing_that_is_not_whole_leaves_its_bucket_as_it_was() {
    const TRUNCATED: &str = "<KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>\
                             <NextContinuationToken>more</NextContinuationToken><EncodingType>url</EncodingType>";
    const END: &str = "</ListBucketResult>";
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world =
        World::steady_at(&proxy.endpoint, "recbroken", "reconcile.max_drop_fraction = 1.0\nreconcile.concurrency = 16")
            .await;
    let denied = || Fault::s3_error(403, "AccessDenied");
    let xml = |text: &'static str| Fault::Answer(200, "application/xml", text);
    // What the first page and those after it are.
    let cases = [
        ("a second page that is refused", page(TRUNCATED, END), denied()),
        (
            "a second page without an end",
            page(TRUNCATED, END),
            page("<KeyCount>2</KeyCount><IsTruncated>false</IsTruncated>", ""),
        ),
        ("a page that is no XML", xml("no listing at all"), denied()),
        ("a page that is empty", xml(""), denied()),
        ("a document of another kind", xml("<html><body>maintenance</body></html>"), denied()),
        ("a page that does not say whether it is the last", page("<KeyCount>1</KeyCount>", END), denied()),
        (
            "fewer objects than the page counts",
            page("<KeyCount>2</KeyCount><IsTruncated>false</IsTruncated>", END),
            denied(),
        ),
        (
            "a page that is cut after an object",
            page("<IsTruncated>false</IsTruncated><KeyCount>4</KeyCount>", ""),
            denied(),
        ),
        (
            "a page that is cut within one",
            page("<IsTruncated>false</IsTruncated>", "<Contents><Key>z</Key><ETag>"),
            denied(),
        ),
        (
            "more pages, and no way to ask for them",
            page("<KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>", END),
            denied(),
        ),
    ];
    let whole = with_rows(&world, "whole").await;
    let mut buckets = BTreeMap::new();
    for (number, (name, first, second)) in cases.into_iter().enumerate() {
        let bucket = with_rows(&world, &format!("broken{number}")).await;
        let before = rows_of(&world, &bucket).await;
        buckets.insert(bucket, (name, first, second, before));
    }
    let faults: Vec<_> = buckets.iter().map(|(bucket, (_, a, b, _))| (bucket.clone(), a.clone(), b.clone())).collect();
    proxy.fault(move |request| {
        let is_of = |bucket: &str| request.path.trim_start_matches('/').split(['/', '?']).next() == Some(bucket);
        let (_, first, second) = faults.iter().find(|(bucket, ..)| request.operation() == "LIST" && is_of(bucket))?;
        Some(if request.path.contains("continuation-token") { second.clone() } else { first.clone() })
    });
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["outcome"]), (1, &json!("partial")), "{report:#}");
    for (bucket, (name, _, _, before)) in &buckets {
        assert!(report["problems"].to_string().contains(bucket), "{name}: {report:#}");
        assert_eq!(rows_of(&world, bucket).await, *before, "{name}");
    }
    assert_eq!((&report["buckets"], &report["buckets_failed"]), (&json!(11), &json!(10)), "{report:#}");
    assert_eq!((&report["dropped"], read_row(&world, &whole, "a").await), (&json!(3), None), "{report:#}");

    // The buckets themselves are well.
    proxy.heal();
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["dropped"], &report["refreshed"]), (0, &json!(30), &json!(10)), "{report:#}");
}

#[tokio::test]
async fn an_empty_listing_empties_no_ledger() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::steady_at(&proxy.endpoint, "recempty", "reconcile.min_rows_for_breaker = 4").await;
    let bucket = with_rows(&world, "b").await;
    let before = rows_of(&world, &bucket).await;
    let victim = bucket.clone();
    proxy.fault(move |request| {
        let text = "<?xml version=\"1.0\"?><ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
        (request.operation() == "LIST" && request.path.contains(&victim)).then_some(Fault::Answer(200, "application/xml", text))
    });
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["outcome"]), (1, &json!("partial")), "{report:#}");
    assert_eq!((&report["held_back"], &report["dropped"]), (&json!(4), &json!(0)), "{report:#}");
    assert!(report["problems"][0].as_str().is_some_and(|p| p.contains(&bucket)), "{report:#}");
    assert_eq!(rows_of(&world, &bucket).await, before);
}

#[tokio::test]
async fn a_page_that_fails_is_asked_for_again() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::steady_at(&proxy.endpoint, "recretry", "").await;
    let bucket = with_rows(&world, "b").await;
    let victim = bucket.clone();
    let mut failures = 0;
    // More often than the SDK asks on its own.
    proxy.fault(move |request| {
        let is_page = request.operation() == "LIST" && request.path.contains(&victim);
        let is_rows = request.operation() == "Query" && String::from_utf8_lossy(&request.body).contains(&victim);
        failures += u32::from(is_page && failures < 5);
        match () {
            () if is_page && failures < 5 => Some(Fault::s3_error(503, "SlowDown")),
            () if is_rows && failures < 4 => Some(Fault::dynamodb_throttles()),
            () => None,
        }
    });
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["outcome"]), (0, &json!("ok")), "{report:#}");
    assert_eq!((&report["dropped"], &report["refreshed"]), (&json!(3), &json!(1)), "{report:#}");
    assert!(proxy.take_requests().iter().filter(|r| r.operation() == "LIST").count() >= 5);
}

#[tokio::test]
async fn a_row_that_is_used_while_it_is_about_to_be_dropped_stays() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::steady_at(&proxy.endpoint, "recused", "").await;
    let bucket = world.bucket("b").await;
    ingested(&world, &bucket, "gone", 3).await;
    let (about_to, go_on) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    proxy.fault({
        let (about_to, go_on) = (about_to.clone(), go_on.clone());
        move |request| {
            (request.operation() == "DeleteItem").then(|| {
                about_to.notify_one();
                Fault::Hold(go_on.clone())
            })
        }
    });
    let mut run = world.tierd(&["job", "reconcile", "--json"]).spawn().expect("tierd runs");
    about_to.notified().await;
    // A late log file: the use itself is as old as ever.
    let id = format!("s3://{bucket}/gone").parse().unwrap();
    let update = crate::logs::written(id, 1, crate::logs::time(LONG_AGO));
    let counted = world.app.ledger.count(&update, 8, &Usage::default()).await.unwrap();
    assert!(matches!(counted, Counted::Now(_)), "{counted:?}");
    go_on.add_permits(1000);
    assert!(run.wait().await.expect("it ends").success());
    assert_eq!(attribute(&world, &bucket, "gone", "count").await.as_deref(), Some("4"));
}
