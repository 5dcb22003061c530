//! The real poller against a model of AWS, in random histories.
//!
//! The emulator's streams have one shard that lasts for ever. This model's split, roll, lag behind, expire and are trimmed; its
//! calls are throttled, and fail before or after they took effect; and the daemons that read it are stopped, killed and
//! doubled. A seed makes a history. It is the protocol over HTTP, so the SDK is part of what is tested.
//!
//! Held in every history: each user ends with exactly one bucket, their own, or in the quarantine; a checkpoint never passes a
//! user who is not served; a shard is not read before its parent's end.
//!
//! `TIERD_HISTORIES=N` plays more of them, `TIERD_HISTORY_SEED=S` one alone, with the log.

mod http;
mod model;
mod stream;
mod tables;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use futures::stream::{self as futures_stream, StreamExt};
use tierd::config::Settings;
use tierd::health::Health;
use tierd::metrics::Metrics;
use tierd::provision::poller::{Pace, Poller};
use tierd::provision::saga::Saga;
use tierd::provision::server::{Patience, Server};
use tierd::provision::settings::BucketSettings;
use tierd::s3::S3;
use tierd::state::State;
use tierd::tiering::bucket_name::BucketNameTemplate;
use tierd::tiering::user_event::EventName;
use tierd::users::Users;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use model::Dice;
use model::{CALLS, Model};
use stream::Stream;

const HISTORIES: u64 = 300;
const AT_ONCE: usize = 8;
const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_millis(600);
const TEMPLATE: &str = "t{user_id}-{timestamp}";

/// What all histories share: the SDK's clients without an address.
#[derive(Clone)]
struct Sdk {
    s3: aws_sdk_s3::Config,
    dynamodb: aws_sdk_dynamodb::Config,
    streams: aws_sdk_dynamodbstreams::Config,
    settings: Arc<Settings>,
}

impl Sdk {
    fn new() -> Self {
        let version = BehaviorVersion::v2026_01_12();
        let region = Region::new("ap-northeast-1");
        let credentials = Credentials::new("a", "b", None, None, "model");
        let retry = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(MS);
        let settings = format!(
            "ingest.enabled = false\nrestore.enabled = false\nprovision.bucket_name = {TEMPLATE:?}\nprovision.cors = false"
        );
        Self {
            s3: aws_sdk_s3::Config::builder()
                .behavior_version(version)
                .region(region.clone())
                .credentials_provider(credentials.clone())
                .retry_config(retry.clone())
                .force_path_style(true)
                .build(),
            dynamodb: aws_sdk_dynamodb::Config::builder()
                .behavior_version(version)
                .region(region.clone())
                .credentials_provider(credentials.clone())
                .retry_config(retry.clone())
                .build(),
            streams: aws_sdk_dynamodbstreams::Config::builder()
                .behavior_version(version)
                .region(region)
                .credentials_provider(credentials)
                .retry_config(retry)
                .build(),
            settings: Arc::new(Settings::from_toml(&settings).unwrap_or_else(|e| panic!("{e}"))),
        }
    }

    /// A daemon's poller that speaks to `endpoint`.
    fn poller(&self, endpoint: &str, holder: &str, health: &Health) -> Poller {
        let s3 = aws_sdk_s3::Client::from_conf(self.s3.to_builder().endpoint_url(endpoint).build());
        let dynamodb = aws_sdk_dynamodb::Client::from_conf(self.dynamodb.to_builder().endpoint_url(endpoint).build());
        let streams =
            aws_sdk_dynamodbstreams::Client::from_conf(self.streams.to_builder().endpoint_url(endpoint).build());
        let saga = Saga::new(
            Users::new(dynamodb.clone(), &self.settings),
            S3::new(s3.clone(), s3),
            State::new(dynamodb, "state", LEASE, holder),
            Metrics::new("tierd"),
            "ap-northeast-1",
            BucketNameTemplate::new(TEMPLATE).expect("a template"),
            BucketSettings::new(&self.settings, None).expect("settings"),
        );
        let patience = Patience { max_attempts: 3, first_pause: MS, longest_pause: 8 * MS };
        let pace = Pace {
            poll_interval: 4 * MS,
            idle_interval: 50 * MS,
            listing_interval: 150 * MS,
            page_pause: Duration::ZERO,
            note_interval: 60 * MS,
        };
        let pulse = health.part("provision", Duration::from_secs(60));
        Poller::new(streams, Server::new(saga, patience, 4), vec![EventName::Insert, EventName::Modify], pace, pulse)
    }
}

/// A daemon: a poller, and what starts it again when it fails.
struct Daemon {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Daemon {
    fn start(sdk: &Sdk, endpoint: &str, holder: &str) -> Self {
        let poller = sdk.poller(endpoint, holder, &Health::default());
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            while !token.is_cancelled()
                && let Err(error) = poller.run(token.clone()).await
            {
                tracing::error!(error = format!("{error:#}"), "the poller failed and is started again");
                tokio::time::sleep(2 * MS).await;
            }
        });
        Self { stop, task }
    }

    async fn end(self, how: End) {
        match how {
            End::Stop => self.stop.cancel(),
            End::Kill => self.task.abort(),
        }
        match self.task.await {
            Ok(()) => {}
            Err(error) => assert!(error.is_cancelled(), "a daemon panicked: {error}"),
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Stop,
    Kill,
}

/// Plays one history and gives what was wrong.
async fn play(sdk: Sdk, seed: u64) -> Vec<String> {
    let model = Arc::new(Mutex::new(Model::new(seed)));
    let (endpoint, _server) = start_server(&model).await;
    let lock = || -> MutexGuard<'_, Model> { model.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) };
    let mut dice = Dice(!seed);
    let mut daemons = vec![Daemon::start(&sdk, &endpoint, "first")];
    if dice.one_in(2) {
        daemons.push(Daemon::start(&sdk, &endpoint, "second"));
    }
    let mut next_user = 0;
    for step in 0..8 + dice.below(14) {
        match dice.below(14) {
            0..=4 => {
                for _ in 0..=dice.below(2) {
                    let kind = if dice.one_in(12) { "poison" } else { "user" };
                    lock().insert(&format!("{kind}-{next_user}"));
                    next_user += 1;
                }
            }
            5 => lock().delete(&format!("user-{}", dice.below(next_user + 1))),
            6 | 7 => {
                let mut model = lock();
                model.stream.close(&mut dice);
            }
            8 => lock().trim(),
            9 => lock().stream.epoch += 1,
            10 => {
                let at = dice.below(daemons.len());
                let how = if dice.one_in(2) { End::Stop } else { End::Kill };
                daemons.swap_remove(at).end(how).await;
                daemons.push(Daemon::start(&sdk, &endpoint, &format!("started in step {step}")));
            }
            11 if dice.one_in(6) => {
                let mut model = lock();
                let label = model.stream.label + 1;
                model.stream = Stream::new(label, &mut dice);
            }
            _ => tokio::time::sleep(MS * (1 + dice.below(25) as u32)).await,
        }
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut settled = 0;
    // Settled twice, some time apart: a gap may just be coming to light.
    while settled < 2 && tokio::time::Instant::now() < deadline {
        settled = if lock().is_settled() { settled + 1 } else { 0 };
        tokio::time::sleep(20 * MS).await;
    }
    for daemon in daemons {
        daemon.end(End::Stop).await;
    }
    let mut wrong = lock().verdict();
    if settled < 2 {
        wrong.push("it never came to rest".to_owned());
    }
    wrong
}

/// Where the model listens, for as long as the handle lives.
async fn start_server(model: &Arc<Mutex<Model>>) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    (endpoint, AbortOnDropHandle::new(tokio::spawn(serve(listener, model.clone()))))
}

async fn serve(listener: TcpListener, model: Arc<Mutex<Model>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let model = model.clone();
        connections.spawn(http::serve(stream, move |request| {
            model.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).answer(request)
        }));
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_any_history_every_user_gets_one_bucket_or_a_reason() {
    let _turn = crate::harness::heavy_turn();
    let one = number("TIERD_HISTORY_SEED");
    let count = one.map_or_else(|| number("TIERD_HISTORIES").unwrap_or(HISTORIES), |_| 1);
    let first = one.unwrap_or_else(|| tierd::clock::now().timestamp_micros().unsigned_abs());
    println!("{count} histories from seed {first}");
    if one.is_some() {
        tracing_subscriber::fmt().with_env_filter("tierd=debug,it=debug").with_test_writer().init();
    }
    let sdk = Sdk::new();
    let began = tokio::time::Instant::now();
    let histories = futures_stream::iter((0..count).map(|n| first.wrapping_add(n.wrapping_mul(0x1_0000_0001))));
    let wrong: Vec<String> = histories
        .map(|seed| {
            let sdk = sdk.clone();
            async move { (seed, tokio::spawn(play(sdk, seed)).await) }
        })
        .buffer_unordered(AT_ONCE)
        .flat_map(|(seed, played)| {
            let wrong = played.unwrap_or_else(|panic| vec![panic.to_string()]);
            futures_stream::iter(wrong.into_iter().map(move |wrong| format!("TIERD_HISTORY_SEED={seed}: {wrong}")))
        })
        .collect()
        .await;
    println!("{count} histories with {} calls in {:?}", CALLS.load(Ordering::Relaxed), began.elapsed());
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}

/// A calm model with one user, whose CreateBucket is refused so many times, and a poller that has not begun.
async fn with_one_user(
    refused: (usize, u16, &'static str),
) -> (Arc<Mutex<Model>>, AbortOnDropHandle<()>, Poller, Health) {
    let model = Arc::new(Mutex::new(Model::new(1)));
    {
        let mut model = model.lock().expect("nobody panicked");
        model.faults = 0;
        model.insert("user-1");
        model.refused = refused;
    }
    let (endpoint, server) = start_server(&model).await;
    let health = Health::default();
    let poller = Sdk::new().poller(&endpoint, "one", &health);
    (model, server, poller, health)
}

/// Runs, again and again, until the user is served and the part is well, and gives how the runs failed.
async fn run_until_served(model: &Arc<Mutex<Model>>, poller: &Poller, health: &Health) -> Vec<String> {
    let well = || health.problems(tierd::clock::now()).is_empty();
    let served = || model.lock().expect("nobody panicked").is_served("user-1") && well();
    let mut failures = Vec::new();
    for _ in 0..20 {
        let stop = CancellationToken::new();
        let run = tokio::spawn({
            let (poller, stop) = (poller.clone(), stop.clone());
            async move { poller.run(stop).await }
        });
        for _ in 0..10_000 {
            if run.is_finished() || served() {
                break;
            }
            tokio::time::sleep(2 * MS).await;
        }
        stop.cancel();
        if let Err(error) = run.await.expect("no panic") {
            failures.push(format!("{error:#}"));
        }
        if served() {
            break;
        }
    }
    failures
}

#[tokio::test]
async fn what_every_user_would_meet_stops_the_part_and_sets_nobody_aside() {
    for (status, code) in [(400, "TooManyBuckets"), (403, "AccessDenied"), (400, "ExpiredToken")] {
        let (model, _server, poller, health) = with_one_user((5, status, code)).await;
        let first = poller.run(CancellationToken::new()).await.expect_err("the part stops");
        let line = format!("{first:#}");
        assert!(line.contains(code) && line.contains("CreateBucket") && !line.contains('\n'), "{line}");
        assert!(!model.lock().expect("nobody panicked").is_quarantined("user-1"));
        // What a supervisor does: it says so, and starts the part again. Reading alone does not make it well.
        health.part("provision", Duration::from_secs(60)).ill(&line);
        let failures = run_until_served(&model, &poller, &health).await;
        assert!(model.lock().expect("nobody panicked").is_served("user-1"), "{code}");
        assert!(!failures.is_empty() && failures.iter().all(|failure| failure.contains(code)), "{failures:?}");
        assert_eq!(health.problems(tierd::clock::now()), Vec::<String>::new());
        let mut model = model.lock().expect("nobody panicked");
        assert!(!model.is_quarantined("user-1"));
        assert_eq!(model.verdict(), Vec::<String>::new(), "{code}");
    }
}

#[tokio::test]
async fn trouble_that_passes_is_never_counted() {
    for (status, code) in [(409, "OperationAborted"), (503, "SlowDown"), (500, "InternalError")] {
        let (model, _server, poller, health) = with_one_user((12, status, code)).await;
        assert_eq!(run_until_served(&model, &poller, &health).await, Vec::<String>::new(), "{code}");
        let mut model = model.lock().expect("nobody panicked");
        assert!(!model.is_quarantined("user-1"), "{code}");
        assert_eq!(model.verdict(), Vec::<String>::new(), "{code}");
    }
}
