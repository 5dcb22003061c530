//! What ingest costs: processor time, calls and memory.
//!
//! `cargo bench --bench ingest` prints three things. [`speed`]: how near inflating, parsing and counting come to inflating
//! alone. [`end_to_end`]: records a second of whole runs against the emulator with the calls that they make, and the memory
//! of a run over a million distinct objects.
//!
//! Environment: `BENCH_MIB` (content of the corpus for the speed, default 640, 0 for none), `BENCH_ROUNDS` (default 9),
//! `BENCH_RUN_MIB` (content that is counted against the emulator, default 16, 0 for none), `BENCH_OBJECTS` (default
//! 1,000,000, 0 for none).

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says where")]

mod corpus;
mod end_to_end;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/proxy.rs"]
mod proxy;
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
