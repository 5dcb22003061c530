//! A daemon's life, from its start to its kill, and what AWS does to it meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tierd::app::App;
use tierd::aws::Clients;
use tierd::config::Settings;
use tierd::health::Health;
use tierd::jobs::Mode;
use tierd::jobs::report::SweepReport;
use tierd::progress::Progress;
use tierd::queue::{Options, Queue, consume};
use tokio_util::sync::CancellationToken;

use crate::proxy::{Fault, Proxy, Request};
use crate::streams_model::Dice;
use crate::world::World;

/// How long a message is kept from others at most, in seconds: so much faster than on AWS.
const VISIBILITY_SECS: u64 = 2;
/// How long a poll waits for messages. The emulator does not wait itself: it would turn round and round for as long as a
/// queue holds messages that are not to be seen.
const POLL: Duration = Duration::from_millis(400);
const SWEEP_EVERY: Duration = Duration::from_millis(1200);

/// What happened, over all seeds.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    kills: AtomicU64,
    real_kills: AtomicU64,
    copied_back: AtomicU64,
    reported: AtomicU64,
    faults: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    pub fn killed(&self, real: bool) {
        let counter = if real { &self.0.real_kills } else { &self.0.kills };
        counter.fetch_add(1, Ordering::SeqCst);
    }

    pub fn ended(&self, copied_back: u64, reported: u64) {
        self.0.copied_back.fetch_add(copied_back, Ordering::SeqCst);
        self.0.reported.fetch_add(reported, Ordering::SeqCst);
    }

    fn fault(&self, name: &'static str) {
        *self.0.faults.lock().unwrap().entry(name).or_default() += 1;
    }

    /// Whether enough happened to prove something.
    pub fn is_telling(&self, seeds: u64) -> bool {
        let faults: u64 = self.0.faults.lock().unwrap().values().sum();
        faults >= seeds && self.0.kills.load(Ordering::SeqCst) + self.0.real_kills.load(Ordering::SeqCst) >= seeds
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let faults = self.0.faults.lock().unwrap();
        let named: Vec<String> = faults.iter().map(|(name, times)| format!("{times} {name}")).collect();
        write!(
            f,
            "{} requests, {} faults ({}), {} kills of all tasks and {} SIGKILLs of the program; {} copied back, {} failures reported",
            of(&self.0.requests),
            faults.values().sum::<u64>(),
            named.join(", "),
            of(&self.0.kills),
            of(&self.0.real_kills),
            of(&self.0.copied_back),
            of(&self.0.reported),
        )
    }
}

/// How hard AWS and fate are on a daemon.
pub struct Fate {
    pub dice: Dice,
    /// Of a hundred requests so many meet a fault.
    pub faults: usize,
    /// The request at which it is killed.
    pub killed_at: Option<u64>,
}

/// A proxy that makes time run faster, and does to a daemon what its fate is.
pub async fn proxy(upstream: &str, fate: Fate, kill: CancellationToken, tally: &Tally) -> Proxy {
    let proxy = Proxy::start(upstream).await;
    proxy.change(hurry);
    proxy.one_at_a_time();
    let Fate { mut dice, faults, killed_at } = fate;
    let (mut seen, tally) = (0, tally.clone());
    proxy.fault(move |request| {
        // The dead ask for nothing.
        if kill.is_cancelled() {
            return Some(Fault::Hang { done: false });
        }
        seen += 1;
        tally.0.requests.fetch_add(1, Ordering::SeqCst);
        if killed_at == Some(seen) {
            kill.cancel();
            return Some(Fault::Hang { done: dice.one_in(2) });
        }
        if dice.below(100) >= faults {
            return (request.operation() == "ReceiveMessage").then_some(Fault::Delay(POLL));
        }
        let (name, fault) = fault(&mut dice, request);
        tally.fault(name);
        Some(fault)
    });
    proxy
}

fn fault(dice: &mut Dice, request: &Request) -> (&'static str, Fault) {
    let of_tags = request.target.is_empty() && request.path.contains("tagging");
    match dice.below(8) {
        0 => ("delayed", Fault::Delay(Duration::from_millis(50 + dice.below(500) as u64))),
        1 => ("dropped before", Fault::ResetBefore),
        2 => ("dropped after", Fault::ResetAfter),
        3 | 4 => ("doubled", Fault::Twice),
        5 if !of_tags => ("done late", Fault::Late(Duration::from_millis(100 + dice.below(900) as u64))),
        6 => ("cut off", Fault::CutAnswer),
        _ => ("refused", refusal(dice, request)),
    }
}

fn refusal(dice: &mut Dice, request: &Request) -> Fault {
    match request.target.split('.').next().unwrap_or_default() {
        "" => match dice.below(4) {
            0 => Fault::s3_error(503, "SlowDown"),
            1 => Fault::s3_error(500, "InternalError"),
            2 => Fault::s3_error(409, "OperationAborted"),
            // S3 says OK and then fails for answers with a body alone: what was read, and what a copy came to.
            _ if request.method == "GET" || is_copy(request) => {
                Fault::Answer(200, "application/xml", "<?xml version=\"1.0\"?><Bro")
            }
            _ => Fault::s3_error(503, "ServiceUnavailable"),
        },
        "AmazonSQS" => Fault::Answer(
            500,
            "application/x-amz-json-1.0",
            r#"{"__type":"com.amazonaws.sqs#InternalError","message":"no"}"#,
        ),
        _ => Fault::dynamodb_throttles(),
    }
}

/// Nothing else is put without a query of its own.
fn is_copy(request: &Request) -> bool {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    request.method == "PUT" && (query.is_empty() || query == "x-id=CopyObject")
}

/// Polls are short, and what is kept from others is so for two seconds at most.
fn hurry(request: &mut Request) {
    let limits: &[(&str, u64)] = match request.target.as_str() {
        "AmazonSQS.ReceiveMessage" => &[("WaitTimeSeconds", 0), ("VisibilityTimeout", VISIBILITY_SECS)],
        "AmazonSQS.ChangeMessageVisibility" => &[("VisibilityTimeout", VISIBILITY_SECS)],
        _ => return,
    };
    let mut body: Value = serde_json::from_slice(&request.body).expect("SQS speaks JSON");
    for (name, most) in limits {
        if let Some(given) = body[*name].as_u64() {
            body[*name] = given.min(*most).into();
        }
    }
    request.body = body.to_string().into_bytes();
}

/// The parts of the daemon that restores are made of, on a thread of their own, until `kill`. The end of their runtime drops
/// every task where it waits: all that AWS could see of a SIGKILL.
pub fn of_tasks(mut settings: Settings, endpoint: &str, kill: CancellationToken) -> JoinHandle<()> {
    settings.aws.endpoint_url = Some(endpoint.parse().expect("an endpoint"));
    std::thread::spawn(move || {
        super::run(async {
            tokio::select! {
                () = kill.cancelled() => {}
                () = live(settings) => {}
            }
        });
    })
}

async fn live(settings: Settings) {
    let loader = Clients::loader().test_credentials().empty_test_environment();
    let app = App::with_loader(settings, loader).await.expect("clients");
    tokio::join!(requests(&app), events(&app), sweeps(&app));
}

async fn requests(app: &App) {
    let restorer = app.restorer();
    let (queue, options) = queue(app, &app.settings.restore.request_queue).await;
    let stop = CancellationToken::new();
    let token = stop.clone();
    consume(&queue, &options, &stop, move |message| {
        let (restorer, stop) = (restorer.clone(), token.clone());
        async move { restorer.on_request_message(&message, &stop).await }
    })
    .await;
}

async fn events(app: &App) {
    let restorer = app.restorer();
    let (queue, options) = queue(app, &app.settings.restore.event_queue).await;
    let stop = CancellationToken::new();
    let token = stop.clone();
    consume(&queue, &options, &stop, move |message| {
        let (restorer, stop) = (restorer.clone(), token.clone());
        async move { restorer.on_event_message(&message, &stop).await }
    })
    .await;
}

/// As the supervisor does it, again and again until the queue can be opened.
async fn queue(app: &App, name: &str) -> (Queue, Options) {
    let pulse = Health::default().part("queue", Duration::from_secs(60));
    let options = Options { concurrency: 4, pulse, metrics: app.metrics.clone() };
    loop {
        match Queue::open(&app.clients.sqs, name).await {
            Ok(queue) => return (queue, options),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn sweeps(app: &App) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        // Whatever ails it, the next one tries again.
        let _whatever = app
            .restorer()
            .sweep(Mode::Real, &Progress::default(), &CancellationToken::new(), &mut SweepReport::default())
            .await;
    }
}

/// The program itself, ended by SIGKILL.
pub async fn of_the_program(world: &World, endpoint: &str, kill: &CancellationToken, longest: Duration) {
    let mut command = world.tierd(&["run"]);
    command.env("TIERD__AWS__ENDPOINT_URL", endpoint).stdout(Stdio::null()).stderr(Stdio::null());
    let mut program = command.spawn().expect("the daemon");
    tokio::select! {
        () = kill.cancelled() => {}
        () = tokio::time::sleep(longest) => {}
    }
    kill.cancel();
    program.kill().await.expect("it is killed");
}
