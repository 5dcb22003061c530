//! Time goes by: days, the ends of months and years, and what the state keeps of them.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{counted, put_log, run_at, state_items, world, world_at};
use crate::logs::{self, Counts, Event, simple_key};
use crate::proxy::{Proxy, Request};
use crate::world::World;

/// A file of one event, counted into `want`.
async fn deliver(world: &World, logs: &str, want: &mut Counts, id: u64, published: &str, happened: &str) {
    let events = [Event::put(id, happened, "siuu1", &format!("k{}", id % 5))];
    logs::count(want, &events);
    put_log(world, logs, &simple_key(published, &format!("f{id}")), logs::file(&events)).await;
}

/// From which day on the log directory was listed, by each of its listings; an empty text: from its beginning.
fn listed_from(requests: &[Request]) -> Vec<String> {
    let of_files = requests.iter().filter(|r| r.operation() == "LIST" && !r.path.contains("delimiter="));
    let day = |path: &str| {
        let after = path.split("start-after=").nth(1)?.split('&').next()?.replace("%2F", "/");
        after.get(after.len() - 10..).map(str::to_owned)
    };
    of_files.map(|r| day(&r.path).unwrap_or_default()).collect()
}

#[tokio::test]
async fn the_first_run_of_a_day_sweeps_a_month_and_the_others_look_back_two_days() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) = world_at(&proxy.endpoint, "daily", "").await;
    let mut want = Counts::new();
    deliver(&world, &logs, &mut want, 1, "2026-03-02T12:00:00Z", "2026-03-02T12:00:00Z").await;
    let listed = async |now: &str| {
        proxy.take_requests();
        let report = run_at(&world.app, now).await;
        assert_eq!(report.problems, Vec::<String>::new());
        (listed_from(&proxy.take_requests()), report.files)
    };
    let from = |day: &str| vec![day.to_owned()];
    assert_eq!(listed("2026-03-03T00:00:00Z").await, (from(""), 1), "a directory that was never listed");
    // Three weeks late.
    deliver(&world, &logs, &mut want, 2, "2026-02-10T12:00:00Z", "2026-02-10T11:00:00Z").await;
    for hour in ["06", "12", "23"] {
        assert_eq!(listed(&format!("2026-03-03T{hour}:59:59Z")).await, (from("2026/02/28"), 0));
    }
    assert_eq!(listed("2026-03-04T00:00:00Z").await, (from("2026/01/30"), 1));
    assert_eq!(listed("2026-03-04T06:00:00Z").await, (from("2026/02/28"), 0));
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn the_ends_of_months_and_years_lose_nothing() {
    let (world, logs) = world("ends", "").await;
    let mut want = Counts::new();
    let ends = [
        ("2023-12-31", "2024-01-01"),
        ("2024-02-29", "2024-03-01"),
        ("2024-04-30", "2024-05-01"),
        ("2024-12-31", "2025-01-01"),
        ("2025-02-28", "2025-03-01"),
    ];
    for (id, (last, first)) in (1..).zip(ends) {
        // Of the last second, published on the next day.
        let (late, early) = (format!("{last}T23:59:59Z"), format!("{first}T00:00:00Z"));
        deliver(&world, &logs, &mut want, id * 10, &format!("{first}T00:05:00Z"), &late).await;
        deliver(&world, &logs, &mut want, id * 10 + 1, &format!("{first}T00:05:00Z"), &early).await;
        let report = run_at(&world.app, &format!("{first}T00:30:00Z")).await;
        assert_eq!((report.files, report.problems), (2, vec![]), "{first}");
        // Published on the last day, delivered after the run of the first one: the look-back reaches over the end.
        deliver(&world, &logs, &mut want, id * 10 + 2, &format!("{last}T23:55:00Z"), &late).await;
        let report = run_at(&world.app, &format!("{first}T01:30:00Z")).await;
        assert_eq!((report.files, report.problems), (1, vec![]), "{first}");
        assert_eq!(counted(&world).await, want, "{first}");
    }
}

/// Deletes what may go by its `ttl`, as DynamoDB does.
async fn expire(world: &World, now: &str) {
    let now = logs::time(now).timestamp();
    for item in state_items(world).await {
        let ttl = item.get("ttl").and_then(|ttl| ttl.as_n().ok()).and_then(|ttl| ttl.parse::<i64>().ok());
        if ttl.is_some_and(|ttl| ttl <= now) {
            let key = |name: &str| AttributeValue::S(item[name].as_s().expect("a key").clone());
            let delete = world.dynamodb().delete_item().table_name(&world.settings().state.table);
            delete.key("pk", key("pk")).key("sk", key("sk")).send().await.expect("the state");
        }
    }
}

#[tokio::test]
async fn the_state_stays_as_large_as_two_months_while_years_go_by_and_no_file_counts_twice() {
    let (world, logs) = world("years", "ingest.batch_files = 1").await;
    let mut want = Counts::new();
    let months = (2023..2025).flat_map(|year| (1..=12).map(move |month| (year, month)));
    let mut most = 0;
    for (at, (year, month)) in (0_u64..).zip(months) {
        // The log bucket forgets nothing.
        for (i, day) in [(0, 1), (1, 11), (2, 21)] {
            let published = format!("{year}-{month:02}-{day:02}T12:00:00Z");
            deliver(&world, &logs, &mut want, at * 10 + i, &published, &published).await;
        }
        let now = format!("{year}-{month:02}-28T00:00:00Z");
        expire(&world, &now).await;
        let report = run_at(&world.app, &now).await;
        assert_eq!((report.files, report.problems), (3, vec![]), "{now}");
        let items = state_items(&world).await;
        let batches = items.iter().filter(|item| item["sk"].as_s().is_ok_and(|sk| sk.starts_with("batch#"))).count();
        assert_eq!(items.len() - batches, 4, "the sequence, a cursor, the coverage, the sweep");
        most = most.max(batches);
    }
    assert_eq!(counted(&world).await, want);
    // Three files a month, each a manifest: the month that is counted, the one that is listed again, and what of the month
    // before lies less than two days behind its expiry or above the floor.
    assert!(most <= 9, "{most} manifests");
}
