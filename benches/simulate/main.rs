//! What every policy costs over the optimum, on traces of many kinds; and how fast a large trace is replayed.
//!
//! `cargo bench --bench simulate` makes each kind of trace ([`generators`]) from a seed, replays every policy daily, and prints
//! the ratios to the optimum: the kinds that the policy was tuned on, then those that were held out. Then it replays a large
//! trace under all policies and cadences, and prints the time and the memory that it took.
//!
//! Environment: `BENCH_SEED` (7), `BENCH_OBJECTS` (1500) and `BENCH_DAYS` (1000) of each kind; `BENCH_LARGE` (1000000; 0 for
//! none), the objects of the large trace, each with ten accesses.

mod generators;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use figment::Figment;
use figment::providers::{Format, Toml};
use generators::{KINDS, Kind, Use, Workload};
use tierd::tiering::adaptive::experts::{Experts, Restores};
use tierd::tiering::adaptive::hazard::Hazards;
use tierd::tiering::adaptive::learned::View;
use tierd::tiering::adaptive::safeguard::Expert;
use tierd::tiering::cost::{Prices, RestoreSpeed};
use tierd::tiering::evidence::ObjectEvidence;
use tierd::tiering::policy::frequency::Frequency;
use tierd::tiering::policy::guard::{Archived, Copies, Guards, Rule};
use tierd::tiering::policy::recency::Recency;
use tierd::tiering::simulate::comparison::Comparison;
use tierd::tiering::simulate::policies::{Replayed, Setup};
use tierd::tiering::simulate::replay::Cadence;
use tierd::tiering::simulate::trace::{Trace, TraceReader};
use tierd::tiering::storage_class::StorageClass;

fn main() {
    let prices: Prices = Figment::from(Toml::string(include_str!("../../config/prices/us-east-1.toml")))
        .extract()
        .expect("the embedded table is read by a test");
    let guards = Guards {
        min_object_bytes: 128 * 1024,
        minimum_duration: Rule::Enforced,
        saving: Rule::Enforced,
        max_payback_months: None,
        archived: Archived::Leave,
        require_recent_ingest: None,
        copies: Copies { multipart_threshold_bytes: 5 << 30, part_bytes: 512 << 20 },
        restore: RestoreSpeed::Standard,
        restore_days: 1,
    };
    let (recency, frequency) = (Recency::default(), Frequency::default());
    let setup = Setup { prices: &prices, guards: &guards, recency: &recency, frequency: &frequency };
    solving(&prices);
    ratios(&setup);
    let objects = number("BENCH_LARGE", 1_000_000);
    if objects > 0 {
        large(&setup, objects as u32);
    }
}

/// The time to solve a bucket: all experts' plans for objects of every size, none of them with an older plan to begin from.
fn solving(prices: &Prices) {
    let mut runs: Vec<(f64, usize)> = (0..5)
        .map(|_| {
            let mut experts = Experts::default();
            experts.learn(prices, &Hazards::prior(), Restores { speed: RestoreSpeed::Standard, days: 1 });
            let begin = cpu_seconds();
            let mut plans = 0;
            for log_size in 14..=25 {
                for log_share in -2..=3 {
                    let bytes = 3_u64 << (log_size - 1);
                    let evidence = ObjectEvidence {
                        last_read_day: Some(0),
                        read_days: 1,
                        read_since_written: true,
                        heat: 1.0,
                        last_day_reads: 1,
                        last_day_bytes: (bytes as f64 * 4_f64.powi(log_share)) as u64,
                        ..ObjectEvidence::default()
                    };
                    let view = View { class: StorageClass::Standard, bytes, class_since: 0, evidence: &evidence };
                    for expert in [Expert::Careful, Expert::Thrifty, Expert::Wary] {
                        plans += usize::from(experts.choose(expert, &view, 10).is_some());
                    }
                }
            }
            (cpu_seconds() - begin, plans)
        })
        .collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, plans) = runs[runs.len() / 2];
    println!("a bucket is solved in {seconds:.2} s of processor time: {plans} plans, the median of {}", runs.len());
}

/// Ratios to the optimum, by kind.
fn ratios(setup: &Setup<'_>) {
    let (seed, objects, days) = (number("BENCH_SEED", 7), number("BENCH_OBJECTS", 1500), number("BENCH_DAYS", 1000));
    println!("cost over the optimum, run daily, {objects} objects over {days} days, seed {seed}:");
    print!("{:<18}", "");
    for policy in Replayed::ALL {
        print!("{:>20}", policy.as_str());
    }
    println!("{:>20}", "adaptive / cheaper");
    for of_use in [Use::Tune, Use::HeldOut] {
        println!("{}", if of_use == Use::Tune { "tuned on" } else { "held out" });
        let mut logs: BTreeMap<Replayed, f64> = BTreeMap::new();
        let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| kind.of_use == of_use).collect();
        for kind in &kinds {
            let trace = trace_of(kind, seed, objects as u32, days as u32);
            let comparison = compare(setup, &trace);
            let ratio = |policy| {
                comparison.line(policy, Cadence::Daily).and_then(|line| line.ratio_to_optimum).unwrap_or(f64::NAN)
            };
            print!("  {:<16}", kind.name);
            for policy in Replayed::ALL {
                print!("{:>20.3}", ratio(policy));
                *logs.entry(policy).or_default() += ratio(policy).ln();
            }
            let cheaper = ratio(Replayed::Standard).min(ratio(Replayed::IntelligentTiering));
            println!("{:>20.3}", ratio(Replayed::Adaptive) / cheaper);
        }
        print!("  {:<16}", "geometric mean");
        for sum in logs.values() {
            print!("{:>20.3}", (sum / kinds.len() as f64).exp());
        }
        println!();
    }
}

fn trace_of(kind: &Kind, seed: u64, objects: u32, days: u32) -> Trace {
    let mut workload = Workload::new(seed, objects, days);
    (kind.make)(&mut workload);
    let mut reader = TraceReader::new(b"time,bucket,key,op,bytes,size").expect("all columns are there");
    for line in &workload.lines {
        reader.line(line.to_csv().as_bytes()).expect("the line is well formed");
    }
    reader.finish().expect("the trace is short enough")
}

fn compare(setup: &Setup<'_>, trace: &Trace) -> Comparison {
    let parts = Comparison::parts(trace, &Replayed::ALL);
    let next = AtomicUsize::new(0);
    let comparison = Mutex::new(Comparison::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let bill = part.replay(setup, trace);
                    comparison.lock().expect("no thread panics with it").add(part, &bill);
                }
            });
        }
    });
    comparison.into_inner().expect("no thread panics with it")
}

/// A year of ten accesses an object, all policies and cadences.
fn large(setup: &Setup<'_>, objects: u32) {
    let mut workload = Workload::new(1, objects, 365);
    generators::ten_accesses(&mut workload);
    let lines = workload.lines.len();
    let mut reader = TraceReader::new(b"time,bucket,key,op,bytes,size").expect("all columns are there");
    let text: Vec<u8> = workload.lines.iter().flat_map(|line| (line.to_csv() + "\n").into_bytes()).collect();
    drop(workload);
    let begin = Instant::now();
    let cpu = cpu_seconds();
    for line in text.split(|byte| *byte == b'\n') {
        reader.line(line).expect("the line is well formed");
    }
    drop(text);
    let trace = reader.finish().expect("the trace is short enough");
    let read = begin.elapsed();
    let comparison = compare(setup, &trace);
    println!(
        "{objects} objects, {lines} lines: read in {:.1} s, all policies and cadences in {:.1} s, {:.1} s of processor time",
        read.as_secs_f64(),
        begin.elapsed().as_secs_f64(),
        cpu_seconds() - cpu,
    );
    println!("largest resident memory, the text of the trace included: {} MiB", peak_mib());
    for policy in Replayed::ALL {
        if let Some(line) = comparison.line(policy, Cadence::Daily) {
            println!(
                "  {:<20} {:>12.2} USD {:>8.3}",
                line.policy,
                line.cost_usd,
                line.ratio_to_optimum.unwrap_or(f64::NAN)
            );
        }
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: f64 = stat
        .rsplit(')')
        .next()
        .into_iter()
        .flat_map(|rest| rest.split_whitespace().skip(11).take(2))
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
