//! What every policy costs over the optimum, on traces of many kinds; and how fast a large trace is replayed.
//!
//! `cargo bench --bench simulate` makes each kind of trace ([`generators`]) from a seed, replays every policy daily, and prints
//! the ratios to the optimum: the kinds that the policy was tuned on, then those that were held out. A last column tells what
//! could have been known: the cost of plans that were made by what traces of other seeds of the same kind show, so by how likely
//! reads are, but not by when they come. Where that is far above the optimum, so is whoever cannot see what is to come. Then it
//! prints what the adaptive policy's bill comes to where a share of the reads may wait, and what share then waits; and it writes
//! a large trace to a file, of one bucket and then of a thousand, has `tierd simulate` replay it under all policies and cadences, and
//! prints the time and the memory that this took, beside what they may be.
//!
//! Environment: `BENCH_SEEDS` (7; some, by commas), `BENCH_OBJECTS` (1500) and `BENCH_DAYS` (1000) of each kind; `BENCH_LARGE` (1000000; 0 for
//! none), the objects of the large trace, each with ten accesses; `BENCH_TIERD`, the program that replays it, if not the one
//! that is built with the bench.

mod generators;
mod informed;
#[path = "../server/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use figment::Figment;
use figment::providers::{Format, Toml};
use generators::{KINDS, Kind, Use, Workload};
use informed::Informed;
use process::{cpu_of, memory_mib};
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
use tierd::tiering::simulate::trace::Trace;
use tierd::tiering::simulate::trace::csv::TraceReader;
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
        restored_class: StorageClass::Standard,
    };
    let (recency, frequency) = (Recency::default(), Frequency::default());
    let setup = Setup::new(&prices, &guards, &recency, &frequency);
    solving(&prices);
    ratios(&setup);
    delayed_reads(&setup);
    let objects = number("BENCH_LARGE", 1_000_000);
    if objects > 0 {
        for buckets in LARGE_BUCKETS {
            large(objects as u32, buckets);
        }
    }
}

/// The time to solve a bucket: all experts' plans for objects of every size, none of them with an older plan to begin from.
fn solving(prices: &Prices) {
    let mut runs: Vec<(f64, usize)> = (0..5)
        .map(|_| {
            let mut experts = Experts::default();
            experts.learn(
                prices,
                &Hazards::prior(),
                Restores { speed: RestoreSpeed::Standard, days: 1, class: StorageClass::Standard },
            );
            let begin = cpu_of("self");
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
                    for expert in [Expert::Careful, Expert::Thrifty, Expert::Patient] {
                        plans += usize::from(experts.choose(expert, &view, 10).is_some());
                    }
                }
            }
            ((cpu_of("self") - begin).as_secs_f64(), plans)
        })
        .collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, plans) = runs[runs.len() / 2];
    println!("a bucket is solved in {seconds:.2} s of processor time: {plans} plans, the median of {}", runs.len());
}

/// Ratios to the optimum, by kind.
fn ratios(setup: &Setup<'_>) {
    for seed in seeds() {
        ratios_of(setup, seed);
    }
}

fn ratios_of(setup: &Setup<'_>, seed: u64) {
    let (objects, days) = (number("BENCH_OBJECTS", 1500), number("BENCH_DAYS", 1000));
    println!("cost over the optimum, run daily, {objects} objects over {days} days, seed {seed}:");
    print!("{:<18}", "");
    for policy in Replayed::ALL {
        print!("{:>20}", policy.as_str());
    }
    println!("{:>20}{:>20}", "adaptive / cheaper", "knows the kind");
    for of_use in [Use::Tune, Use::HeldOut] {
        println!("{}", if of_use == Use::Tune { "tuned on" } else { "held out" });
        let mut logs: BTreeMap<Replayed, f64> = BTreeMap::new();
        let mut informed_logs = 0.0;
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
            let others =
                (1..=OTHER_SEEDS).map(|i| trace_of(kind, seed.wrapping_add(1000 * i), objects as u32, days as u32));
            let informed = Informed::by(setup, others).cost_usd(setup, &trace);
            let optimum =
                comparison.bill(Replayed::Optimum, Cadence::Daily).map_or(f64::NAN, |bill| bill.total().total_usd());
            informed_logs += (informed / optimum).ln();
            println!("{:>20.3}{:>20.3}", ratio(Replayed::Adaptive) / cheaper, informed / optimum);
        }
        print!("  {:<16}", "geometric mean");
        for sum in logs.values() {
            print!("{:>20.3}", (sum / kinds.len() as f64).exp());
        }
        println!("{:>20}{:>20.3}", "", (informed_logs / kinds.len() as f64).exp());
    }
}

/// From how many other traces of a kind it is learned how likely reads are.
const OTHER_SEEDS: u64 = 12;

fn seeds() -> Vec<u64> {
    let seeds = std::env::var("BENCH_SEEDS").unwrap_or_else(|_| "7".to_owned());
    seeds.split(',').map(|seed| seed.trim().parse().expect("BENCH_SEEDS has numbers")).collect()
}

/// What it saves to let a share of the reads wait for a restore, and how many then wait.
fn delayed_reads(setup: &Setup<'_>) {
    const LIMITS: [f64; 3] = [0.01, 0.05, 0.2];
    let (seed, objects, days) =
        (seeds().first().copied().unwrap_or(7), number("BENCH_OBJECTS", 1500), number("BENCH_DAYS", 1000));
    println!("adaptive where reads may wait: cost over that where none may, and the share that waited:");
    println!("{:<18}{}", "", LIMITS.map(|limit| format!("{:>20}", format!("at most {limit}"))).concat());
    let mut logs = [0.0; LIMITS.len()];
    for kind in &KINDS {
        let trace = trace_of(kind, seed, objects as u32, days as u32);
        let replay = |max_delayed_reads| {
            Setup { max_delayed_reads, ..*setup }.replay(&trace, Replayed::Adaptive, Cadence::Daily)
        };
        let none = replay(0.0).total().total_usd();
        print!("  {:<16}", kind.name);
        for (limit, log) in LIMITS.into_iter().zip(&mut logs) {
            let bill = replay(limit);
            let (ratio, share) = (bill.total().total_usd() / none, bill.delayed_share());
            assert!(share <= limit, "{}: {share} of the reads waited", kind.name);
            *log += ratio.ln();
            print!("{:>20}", format!("{ratio:.3} ({:.2} %)", 100.0 * share));
        }
        println!();
    }
    let means = logs.map(|log| format!("{:>20.3}", (log / KINDS.len() as f64).exp()));
    println!("  {:<16}{}", "geometric mean", means.concat());
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
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Comparison::replay(setup, trace, &parts, threads, || {})
}

/// What issue and goal are for a million objects with ten accesses each, on two cores.
const MOST_SECONDS: f64 = 60.0;
const MOST_MIB: f64 = 1024.0;

/// One for all, and one a user.
const LARGE_BUCKETS: [u32; 2] = [1, 1000];

/// A year of ten accesses an object, in the order of time as logs have them, through the command itself: all policies and
/// cadences.
fn large(objects: u32, buckets: u32) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("trace.csv");
    let lines = write_large(&file, objects, buckets).expect("the trace can be written");
    let program = std::env::var_os("BENCH_TIERD").unwrap_or_else(|| env!("CARGO_BIN_EXE_tierd").into());
    let begin = Instant::now();
    let mut child = Command::new(program)
        .args(["simulate", "--region", "us-east-1", "--trace"])
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("tierd runs");
    // Both only grow while it runs; what it does in its last moments is to print.
    let (mut seconds, mut mib) = (0.0, 0.0);
    let process = child.id().to_string();
    while child.try_wait().expect("it is ours").is_none() {
        seconds = cpu_of(&process).as_secs_f64().max(seconds);
        mib = memory_mib(&process, "VmHWM:").unwrap_or(mib);
        std::thread::sleep(Duration::from_millis(100));
    }
    let wall = begin.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "tierd simulate: {}", output.status);
    println!(
        "tierd simulate over {objects} objects of {buckets} buckets and {lines} lines, all policies and cadences:"
    );
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let row = |what: &str, got: f64, unit: &str, most: f64| {
        println!("  {what:<34} {got:>8.1} {unit:<4} limit {most:>6.0}, ratio {:.2}", got / most);
    };
    row("by the clock", wall, "s", MOST_SECONDS);
    row(&format!("processor time over {} cores", cores.min(2)), seconds / cores.min(2) as f64, "s", MOST_SECONDS);
    row("largest resident memory", mib, "MiB", MOST_MIB);
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

/// Gives how many accesses there are.
fn write_large(file: &Path, objects: u32, buckets: u32) -> std::io::Result<usize> {
    let mut workload = Workload::new(1, objects, 365);
    generators::ten_accesses(&mut workload);
    workload.lines.sort_by_key(|line| line.time);
    let mut out = BufWriter::new(File::create(file)?);
    writeln!(out, "time,bucket,key,op,bytes,size")?;
    for line in &workload.lines {
        writeln!(out, "{}", line.to_csv_of(buckets))?;
    }
    out.flush()?;
    Ok(workload.lines.len())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
