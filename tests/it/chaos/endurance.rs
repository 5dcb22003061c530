//! Endurance: one daemon for half an hour under steady load and a bad network. What it holds of the machine may go up and
//! down, but may not grow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::faults::Dice;
use super::play::{Play, ago, depth, queue_url};
use crate::logs::{self, Event};
use crate::world::World;

/// One round of the load.
const ROUND: Duration = Duration::from_secs(2);
/// Users at a time: for each new one the oldest leaves, and takes the bucket along.
const USERS: usize = 6;
const OBJECTS: u64 = 5;
const FAULTS_PER_MILLE: u64 = 20;
/// Log files are kept so long, in rounds.
const LOGS_KEPT: usize = 20;

/// What the daemon holds at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    minutes: f64,
    rss_kib: f64,
    open_files: f64,
    threads: f64,
    tasks: Option<f64>,
    messages: f64,
}

/// What may not grow: its name, its figure, and by how much it may differ from the beginning to the end of a straight line
/// through the samples: so many, or such a share of their mean, whichever is more.
type Held = (&'static str, fn(&Sample) -> Option<f64>, f64, f64);

const HELD: [Held; 5] = [
    ("memory (KiB)", |sample| Some(sample.rss_kib), 6144.0, 0.12),
    ("open files", |sample| Some(sample.open_files), 8.0, 0.15),
    ("threads", |sample| Some(sample.threads), 3.0, 0.15),
    ("tasks", |sample| sample.tasks, 8.0, 0.15),
    ("messages in the queues", |sample| Some(sample.messages), 8.0, 0.5),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half an hour long; `tests/endurance` runs it"]
async fn what_the_daemon_holds_does_not_grow() {
    let minutes = super::number("TIERD_ENDURANCE_MINUTES").unwrap_or(30);
    let mut load = Load::begin().await;
    let mut daemon = load.play.spawn(&["run"]);
    let pid = daemon.id().expect("it runs");
    load.play.network.set_faults_per_mille(FAULTS_PER_MILLE);
    let began = Instant::now();
    let every = Duration::from_secs((minutes * 60 / 60).clamp(5, 60));
    let mut samples: Vec<Sample> = Vec::new();
    println!("minutes  rss KiB  files  threads  tasks  messages");
    while began.elapsed() < Duration::from_secs(minutes * 60) {
        let round = Instant::now();
        load.round().await;
        if samples
            .last()
            .is_none_or(|last| began.elapsed().as_secs_f64() / 60.0 - last.minutes >= every.as_secs_f64() / 60.0)
        {
            let sample = load.sample(pid, began).await;
            println!("{sample}");
            samples.push(sample);
        }
        tokio::time::sleep(ROUND.saturating_sub(round.elapsed())).await;
    }
    let tally = load.play.network.tally();
    println!(
        "{} requests, faults {tally:?}, {} rounds, {} users",
        load.play.network.requests(),
        load.rounds,
        load.users
    );
    let grown = grown(&samples);
    kill(Pid::from_raw(pid.try_into().expect("a process id")), Signal::SIGTERM).expect("a signal");
    let ended =
        tokio::time::timeout(Duration::from_secs(60), daemon.wait()).await.expect("it drains").expect("it ends");
    assert!(ended.success(), "the daemon ended with {ended}");
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}

/// The quantities that grow. The first quarter is left out: caches and pools fill then.
fn grown(samples: &[Sample]) -> Vec<String> {
    let settled = &samples[samples.len() / 4..];
    let mut grown = Vec::new();
    for (name, figure, by, share) in HELD {
        let points: Vec<(f64, f64)> = settled.iter().filter_map(|s| Some((s.minutes, figure(s)?))).collect();
        let Some(Trend { mean, growth, error }) = trend(&points) else {
            println!("{name}: too few samples");
            continue;
        };
        let allowed = by.max(share * mean);
        println!("{name}: mean {mean:.1}, {growth:+.1} (± {error:.1}) over the time, {allowed:.1} allowed");
        // What goes up and down by jobs that begin and end is no growth: that stands out of the noise.
        if growth > allowed && growth > 3.0 * error {
            grown.push(format!("{name} grew by {growth:.1} around a mean of {mean:.1}; {allowed:.1} are allowed"));
        }
    }
    grown
}

/// A straight line through points.
struct Trend {
    mean: f64,
    /// How much it rises from the first point to the last.
    growth: f64,
    /// The standard error of that, by how far the points lie from the line.
    error: f64,
}

/// The line of least squares; None for too few points.
fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    if points.len() < 6 {
        return None;
    }
    let n = points.len() as f64;
    let average = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, mean) = (average(&|p| p.0), average(&|p| p.1));
    let spread = points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>();
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - mean)).sum::<f64>() / spread;
    let off = points.iter().map(|p| (p.1 - mean - slope * (p.0 - x)).powi(2)).sum::<f64>();
    let span = points.last()?.0 - points.first()?.0;
    Some(Trend { mean, growth: slope * span, error: (off / (n - 2.0) / spread).sqrt() * span })
}

#[test]
fn a_trend_is_told_from_noise() {
    let sample = |minutes: f64, rss_kib: f64| Sample {
        minutes,
        rss_kib,
        open_files: 20.0,
        threads: 5.0,
        tasks: Some(30.0),
        messages: 0.0,
    };
    let noise = |at: u32| f64::from(at * 7919 % 13) * 300.0;
    let steady: Vec<Sample> = (0..60).map(|at| sample(f64::from(at), 60_000.0 + noise(at))).collect();
    let leaking: Vec<Sample> =
        (0..60).map(|at| sample(f64::from(at), 60_000.0 + noise(at) + 300.0 * f64::from(at))).collect();
    assert_eq!(grown(&steady), Vec::<String>::new());
    assert!(matches!(&grown(&leaking)[..], [only] if only.starts_with("memory")));
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tasks = self.tasks.map_or_else(|| "-".to_owned(), |tasks| tasks.to_string());
        let Self { minutes, rss_kib, open_files, threads, messages, .. } = self;
        write!(f, "{minutes:>7.1} {rss_kib:>8} {open_files:>6} {threads:>8} {tasks:>6} {messages:>9}")
    }
}

struct Load {
    play: Play,
    dice: Dice,
    rounds: u64,
    users: u64,
    /// Users who are there, the oldest first.
    here: VecDeque<String>,
    untold: Vec<Event>,
    files: VecDeque<String>,
}

impl Load {
    async fn begin() -> Self {
        let play = Play::begin(0).await;
        let (here, files) = (VecDeque::new(), VecDeque::new());
        Self { play, dice: Dice::new(1), rounds: 0, users: 0, here, untold: Vec::new(), files }
    }

    fn world(&self) -> &World {
        &self.play.world
    }

    async fn round(&mut self) {
        if self.rounds.is_multiple_of(5) {
            self.sign_up().await;
        }
        for at in 0..self.here.len() {
            let user = self.here[at].clone();
            // Not all have a bucket yet.
            if let Some(uri) = self.world().bucket_uri(&user).await {
                self.use_objects(uri.trim_start_matches("s3://")).await;
            }
        }
        if self.rounds % 6 == 5 {
            self.deliver().await;
        }
        for (url, body) in self.play.network.take_repeats() {
            self.world().sqs().send_message().queue_url(url).message_body(body).send().await.expect("a message");
        }
        self.rounds += 1;
    }

    async fn sign_up(&mut self) {
        let id = format!("{}-{}", self.world().name, self.users);
        self.users += 1;
        self.world().put_user(&id).await;
        self.here.push_back(id);
        if self.here.len() > USERS
            && let Some(oldest) = self.here.pop_front()
        {
            self.leave(&oldest).await;
        }
    }

    /// The user goes, and so do the objects and the bucket.
    async fn leave(&mut self, user: &str) {
        let uri = self.world().bucket_uri(user).await;
        let (table, key) = (&self.world().settings().users.table, AttributeValue::S(user.to_owned()));
        self.world().dynamodb().delete_item().table_name(table).key("userId", key).send().await.expect("a deletion");
        let Some(uri) = uri else { return };
        let bucket = uri.trim_start_matches("s3://");
        self.untold.retain(|event| event.bucket != bucket);
        let s3 = self.world().s3();
        let listed = s3.list_objects_v2().bucket(bucket).send().await.expect("a listing");
        for object in listed.contents.unwrap_or_default() {
            s3.delete_object().bucket(bucket).key(object.key.expect("a key")).send().await.expect("a deletion");
        }
        s3.delete_bucket().bucket(bucket).send().await.ok();
    }

    /// One write, one use, and now and then a restore.
    async fn use_objects(&mut self, bucket: &str) {
        let key = format!("a b/{}.txt", self.dice.below(OBJECTS));
        let archived = self.dice.one_in(3);
        let put = self.world().s3().put_object().bucket(bucket).key(&key).body(vec![b'x'; 2048].into());
        put.storage_class(if archived { "GLACIER" } else { "STANDARD" }.into()).send().await.expect("an object");
        let id = self.rounds * 1000 + self.untold.len() as u64;
        let days_ago = self.dice.pick(&[0, 50, 120]);
        self.untold.push(Event::download(id, &ago(days_ago), bucket, &key));
        if archived {
            let url = queue_url(self.world(), &self.world().settings().restore.request_queue).await;
            let body = json!({"bucket": bucket, "key": key}).to_string();
            self.world().sqs().send_message().queue_url(url).message_body(body).send().await.expect("a message");
        }
    }

    async fn deliver(&mut self) {
        let events = std::mem::take(&mut self.untold);
        let key = logs::simple_key(&ago(0), &format!("r{}", self.rounds));
        let put = self.world().s3().put_object().bucket(&self.play.logs).key(&key);
        put.body(logs::file(&events).into()).send().await.expect("a log file");
        self.files.push_back(key);
        if self.files.len() > LOGS_KEPT
            && let Some(oldest) = self.files.pop_front()
        {
            self.world().s3().delete_object().bucket(&self.play.logs).key(oldest).send().await.expect("a deletion");
        }
    }

    async fn sample(&self, pid: u32, began: Instant) -> Sample {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
        let figure = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a line of the status");
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
        };
        let open_files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the daemon runs").count() as f64;
        let restore = &self.world().settings().restore;
        let messages =
            depth(self.world(), &restore.request_queue).await + depth(self.world(), &restore.event_queue).await;
        Sample {
            minutes: began.elapsed().as_secs_f64() / 60.0,
            rss_kib: figure("VmRSS:"),
            open_files,
            threads: figure("Threads:"),
            tasks: self.tasks(),
            messages: messages as f64,
        }
    }

    /// What the daemon's last heartbeat says of its tasks.
    fn tasks(&self) -> Option<f64> {
        let heartbeat = std::fs::read(self.world().dir.path().join("beat-1")).ok()?;
        serde_json::from_slice::<Value>(&heartbeat).ok()?["tasks"].as_f64()
    }
}
