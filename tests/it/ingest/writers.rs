//! More than one writer, and one whose answers are lost. None of these has a lease: leases save work, and carry no
//! correctness.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tierd::jobs::{Job, Outcome, Ran};
use tierd::ledger::Columns;
use tierd::state::State;
use tierd::state::lease::Taken;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DYING, by_schedule, counted, ingest_of, put_log, quarantine, run_at, world, world_at};
use crate::logs::{self, Counts, Event, simple_key};
use crate::proxy::{Fault, Proxy, Request};
use crate::world::World;

const NOW: &str = "2026-03-01T12:00:00Z";

/// Files of 30 events each on the same 20 objects.
async fn fill(world: &World, logs: &str, files: u64) -> Counts {
    let mut want = Counts::new();
    for file in 0..files {
        let at = format!("2026-03-01T10:00:{file:02}Z");
        let events: Vec<Event> =
            (0..30).map(|i| Event::put(file * 100 + i, &at, "siuu1", &format!("k{}", (file + i) % 20))).collect();
        logs::count(&mut want, &events);
        put_log(world, logs, &simple_key("2026-03-01T10:05:00Z", &format!("f{file}")), logs::file(&events)).await;
    }
    want
}

fn is_row_of_a_batch(request: &Request) -> bool {
    request.operation() == "UpdateItem" && String::from_utf8_lossy(&request.body).contains("last_batch")
}

#[tokio::test]
async fn two_writers_at_once_count_as_one() {
    let (world, logs) =
        world("unleased", &format!("{DYING}ingest.batch_files = 1\nledger.write_concurrency = 4")).await;
    let want = fill(&world, &logs, 6).await;
    let (first, second) = tokio::join!(run_at(&world.app, NOW), run_at(&world.app, NOW));
    // Each file is in one manifest, whoever wrote it; who came second for a number has stopped.
    for report in [&first, &second] {
        let refused = report.problems.iter().all(|problem| problem.contains("another writer"));
        assert!(report.outcome.is_none() || refused, "{:?}", report.problems);
    }
    let third = run_at(&world.app, NOW).await;
    assert_eq!(third.problems, Vec::<String>::new());
    assert_eq!(counted(&world).await, want);
    assert_eq!(world.app.state.batch_sequence().await.unwrap().last, 6);
}

#[tokio::test]
async fn a_writer_that_slept_amid_its_rows_wakes_up_to_be_refused() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) =
        world_at(&proxy.endpoint, "sleeper", &format!("{DYING}ingest.batch_files = 1\nledger.write_concurrency = 2"))
            .await;
    let want = fill(&world, &logs, 3).await;
    let (asleep, awake) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    proxy.fault({
        let (asleep, awake) = (asleep.clone(), awake.clone());
        let mut rows = 0;
        move |request| {
            rows += u32::from(is_row_of_a_batch(request));
            // From the seventh row on nothing of it reaches DynamoDB.
            (rows >= 7).then(|| {
                asleep.notify_one();
                Fault::Hold(awake.clone())
            })
        }
    });
    let sleeper = tokio::spawn({
        let ingest = ingest_of(&world.app);
        async move { ingest.run_once(&by_schedule(), logs::time(NOW), &CancellationToken::new()).await }
    });
    asleep.notified().await;

    // Its successor finishes the batch and does the others.
    let successor = world.app_at(crate::harness::endpoint()).await;
    let report = run_at(&successor, NOW).await;
    assert_eq!((report.files, report.batches, report.problems), (3, 3, vec![]));
    let world_after = counted_by(&successor, &world).await;
    assert_eq!(world_after, want);

    awake.add_permits(Semaphore::MAX_PERMITS / 2);
    let report = sleeper.await.expect("no panic").expect("a report");
    assert_eq!(report.outcome, Some(Outcome::Failed));
    assert!(report.problems[0].contains("another writer"), "{:?}", report.problems);
    proxy.heal();
    assert_eq!(counted(&world).await, want);
    assert_eq!(run_at(&world.app, NOW).await.files, 0);
    assert_eq!(counted(&world).await, want);
}

/// The ledger, read past the proxy.
async fn counted_by(app: &tierd::app::App, world: &World) -> Counts {
    let mut counts = Counts::new();
    let bucket = "siuu1".to_owned().try_into().expect("a bucket's name");
    let mut rows = app.ledger.rows(&bucket, Columns::All);
    while let Some(page) = rows.next_page().await.expect("the ledger") {
        for row in page {
            let row = row.expect("a row");
            let time = row.event_time.expect("a time");
            counts.insert((row.id.bucket.to_string(), row.id.key.to_string()), (row.count, time));
        }
    }
    assert_eq!(app.ledger.table(), world.app.ledger.table());
    counts
}

/// What a write to DynamoDB does: its operation and expression, or what its item is.
fn kind_of(request: &Request) -> Option<String> {
    let operation = request.operation();
    let body: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
    let what = match operation {
        "UpdateItem" => body["UpdateExpression"].as_str()?.to_owned(),
        "PutItem" => body["Item"]["sk"]["S"].as_str()?.split('#').next()?.to_owned(),
        "TransactWriteItems" => String::new(),
        _ => return None,
    };
    Some(format!("{operation} {what}"))
}

#[tokio::test]
async fn every_kind_of_write_may_be_done_and_its_answer_lost() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) = world_at(&proxy.endpoint, "lost", &format!("{DYING}ingest.batch_files = 2")).await;
    let mut want = fill(&world, &logs, 3).await;
    put_log(&world, &logs, &simple_key("2026-03-01T10:04:00Z", "broken"), b"no gzip".to_vec()).await;
    // Of an object that is newer than its late file.
    let (newer, older) = ("2026-03-01T11:00:00Z", "2026-02-28T10:00:00Z");
    let late = [Event::put(900, newer, "siuu1", "k0"), Event::put(901, older, "siuu1", "k19")];
    logs::count(&mut want, &late);
    put_log(&world, &logs, &simple_key("2026-03-01T11:05:00Z", "late"), logs::file(&late)).await;

    let (lost, kinds) = std::sync::mpsc::channel();
    let mut seen = BTreeSet::new();
    proxy.fault(move |request| {
        let kind = kind_of(request)?;
        // The SDK sends it again, and it meets its own effect.
        seen.insert(kind.clone()).then(|| {
            lost.send(kind).expect("the test listens");
            Fault::ResetAfter
        })
    });
    let report = run_at(&world.app, NOW).await;
    proxy.heal();
    assert_eq!((report.files, report.files_failed, report.batches), (4, 1, 3), "{:?}", report.problems);
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(counted(&world).await, want);
    assert_eq!(quarantine(&world).await.len(), 1);
    let kinds: Vec<String> = kinds.try_iter().collect();
    for expected in
        ["TransactWriteItems", "set_aside", "SET last_batch = :batch, event_time", "done_at", "last_day", "PutItem"]
    {
        assert!(kinds.iter().any(|kind| kind.contains(expected)), "no {expected} in {kinds:#?}");
    }
    assert_eq!(run_at(&world.app, NOW).await.files, 0);
    assert_eq!(counted(&world).await, want);
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_does_not_wait_for_a_silent_holder() {
    let (world, _) = world("stopwait", DYING).await;
    let life = Duration::from_secs(3600);
    let state = |holder: &str| State::new(world.dynamodb().clone(), world.app.state.table(), life, holder);
    let Taken::Mine(lease) = state("silent").take_lease("job#ingest").await.unwrap() else { panic!("nobody has it") };
    drop(lease);
    let app = tierd::app::App { state: state("stopped"), ..world.app.clone() };
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { app.run_job(Job::Ingest, &by_schedule(), &stop).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!run.is_finished(), "it watches the holder");
    let told = Instant::now();
    stop.cancel();
    let ran = run.await.expect("no panic").expect("the state");
    assert!(matches!(ran, Ran::Stopped), "{ran:?}");
    assert!(told.elapsed() < life / 10, "{:?}", told.elapsed());
}
