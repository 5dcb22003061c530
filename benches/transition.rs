//! How fast objects are moved, what a move costs in calls and in processor time, and who is the bottleneck.
//!
//! `cargo bench --bench transition` starts a server that makes objects and rows up ([`server`], a process of its own) and takes
//! turns: the same calls that moves take (a HEAD and a copy for each object, rows in groups), sent by the SDK's clients with
//! nothing around them, then the real transition, plan and all. What is printed are medians of the rounds.
//!
//! Twice: with a server that answers at once, where the ratio shows what the executor adds to the SDK's own work; and with one
//! that takes about the time that AWS takes, where moves a second are to be those that its answers and `concurrency` allow.
//! That the server is then the bottleneck, and not tierd, is shown by three figures of the same run:
//!
//! - how many requests the server had at once, on average, of those that `concurrency` lets through (Little's law: the time
//!   that it took to answer, over the time that went by). What is missing, tierd kept to itself.
//! - moves a second, as a share of `concurrency` over the time that a HEAD and a copy take: what a client that takes no time
//!   of its own would reach.
//! - how many moves a second one processor would do, next to the 3,500 copies a second that S3 takes for a prefix ("Best
//!   practices design patterns: optimizing Amazon S3 performance" in its user guide).
//!
//! Environment: `BENCH_MOVES` (default 20,000), `BENCH_ROUNDS` (default 5), `BENCH_CONCURRENCY` (default 64).

mod server;

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use futures::{StreamExt, stream};
use server::process::cpu_of;
use server::{Counts, Latency, Server};
use tierd::app::App;
use tierd::aws::Clients;
use tierd::clock;
use tierd::config::Settings;
use tierd::jobs::Mode;
use tierd::jobs::learning::Learning;
use tierd::jobs::transition::{Executor, Limiter, Memory, Planner, Transition, Versions};
use tierd::policies::{self, BucketPolicies};
use tierd::prices::PriceList;
use tierd::progress::Progress;
use tierd::tiering::plan::CapLimits;
use tierd::tiering::policy::guard::Evidence;
use tokio_util::sync::CancellationToken;

const CALLS_GOAL: f64 = 2.1;
/// The least share of what the server allows that is to be reached. The plan begins with reads of its own, and a run ends with
/// fewer moves than may be made at once.
const SHARE_GOAL: f64 = 0.9;
/// Copies a second that S3 takes for a prefix before it answers `SlowDown`.
const COPIES_A_SECOND: f64 = 3500.0;
/// Rows that one call writes, where nothing stands around the calls.
const ROWS_AT_ONCE: usize = 25;

#[tokio::main]
async fn main() {
    server::serve_if_asked();
    let millis = Duration::from_millis;
    let settings = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let size = Size {
        moves: settings("BENCH_MOVES", 20_000),
        rounds: settings("BENCH_ROUNDS", 5),
        concurrency: settings("BENCH_CONCURRENCY", 64),
    };
    println!("{} moves a round, {} at once, medians of {} rounds", size.moves, size.concurrency, size.rounds);
    println!("a server that answers at once:");
    run(Latency::default(), size).await;
    // A HEAD, a copy of a small object, and a write of rows, in one region.
    let as_aws = Latency { s3: millis(20), copy: millis(60), dynamodb: millis(6) };
    println!(
        "a server that takes {} ms for a HEAD and {} ms for a copy:",
        as_aws.s3.as_millis(),
        as_aws.copy.as_millis()
    );
    run(as_aws, size).await;
}

#[derive(Clone, Copy)]
struct Size {
    moves: usize,
    rounds: usize,
    concurrency: usize,
}

async fn run(latency: Latency, size: Size) {
    let server = Server::start(latency);
    let bench = Bench::new(&server, size).await;
    // The first round opens connections.
    bench.bare().await;
    bench.transition().await;
    let (mut bare, mut whole, mut in_flight, mut counts) = (Vec::new(), Vec::new(), Vec::new(), None);
    for _ in 0..size.rounds {
        bare.push(Cost::of(&server, bench.bare()).await);
        server.take_counts();
        whole.push(Cost::of(&server, bench.transition()).await);
        let round = server.take_counts();
        in_flight.push(round.moving_micros as f64 / 1e6 / whole[whole.len() - 1].wall.as_secs_f64());
        counts = Some(round);
    }
    let counts = counts.expect("a round at least");
    bench.verify(counts);

    let moves = size.moves as f64;
    for (name, costs) in [("bare calls", &bare), ("transition", &whole)] {
        let (wall, ours, servers) =
            (median(costs, |c| c.wall), median(costs, |c| c.ours), median(costs, |c| c.servers));
        println!(
            "  {name:<24} {:>7.0} moves/s, {:>4.0} µs of a processor a move (the server's: {:.0}); {:.2} processors busy here",
            moves / wall,
            ours / moves * 1e6,
            servers / moves * 1e6,
            ours / wall,
        );
    }
    println!(
        "  transition to bare calls {:>7.2} by the clock, {:.2} of a processor",
        ratio(&whole, &bare, |c| c.wall),
        ratio(&whole, &bare, |c| c.ours)
    );
    let a_move = (latency.s3 + latency.copy).as_secs_f64();
    if a_move > 0.0 {
        in_flight.sort_by(f64::total_cmp);
        let possible = size.concurrency as f64 / a_move;
        let share = moves / median(&whole, |c| c.wall) / possible;
        println!("  at the server at once    {:>7.1} of {} requests", in_flight[size.rounds / 2], size.concurrency);
        println!(
            "  of what the server allows{share:>7.2} ({possible:.0} moves/s; {})",
            if share >= SHARE_GOAL { "the server is the bottleneck" } else { "the server is NOT the bottleneck" }
        );
    }
    let a_processor = moves / median(&whole, |c| c.ours);
    println!(
        "  a processor of ours does {a_processor:>7.0} moves/s, {:.1} times what S3 takes for a prefix",
        a_processor / COPIES_A_SECOND
    );
    // Reading the ledger and the bucket's settings belongs to the plan.
    let calls = (counts.heads + counts.copies + counts.writes) as f64 / moves;
    println!(
        "  calls to AWS a move      {calls:>7.2} (goal {CALLS_GOAL}: {}); {:.4} more for the plan",
        if calls <= CALLS_GOAL { "met" } else { "NOT MET" },
        counts.all as f64 / moves - calls,
    );
}

/// One bucket of objects that are all to be moved.
struct Bench {
    app: App,
    bucket: String,
    size: Size,
}

impl Bench {
    async fn new(server: &Server, size: Size) -> Self {
        let bucket = format!("bench-{}-0", size.moves);
        let settings = format!(
            "ingest.enabled = false\naws.region = \"ap-northeast-1\"\naws.endpoint_url = \"{}\"\nledger.table = \"{bucket}\"\n\
             transition.require_recent_ingest = \"0d\"\ntransition.concurrency = {}",
            server.endpoint, size.concurrency
        );
        let settings = Settings::from_toml(&settings).expect("settings");
        let loader = Clients::loader().test_credentials().empty_test_environment();
        let app = App::with_loader(settings, loader).await.expect("clients");
        Self { app, bucket, size }
    }

    /// A run as the daemon makes it; only the limit on requests is lifted, since it is not what is measured.
    async fn transition(&self) {
        let App { settings, ledger, s3, state, .. } = &self.app;
        let settings = &settings.transition;
        let guards = policies::guards(settings, &self.app.settings.restore);
        let prices = PriceList::of_region(&self.app.settings.aws.region).prices;
        let (now, state) = (clock::now(), state.clone());
        let planner = Planner {
            learning: Learning::new(ledger.clone(), state, prices.clone(), guards.clone(), now),
            memory: Memory::Leave,
            ledger: ledger.clone(),
            policies: BucketPolicies::from_settings(settings).expect("a policy"),
            guards,
            evidence: Evidence::default(),
            prices,
            caps: CapLimits::default(),
            now,
        };
        let executor = Executor::new(
            &s3.for_bulk(),
            ledger.clone(),
            Limiter::new(u32::MAX),
            policies::copies(settings),
            Versions::Skip,
            None,
            settings.concurrency,
            settings.max_error_fraction,
        );
        let run = Transition { planner, executor };
        let report = run.run_once(Mode::Real, &Progress::default(), &CancellationToken::new()).await.expect("a plan");
        assert_eq!((report.moved, report.failed), (self.size.moves as u64, 0), "{report:?}");
    }

    /// The calls of as many moves, and nothing else.
    async fn bare(&self) {
        let groups = (0..self.size.moves).step_by(ROWS_AT_ONCE).map(|first| {
            let numbers = first..(first + ROWS_AT_ONCE).min(self.size.moves);
            let dynamodb = self.app.clients.dynamodb.clone();
            let rows = numbers.clone().map(|n| row(&self.bucket, n)).collect();
            let write = dynamodb.transact_write_items().set_transact_items(Some(rows));
            (numbers, write)
        });
        let calls = groups.flat_map(|(numbers, write)| {
            let mut write = Some(write);
            let last = numbers.end - 1;
            numbers.map(move |n| (n, if n == last { write.take() } else { None }))
        });
        stream::iter(calls)
            .map(|(n, write)| {
                let (s3, bucket) = (self.app.clients.s3_copy.clone(), self.bucket.clone());
                tokio::spawn(async move {
                    let key = format!("photos/2024 03/IMG_{n:08}.jpg");
                    let head = s3.head_object().bucket(&bucket).key(&key).send().await.expect("a head");
                    s3.copy_object()
                        .bucket(&bucket)
                        .key(&key)
                        .copy_source(format!("{bucket}/photos/2024%2003/IMG_{n:08}.jpg"))
                        .copy_source_if_match(head.e_tag.expect("an ETag"))
                        .storage_class("GLACIER".into())
                        .send()
                        .await
                        .expect("a copy");
                    if let Some(write) = write {
                        write.send().await.expect("rows are written");
                    }
                })
            })
            .buffer_unordered(self.size.concurrency)
            .for_each(|done| async { done.expect("no panic") })
            .await;
    }

    fn verify(&self, counts: Counts) {
        let moves = self.size.moves as u64;
        assert_eq!((counts.heads, counts.copies, counts.lists), (moves, moves, 0), "{counts:?}");
        assert!(counts.writes >= moves.div_ceil(100) && counts.queries > 0, "{counts:?}");
    }
}

fn row(bucket: &str, n: usize) -> TransactWriteItem {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let update = Update::builder()
        .table_name(bucket)
        .key("bucket_name", text(bucket))
        .key("object_key", text(&format!("photos/2024 03/IMG_{n:08}.jpg")))
        .update_expression("SET storage_class = :class, class_since = :since")
        .expression_attribute_values(":class", text("GLACIER"))
        .expression_attribute_values(":since", text("2026-01-01T00:00:00Z"));
    TransactWriteItem::builder().update(update.build().expect("an update")).build()
}

struct Cost {
    wall: Duration,
    /// Processor time of this process.
    ours: Duration,
    servers: Duration,
}

impl Cost {
    async fn of(server: &Server, work: impl Future<Output = ()>) -> Self {
        let (ours, servers, start) = (cpu_of("self"), server.cpu(), Instant::now());
        work.await;
        Self {
            wall: start.elapsed(),
            ours: cpu_of("self").saturating_sub(ours),
            servers: server.cpu().saturating_sub(servers),
        }
    }
}

/// Seconds.
fn median(costs: &[Cost], of: fn(&Cost) -> Duration) -> f64 {
    let mut all: Vec<Duration> = costs.iter().map(of).collect();
    all.sort();
    all[all.len() / 2].as_secs_f64()
}

fn ratio(whole: &[Cost], bare: &[Cost], of: fn(&Cost) -> Duration) -> f64 {
    let mut ratios: Vec<f64> = whole.iter().zip(bare).map(|(w, b)| of(w).as_secs_f64() / of(b).as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
