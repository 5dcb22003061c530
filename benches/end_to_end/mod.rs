//! Whole runs of the job, as a user starts it: against the emulator, whose time it takes; and against a log bucket and a ledger
//! that answer at once ([`service`]), where what is left is tierd's own.

mod ledger;
mod service;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Output;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use self::ledger::Totals;
use self::service::{LOGS, Service};
use crate::process::{cpu_of, memory_mib};
use crate::world::World;
use crate::{corpus, harness, number};

const MEMORY_GOAL_MIB: f64 = 512.0;

/// Prints what runs over the corpus take, and what one over very many objects does.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let bytes = number("BENCH_RUN_MIB", 16) << 20;
    if bytes > 0 {
        runtime.block_on(against_the_emulator(keyed(corpus::make(bytes).into_iter().map(|file| file.gzip))));
    }
    let row = Duration::from_millis(number("BENCH_ROW_MS", 0) as u64);
    let bytes = number("BENCH_MODEL_MIB", 256) << 20;
    if bytes > 0 {
        println!(
            "a run over the corpus, the log bucket answering at once and the ledger after {} ms:",
            row.as_millis()
        );
        runtime.block_on(against_the_model(keyed(corpus::make(bytes).into_iter().map(|file| file.gzip)), row));
    }
    let objects = number("BENCH_OBJECTS", 1_000_000);
    if objects > 0 {
        println!("a run over {objects} distinct objects against the same:");
        let seen = runtime.block_on(against_the_model(keyed(of_distinct(objects)), row));
        assert_eq!(seen, objects as u64);
    }
}

/// Log files by the keys that CloudTrail would give them.
fn keyed(files: impl Iterator<Item = Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let key = |n| {
        format!(
            "AWSLogs/111111111111/CloudTrail/ap-northeast-1/2026/03/01/\
             111111111111_CloudTrail_ap-northeast-1_20260301T1005Z_{n:016}.json.gz"
        )
    };
    files.enumerate().map(|(n, file)| (key(n), file)).collect()
}

fn source(bucket: &str) -> String {
    format!("[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{bucket}\"\nbucket_prefix = \"siuu\"\n")
}

async fn against_the_emulator(files: BTreeMap<String, Vec<u8>>) {
    let mut world = World::new("time", &source("not-yet-named")).await;
    let bucket = world.bucket("logs").await;
    world.reconfigure(&source(&bucket)).await;
    for (key, content) in files {
        world.s3().put_object().bucket(&bucket).key(key).body(content.into()).send().await.expect("a log file");
    }
    let (counted, _) = measured(&world).await;
    println!("a run of the job against the emulator, which is what takes the time:");
    println!("  {counted}");
}

/// Gives how many objects there were.
async fn against_the_model(files: BTreeMap<String, Vec<u8>>, row: Duration) -> u64 {
    let service = Service::start(files, harness::endpoint(), row);
    let world = World::at(&service.endpoint, "model", &source(LOGS)).await;
    service.take_calls();
    let servers = cpu_of("self");
    let (counted, cost) = measured(&world).await;
    let servers = cpu_of("self").saturating_sub(servers);
    let calls = service.take_calls();
    // A bench of a job that does something else is worth nothing.
    assert_eq!(service.ledger(), Totals { rows: counted.objects, counts: counted.accesses });

    println!("  {counted}");
    let (records, rows) = (counted.records as f64, counted.objects as f64);
    println!(
        "  processor                   {:>7.1} s: {:.1} µs a record, {:.0} µs a row (the servers' {:.1} s are not in it)",
        cost.cpu.as_secs_f64(),
        cost.cpu.as_secs_f64() * 1e6 / records,
        cost.cpu.as_secs_f64() * 1e6 / rows,
        servers.as_secs_f64()
    );
    match cost.peak_mib {
        Some(mib) => {
            let met = if mib <= MEMORY_GOAL_MIB { "met" } else { "NOT MET" };
            println!("  peak resident               {mib:>7.0} MiB (goal {MEMORY_GOAL_MIB}: {met})");
        }
        None => println!("  peak resident               not told by this system"),
    }
    let a_thousand = |n: u64| n as f64 * 1000.0 / records;
    println!("  calls per thousand records  {:>7.1}", a_thousand(calls.values().sum()));
    for (name, n) in &calls {
        println!("    {name:<35} {n:>7}  {:>8.3}", a_thousand(*n));
    }
    counted.objects
}

/// What a run did.
struct Counted {
    records: u64,
    accesses: u64,
    objects: u64,
    took: Duration,
}

impl Counted {
    /// What the report of the job says.
    fn by(output: &Output) -> Self {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("tierd gave no report ({error}): {}", String::from_utf8_lossy(&output.stderr))
        });
        assert_eq!(report["outcome"], "ok", "{report:#}");
        let figure = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report:#}"));
        Self {
            records: figure("records"),
            accesses: figure("accesses"),
            objects: figure("objects"),
            took: Duration::from_millis(figure("duration_ms")),
        }
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, accesses, objects, took } = self;
        let secs = took.as_secs_f64();
        write!(
            f,
            "{records} records, of which {accesses} count, for {objects} objects in {secs:.1} s: {:.0} records and {:.0} \
             rows a second",
            *records as f64 / secs,
            *objects as f64 / secs
        )
    }
}

/// What a process has used of the machine.
#[derive(Default)]
struct Cost {
    cpu: Duration,
    /// The most that was resident at a time.
    peak_mib: Option<f64>,
}

/// The job as a user runs it. The lease is a long one: a machine under load must not end the run.
async fn measured(world: &World) -> (Counted, Cost) {
    let mut command = world.tierd(&["job", "ingest", "--no-reconcile", "--json"]);
    command.env("TIERD__STATE__LEASE", "5m");
    let child = command.spawn().expect("tierd starts");
    let process = child.id().expect("it has just started").to_string();
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    let mut cost = Cost::default();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let output = loop {
        tokio::select! {
            output = &mut ended => break output.expect("tierd ends"),
            _ = tick.tick() => {
                cost.cpu = cpu_of(&process).max(cost.cpu);
                cost.peak_mib = memory_mib(&process, "VmHWM:").or(cost.peak_mib);
            }
        }
    };
    (Counted::by(&output), cost)
}

/// Log files in which every access is of another object: the harshest case for memory, since a batch has all of them.
fn of_distinct(objects: usize) -> impl Iterator<Item = Vec<u8>> {
    const A_FILE: usize = 5000;
    (0..objects).step_by(A_FILE).map(move |from| file(from..objects.min(from + A_FILE)))
}

fn file(objects: std::ops::Range<usize>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut before = "{\"Records\":[";
    for n in objects {
        write!(
            encoder,
            "{before}{{\"eventVersion\":\"1.09\",\"eventTime\":\"2026-03-01T09:59:59Z\",\"eventName\":\"PutObject\",\
             \"requestParameters\":{{\"bucketName\":\"siuu{}-1700000000\",\"key\":\"photos/2024/03/IMG_{n:08}-0123456789abcdef0123456789.jpg\"}},\
             \"eventID\":\"00000000-0000-4000-8000-{n:012x}\"}}",
            n % 40_000
        )
        .expect("a Vec takes all");
        before = ",";
    }
    encoder.write_all(b"]}").expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}
