//! AWS, as far as provisioning sees it: tables, a stream and buckets, with calls that fail, and what must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tierd::tiering::bucket_name::BucketNameTemplate;
use tierd::tiering::object::UserId;

use super::TEMPLATE;
use super::http::{Answer, Request};
use super::stream::{Fault, Record, Stream};
use super::tables::{Item, Table, text};

/// Calls that were answered, in all histories.
pub static CALLS: AtomicU64 = AtomicU64::new(0);

/// Random numbers from a seed (splitmix64).
pub struct Dice(pub u64);

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
pub struct Model {
    dice: Dice,
    pub users: Table,
    state: Table,
    pub stream: Stream,
    sequence: u64,
    /// Settings by their names in the query.
    buckets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Buckets of this account that stood there before.
    preset: BTreeSet<String>,
    /// Buckets of another account.
    foreign: BTreeSet<String>,
    /// Of a hundred calls so many fail.
    pub faults: usize,
    /// So many times CreateBucket is answered with this error.
    pub refused: (usize, u16, &'static str),
    /// What must never be and was.
    wrong: Vec<String>,
}

impl Model {
    pub fn new(seed: u64) -> Self {
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
            refused: (0, 0, ""),
            wrong: Vec::new(),
        }
    }

    pub fn answer(&mut self, request: &Request) -> Answer {
        CALLS.fetch_add(1, Ordering::Relaxed);
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

    pub fn insert(&mut self, id: &str) {
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

    pub fn delete(&mut self, id: &str) {
        if self.users.items.remove(&vec![id.to_owned()]).is_some() {
            self.record("REMOVE", id, None);
        }
    }

    /// Records go: a shard as a whole, oldest first, or the first ones of a shard. (Those of a shard of which nothing was read yet
    /// go unseen by any reader; only a pause of a day shows it, and no history is that long.)
    pub fn trim(&mut self) {
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

    /// A shard is read only after its parent's end, once that is durable. A daemon that has lost its lease without knowing it
    /// may read the child while its successor, who took over a moment earlier, begins the parent again: that repeats what is
    /// harmless to repeat.
    fn check_order(&mut self, request: &Value) {
        let token = request["ShardIterator"].as_str().unwrap_or_default();
        let Some(index) = token.split('|').nth(1).and_then(|shard| self.stream.index(shard)) else { return };
        let Some(parent) = self.stream.shards[index].parent.filter(|parent| !self.stream.shards[*parent].gone) else {
            return;
        };
        let key = vec![format!("checkpoint#{}", self.stream.arn()), self.stream.shard_id(parent)];
        if !self.state.once_ended.contains(&key) && !self.is_on_record_as_lost(parent) {
            let position = self.state.items.get(&key).map(|item| text(&item["position"]));
            self.wrong.push(format!("shard {index} was read while its parent {parent} was at {position:?}"));
        }
    }

    /// A listing that lags for long enough has a shard taken for gone that is not: that is put on record as a gap, the table is
    /// swept for its users (which the end of a history looks into), and its children wait for it no longer.
    fn is_on_record_as_lost(&self, shard: usize) -> bool {
        let id = self.stream.shard_id(shard);
        let is_gap = |item: &Item| item.contains_key("cause") && item.get("shard").is_some_and(|lost| text(lost) == id);
        self.state.items.values().any(is_gap)
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

    pub fn is_served(&self, user: &str) -> bool {
        let row = self.users.items.get(&vec![user.to_owned()]);
        row.is_none_or(|row| row.contains_key("s3_bucket_uri")) || self.is_quarantined(user)
    }

    pub fn is_quarantined(&self, user: &str) -> bool {
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
        let (left, status, code) = &mut self.refused;
        if request.method == "PUT" && setting.is_empty() && *left > 0 {
            *left -= 1;
            return error_xml(*status, code);
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
    pub fn is_settled(&self) -> bool {
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
    pub fn verdict(&mut self) -> Vec<String> {
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
            let fine =
                if user.contains("poison") { self.is_quarantined(user) } else { uri.is_some() && uri == expected };
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
    Answer::new(
        400,
        json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": code }).to_string(),
    )
}

fn error_xml(status: u16, code: &str) -> Answer {
    Answer::new(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

fn broken(json: bool) -> Answer {
    if json {
        Answer::new(500, json!({ "__type": "InternalServerError" }).to_string())
    } else {
        error_xml(500, "InternalError")
    }
}
