//! Whole runs of the job: against the emulator for the calls, and against one that takes every row at once for the memory.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Output;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use crate::proxy::{Fault, Proxy};
use crate::world::World;
use crate::{corpus, harness, number};

/// Prints the speed and the calls of a run, and the memory of another.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let bytes = number("BENCH_RUN_MIB", 16) << 20;
    if bytes > 0 {
        let files: Vec<Vec<u8>> = corpus::make(bytes).into_iter().map(|file| file.gzip).collect();
        runtime.block_on(against_the_emulator(&files));
    }
    let objects = number("BENCH_OBJECTS", 1_000_000);
    if objects > 0 {
        runtime.block_on(memory(objects));
    }
}

/// Two runs over the same files: one for the time, and one through a proxy that counts the calls but takes its time.
async fn against_the_emulator(files: &[Vec<u8>]) {
    let report = count(&world(harness::endpoint(), "time", files).await).await;
    println!("a run of the job against the emulator, which is what takes the time:");
    println!("  {report}");

    let proxy = Proxy::start(harness::endpoint()).await;
    let world = world(&proxy.endpoint, "calls", files).await;
    proxy.take_requests();
    let records = count(&world).await.records;
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    let ledger = format!("\"{}\"", world.settings().ledger.table);
    for request in proxy.take_requests() {
        let is_ledger = String::from_utf8_lossy(&request.body).contains(&ledger);
        let table = match (request.target.is_empty(), is_ledger) {
            (true, _) => "",
            (false, true) => " (ledger)",
            (false, false) => " (state and identity)",
        };
        *calls.entry(format!("{}{table}", request.operation())).or_default() += 1;
    }
    let total: usize = calls.values().sum();
    let a_thousand = |n: usize| n as f64 * 1000.0 / records as f64;
    println!("  calls per thousand records  {:>7.1}", a_thousand(total));
    for (name, n) in &calls {
        println!("    {name:<35} {n:>6}  {:>7.2}", a_thousand(*n));
    }
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

/// The job as a user runs it. The lease is a long one: a machine under load must not end the run.
fn job(world: &World) -> tokio::process::Command {
    let mut command = world.tierd(&["job", "ingest", "--no-reconcile", "--json"]);
    command.env("TIERD__STATE__LEASE", "5m");
    command
}

async fn count(world: &World) -> Counted {
    Counted::by(&job(world).output().await.expect("tierd runs"))
}

/// A world with one CloudTrail source that has these files.
async fn world(endpoint: &str, name: &str, files: &[Vec<u8>]) -> World {
    let source = |bucket: &str| {
        format!("[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{bucket}\"\nbucket_prefix = \"siuu\"\n")
    };
    let mut world = World::at(endpoint, name, &source("not-yet-named")).await;
    let bucket = world.bucket("logs").await;
    world.reconfigure(&source(&bucket)).await;
    for (n, file) in files.iter().enumerate() {
        let key = format!(
            "AWSLogs/111111111111/CloudTrail/ap-northeast-1/2026/03/01/\
             111111111111_CloudTrail_ap-northeast-1_20260301T1005Z_{n:016}.json.gz"
        );
        world.s3().put_object().bucket(&bucket).key(key).body(file.clone().into()).send().await.expect("a log file");
    }
    world
}

/// The most that the program has resident in a run in which every access is of another object. The rows are answered here
/// and not by the emulator, which would take an hour for them.
async fn memory(objects: usize) {
    const A_FILE: usize = 5000;
    let files: Vec<Vec<u8>> = (0..objects).step_by(A_FILE).map(|from| file(from..objects.min(from + A_FILE))).collect();
    let proxy = Proxy::start(harness::endpoint()).await;
    let world = world(&proxy.endpoint, "memory", &files).await;
    let ledger = format!("\"{}\"", world.settings().ledger.table);
    proxy.fault(move |request| {
        (request.operation() == "UpdateItem" && String::from_utf8_lossy(&request.body).contains(&ledger))
            .then_some(Fault::Answer(200, "application/x-amz-json-1.0", "{}"))
    });
    let child = job(&world).spawn().expect("tierd starts");
    let status = format!("/proc/{}/status", child.id().expect("it has just started"));
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    let (mut peak, mut rows) = (None, 0);
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let output = loop {
        tokio::select! {
            output = &mut ended => break output.expect("tierd ends"),
            _ = tick.tick() => {
                peak = peak_kib(&status).or(peak);
                rows += proxy.take_requests().iter().filter(|request| request.operation() == "UpdateItem").count();
            }
        }
    };
    let counted = Counted::by(&output);
    assert_eq!(counted.objects, objects as u64);
    println!("a run over {objects} distinct objects, each row written ({:.0} s):", counted.took.as_secs_f64());
    println!("  updates of rows seen        {rows:>7}");
    match peak {
        Some(kib) => println!("  peak resident               {:>7.0} MiB", kib as f64 / 1024.0),
        None => println!("  peak resident               not told by this system"),
    }
}

/// The most that a process has had resident so far.
fn peak_kib(status: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

/// A log file with one access of each of these objects.
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
