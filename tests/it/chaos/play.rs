//! One history, played: the daemons as processes behind a bad network, the workload beside them, and at the end the quiet in
//! which the model is compared with the world.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;
use tierd::tiering::object::ObjectId;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::faults::{Network, Tally};
use super::model::{Asked, Model, Object, User};
use super::steps::{By, Step, USERS};
use crate::logs::{self, Event};
use crate::world::World;

/// How long a user's bucket is waited for before a step is passed over.
const PATIENCE: Duration = Duration::from_secs(6);
/// Long enough for a machine that is busy with other things: a lease that is lost for want of a processor proves nothing.
pub const LEASE: &str = "8s";
/// So that a history needs seconds where users and operators take months.
const FAST: &str = r#"
provision.poll_interval = "300ms"
provision.idle_interval = "700ms"
provision.sweep_schedule = "rate(1 minute)"
restore.sweep_schedule = "rate(1 minute)"
ingest.schedule = "rate(1 minute)"
ingest.batch_files = 3
transition.schedule = "rate(1 minute)"
transition.min_object_size = "0B"
transition.require_saving = false
transition.respect_minimum_duration = false
"#;

/// What a history came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong at the end; empty if all is well.
    pub wrong: Vec<String>,
    pub faults: Tally,
    pub kills: u64,
    /// Requests of the daemons and jobs.
    pub requests: u64,
    pub steps_done: u64,
    /// What the steps came to, by kind.
    pub done: BTreeMap<&'static str, u64>,
    /// What the daemons and jobs said that they did, by event.
    pub said: BTreeMap<&'static str, u64>,
    /// Objects whose tags were lost in a race that S3 gives no means to win.
    pub tag_races: u64,
}

/// Effects that histories are to have: without them nothing would be tested.
pub const EFFECTS: [&str; 7] = [
    "user.provisioned",
    "ingest.batch.done",
    "ingest.batch.repaired",
    "object.moved",
    "restore.requested",
    "restore.completed",
    "job.finished",
];

pub struct Play {
    pub world: World,
    pub network: Network,
    pub(super) model: Model,
    /// The bucket of log files.
    pub logs: String,
    pub(super) daemons: Vec<Option<Child>>,
    /// Jobs and new starts under way.
    pub(super) beside: JoinSet<Option<(usize, Child)>>,
    pub(super) kills: Arc<AtomicU64>,
    pub(super) processes: u64,
    pub(super) written: u64,
    pub(super) done: BTreeMap<&'static str, u64>,
}

/// Plays `steps` in a world of their own, with one daemon or two.
pub async fn play(seed: u64, steps: &[Step]) -> Outcome {
    let mut play = Play::begin(seed).await;
    for daemon in 0..play.daemons.len() {
        play.start(daemon);
    }
    for step in steps {
        play.step(*step).await;
    }
    play.end(steps.len() as u64).await
}

impl Play {
    pub async fn begin(seed: u64) -> Self {
        let network = Network::start(&super::EMULATOR.endpoint, seed).await;
        let mut world = World::at(&network.calm, "chaos", "").await;
        let logs = world.bucket("logs").await;
        let source = format!(
            "{FAST}\n[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{logs}\"\nbucket_prefix = \"siuu\"\n"
        );
        world.reconfigure(&source).await;
        network.witness().watch(world.app.clone());
        for queue in [&world.settings().restore.request_queue, &world.settings().restore.event_queue] {
            let url = queue_url(&world, queue).await;
            let hidden = world.sqs().set_queue_attributes().queue_url(url);
            hidden.attributes(QueueAttributeName::VisibilityTimeout, "10").send().await.expect("a short visibility");
        }
        let daemons = (0..1 + seed % 2).map(|_| None).collect();
        let mut play = Self {
            world,
            network,
            model: Model::default(),
            logs,
            daemons,
            beside: JoinSet::new(),
            kills: Arc::default(),
            processes: 0,
            written: 0,
            done: BTreeMap::new(),
        };
        // Logs that reach back far enough to be evidence that something was not used.
        play.put_log(200, &[]).await;
        play
    }

    pub(super) async fn step(&mut self, step: Step) {
        let done = match step {
            Step::SignUp => self.sign_up().await.then_some("sign-ups"),
            Step::Leave { user } => self.leave(user).await.then_some("leaves"),
            Step::Put { user, object, kib, days_ago, archived } => {
                self.put(user, object, kib, days_ago, archived).await.then_some("puts")
            }
            Step::Delete { user, object } => self.delete(user, object).await.then_some("deletes"),
            Step::Read { user, object, days_ago } => self.read(user, object, days_ago).await.then_some("reads"),
            Step::Deliver { published_days_ago, late } => {
                self.deliver(published_days_ago, late).await;
                Some("log files")
            }
            Step::DeliverAgain { file } => self.deliver_again(file).await.then_some("log files again"),
            Step::Restore { user, object, by } => self.restore(user, object, by).await.then_some("restores"),
            Step::Job { name, killed_after_ms } => {
                self.job(name, killed_after_ms);
                Some("jobs")
            }
            Step::Kill { daemon, down_ms } => self.kill(daemon, down_ms).await.then_some("daemons killed"),
            Step::PowerCut { row, down_ms } => self.power_cut(row, down_ms).await.then_some("power cuts amid rows"),
            Step::Weather { faults_per_mille } => {
                self.network.set_faults_per_mille(u64::from(faults_per_mille));
                None
            }
            Step::Rest { ms } => {
                tokio::time::sleep(Duration::from_millis(u64::from(ms))).await;
                None
            }
        };
        if let Some(done) = done {
            *self.done.entry(done).or_default() += 1;
        }
        for (url, body) in self.network.take_repeats() {
            self.world.sqs().send_message().queue_url(url).message_body(body).send().await.expect("a message");
        }
        self.take_started();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    async fn sign_up(&mut self) -> bool {
        let Some(user) = (0..USERS).find(|user| !self.model.users.contains_key(user)) else { return false };
        let id = format!("{}-{user}", self.world.name);
        self.world.put_user(&id).await;
        self.model.users.insert(user, User { id, left: false, bucket: None });
        true
    }

    async fn leave(&mut self, user: u8) -> bool {
        // The first one stays: somebody must have objects.
        let Some(user) = self.somebody(user).filter(|user| *user > 0) else { return false };
        let user = self.model.users.get_mut(&user).expect("somebody");
        user.left = true;
        let key = AttributeValue::S(user.id.clone());
        let table = &self.world.settings().users.table;
        self.world.dynamodb().delete_item().table_name(table).key("userId", key).send().await.expect("a deletion");
        true
    }

    /// The bucket of a user, waited for.
    async fn bucket(&mut self, user: u8) -> Option<String> {
        let known = self.model.users.get(&user).filter(|user| !user.left)?.clone();
        if known.bucket.is_some() {
            return known.bucket;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(uri) = self.world.bucket_uri(&known.id).await {
                let bucket = uri.trim_start_matches("s3://").to_owned();
                self.model.users.get_mut(&user)?.bucket = Some(bucket.clone());
                return Some(bucket);
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The object's id, where the user has a bucket.
    async fn id(&mut self, user: u8, object: u8) -> Option<ObjectId> {
        const KEYS: [&str; 4] = ["plain", "a+b c", "한글/파일 100%", "x/é&=?"];
        let user = self.somebody(user)?;
        let bucket = self.bucket(user).await?;
        format!("s3://{bucket}/{} {object}.txt", KEYS[usize::from(object) % KEYS.len()]).parse().ok()
    }

    /// Some object of the user's that is there.
    fn standing(&self, user: u8, object: u8) -> Option<ObjectId> {
        let bucket = self.model.users.get(&self.somebody(user)?)?.bucket.as_deref()?;
        let own = |(id, object): &(&ObjectId, &Object)| id.bucket.as_str() == bucket && !object.deleted;
        let all: Vec<&ObjectId> = self.model.objects.iter().filter(own).map(|(id, _)| id).collect();
        let at = usize::from(object) % all.len().max(1);
        all.get(at).map(|id| (*id).clone())
    }

    /// A user who signed up and did not leave: this one, or the next.
    fn somebody(&self, user: u8) -> Option<u8> {
        let is_there = |user: &u8| self.model.users.get(user).is_some_and(|user| !user.left);
        (user..USERS).chain(0..user).find(is_there)
    }

    async fn put(&mut self, user: u8, object: u8, kib: u8, days_ago: u16, archived: bool) -> bool {
        let Some(id) = self.id(user, object).await else { return false };
        // A key that was deleted is not used again: what its row counts would depend on when the row was dropped.
        if self.model.objects.get(&id).is_some_and(|object| object.deleted) {
            return false;
        }
        self.written += 1;
        let mark = format!("{id} version {} ", self.written);
        let object = Object {
            body: mark.as_bytes().iter().copied().cycle().take(usize::from(kib) * 1024).collect(),
            metadata: HashMap::from([("version".to_owned(), self.written.to_string())]),
            tags: BTreeMap::from([("path".to_owned(), format!("a+b /c={}.e@f", self.written))]),
            content_type: "text/x-chaos".to_owned(),
            deleted: false,
        };
        let put = self.world.s3().put_object().bucket(id.bucket.as_str()).key(id.key.as_str());
        put.body(object.body.clone().into())
            .storage_class(if archived { "GLACIER" } else { "STANDARD" }.into())
            .content_type(&object.content_type)
            .set_metadata(Some(object.metadata.clone()))
            .tagging(format!("path=a%2Bb+%2Fc%3D{}.e%40f", self.written))
            .send()
            .await
            .expect("an object");
        self.model.objects.insert(id.clone(), object);
        let event = Event::put(self.written, &ago(days_ago), id.bucket.as_str(), id.key.as_str());
        self.model.untold.push(event);
        true
    }

    async fn delete(&mut self, user: u8, object: u8) -> bool {
        let Some(id) = self.standing(user, object) else { return false };
        let delete = self.world.s3().delete_object().bucket(id.bucket.as_str()).key(id.key.as_str());
        delete.send().await.expect("a deletion");
        self.model.objects.get_mut(&id).expect("it stands").deleted = true;
        true
    }

    async fn read(&mut self, user: u8, object: u8, days_ago: u16) -> bool {
        let Some(id) = self.standing(user, object) else { return false };
        self.written += 1;
        let got = self.world.s3().get_object().bucket(id.bucket.as_str()).key(id.key.as_str()).send().await;
        // What lies in an archive cannot be read now; the log tells of a read all the same, from before.
        if let Ok(got) = got {
            let body = got.body.collect().await.expect("a body").to_vec();
            assert!(body == self.model.objects[&id].body, "{id}: a user reads what was not written last");
        }
        let event = Event::download(self.written, &ago(days_ago), id.bucket.as_str(), id.key.as_str());
        self.model.untold.push(event);
        true
    }

    pub(super) async fn deliver(&mut self, published_days_ago: u8, late: u8) {
        let untold = std::mem::take(&mut self.model.untold);
        let is_late = |at: usize| late > 0 && at.is_multiple_of(usize::from(late));
        let (later, now): (Vec<_>, Vec<_>) = untold.into_iter().enumerate().partition(|(at, _)| is_late(*at));
        self.model.untold = later.into_iter().map(|(_, event)| event).collect();
        let events: Vec<Event> = now.into_iter().map(|(_, event)| event).collect();
        self.put_log(published_days_ago, &events).await;
    }

    /// A file that tells some accesses twice, and of some that do not count.
    async fn put_log(&mut self, published_days_ago: u8, events: &[Event]) {
        logs::count(&mut self.model.told, events);
        let mut records = events.to_vec();
        records.extend(events.iter().step_by(3).cloned());
        if let Some(first) = events.first() {
            self.written += 1;
            let id = format!("00000000-0000-4000-8000-{:012x}", self.written);
            records.push(Event { id: id.clone(), error: Some("AccessDenied"), ..first.clone() });
            records.push(Event { id: format!("1{}", &id[1..]), parameter: None, name: "GetObject", ..first.clone() });
        }
        let name = format!("f{}", self.model.files.len());
        let key = logs::simple_key(&ago(u16::from(published_days_ago)), &name);
        let file = (key, logs::file(&records));
        self.put_file(&file).await;
        self.model.files.push(file);
    }

    async fn deliver_again(&mut self, file: u8) -> bool {
        let Some(file) = self.model.files.get(usize::from(file)).cloned() else { return false };
        self.put_file(&file).await;
        true
    }

    async fn put_file(&self, (key, content): &(String, Vec<u8>)) {
        let put = self.world.s3().put_object().bucket(&self.logs).key(key);
        put.body(content.clone().into()).send().await.expect("a log file");
    }

    async fn restore(&mut self, user: u8, object: u8, by: By) -> bool {
        let Some(id) = self.standing(user, object) else { return false };
        let asked = Asked { id: id.clone(), at: Instant::now() };
        match by {
            By::Messages(copies) => {
                let url = queue_url(&self.world, &self.world.settings().restore.request_queue).await;
                let body = json!({"bucket": id.bucket, "key": id.key}).to_string();
                for _ in 0..copies {
                    let send = self.world.sqs().send_message().queue_url(&url).message_body(&body);
                    send.send().await.expect("a message");
                }
            }
            By::Command => {
                let mut child = self.spawn(&["restore", &id.to_string()]);
                let ended = tokio::time::timeout(Duration::from_secs(40), child.wait()).await;
                // A command that says that it failed has promised nothing.
                if !ended.is_ok_and(|status| status.expect("it ends").success()) {
                    return false;
                }
            }
        }
        self.model.asked.push(asked);
        true
    }

    fn job(&mut self, name: &'static str, killed_after_ms: Option<u16>) {
        let mut child = self.spawn(&["job", name]);
        let kills = self.kills.clone();
        self.beside.spawn(async move {
            let limit = Duration::from_millis(killed_after_ms.map_or(60_000, u64::from));
            if tokio::time::timeout(limit, child.wait()).await.is_err() {
                kills.fetch_add(1, Ordering::Relaxed);
                child.kill().await.expect("a signal");
            }
            None
        });
    }

    async fn kill(&mut self, daemon: u8, down_ms: u16) -> bool {
        let daemon = usize::from(daemon) % self.daemons.len();
        let Some(mut child) = self.daemons[daemon].take() else { return false };
        self.kills.fetch_add(1, Ordering::Relaxed);
        child.kill().await.expect("a signal");
        let mut command = self.command(&["run"]);
        self.beside.spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(down_ms))).await;
            Some((daemon, command.spawn().expect("tierd starts")))
        });
        true
    }

    /// Everything that works on the ledger dies before one of its rows is written. False if none was to be written.
    async fn power_cut(&mut self, row: u8, down_ms: u16) -> bool {
        self.deliver(0, 0).await;
        let sprung = self.network.trap(&self.world.settings().ledger.table, row);
        let mut job = self.spawn(&["job", "ingest"]);
        let amid_rows = tokio::time::timeout(PATIENCE, sprung).await.is_ok_and(|told| told.is_ok());
        job.kill().await.expect("a signal");
        for daemon in 0..self.daemons.len() {
            self.kill(daemon as u8, down_ms).await;
        }
        amid_rows
    }

    fn take_started(&mut self) {
        while let Some(ended) = self.beside.try_join_next() {
            if let Some((daemon, child)) = ended.expect("a task of the driver") {
                self.daemons[daemon] = Some(child);
            }
        }
    }

    pub fn start(&mut self, daemon: usize) {
        self.daemons[daemon] = Some(self.spawn(&["run"]));
    }

    pub fn spawn(&mut self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("tierd starts")
    }

    /// `tierd` behind the bad network. What it says goes into a file, which outlives it.
    fn command(&mut self, args: &[&str]) -> Command {
        self.processes += 1;
        let file =
            self.world.dir.path().join(format!("{:03}-{}.log", self.processes, args.join("-").replace('/', "_")));
        let said = File::create(file).expect("a file");
        let mut command = self.world.tierd(args);
        command
            .env("TIERD__AWS__ENDPOINT_URL", &self.network.rough)
            .env("TIERD__STATE__LEASE", LEASE)
            .env("TIERD__TELEMETRY__HEARTBEAT_FILE", self.world.dir.path().join(format!("beat-{}", self.processes)))
            .stdout(Stdio::from(said.try_clone().expect("the same file")))
            .stderr(Stdio::from(said));
        command
    }
}

pub async fn queue_url(world: &World, queue: &str) -> String {
    world.sqs().get_queue_url().queue_name(queue).send().await.expect("a queue").queue_url.expect("its URL")
}

/// Messages in a queue, those that are hidden too.
pub async fn depth(world: &World, queue: &str) -> u64 {
    let url = queue_url(world, queue).await;
    let asked = world.sqs().get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
    let attributes = asked.send().await.expect("a queue").attributes.unwrap_or_default();
    [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible]
        .iter()
        .map(|name| attributes.get(name).map_or(0, |n| n.parse().expect("a number")))
        .sum()
}

/// The time so many days ago, as logs write it.
#[expect(clippy::disallowed_methods, reason = "a workload lives in the time of the daemons that it is for")]
pub fn ago(days: u16) -> String {
    let now: DateTime<Utc> = Utc::now();
    (now - TimeDelta::days(i64::from(days))).to_rfc3339_opts(SecondsFormat::Secs, true)
}
