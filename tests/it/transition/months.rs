//! The adaptive policy over months: a run of the program a week, each with its clock a week further on, and what it did put on
//! the bill that simulations go by.

use std::collections::BTreeMap;
use std::process::Output;

use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tierd::clock::rfc3339;
use tierd::policies;
use tierd::tiering::simulate::account::{Bill, Held, Tariff};
use tierd::tiering::storage_class::StorageClass;

use super::adaptive::{COUNT_ALL, SETTINGS};
use crate::logs::{Access, put_log};
use crate::world::World;

const WEEKS: u16 = 30;
const BYTES: u64 = 2 << 20;
/// Of each kind.
const OBJECTS: u16 = 6;
/// Whether an object is read on this day since it was written.
type IsReadOn = fn(u16) -> bool;
const KINDS: [(&str, IsReadOn); 5] = [
    ("always", |day| day.is_multiple_of(2)),
    ("early", |day| day < 12),
    ("monthly", |day| day.is_multiple_of(30)),
    ("never", |_| false),
    ("woken", |day| !(5..=150).contains(&day)),
];

/// What users do on each day, in the order of the days.
fn accesses(bucket: &str, begin: DateTime<Utc>) -> Vec<(u16, Access)> {
    let mut all = Vec::new();
    for day in 0..WEEKS * 7 {
        for (kind, is_read_on) in KINDS {
            for i in 0..OBJECTS {
                // Every kind is written over some weeks.
                let Some(age) = day.checked_sub(i * 5) else { continue };
                let at = rfc3339(begin + TimeDelta::days(i64::from(day)) + TimeDelta::hours(12));
                let op = match age {
                    0 => "PUT",
                    _ if is_read_on(age) => "GET",
                    _ => continue,
                };
                let id = all.len() as u64;
                all.push((day, Access::new(id, &at, bucket, &format!("{kind}/{i}"), op, BYTES)));
            }
        }
    }
    all
}

/// A world at some time to come: the emulator stays in the present.
struct Then<'a> {
    world: &'a World,
    time: DateTime<Utc>,
}

impl Then<'_> {
    async fn run(&self, args: &[&str]) -> Value {
        let ahead = (self.time - tierd::clock::now()).num_seconds();
        let mut command = self.world.tierd(args);
        let Output { status, stdout, stderr } =
            command.arg("--json").env("TIERD_CLOCK_AHEAD_SECS", ahead.to_string()).output().await.expect("tierd runs");
        let said = || format!("{args:?} in {}: {}", self.time, String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{}", said());
        serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}; {}", said()))
    }
}

async fn classes(world: &World, bucket: &str) -> BTreeMap<String, StorageClass> {
    let listing = world.s3().list_objects_v2().bucket(bucket).send().await.expect("a listing");
    let class = |object: &aws_sdk_s3::types::Object| {
        StorageClass::from_s3(object.storage_class.as_ref().map(|class| class.as_str()))
    };
    listing.contents().iter().map(|object| (object.key.clone().expect("a key"), class(object))).collect()
}

fn cost_of(report: &Value, lines: &str, policy: &str, cadence: Option<&str>) -> f64 {
    let is_meant = |line: &&Value| line["policy"] == policy && cadence.is_none_or(|cadence| line["cadence"] == cadence);
    let line = report[lines].as_array().expect("lines").iter().find(is_meant);
    line.unwrap_or_else(|| panic!("no {policy} in {report}"))["cost_usd"].as_f64().expect("a cost")
}

#[tokio::test]
async fn over_months_the_daemon_does_what_the_simulation_of_the_same_accesses_says() {
    let mut world = World::steady("tramonths", "").await;
    let trail = world.bucket("trail").await;
    let source = format!("[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{trail}\"\n");
    world.reconfigure(&format!("{SETTINGS}{COUNT_ALL}{source}")).await;
    let bucket = world.bucket("data").await;
    let begin = (tierd::clock::now().date_naive() + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
    let all = accesses(&bucket, begin);

    let settings = world.settings();
    let prices = policies::prices(settings).expect("prices").prices;
    let guards = policies::guards(&settings.transition, &settings.restore);
    let tariff = Tariff::new(&prices, &guards);
    let (mut bill, mut held) = (Bill::default(), BTreeMap::<String, Held>::new());
    for week in 0..=WEEKS {
        let day = week * 7;
        let now = Then { world: &world, time: begin + TimeDelta::days(i64::from(day)) + TimeDelta::minutes(30) };
        if week > 0 {
            let of_week: Vec<&Access> =
                all.iter().filter(|(of, _)| (day - 7..day).contains(of)).map(|(_, access)| access).collect();
            for access in of_week.iter().filter(|access| access.op == "PUT") {
                world.put(&bucket, access.event.key.as_deref().unwrap(), BYTES as usize, "STANDARD").await;
            }
            put_log(&world, &trail, &rfc3339(now.time - TimeDelta::minutes(20)), &format!("{week:016}"), &of_week)
                .await;
            for access in &of_week {
                let key = access.event.key.clone().unwrap();
                let on = (access.event.time - begin).num_days() as u16;
                match held.get_mut(&key) {
                    Some(held) => tariff.read(held, on, 1, BYTES, &mut bill),
                    None => _ = held.insert(key, tariff.put(on, BYTES, &mut bill)),
                }
            }
        }
        if week == WEEKS {
            break;
        }
        let ingested = now.run(&["job", "ingest"]).await;
        assert_eq!(ingested["outcome"], "ok", "{ingested}");
        let moved = now.run(&["job", "transition"]).await;
        assert_eq!((&moved["policy"], &moved["failed"]), (&json!("adaptive"), &json!(0)), "{moved}");
        for (key, class) in classes(&world, &bucket).await {
            tariff.change_class(held.get_mut(&key).expect("an object that was written"), day, class, &mut bill);
        }
    }
    held.values_mut().for_each(|held| tariff.store(held, WEEKS * 7, &mut bill));

    let trace =
        all.iter().fold("time,bucket,key,op,bytes,size\n".to_owned(), |text, (_, access)| text + &access.line());
    let file = world.dir.path().join("trace.csv");
    std::fs::write(&file, trace).unwrap();
    let (code, simulated) = world.run_json(&["simulate", "--trace", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{simulated}");
    let usd = bill.total().total_usd();
    let of = |policy| cost_of(&simulated, "policies", policy, None);
    let weekly = cost_of(&simulated, "other_cadences", "adaptive", Some("weekly"));
    println!(
        "{WEEKS} weeks, {} moves: {usd:.6} $; simulated weekly {weekly:.6}, standard {:.6}, intelligent-tiering {:.6}, optimum {:.6}",
        bill.moves,
        of("standard"),
        of("intelligent-tiering"),
        of("optimum"),
    );
    println!("{:?}", bill.total());
    assert!((usd / weekly - 1.0).abs() < 0.02, "the daemon's moves cost {usd} and the simulation's {weekly}");
    assert!(usd < of("standard") && bill.moves > 0, "{usd}");
}
