//! `ledger import`: an old table's history in the rows of the right objects, once.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use serde_json::{Value, json};
use tierd::ledger::{Change, Counted, Usage};
use tierd::state::lease::Taken;
use tierd::tiering::object::ObjectId;

use crate::logs;
use crate::proxy::{Fault, Proxy};
use crate::reconcile::row;
use crate::world::World;

const OLD: &str = "2023-05-06T07:08:09Z";
const NEWER: &str = "2026-01-01T00:00:00Z";

/// A table as the functions before had it.
pub async fn old_table(world: &World) -> String {
    let name = world.named("old");
    let key = KeySchemaElement::builder().attribute_name("entity_tag_value").key_type(KeyType::Hash).build().unwrap();
    let attribute = AttributeDefinition::builder()
        .attribute_name("entity_tag_value")
        .attribute_type(ScalarAttributeType::S)
        .build()
        .unwrap();
    let create = world.dynamodb().create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
    create.key_schema(key).attribute_definitions(attribute).send().await.expect("a table");
    name
}

pub async fn old_row(world: &World, table: &str, etag: &str, count: i64, time: Option<&str>) {
    let mut put = world
        .dynamodb()
        .put_item()
        .table_name(table)
        .item("entity_tag_value", AttributeValue::S(etag.to_owned()))
        .item("count", AttributeValue::N(count.to_string()))
        .item("storage_class", AttributeValue::S("STANDARD".to_owned()));
    if let Some(time) = time {
        put = put.item("event_time", AttributeValue::S(time.to_owned()));
    }
    put.send().await.expect("a row");
}

async fn user_with(world: &World, bucket: &str) {
    world
        .dynamodb()
        .put_item()
        .table_name(&world.settings().users.table)
        .item("userId", AttributeValue::S(format!("user of {bucket}")))
        .item("s3_bucket_uri", AttributeValue::S(format!("s3://{bucket}")))
        .send()
        .await
        .expect("a user");
}

/// Every row of the ledger: object → (count, time).
async fn ledger(world: &World) -> BTreeMap<String, (String, String)> {
    let scan = world.dynamodb().scan().table_name(&world.settings().ledger.table).consistent_read(true);
    let items = scan.send().await.expect("the ledger").items.unwrap_or_default();
    let text = |item: &std::collections::HashMap<String, AttributeValue>, name: &str| match &item[name] {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let entry = |item: &_| {
        let id = format!("{}/{}", text(item, "bucket_name"), text(item, "object_key"));
        (id, (text(item, "count"), text(item, "event_time")))
    };
    items.iter().map(entry).collect()
}

fn check_figures(report: &Value, figures: &[(&str, u64)]) {
    for (name, want) in figures {
        assert_eq!(report[name].as_u64(), Some(*want), "{name} in {report:#}");
    }
}

#[tokio::test]
async fn what_is_of_one_object_is_carried_over_once_and_the_rest_is_reported() {
    let world = World::steady("import", "").await;
    let (ours, rows, gone) = (world.bucket("ours").await, world.bucket("rows").await, world.named("gone"));
    world.put(&world.bucket("foreign").await, "not ours", 1, "STANDARD").await;
    user_with(&world, &ours).await;
    user_with(&world, &gone).await;
    let unique = world.put(&ours, "사진/a+b", 1, "STANDARD_IA").await;
    let copied = world.put(&ours, "copy", 2, "STANDARD").await;
    assert_eq!(world.put(&rows, "copy", 2, "STANDARD").await, copied);
    let counted = world.put(&rows, "counted", 3, "STANDARD").await;
    let timeless = world.put(&ours, "timeless", 4, "STANDARD").await;
    world.put(&ours, "without a row", 5, "STANDARD").await;
    row(&world, &rows, "counted", &[("count", "5"), ("event_time", NEWER), ("last_batch", "7")]).await;

    let table = old_table(&world).await;
    old_row(&world, &table, &unique, 3, Some(OLD)).await;
    old_row(&world, &table, &copied, 9, Some(OLD)).await;
    old_row(&world, &table, &format!("\"{counted}\""), 4, Some(OLD)).await;
    old_row(&world, &table, &timeless, 2, None).await;
    old_row(&world, &table, "0123456789abcdef0123456789abcdef-3", 6, Some(OLD)).await;
    old_row(&world, &table, "bad", -1, Some(OLD)).await;

    let before = ledger(&world).await;
    let import = ["ledger", "import", "--table", &table];
    for (dry_run, imported) in [(true, 3), (false, 3), (true, 0), (false, 0)] {
        let args = if dry_run { [&import[..], &["--dry-run"]].concat() } else { import.to_vec() };
        let (code, report) = world.run_json(&args).await;
        assert_eq!(
            (code, &report["outcome"], &report["dry_run"]),
            (1, &json!("partial"), &json!(dry_run)),
            "{report:#}"
        );
        check_figures(
            &report,
            &[
                ("rows", 6),
                ("imported", imported),
                ("already_imported", 3 - imported),
                ("not_found", 1),
                ("ambiguous", 1),
                ("unreadable", 1),
                ("buckets", 2),
                ("buckets_gone", 1),
                ("objects", 6),
            ],
        );
        let left_out: Vec<_> =
            report["left_out"].as_array().unwrap().iter().map(|row| &row["entity_tag_value"]).collect();
        assert_eq!(left_out, ["0123456789abcdef0123456789abcdef-3", &copied, "bad"]);
        let ambiguous = report["left_out"][1]["detail"].as_str().unwrap();
        assert!(ambiguous.contains("2 objects") && ambiguous.contains("/copy"), "{ambiguous}");
        if imported == 3 && dry_run {
            assert_eq!(ledger(&world).await, before, "a dry run writes nothing");
        }
    }
    let carried = read_row_without_mark(&world, &ours, "사진/a+b").await;
    let want = [("count", "3"), ("event_time", OLD), ("entity_tag_value", &unique), ("storage_class", "STANDARD_IA")];
    for (name, value) in want {
        assert_eq!(carried[name], value, "{name}");
    }
    let all = ledger(&world).await;
    assert_eq!(all.len(), 3);
    // A later time stands; the count is the sum.
    assert_eq!(all[&format!("{rows}/counted")], ("9".to_owned(), NEWER.to_owned()));
    assert_eq!(all[&format!("{ours}/timeless")].0, "2");

    // For people: a line for each row that was left out.
    let output = world.run(&import).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    for etag in ["0123456789abcdef0123456789abcdef-3", &copied, "bad"] {
        assert!(said.lines().any(|line| line.contains(etag)), "{etag} in {said}");
    }
}

/// A row as text, but for the mark, which is a set.
async fn read_row_without_mark(world: &World, bucket: &str, key: &str) -> BTreeMap<String, String> {
    let row = world.ledger_row(bucket, key).await.expect("a row");
    let text = |value: AttributeValue| match value {
        AttributeValue::S(s) | AttributeValue::N(s) => Some(s),
        _ => None,
    };
    row.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
}

#[tokio::test]
async fn ingest_and_reconcile_go_on_with_an_imported_row() {
    let world = World::steady("importon", "").await;
    let bucket = world.bucket("b").await;
    user_with(&world, &bucket).await;
    let etag = world.put(&bucket, "k", 1, "STANDARD").await;
    let other = world.put(&bucket, "j", 2, "STANDARD").await;
    let (first, second) = (old_table(&world).await, "another");
    old_row(&world, &first, &etag, 3, Some(OLD)).await;
    old_row(&world, &first, &other, 1, Some(OLD)).await;
    let (code, report) = world.run_json(&["ledger", "import", "--table", &first]).await;
    assert_eq!((code, &report["outcome"]), (0, &json!("ok")), "{report:#}");
    check_figures(&report, &[("rows", 2), ("imported", 2)]);

    let id: ObjectId = format!("s3://{bucket}/k").parse().unwrap();
    let update = logs::written(id.clone(), 2, logs::time(NEWER));
    let counted = world.app.ledger.count(&update, 1, &Usage::default()).await.unwrap();
    assert!(matches!(counted, Counted::Now(_)), "{counted:?}");
    let (code, report) = world.run_json(&["job", "reconcile"]).await;
    assert_eq!(code, 0, "{report}");
    let figures = [("rows", 2), ("objects", 2), ("refreshed", 0), ("replaced", 0), ("dropped", 0)];
    check_figures(&report, &figures);
    let (_, report) = world.run_json(&["ledger", "import", "--table", &first]).await;
    check_figures(&report, &[("imported", 0), ("already_imported", 2)]);
    assert_eq!(ledger(&world).await[&format!("{bucket}/k")], ("5".to_owned(), NEWER.to_owned()));

    // Another old table's history comes on top.
    let facts = tierd::ledger::Placement {
        etag: tierd::tiering::object::ETag::new(&etag).unwrap(),
        class: tierd::tiering::storage_class::StorageClass::Standard,
        size: 1,
        class_since: logs::time(OLD),
    };
    let history = tierd::tiering::import::History { count: 10, latest: Some(logs::time(OLD)) };
    for want in [Change::Made, Change::Refused] {
        assert_eq!(world.app.ledger.import(&id, &history, &facts, second).await.unwrap(), want);
    }
    assert_eq!(ledger(&world).await[&format!("{bucket}/k")], ("15".to_owned(), NEWER.to_owned()));
}

#[tokio::test]
async fn nothing_is_imported_where_not_everything_is_known() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::steady_at(&proxy.endpoint, "importnot", "").await;
    let (seen, unseen) = (world.bucket("seen").await, world.bucket("unseen").await);
    for bucket in [&seen, &unseen] {
        user_with(&world, bucket).await;
    }
    let etag = world.put(&seen, "k", 1, "STANDARD").await;
    let table = old_table(&world).await;
    old_row(&world, &table, &etag, 3, Some(OLD)).await;
    let ledger_table = world.settings().ledger.table.clone();
    let fails = async |more: &[&str], code: i32, says: &str| {
        let output = world.run(&[&["ledger", "import"], more].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        assert!(said.contains(says), "{more:?}: {said}");
        assert!(ledger(&world).await.is_empty(), "{more:?}");
    };
    let victim = unseen.clone();
    proxy.fault(move |r| {
        (r.operation() == "LIST" && r.path.contains(&victim)).then(|| Fault::s3_error(403, "AccessDenied"))
    });
    fails(&["--table", &table], 69, &unseen).await;
    proxy.heal();
    fails(&["--table", "no-such-table"], 69, "no-such-table").await;
    // The ledger has ETags and counts too.
    fails(&["--table", &ledger_table], 64, "bucket_name, object_key").await;
    fails(&["--table", &table, "--bucket", "nobody-has-this-bucket"], 69, "nobody-has-this-bucket").await;
    fails(&["--table", &table, "--bucket", "?"], 64, "--bucket").await;
    let Taken::Mine(lease) = world.app.state.take_lease("job#ingest").await.unwrap() else { panic!("nobody has it") };
    fails(&["--table", &table], 75, "job ingest").await;
    lease.release().await.unwrap();

    let (code, report) = world.run_json(&["ledger", "import", "--table", &table, "--bucket", &seen]).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("buckets", 1), ("imported", 1)]);
}

#[tokio::test]
async fn an_import_that_breaks_off_is_taken_up_by_the_next_and_counts_once() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::steady_at(&proxy.endpoint, "importbreak", "ledger.write_concurrency = 2").await;
    let bucket = world.bucket("b").await;
    user_with(&world, &bucket).await;
    let table = old_table(&world).await;
    let mut want = BTreeMap::new();
    for i in 1..=12_usize {
        let etag = world.put(&bucket, &format!("k{i}"), i, "STANDARD").await;
        old_row(&world, &table, &etag, i.try_into().unwrap(), Some(OLD)).await;
        want.insert(format!("{bucket}/k{i}"), (i.to_string(), OLD.to_owned()));
    }
    // Some are throttled, some done without an answer, and then nothing may be written any more.
    let mut writes = 0;
    proxy.fault(move |request| {
        let is_import =
            request.operation() == "UpdateItem" && String::from_utf8_lossy(&request.body).contains("imported_from");
        writes += u32::from(is_import);
        match (is_import, writes) {
            (false, _) => None,
            (_, 2 | 5) => Some(Fault::dynamodb_throttles()),
            (_, 3 | 7) => Some(Fault::ResetAfter),
            (_, 0..=9) => None,
            _ => Some(Fault::Answer(400, "application/x-amz-json-1.0", r#"{"__type":"AccessDeniedException"}"#)),
        }
    });
    let import = ["ledger", "import", "--table", &table];
    let output = world.run(&import).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("run it again"), "{said}");
    let so_far = ledger(&world).await;
    assert!(!so_far.is_empty() && so_far.len() < 12, "{so_far:?}");
    assert!(so_far.iter().all(|(id, row)| want[id] == *row), "{so_far:?}");

    proxy.heal();
    let (code, report) = world.run_json(&import).await;
    assert_eq!(code, 0, "{report:#}");
    let left = 12 - so_far.len() as u64;
    check_figures(&report, &[("rows", 12), ("imported", left), ("already_imported", 12 - left)]);
    assert_eq!(ledger(&world).await, want);
}
