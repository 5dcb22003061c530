//! Runs that are killed, repeated, or not alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tierd::ledger::{Counted, Usage};
use tierd::state::Written;
use tierd::state::batches::{BatchFile, LogPlace, Sequence};
use tierd::state::idle::IdleScope;
use tierd::state::lease::Taken;
use tierd::tiering::evidence::{DayAccess, IdleTable, ObjectEvidence};
use tierd::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};
use tokio::sync::Notify;

use super::{DYING, INGEST, check_figures, counted, put_log, world, world_at};
use crate::logs::{self, Counts, Event, simple_key};
use crate::proxy::{Fault, Proxy};
use crate::world::World;

fn object(bucket: &str, key: &str) -> ObjectId {
    ObjectId::new(BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap())
}

/// The log file as a run would have found it.
async fn found(world: &World, bucket: &str, key: &str, day: &str) -> BatchFile {
    let head = world.s3().head_object().bucket(bucket).key(key).send().await.unwrap();
    BatchFile {
        place: Arc::new(LogPlace {
            bucket: BucketName::new(bucket).unwrap(),
            prefix: "AWSLogs/111111111111/CloudTrail/ap-northeast-1/".to_owned(),
        }),
        key: ObjectKey::new(key).unwrap(),
        etag: ETag::new(head.e_tag.unwrap()).unwrap(),
        size: head.content_length.unwrap().unsigned_abs(),
        day: day.parse().unwrap(),
    }
}

#[tokio::test]
async fn a_batch_that_was_left_half_counted_is_finished_first() {
    let (world, logs) = world("repair", DYING).await;
    let events: Vec<Event> =
        (0..30).map(|i| Event::put(i, "2026-03-01T10:00:00Z", "siuu1", &format!("k{}", i % 10))).collect();
    let key = simple_key("2026-03-01T10:05:00Z", "old");
    put_log(&world, &logs, &key, logs::file(&events)).await;
    let mut want = Counts::new();
    logs::count(&mut want, &events);

    // A run that died: the manifest is written, half of the rows are.
    let state = &world.app.state;
    let files = [found(&world, &logs, &key, "2026-03-01").await];
    let at = logs::time("2026-03-01T11:00:00Z");
    assert_eq!(state.put_batch(Sequence::default(), &files, at).await.unwrap().0, Written::Yes);
    for ((bucket, key), (count, latest)) in want.iter().take(5) {
        let update = logs::written(object(bucket, key), *count, *latest);
        let counted = world.app.ledger.count(&update, 1, &Usage::default()).await.unwrap();
        assert!(matches!(counted, Counted::Now(_)), "{counted:?}");
    }
    let new = [Event::put(99, "2026-03-01T12:00:00Z", "siuu1", "k0")];
    put_log(&world, &logs, &simple_key("2026-03-01T12:05:00Z", "new"), logs::file(&new)).await;
    logs::count(&mut want, &new);

    let mut dry = INGEST.to_vec();
    dry.push("--dry-run");
    let (_, report) = world.run_json(&dry).await;
    check_figures(&report, &[("files", 2), ("accesses", 31), ("batches", 2)]);

    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "{report:#}");
    check_figures(&report, &[("files", 2), ("accesses", 31), ("objects", 10), ("batches", 2)]);
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn a_writer_that_wakes_up_late_is_refused_everywhere() {
    let (world, logs) = world("zombie", DYING).await;
    let key = simple_key("2026-03-01T10:05:00Z", "f");
    let events = [Event::put(1, "2026-03-01T10:00:00Z", "siuu1", "k")];
    put_log(&world, &logs, &key, logs::file(&events)).await;
    // It has listed, and read the number before; then it sleeps.
    let files = [found(&world, &logs, &key, "2026-03-01").await];
    let known = world.app.state.batch_sequence().await.unwrap();

    let (code, _) = world.run_json(&INGEST).await;
    assert_eq!(code, 0);
    let want = counted(&world).await;

    let (written, _) = world.app.state.put_batch(known, &files, logs::time("2026-03-01T10:06:00Z")).await.unwrap();
    assert_eq!(written, Written::Refused);
    let settled = world.app.state.settle_batch(1, None, &[(0, "cannot be read".to_owned())].into()).await.unwrap();
    assert_eq!(settled, Written::Refused);
    let update = logs::written(object("siuu1", "k"), 1, logs::time("2026-03-01T10:00:00Z"));
    let again = world.app.ledger.count(&update, 1, &Usage::default()).await.unwrap();
    assert!(matches!(again, Counted::Before(_)), "{again:?}");
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn a_second_run_is_told_that_another_one_is_running() {
    let (world, _) = world("held", DYING).await;
    let Taken::Mine(lease) = world.app.state.take_lease("job#ingest").await.unwrap() else { panic!("nobody has it") };
    let output = world.run(&INGEST).await;
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    lease.release().await.unwrap();
    assert_eq!(world.run(&INGEST).await.status.code(), Some(0));
}

#[tokio::test]
async fn two_runs_at_once_count_as_one() {
    let (world, logs) = world("two", &format!("{DYING}ingest.batch_files = 2")).await;
    let want = fill(&world, &logs, 8, 40).await;
    let (first, second) = tokio::join!(world.run(&INGEST), world.run(&INGEST));
    let mut codes = [first.status.code(), second.status.code()];
    codes.sort();
    assert!(codes == [Some(0), Some(0)] || codes == [Some(0), Some(75)], "{codes:?}");
    assert_eq!(counted(&world).await, want);
    check_evidence(&world, 8, 40, 0).await;
}

/// Puts `files` files of `events` events each, and gives what they count. Each file tells of a day of its own, all are
/// published on the same.
async fn fill(world: &World, logs: &str, files: u64, events: u64) -> Counts {
    let mut want = Counts::new();
    for file in 0..files {
        let events = events_of(file, events);
        logs::count(&mut want, &events);
        let key = simple_key(&format!("2026-03-31T11:{:02}:00Z", file % 60), &format!("f{file}"));
        put_log(world, logs, &key, logs::file(&events)).await;
    }
    want
}

fn events_of(file: u64, events: u64) -> Vec<Event> {
    (0..events)
        .map(|i| {
            let at = format!("2026-03-{:02}T10:00:{:02}Z", 1 + file % 30, i % 60);
            let make = if (file + i).is_multiple_of(5) { Event::put } else { Event::download };
            make(file * 10_000 + i, &at, "siuu1", &format!("k{}", (file * 13 + i * 7) % 60))
        })
        .collect()
}

/// The evidence of each object and the idle times that closed, folded in one go from what [`fill`] puts.
fn evidence_of(files: u64, events: u64) -> (BTreeMap<String, ObjectEvidence>, IdleTable) {
    let mut table = IdleTable::default();
    let mut objects: BTreeMap<String, ObjectEvidence> = BTreeMap::new();
    for file in 0..files {
        let mut days: BTreeMap<String, DayAccess> = BTreeMap::new();
        for event in events_of(file, events) {
            let number = i32::try_from(event.time.timestamp().div_euclid(86_400)).unwrap();
            let day = days.entry(event.key.unwrap()).or_insert(DayAccess { day: number, ..DayAccess::default() });
            if event.name == "PutObject" {
                day.written = true;
            } else {
                day.reads += 1;
                day.bytes_read += 2048;
            }
        }
        for (key, day) in days {
            objects.entry(key).or_default().add(&day, &mut table);
        }
    }
    (objects, table)
}

/// Fails unless rows and tables tell of use as [`evidence_of`] does.
async fn check_evidence(world: &World, files: u64, events: u64, seed: u64) {
    let (want, table) = evidence_of(files, events);
    assert!(table.exposed_days() > 0.0, "nothing was read again");
    for (key, want) in want {
        let row = world.app.ledger.row(&object("siuu1", &key)).await.unwrap().unwrap();
        assert_eq!(row.evidence, want, "seed {seed}: {key}");
    }
    for scope in [IdleScope::Bucket(BucketName::new("siuu1").unwrap()), IdleScope::All] {
        let learnt = world.app.state.idle_table(&scope).await.unwrap();
        assert_eq!(learnt, table, "seed {seed}: {scope:?}");
    }
}

/// A sequence of numbers that a seed makes again (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test]
async fn counts_and_evidence_are_exact_however_often_a_run_is_killed() {
    const KILLS: u32 = 8;
    let seed = match std::env::var("TIERD_TEST_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => u64::from(std::process::id()) * 0x9e37_79b9 + 1,
    };
    println!("TIERD_TEST_SEED={seed} has the kills fall at the same writes");
    let mut dice = Dice(seed);
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) =
        world_at(&proxy.endpoint, "kills", &format!("{DYING}ingest.batch_files = 3\nledger.write_concurrency = 4"))
            .await;
    let want = fill(&world, &logs, 24, 40).await;
    let mut before = Counts::new();
    for _ in 0..KILLS {
        // Few enough that no eight of them come to the end. By the number of a write, so that a run is killed amid its work however slow the machine is.
        let killed_at = 1 + dice.below(40);
        let (held_up, answer_first) = (Duration::from_millis(dice.below(30)), dice.below(2) == 0);
        let now = Arc::new(Notify::new());
        let mut writes = 0;
        proxy.fault({
            let now = now.clone();
            move |request| {
                let is_write = matches!(request.operation(), "UpdateItem" | "TransactWriteItems");
                if !is_write || String::from_utf8_lossy(&request.body).contains("job#ingest") {
                    return None;
                }
                writes += 1;
                if writes < killed_at {
                    return None;
                }
                now.notify_one();
                (!answer_first).then_some(Fault::Delay(held_up))
            }
        });
        let mut run = world.tierd(&INGEST).spawn().expect("tierd runs");
        tokio::select! {
            () = now.notified() => run.kill().await.expect("killed"),
            ended = run.wait() => panic!("seed {seed}: it ended before write {killed_at}: {ended:?}"),
        }
        // The emulator shows rows that it is amid of making; DynamoDB does not.
        proxy.quiet().await;
        let so_far = counted(&world).await;
        for (id, (count, _)) in &so_far {
            assert!(*count <= want[id].0, "seed {seed}: {id:?} counted {count} times");
        }
        before.clone_from(&so_far);
    }
    proxy.heal();
    assert!(!before.is_empty() && before != want, "seed {seed}: the kills fell outside the work");
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "seed {seed}: {report:#}");
    assert_eq!(counted(&world).await, want, "seed {seed}");
    let (code, report) = world.run_json(&INGEST).await;
    assert_eq!(code, 0, "seed {seed}: {report:#}");
    check_figures(&report, &[("files", 0), ("files_skipped", 24)]);
    assert_eq!(counted(&world).await, want, "seed {seed}");
    check_evidence(&world, 24, 40, seed).await;
}
