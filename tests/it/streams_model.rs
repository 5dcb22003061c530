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
mod stream;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use futures::stream::{self as futures_stream, StreamExt};
use serde_json::{Value, json};
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
use tierd::tiering::object::UserId;
use tierd::tiering::user_event::EventName;
use tierd::users::Users;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use http::{Answer, Request};
use stream::{Fault, Record, Stream};
use tables::{Item, Table, text};

const HISTORIES: u64 = 300;
const AT_ONCE: usize = 8;
const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_millis(600);
const TEMPLATE: &str = "t{user_id}-{timestamp}";

/// Random numbers from a seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// AWS, as far as provisioning sees it.
struct Model {
    dice: Dice,
    users: Table,
    state: Table,
    stream: Stream,
    sequence: u64,
    /// Settings by their names in the query.
    buckets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Buckets of this account that stood there before.
    preset: BTreeSet<String>,
    /// Buckets of another account.
    foreign: BTreeSet<String>,
    /// Of a hundred calls so many fail.
    faults: usize,
    /// What must never be and was.
    wrong: Vec<String>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let stream = Stream::new(1, &mut dice);
        let faults = [0, 2, 6][dice.below(3)];
        Self {
            dice,
            stream,
            users: Table::new(&["userId"]),
            state: Table::new(&["pk", "sk"]),
            sequence: 0,
            buckets: BTreeMap::new(),
            preset: BTreeSet::new(),
            foreign: BTreeSet::new(),
            faults,
            wrong: Vec::new(),
        }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let fails = self.dice.below(100) < self.faults;
        if !fails {
            return self.act(request);
        }
        let json = request.headers.contains_key("x-amz-target");
        match self.dice.below(3) {
            // Refused before anything happened.
            0 if json => error_json("ThrottlingException"),
            0 => error_xml(503, "SlowDown"),
            1 => broken(json),
            // It happened, and the answer is lost.
            _ => {
                self.act(request);
                broken(json)
            }
        }
    }

    fn act(&mut self, request: &Request) -> Answer {
        let Some(target) = request.headers.get("x-amz-target") else { return self.s3(request) };
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let (service, operation) = target.split_once('.').expect("a target");
        let answer = match (service, operation) {
            ("DynamoDBStreams_20120810", "DescribeStream") => self.stream.describe(&body, &mut self.dice),
            ("DynamoDBStreams_20120810", "GetShardIterator") => self.stream.iterator(&body),
            ("DynamoDBStreams_20120810", "GetRecords") => {
                self.check_order(&body);
                self.stream.records(&body, &mut self.dice)
            }
            _ => self.dynamodb(operation, &body),
        };
        match answer {
            Ok(answer) => Answer::new(200, answer.to_string()),
            Err(Fault(code)) => error_json(code),
        }
    }

    fn dynamodb(&mut self, operation: &str, body: &Value) -> Result<Value, Fault> {
        let is_users = body["TableName"] == "user";
        let table = if is_users { &mut self.users } else { &mut self.state };
        match operation {
            "DescribeTable" => Ok(json!({ "Table": {
                "LatestStreamArn": self.stream.arn(),
                "StreamSpecification": { "StreamEnabled": true },
            } })),
            "GetItem" => Ok(table.get(body)),
            "Query" => Ok(table.query(body)),
            "Scan" => Ok(table.scan()),
            _ => {
                let change = table.change(operation, body).map_err(|_| Fault("ConditionalCheckFailedException"))?;
                table.apply(&change);
                if is_users {
                    self.record("MODIFY", &change.key[0], change.new.as_ref());
                } else if let (Some(shard), Some(item)) = (change.key[0].strip_prefix("checkpoint#"), &change.new) {
                    self.check_checkpoint(shard, &change.key[1], item);
                }
                Ok(json!({}))
            }
        }
    }

    fn record(&mut self, event: &'static str, user: &str, image: Option<&Item>) {
        self.sequence += 1;
        let (sequence, user) = (self.sequence, user.to_owned());
        self.stream.push(Record { sequence, user, event, image: json!(image) });
    }

    fn insert(&mut self, id: &str) {
        let item = json!({ "userId": { "S": id } });
        self.users.items.insert(vec![id.to_owned()], item.as_object().expect("an object").clone());
        let created = chrono::DateTime::from_timestamp(1_700_000_001 + self.sequence as i64, 0).expect("a time");
        self.record("INSERT", id, item.as_object());
        let template = BucketNameTemplate::new(TEMPLATE).expect("a template");
        let name = template.name_for(&UserId::new(id).expect("an id"), created, 0).as_str().to_owned();
        match self.dice.below(12) {
            0 => {
                self.foreign.insert(name);
            }
            1 => {
                self.preset.insert(name.clone());
                self.buckets.insert(name, BTreeMap::new());
            }
            _ => {}
        }
    }

    fn delete(&mut self, id: &str) {
        if self.users.items.remove(&vec![id.to_owned()]).is_some() {
            self.record("REMOVE", id, None);
        }
    }

    /// Records go: a shard as a whole, oldest first, or the first ones of a shard. (Those of a shard of which nothing was read yet
    /// go unseen by any reader; only a pause of a day shows it, and no history is that long.)
    fn trim(&mut self) {
        let shards = &self.stream.shards;
        let oldest = |i: &usize| {
            let shard = &shards[*i];
            !shard.open && !shard.gone && shard.parent.is_none_or(|parent| shards[parent].gone)
        };
        if let (Some(index), true) = ((0..shards.len()).find(oldest), self.dice.one_in(2)) {
            self.stream.shards[index].gone = true;
            return;
        }
        let pk = format!("checkpoint#{}", self.stream.arn());
        for index in 0..self.stream.shards.len() {
            let key = vec![pk.clone(), self.stream.shard_id(index)];
            let after = self.state.items.get(&key).is_some_and(|item| text(&item["position"]) == "after");
            let shard = &mut self.stream.shards[index];
            if after && shard.records.len() > shard.trimmed {
                shard.trimmed += 1 + self.dice.below(shard.records.len() - shard.trimmed);
                return;
            }
        }
    }

    /// A shard is read only after its parent's end.
    fn check_order(&mut self, request: &Value) {
        let token = request["ShardIterator"].as_str().unwrap_or_default();
        let Some(index) = token.split('|').nth(1).and_then(|shard| self.stream.index(shard)) else { return };
        let Some(parent) = self.stream.shards[index].parent.filter(|parent| !self.stream.shards[*parent].gone) else {
            return;
        };
        let key = vec![format!("checkpoint#{}", self.stream.arn()), self.stream.shard_id(parent)];
        let position = self.state.items.get(&key).map(|item| text(&item["position"]));
        if position.as_deref() != Some("ended") {
            self.wrong.push(format!("shard {index} was read while its parent {parent} was at {position:?}"));
        }
    }

    /// A checkpoint stands behind users who are served.
    fn check_checkpoint(&mut self, arn: &str, shard: &str, item: &Item) {
        let Some(index) = self.stream.index(shard).filter(|_| arn == self.stream.arn()) else { return };
        let upto = match text(&item["position"]).as_str() {
            "ended" => u64::MAX,
            "after" => text(&item["sequence"]).parse().expect("a number"),
            _ => return,
        };
        let shard = &self.stream.shards[index];
        let passed = shard.records[shard.trimmed..].iter().take_while(|record| record.sequence <= upto);
        let unserved = |record: &&Record| record.event == "INSERT" && !self.is_served(&record.user);
        let unserved: Vec<_> = passed.filter(unserved).map(|record| record.user.clone()).collect();
        for user in unserved {
            self.wrong.push(format!("the checkpoint of shard {index} passed {user}, who is not served"));
        }
    }

    fn is_served(&self, user: &str) -> bool {
        let row = self.users.items.get(&vec![user.to_owned()]);
        row.is_none_or(|row| row.contains_key("s3_bucket_uri")) || self.is_quarantined(user)
    }

    fn is_quarantined(&self, user: &str) -> bool {
        self.state.items.contains_key(&vec!["quarantine".to_owned(), format!("user#{user}")])
    }

    fn s3(&mut self, request: &Request) -> Answer {
        let bucket = request.path.trim_matches('/').to_owned();
        let setting = request.query.split(['&', '=']).next().unwrap_or_default().to_owned();
        if self.foreign.contains(&bucket) {
            return match request.method.as_str() {
                "PUT" if setting.is_empty() => error_xml(409, "BucketAlreadyExists"),
                _ => error_xml(403, "AccessDenied"),
            };
        }
        match (request.method.as_str(), setting.as_str(), self.buckets.get_mut(&bucket)) {
            ("PUT", "", _) if bucket.contains("poison") => error_xml(400, "InvalidBucketName"),
            ("PUT", "", Some(_)) => error_xml(409, "BucketAlreadyOwnedByYou"),
            ("PUT", "", None) => {
                self.buckets.insert(bucket, BTreeMap::new());
                Answer::new(200, "")
            }
            (_, _, None) => error_xml(404, "NoSuchBucket"),
            ("HEAD", _, Some(_)) => Answer::new(200, ""),
            ("PUT", _, Some(settings)) => {
                settings.insert(setting, request.body.clone());
                Answer::new(200, "")
            }
            (_, _, Some(settings)) => match (settings.get(&setting), setting.as_str()) {
                (Some(document), _) => Answer::new(200, document.clone()),
                (None, "tagging") => error_xml(404, "NoSuchTagSet"),
                (None, "publicAccessBlock") => error_xml(404, "NoSuchPublicAccessBlockConfiguration"),
                (None, "lifecycle") => error_xml(404, "NoSuchLifecycleConfiguration"),
                (None, other) => panic!("the model does not know ?{other}"),
            },
        }
    }

    /// Whether every user is served and no lease of a sweep is open.
    fn is_settled(&self) -> bool {
        let owed = self.state.items.get(&vec!["stream".to_owned(), "current".to_owned()]);
        let settled = owed.is_some_and(|memory| !memory.contains_key("sweep_owed"));
        settled && self.users.items.keys().all(|key| self.is_served(&key[0]))
    }

    fn owner(&self, bucket: &str) -> Option<String> {
        let document = String::from_utf8_lossy(self.buckets[bucket].get("tagging")?).into_owned();
        let value = document.split_once("<Value>")?.1;
        Some(value.split_once("</Value>")?.0.to_owned())
    }

    /// What is wrong at the end.
    fn verdict(&mut self) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.wrong);
        let mut of_user: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for bucket in self.buckets.keys().filter(|bucket| !self.preset.contains(*bucket)) {
            match self.owner(bucket) {
                Some(owner) => of_user.entry(owner).or_default().push(bucket),
                None if self.state.items.contains_key(&vec!["orphan".to_owned(), bucket.clone()]) => {}
                None => wrong.push(format!("{bucket} is nobody's, and nobody says so")),
            }
        }
        for (user, buckets) in &of_user {
            if buckets.len() != 1 {
                wrong.push(format!("{user} has {buckets:?}"));
            }
        }
        for (key, row) in &self.users.items {
            let user = &key[0];
            let uri = row.get("s3_bucket_uri").map(text);
            let expected = of_user.get(user).map(|buckets| format!("s3://{}", buckets[0]));
            let fine = if user.contains("poison") { self.is_quarantined(user) } else { uri.is_some() && uri == expected };
            if !fine {
                wrong.push(format!("{user} has the URI {uri:?} and the bucket {expected:?}"));
            }
        }
        for preset in &self.preset {
            if !self.buckets[preset].is_empty() {
                wrong.push(format!("{preset} stood there before and was changed"));
            }
        }
        wrong
    }
}

fn error_json(code: &str) -> Answer {
    Answer::new(400, json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": code }).to_string())
}

fn error_xml(status: u16, code: &str) -> Answer {
    Answer::new(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

fn broken(json: bool) -> Answer {
    if json { Answer::new(500, json!({ "__type": "InternalServerError" }).to_string()) } else { error_xml(500, "InternalError") }
}

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
    fn poller(&self, endpoint: &str, holder: &str) -> Poller {
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
            poll_interval: 3 * MS,
            idle_interval: 20 * MS,
            listing_interval: 50 * MS,
            page_pause: Duration::ZERO,
            note_interval: 40 * MS,
        };
        let pulse = Health::default().part("provision", Duration::from_secs(60));
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
        let poller = sdk.poller(endpoint, holder);
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
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let _server = AbortOnDropHandle::new(tokio::spawn(serve(listener, model.clone())));
    let lock = || -> MutexGuard<'_, Model> { model.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) };
    let mut dice = Dice(!seed);
    let mut daemons = vec![Daemon::start(&sdk, &endpoint, "first")];
    if dice.one_in(2) {
        daemons.push(Daemon::start(&sdk, &endpoint, "second"));
    }
    let mut next_user = 0;
    for step in 0..12 + dice.below(20) {
        match dice.below(14) {
            0..=4 => {
                for _ in 0..=dice.below(3) {
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
    println!("{count} histories in {:?}", began.elapsed());
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
