//! The adaptive policy where some reads may wait: what is cold goes into an archive, comes back when somebody asks for it, and
//! stays.

use serde_json::{Value, json};
use tierd::state::Written;
use tierd::tiering::evidence::{IdleTable, day_of};

use super::adaptive::{SETTINGS, classes, world_of_200_days};
use super::{class_of, job, read_row};
use crate::world::World;

/// What `plan` says of the bucket's reads that wait.
async fn delayed_reads(world: &World) -> Value {
    let (code, planned) = world.run_json(&["plan"]).await;
    assert_eq!(code, 0, "{planned}");
    planned["buckets"][0]["delayed_reads"].clone()
}

/// A world of which all buckets together have taught that what was not read for long is not read again.
async fn world_of_cold(test: &str, max_delayed_reads: &str) -> (World, String) {
    let settings = format!("{SETTINGS}transition.adaptive.max_delayed_reads = {max_delayed_reads}\n");
    let (world, bucket) = world_of_200_days(test, &settings).await;
    let mut open = IdleTable::default();
    for _ in 0..2000 {
        open.end_unread(0, 800);
        open.end_read(7, 2);
    }
    let yesterday = day_of(tierd::clock::now()) - 1;
    assert_eq!(world.app.state.keep_open_idle_times(&open, yesterday).await.unwrap(), Written::Yes);
    (world, bucket)
}

fn is_archive(class: &str) -> bool {
    ["GLACIER", "DEEP_ARCHIVE"].contains(&class)
}

#[tokio::test]
async fn what_is_cold_is_archived_comes_back_when_it_is_asked_for_and_is_not_archived_again_at_once() {
    let (world, bucket) = world_of_cold("traarch", "0.01").await;
    let cold = format!("s3://{bucket}/cold/0");

    // Six objects of which each was read on a hundred days: one in a hundred reads may wait, so that six may be archived.
    let before = delayed_reads(&world).await;
    assert_eq!((&before["reads"], &before["waited"], &before["archived"]), (&json!(600), &json!(0), &json!(0)));
    assert_eq!(before["room"], 6, "{before}");
    let said = String::from_utf8(world.run(&["plan"]).await.stdout).unwrap();
    assert!(said.contains("expected share of reads that wait for a restore 0.0"), "{said}");
    assert!(said.contains("so far 0 of 600 (0.00 %), at most 1 %; room in the archives for 6 more objects"), "{said}");
    let (_, explained) = world.run_json(&["explain", &cold]).await;
    let adaptive = explained["policies"].as_array().unwrap().iter().find(|it| it["policy"] == "adaptive").unwrap();
    let reason = adaptive["reason"].as_str().unwrap();
    assert!(reason.contains("; whoever reads it then waits for a restore: expected share of reads"), "{reason}");

    let report = job(&world, "transition").await;
    assert_eq!((&report["moved"], &report["failed"]), (&json!(6), &json!(0)), "{report}");
    let archived = classes(&world, &bucket, "cold").await;
    assert!(archived.iter().all(|class| is_archive(class)), "{archived:?}");
    assert_eq!(classes(&world, &bucket, "hot").await, ["STANDARD"; 6]);
    let full = delayed_reads(&world).await;
    assert_eq!((&full["archived"], &full["room"]), (&json!(6), &json!(0)), "{full}");

    // Somebody wants to read one of them. This emulator restores at once, and the sweep finds that.
    let asked = world.run(&["restore", &cold]).await;
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let row = read_row(&world, &bucket, "cold/0").await.unwrap();
    assert_eq!((row["waited_days"].as_str(), row.contains_key("last_waited")), ("1", true), "{row:?}");
    let swept = job(&world, "sweep").await;
    assert_eq!(swept["restores_finished"], 1, "{swept}");
    assert_eq!(class_of(&world, &bucket, "cold/0").await, "STANDARD");
    let row = read_row(&world, &bucket, "cold/0").await.unwrap();
    assert_eq!((row["storage_class"].as_str(), row["waited_days"].as_str()), ("STANDARD", "1"), "{row:?}");

    // A day of reads that waited is a read, as the log will tell at best.
    let after = delayed_reads(&world).await;
    assert_eq!((&after["reads"], &after["waited"], &after["archived"]), (&json!(601), &json!(1), &json!(5)), "{after}");
    job(&world, "transition").await;
    let class = class_of(&world, &bucket, "cold/0").await;
    assert!(!is_archive(&class), "it was wanted today: {class}");
    assert!(classes(&world, &bucket, "cold").await[1..].iter().all(|class| is_archive(class)));
}

#[tokio::test]
async fn a_bucket_archives_no_more_than_its_reads_allow_and_nothing_where_the_guards_forbid_it() {
    let (world, bucket) = world_of_cold("traarchfew", "0.005").await;
    let archived = async || classes(&world, &bucket, "cold").await.iter().filter(|class| is_archive(class)).count();
    let mut guarded = world.tierd(&["job", "transition", "--dry-run", "--json"]);
    let output = guarded.env("TIERD__TRANSITION__MIN_OBJECT_SIZE", "2MiB").output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["planned"], 0, "objects of a megabyte stay: {report}");
    // Three in 603 reads are just within one in two hundred.
    let report = job(&world, "transition").await;
    let archived = archived().await;
    assert!((1..=3).contains(&archived), "{archived}: {report}");
    let left = delayed_reads(&world).await;
    assert_eq!(left["room"].as_u64().unwrap() + archived as u64, 3, "{left}");
}
