//! What ingest costs: processor time, calls and memory.
//!
//! `cargo bench --bench ingest` prints two things. [`speed`]: how near inflating, parsing and counting come to inflating
//! alone. [`end_to_end`]: whole runs of the job, against the emulator and against a log bucket and a ledger that answer at once,
//! with records and rows a second, processor time, calls, and memory, also for a run over a million distinct objects.
//!
//! Environment: `BENCH_MIB` (content of the corpus for the speed, default 640, 0 for none), `BENCH_ROUNDS` (default 9),
//! `BENCH_RUN_MIB` (content that is counted against the emulator, default 16, 0 for none), `BENCH_MODEL_MIB` (against what
//! answers at once, default 256, 0 for none), `BENCH_OBJECTS` (default 1,000,000, 0 for none), `BENCH_ROW_MS` (what that
//! ledger waits before each answer, default 0).

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says where")]

mod corpus;
mod end_to_end;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the other benches need more of it")]
#[path = "server/http.rs"]
mod http;
#[allow(dead_code, reason = "the comparison with other programs needs more of it")]
#[path = "peers/listing.rs"]
mod listing;
#[path = "server/process.rs"]
mod process;
mod speed;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/world.rs"]
mod world;

fn main() {
    if number("BENCH_MIB", 640) > 0 {
        speed::run();
    }
    end_to_end::run();
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
