//! The report of a ledger that looks like a real one, as the program writes it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tierd::state::runs::RunOutcome;

use crate::world::World;

const SETTINGS: &str = "transition.require_recent_ingest = \"0d\"";
const MIB: u64 = 1 << 20;

fn now() -> DateTime<Utc> {
    tierd::clock::now_secs()
}

/// A row as ingest and reconcile leave it.
fn item(bucket: &str, key: &str, class: &str, size: u64, idle: TimeDelta) -> HashMap<String, AttributeValue> {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let time = |back: TimeDelta| text(&tierd::clock::rfc3339(now() - back));
    let columns = [
        ("bucket_name", text(bucket)),
        ("object_key", text(key)),
        ("entity_tag_value", text("d41d8cd98f00b204e9800998ecf8427e")),
        ("count", AttributeValue::N("3".to_owned())),
        ("event_time", time(idle)),
        ("storage_class", text(class)),
        ("size", AttributeValue::N(size.to_string())),
        ("class_since", time(TimeDelta::days(300))),
    ];
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn put_rows(world: &World, rows: &[HashMap<String, AttributeValue>]) {
    for rows in rows.chunks(25) {
        let puts = rows
            .iter()
            .map(|row| {
                let put = PutRequest::builder().set_item(Some(row.clone())).build().expect("an item");
                WriteRequest::builder().put_request(put).build()
            })
            .collect();
        let answer = world
            .dynamodb()
            .batch_write_item()
            .request_items(&world.settings().ledger.table, puts)
            .send()
            .await
            .expect("rows");
        assert!(answer.unprocessed_items.is_none_or(|left| left.is_empty()), "the emulator left rows out");
    }
}

/// 25 users' buckets: photographs of all ages, a few films, much that is small, most of it not used for long.
fn rows_of_users() -> Vec<HashMap<String, AttributeValue>> {
    let mut rows = Vec::new();
    for user in 0..25_u64 {
        let bucket = format!("siuu{user:02}-17000000{user:02}");
        for i in 0..(6 + 40 / (user + 1)) {
            let days = i64::try_from((i * i * 7 + user * 13) % 520).expect("a few days");
            let size = match i % 5 {
                0 => 20_000 + i * 700,
                1 | 2 => 3 * MIB + i * 40_000,
                3 => 90 * MIB + i * MIB * 9,
                _ => 1_400 * MIB + user * 40 * MIB,
            };
            let class = match (i + user) % 9 {
                0 | 1 => "STANDARD_IA",
                2 => "GLACIER",
                3 if user % 4 == 0 => "INTELLIGENT_TIERING",
                4 if user % 5 == 0 => "DEEP_ARCHIVE",
                5 if user % 6 == 0 => "GLACIER_IR",
                _ => "STANDARD",
            };
            rows.push(item(&bucket, &format!("photos/{i:04}.jpg"), class, size, TimeDelta::days(days)));
        }
    }
    rows
}

async fn record_runs(world: &World) {
    for month in 0..14_i64 {
        let at = now() - TimeDelta::days(30 * (14 - month));
        let outcome = match month {
            4 => "failed",
            9 => "partial",
            _ => "ok",
        };
        let ok = if outcome == "ok" { RunOutcome::Ok } else { RunOutcome::NotOk };
        let problems = if outcome == "ok" { json!([]) } else { json!(["s3://logs/<b>x</b>.json.gz: cut short"]) };
        let ingest = json!({"job": "ingest", "outcome": outcome, "duration_ms": 40_000 + month * 900,
            "accesses": if month == 4 { 0 } else { 30_000 + month * month * 500 }, "files": 700 + month, "problems": problems});
        let moved = json!({"job": "transition", "outcome": "ok", "duration_ms": 9_000, "moved": 100 + month * 3,
            "bytes_moved": (20 + (month * 5) % 17) * 1_000_000_000, "monthly_saving_usd": 0.4, "problems": []});
        let state = &world.app.state;
        state.record_run("ingest", at, at, ok, &ingest).await.expect("a past ingest");
        state.record_run("transition", at + TimeDelta::days(3), at, RunOutcome::Ok, &moved).await.expect("a past run");
    }
}

#[tokio::test]
async fn a_ledger_becomes_a_page_a_table_and_text() {
    let world = World::steady("report", SETTINGS).await;
    let rows = rows_of_users();
    put_rows(&world, &rows).await;
    record_runs(&world).await;

    // Kept where `tests/browser/report` finds it.
    let page_file = format!("{}/report.html", env!("CARGO_TARGET_TMPDIR"));
    let output = world.run(&["report", "--out", &page_file]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "the page is the only output");
    let page = std::fs::read_to_string(&page_file).unwrap();
    for expected in
        ["siuu00-1700000000", "5 other buckets", "prices of ap-northeast-1", "STANDARD\u{a0}→ GLACIER", "partial"]
    {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(page.contains("&lt;b&gt;x&lt;/b&gt;") && !page.contains("<b>x</b>"), "names stay text");

    let csv_file = world.dir.path().join("report.csv");
    let output = world.run(&["report", "--out", csv_file.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let csv = std::fs::read_to_string(&csv_file).unwrap();
    assert!(csv.contains(&format!("total,,,{},", rows.len())), "{csv}");
    let left: Vec<_> = std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");

    let output = world.run(&["report"]).await;
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("siuu00-1700000000") && text.contains("saves a month"), "{text}");
}

#[tokio::test]
async fn under_frequency_the_report_shows_the_moves_of_ranks() {
    let world = World::steady("reportfreq", &format!("{SETTINGS}\ntransition.policy = \"frequency\"")).await;
    let row = |key: &str, idle| item("siuu1-1700000000", key, "STANDARD", 900 * MIB, TimeDelta::days(idle));
    put_rows(&world, &[row("a", 1), row("b", 2), row("c", 300), row("d", 400)]).await;
    let file = world.dir.path().join("report.csv");
    let output = world.run(&["report", "--out", file.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let csv = std::fs::read_to_string(&file).unwrap();
    let moves: Vec<&str> = csv.lines().filter(|line| line.starts_with("move,")).collect();
    assert_eq!(moves.len(), 1, "{csv}");
    assert!(moves[0].starts_with(&format!("move,STANDARD_IA,STANDARD,2,{},", 1800 * MIB)), "{moves:?}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_costs_the_others_nothing() {
    for policy in ["recency", "frequency", "adaptive"] {
        let world = World::new("reportodd", &format!("{SETTINGS}\ntransition.policy = \"{policy}\"")).await;
        let mut rows: Vec<_> =
            ["a", "b", "c"].map(|key| item("siuuodd-1", key, "STANDARD", MIB, TimeDelta::days(3))).into();
        rows[1].insert("count".to_owned(), AttributeValue::S("many".to_owned()));
        put_rows(&world, &rows).await;
        let output = world.run(&["report"]).await;
        let (page, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{policy}: {log}");
        assert!(
            page.contains("2.00 MiB") && page.contains("their rows in the ledger cannot be read"),
            "{policy}: {page}"
        );
        assert!(log.contains("ledger.row_rejected") && log.contains("\"key\":\"b\""), "{policy}: {log}");
    }
}

#[tokio::test]
async fn a_report_of_nothing_says_so_and_one_without_a_ledger_is_69() {
    let world = World::steady("reportempty", SETTINGS).await;
    let output = world.run(&["report"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the ledger is empty"));

    world.dynamodb().delete_table().table_name(&world.settings().ledger.table).send().await.expect("deleted");
    assert_eq!(world.run(&["report"]).await.status.code(), Some(69));
    assert_eq!(world.run(&["report", "--out", "report.pdf"]).await.status.code(), Some(64));
}
