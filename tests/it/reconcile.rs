//! Reconcile against real listings and a real table: what becomes of rows and of objects without one.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::StreamExt;
use serde_json::json;

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
        other => panic!("{other:?}"),
    };
    Some(row.into_iter().map(|(name, value)| (name, text(value))).collect())
}

async fn attribute(world: &World, bucket: &str, key: &str, name: &str) -> Option<String> {
    read_row(world, bucket, key).await?.remove(name)
}

#[tokio::test]
async fn rows_follow_the_listing_and_keep_their_history() {
    let world = World::new("recfollow", "").await;
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
    let world = World::new("recadopt", "reconcile.adopt = true").await;
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
    let world = World::new("recyoung", "").await;
    let bucket = world.bucket("b").await;
    let later = "2999-01-01T00:00:00Z";
    row(&world, &bucket, "just used", &[("count", "1"), ("event_time", later)]).await;
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!((code, &report["dropped"], &report["held_back"]), (0, &json!(0), &json!(0)), "{report}");
    assert!(read_row(&world, &bucket, "just used").await.is_some());
}

#[tokio::test]
async fn the_breaker_keeps_rows_and_lets_the_rest_be_done() {
    let world = World::new("recbreak", "reconcile.max_drop_fraction = 0.5\nreconcile.min_rows_for_breaker = 4").await;
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
    let world = World::new("recgone", "reconcile.min_rows_for_breaker = 0").await;
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
    let world = World::new("recbad", "reconcile.adopt = true").await;
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
    let world = World::new("recorder", "ledger.write_concurrency = 4").await;
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
