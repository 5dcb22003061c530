//! What reconciling a bucket of a million objects and rows takes: memory, and time next to that of the listing alone.
//!
//! `cargo bench --bench reconcile` starts a server that makes pages up ([`server`], a process of its own) and takes turns:
//! the listing read alone, by the SDK's own paginator with nothing around it, then the whole reconcile. Taking turns within
//! one run is what makes the ratio mean something on a machine that others use too. What is printed are medians of the
//! rounds. The first reconcile comes before all else, and the peak of memory is read right behind it.
//!
//! Twice: with a server that answers at once, the harshest case, where nothing but processors counts; and with one that takes
//! about as long as AWS. For S3 that is the lower end of the 100 to 200 ms to the first byte that its user guide tells
//! ("Best practices design patterns: optimizing Amazon S3 performance"): the faster the listing, the harder it is to hide the
//! rows behind it. For a page of 2,000 rows AWS names no figure; what is taken is a multiple of the single-digit
//! milliseconds that DynamoDB promises for one row.
//!
//! Environment: `BENCH_OBJECTS` (default 1,000,000), `BENCH_ROUNDS` (default 5, without waiting), `BENCH_AWS_ROUNDS` (default 1,
//! of some four minutes; 0 leaves them out), `BENCH_LIST_MS` and `BENCH_QUERY_MS` (what the server waits before each page; default
//! 100 and 30).

mod server;

use std::time::{Duration, Instant};

use aws_sdk_s3::types::EncodingType;
use server::process::{cpu_of, memory_mib};
use server::{Counts, Latency, Server};
use tierd::app::App;
use tierd::aws::Clients;
use tierd::config::Settings;
use tierd::jobs::Mode;
use tierd::jobs::reconcile::Reconcile;
use tierd::jobs::report::ReconcileReport;
use tierd::progress::Progress;
use tierd::tiering::object::BucketName;
use tierd::users::Users;
use tokio_util::sync::CancellationToken;

const MEMORY_GOAL_MIB: f64 = 64.0;
const TIME_GOAL: f64 = 1.2;
/// One row in so many differs from the listing, in the round that writes.
const CHANGED: usize = 100;

#[tokio::main]
async fn main() {
    server::serve_if_asked();
    let objects = number("BENCH_OBJECTS", 1_000_000);
    let server = Server::start(Latency::default());
    let same = Bench::new(&server, objects, 0).await;

    let before = resident("VmRSS:");
    let (report, first) = same.reconcile(&server).await;
    let (peak, counts) = (resident("VmHWM:"), server.take_counts());
    same.verify(&report, counts);
    println!(
        "{objects} objects and rows: {} pages of the listing, {} of the table; the first run took {:.1} s",
        counts.lists,
        counts.queries,
        first.wall.as_secs_f64()
    );
    println!("resident before              {before:>8.1} MiB");
    println!("resident at its peak         {peak:>8.1} MiB ({})", verdict(peak, MEMORY_GOAL_MIB));
    println!("a server that answers at once:");
    same.compare(&server, number("BENCH_ROUNDS", 5)).await;

    let changed = Bench::new(&server, objects, CHANGED).await;
    let (report, cost) = changed.reconcile(&server).await;
    changed.verify(&report, server.take_counts());
    println!("  with {} rows to set right {:>7.1} s", report.refreshed, cost.wall.as_secs_f64());

    let (list, query) = (number("BENCH_LIST_MS", 100), number("BENCH_QUERY_MS", 30));
    let millis = |ms: usize| Duration::from_millis(ms as u64);
    let as_aws = Server::start(Latency { s3: millis(list), dynamodb: millis(query), ..Latency::default() });
    println!("a server that takes {list} ms for a page of the listing and {query} ms for one of the table:");
    Bench::new(&as_aws, objects, 0).await.compare(&as_aws, number("BENCH_AWS_ROUNDS", 1)).await;
    println!("resident at its peak, all in all {:>4.1} MiB", resident("VmHWM:"));
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn verdict(figure: f64, goal: f64) -> String {
    let met = if figure <= goal { "met" } else { "NOT MET" };
    format!("goal {goal}: {met}")
}

/// One bucket and its table.
struct Bench {
    app: App,
    bucket: BucketName,
    objects: usize,
    changed: usize,
}

/// What a run took.
struct Cost {
    wall: Duration,
    /// Processor time of this process.
    ours: Duration,
    servers: Duration,
}

impl Bench {
    async fn new(server: &Server, objects: usize, changed: usize) -> Self {
        let bucket = format!("bench-{objects}-{changed}");
        let settings = format!(
            "ingest.enabled = false\naws.region = \"ap-northeast-1\"\naws.endpoint_url = \"{}\"\nledger.table = \"{bucket}\"",
            server.endpoint
        );
        let settings = Settings::from_toml(&settings).expect("settings");
        let loader = Clients::loader().test_credentials().empty_test_environment();
        let app = App::with_loader(settings, loader).await.expect("clients");
        Self { app, bucket: BucketName::new(bucket).expect("a name"), objects, changed }
    }

    /// As the daemon reconciles.
    async fn reconcile(&self, server: &Server) -> (ReconcileReport, Cost) {
        let App { settings, clients, ledger, s3, .. } = &self.app;
        let users = Users::new(clients.dynamodb.clone(), settings);
        let write_concurrency = settings.ledger.write_concurrency;
        let reconcile = Reconcile::new(s3.for_bulk(), ledger.clone(), users, &settings.reconcile, write_concurrency);
        let started = Cost::start(server);
        let report = reconcile
            .run_once(Mode::Real, &Progress::default(), &CancellationToken::new())
            .await
            .expect("the server is there");
        (report, started(server))
    }

    /// The listing and nothing else.
    async fn list(&self, server: &Server) -> Cost {
        let list = self.app.clients.s3_copy.list_objects_v2().bucket(self.bucket.as_str());
        let mut pages = list.encoding_type(EncodingType::Url).into_paginator().send();
        let started = Cost::start(server);
        // In a task, as the daemon's own reading is.
        let reading = tokio::spawn(async move {
            let mut listed = 0;
            while let Some(page) = pages.next().await {
                listed += page.expect("the server is there").contents().len();
            }
            listed
        });
        assert_eq!(reading.await.expect("no panic"), self.objects);
        started(server)
    }

    /// Takes turns, and says what came of it.
    async fn compare(&self, server: &Server, rounds: usize) {
        let (mut alone, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(self.list(server).await);
            whole.push(self.reconcile(server).await.1);
        }
        server.take_counts();
        if rounds == 0 {
            return println!("  left out");
        }
        line("the listing alone", &alone);
        line("reconcile", &whole);
        let ratios = |of: fn(&Cost) -> Duration| {
            let of_round = |(whole, alone)| of(whole).as_secs_f64() / of(alone).as_secs_f64();
            let mut ratios: Vec<f64> = whole.iter().zip(&alone).map(of_round).collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        let (clock, busy) = (ratios(|cost| cost.wall), ratios(|cost| cost.ours));
        println!(
            "  reconcile to the listing {:>7.2} by the clock ({:.2} to {:.2} in {rounds} rounds; {}), {:.2} of a processor",
            clock[rounds / 2],
            clock[0],
            clock[rounds - 1],
            verdict(clock[rounds / 2], TIME_GOAL),
            busy[rounds / 2]
        );
    }

    /// A bench of something that does something else is worth nothing.
    fn verify(&self, report: &ReconcileReport, counts: Counts) {
        let objects = self.objects as u64;
        assert_eq!(
            (report.rows, report.objects, report.buckets, report.buckets_failed),
            (objects, objects, 1, 0),
            "{report:?}"
        );
        let changed = if self.changed == 0 { 0 } else { objects.div_ceil(self.changed as u64) };
        assert_eq!(
            (report.refreshed, report.dropped, report.replaced, report.adopted),
            (changed, 0, 0, 0),
            "{report:?}"
        );
        assert_eq!((counts.writes, counts.lists), (changed, objects.div_ceil(1000)), "{counts:?}");
    }
}

impl Cost {
    fn start(server: &Server) -> impl FnOnce(&Server) -> Self + use<> {
        let (ours, servers, start) = (cpu_of("self"), server.cpu(), Instant::now());
        move |server| Self {
            wall: start.elapsed(),
            ours: cpu_of("self").saturating_sub(ours),
            servers: server.cpu().saturating_sub(servers),
        }
    }
}

fn line(name: &str, costs: &[Cost]) {
    let median = |of: fn(&Cost) -> Duration| {
        let mut all: Vec<Duration> = costs.iter().map(of).collect();
        all.sort();
        all[all.len() / 2].as_secs_f64()
    };
    println!(
        "  {name:<24} {:>7.2} s by the clock, {:.2} s of a processor (the server's: {:.2} s)",
        median(|c| c.wall),
        median(|c| c.ours),
        median(|c| c.servers)
    );
}

/// A line of this process's own status, in MiB; zero where there is no such file.
fn resident(name: &str) -> f64 {
    memory_mib("self", name).unwrap_or(0.0)
}
