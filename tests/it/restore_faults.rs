//! The promise of restores, kept under whatever a seed brings: requests to AWS that are doubled, delayed, done late, dropped
//! and broken, messages that come twice, in any order or never, users who write over and delete objects meanwhile, restored
//! copies that expire, and daemons that are killed at any request.
//!
//! Each seed is a history of its own ([`history`]) beside the others, all before one emulator. At its end every object that
//! was asked for is back or its failure is reported, no mark of ours is left and no tag of theirs is lost, and every message
//! is done but the ones that nobody can read.
//!
//! `TIERD_RESTORE_SEED=N` runs seed N alone, `TIERD_RESTORE_SEEDS=N` the seeds from 1 to N, or N from the one given. A seed
//! decides what happens, not how the threads run, so a failure may need more than one run to come again.
//!
//! One trouble is left out: a write of tags that takes effect after its client has given up and gone on. S3 has no condition
//! on tags, so nothing that reads and writes them could be safe from that.

mod history;
mod life;

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::history::History;
use self::life::Tally;
use crate::harness;
use crate::restore::set_restores_take;

const SEEDS: u64 = 50;
/// Histories wait more than they work.
const AT_ONCE: usize = 16;
/// How long S3 takes for a restore, in seconds.
const RESTORES_TAKE: u32 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn every_restore_ends_well_or_is_reported_whatever_is_doubled_delayed_dropped_broken_or_killed() {
    let _turn = crate::harness::heavy_turn();
    let alone = number("TIERD_RESTORE_SEED");
    let first = alone.unwrap_or(1);
    let count = number("TIERD_RESTORE_SEEDS").unwrap_or(if alone.is_some() { 1 } else { SEEDS });
    let emulator = harness::own_emulator();
    run(async { set_restores_take(&emulator.endpoint, RESTORES_TAKE).await });
    let (next, tally, failures) = (AtomicU64::new(first), Tally::default(), Mutex::new(Vec::new()));
    let began = Instant::now();
    let slowest = Mutex::new((Duration::ZERO, 0));
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count {
                        break;
                    }
                    let began = Instant::now();
                    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        run(async { History::new(&emulator.endpoint, seed, &tally).await.run().await })
                    }));
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = (*slowest).max((began.elapsed(), seed));
                    match ended {
                        Ok(problems) if problems.is_empty() => {}
                        Ok(problems) => failures.lock().unwrap().push((seed, problems.join("\n    "))),
                        Err(_panic) => failures.lock().unwrap().push((seed, "it panicked; see above".to_owned())),
                    }
                }
            });
        }
    });
    let (time, seed) = *slowest.lock().unwrap();
    let summary = format!(
        "restores under faults: seeds {first} to {}, {:.0} s (the longest, {seed}: {:.0} s); {tally}",
        first + count - 1,
        began.elapsed().as_secs_f64(),
        time.as_secs_f64(),
    );
    // Past the capture of the test's output: the seeds are to be seen in every run.
    writeln!(std::io::stderr(), "{summary}").unwrap();
    let failures = failures.into_inner().unwrap();
    let told: Vec<String> = failures
        .iter()
        .map(|(seed, problems)| format!("seed {seed} (TIERD_RESTORE_SEED={seed}):\n    {problems}"))
        .collect();
    assert!(told.is_empty(), "{} of {count} seeds failed\n{}\n{summary}", told.len(), told.join("\n"));
    assert!(tally.is_telling(count), "the faults and kills that this test is about did not happen: {summary}");
}

/// A runtime for one history, so that many run side by side.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
