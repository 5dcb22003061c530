//! The adaptive policy from the logs to the moves: what ingest counts over months decides where objects go.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tierd::clock::rfc3339;
use tierd::state::Written;
use tierd::tiering::evidence::IdleTable;
use tierd::tiering::evidence::day_of;

use super::{class_of, job};
use crate::logs::{Event, file, simple_key};
use crate::world::World;

pub const SETTINGS: &str = "
transition.policy = \"adaptive\"
transition.require_recent_ingest = \"35d\"
reconcile.adopt = false
";
pub const COUNT_ALL: &str = "[[ingest.count]]\nevent = \"PutObject\"\n[[ingest.count]]\nevent = \"GetObject\"\n";

/// What was written 200 days ago: `hot/…` has been read every other day since, `cold/…` never.
fn events(bucket: &str, now: DateTime<Utc>) -> Vec<Event> {
    let begin = now - TimeDelta::days(200);
    let mut all = Vec::new();
    for i in 0..6 {
        for name in ["hot", "cold"] {
            all.push(Event::put(all.len() as u64, &rfc3339(begin), bucket, &format!("{name}/{i}")));
        }
    }
    for day in (1..200).step_by(2) {
        let at = rfc3339(begin + TimeDelta::days(day));
        for i in 0..6 {
            all.push(Event { parameter: None, ..Event::download(all.len() as u64, &at, bucket, &format!("hot/{i}")) });
        }
    }
    all
}

/// A world whose ledger knows 200 days of a bucket of hot and cold objects.
pub async fn world_of_200_days(test: &str, settings: &str) -> (World, String) {
    let source = |bucket: &str| {
        format!("{settings}{COUNT_ALL}[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{bucket}\"\n")
    };
    let mut world = World::steady(test, &source("not-yet-named")).await;
    let logs = world.bucket("logs").await;
    world.reconfigure(&source(&logs)).await;
    let bucket = world.bucket("siuu").await;
    let now = tierd::clock::now();
    for i in 0..6 {
        for name in ["hot", "cold"] {
            world.put(&bucket, &format!("{name}/{i}"), 1 << 20, "STANDARD").await;
        }
    }
    // A file a month, in their order, each counted by a run of its own, as they would have come.
    let all = events(&bucket, now);
    let mut begin = now - TimeDelta::days(201);
    while begin < now {
        let end = begin + TimeDelta::days(30);
        let of_month: Vec<Event> = all.iter().filter(|event| (begin..end).contains(&event.time)).cloned().collect();
        let published = rfc3339(end.min(now));
        let key = simple_key(&published, &format!("m{}", day_of(begin)));
        world.s3().put_object().bucket(&logs).key(key).body(file(&of_month).into()).send().await.expect("a log file");
        let (code, report) = world.run_json(&["job", "ingest", "--no-reconcile"]).await;
        assert_eq!((code, &report["outcome"]), (0, &json!("ok")), "{report}");
        begin = end;
    }
    job(&world, "reconcile").await;
    (world, bucket)
}

pub async fn classes(world: &World, bucket: &str, name: &str) -> Vec<String> {
    let mut all = Vec::new();
    for i in 0..6 {
        all.push(class_of(world, bucket, &format!("{name}/{i}")).await);
    }
    all
}

#[tokio::test]
async fn what_the_logs_show_to_be_cold_is_moved_and_what_they_show_to_be_hot_stays() {
    let (world, bucket) = world_of_200_days("traadapt", SETTINGS).await;

    let (code, explained) = world.run_json(&["explain", &format!("s3://{bucket}/cold/0")]).await;
    assert_eq!(code, 0, "{explained}");
    let adaptive = explained["policies"].as_array().unwrap().iter().find(|it| it["policy"] == "adaptive").unwrap();
    assert_eq!((&adaptive["holds"], &adaptive["does"]), (&json!(true), &json!("move")), "{explained}");
    let reason = adaptive["reason"].as_str().unwrap();
    for part in ["it is read in the next 30", "staying in STANDARD costs", "moving to INTELLIGENT_TIERING"] {
        assert!(reason.contains(part), "{reason}");
    }
    let (_, planned) = world.run_json(&["plan"]).await;
    assert_eq!(planned["planned"], 6, "{planned}");
    // Intelligent-Tiering bills its fee at once and less for storage later: the plan says what it is made for.
    let usd = |figure: &str| planned[figure].as_f64().unwrap();
    assert!(usd("monthly_saving_usd") < 0.0 && usd("expected_saving_usd") > 0.0, "{planned}");
    let output = world.run(&["report"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("move that pays with time") && said.contains("STANDARD to INTELLIGENT_TIERING"), "{said}");
    assert_eq!(kept(&world).await, 0, "who only looks keeps nothing");

    let report = job(&world, "transition").await;
    assert_eq!((&report["policy"], &report["moved"]), (&json!("adaptive"), &json!(6)), "{report}");
    assert_eq!(classes(&world, &bucket, "cold").await, ["INTELLIGENT_TIERING"; 6]);
    assert_eq!(classes(&world, &bucket, "hot").await, ["STANDARD"; 6]);
    assert_eq!(kept(&world).await, 2, "the bucket's shadows, and the open idle times");
    let again = job(&world, "transition").await;
    assert_eq!((&again["planned"], &again["failed"]), (&json!(0), &json!(0)), "{again}");
}

/// Items of the policy in the state table.
pub async fn kept(world: &World) -> usize {
    let answer = world.dynamodb().scan().table_name(&world.settings().state.table).send().await.expect("the state");
    let of_policy = |item: &&std::collections::HashMap<_, aws_sdk_dynamodb::types::AttributeValue>| {
        item["pk"].as_s().is_ok_and(|pk| pk == "adaptive")
    };
    answer.items().iter().filter(of_policy).count()
}

#[tokio::test]
async fn under_another_policy_nothing_of_it_is_done_or_kept() {
    let (world, bucket) = world_of_200_days("tranoadapt", "").await;
    let report = job(&world, "transition").await;
    // 200 days idle is GLACIER by recency's own steps.
    assert_eq!((&report["policy"], &report["moved"]), (&json!("recency"), &json!(6)), "{report}");
    assert_eq!(classes(&world, &bucket, "cold").await, ["GLACIER"; 6]);
    assert_eq!(classes(&world, &bucket, "hot").await, ["STANDARD"; 6]);
    assert_eq!(kept(&world).await, 0);
    let explained: Value = world.run_json(&["explain", &format!("s3://{bucket}/hot/0")]).await.1;
    let names: Vec<_> = explained["policies"].as_array().unwrap().iter().map(|it| it["policy"].clone()).collect();
    assert_eq!(names, ["recency", "frequency", "adaptive"]);
}

#[tokio::test]
async fn what_is_kept_is_read_back_and_an_earlier_day_does_not_replace_it() {
    let world = World::steady("traadaptkept", "").await;
    let state = &world.app.state;
    assert_eq!(state.open_idle_times().await.unwrap(), None);
    let (mut open, mut other) = (IdleTable::default(), IdleTable::default());
    open.end_read(2, 17);
    other.end_unread(0, 400);
    assert_eq!(state.keep_open_idle_times(&open, 20_000).await.unwrap(), Written::Yes);
    assert_eq!(state.keep_open_idle_times(&other, 20_000).await.unwrap(), Written::Refused);
    assert_eq!(state.keep_open_idle_times(&other, 19_999).await.unwrap(), Written::Refused);
    assert_eq!(state.open_idle_times().await.unwrap(), Some(open));
    assert_eq!(state.keep_open_idle_times(&other, 20_001).await.unwrap(), Written::Yes);
    assert_eq!(state.open_idle_times().await.unwrap(), Some(other));
}
