//! What the network sees and nobody else: that objects were copied back, and that nothing is acknowledged before its effect
//! is durable. An acknowledgement (a message's deletion, a checkpoint's move) is stopped for a moment and looked into.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use tierd::app::App;
use tierd::tiering::object::{ObjectId, UserId};
use tierd::tiering::restore::parse_requests;

use super::faults::{Answer, Request, query};

#[derive(Default)]
pub struct Witness {
    /// Looks at the world by the calm door.
    app: OnceLock<App>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The body of each message that was handed out, by its receipt, and when.
    messages: HashMap<String, (String, Instant)>,
    /// When an object was last copied into the class that restores end in.
    returned: HashMap<ObjectId, Instant>,
    /// When an object was last copied onto itself, into whatever class.
    moved: HashMap<ObjectId, Instant>,
    /// When a user last wrote an object, and the value of the tag that came with it.
    written: HashMap<ObjectId, (Instant, String)>,
    /// When the daemons first read an object's tags.
    tags_read: HashMap<ObjectId, Instant>,
    /// Objects that a user wrote over between a read and a write of their tags. S3 has no condition for tags, so the old
    /// object's are then the new one's, whoever does it.
    tag_races: HashSet<ObjectId>,
    /// Users whose rows the stream has shown as new, by sequence number.
    records: Vec<(u128, String)>,
    served: HashSet<String>,
    violations: Vec<String>,
}

impl Witness {
    pub fn watch(&self, app: App) {
        assert!(self.app.set(app).is_ok(), "one world a network");
    }

    /// Acknowledgements that came too early.
    pub fn violations(&self) -> Vec<String> {
        self.seen.lock().unwrap().violations.clone()
    }

    /// Whether the object has got its predecessor's tags by a race that nobody can win.
    pub fn lost_a_tag_race(&self, id: &ObjectId) -> bool {
        self.seen.lock().unwrap().tag_races.contains(id)
    }

    pub fn tag_races(&self) -> u64 {
        self.seen.lock().unwrap().tag_races.len() as u64
    }

    /// Whether the object was copied back since then.
    pub fn returned_since(&self, id: &ObjectId, since: Instant) -> bool {
        self.seen.lock().unwrap().returned.get(id).is_some_and(|at| *at >= since)
    }

    /// A request that is about to take effect.
    pub(super) async fn before(&self, request: &Request) {
        let Some(app) = self.app.get() else { return };
        match request.operation() {
            "DeleteMessageBatch" => {
                let json = request.json();
                for entry in json["Entries"].as_array().into_iter().flatten() {
                    self.message_is_done(app, entry["ReceiptHandle"].as_str().unwrap_or_default()).await;
                }
            }
            "UpdateItem" => {
                let json = request.json();
                if let Some(sequence) = json["ExpressionAttributeValues"][":sequence"]["S"].as_str() {
                    self.users_are_served(app, sequence.parse().unwrap_or(0)).await;
                }
            }
            _ => {}
        }
    }

    /// A request that has taken effect, whether or not its answer arrives.
    pub(super) fn after(&self, request: &Request, answer: &Answer) {
        if answer.status() >= 300 {
            return;
        }
        match request.operation() {
            "ReceiveMessage" => self.note_messages(&json(answer)),
            "GetRecords" => self.note_records(&json(answer)),
            "" if request.method == "PUT" && request.header("x-amz-copy-source").is_some() => self.note_copy(request),
            "" if query(&request.path).contains_key("tagging") => self.note_tags(request),
            "" if request.method == "PUT" => self.note_write(request),
            _ => {}
        }
    }

    fn note_messages(&self, answer: &Value) {
        let mut seen = self.seen.lock().unwrap();
        for message in answer["Messages"].as_array().into_iter().flatten() {
            let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            seen.messages.insert(text("ReceiptHandle"), (text("Body"), Instant::now()));
        }
    }

    fn note_records(&self, answer: &Value) {
        let mut seen = self.seen.lock().unwrap();
        for record in answer["Records"].as_array().into_iter().flatten().filter(|r| r["eventName"] == "INSERT") {
            let sequence = record["dynamodb"]["SequenceNumber"].as_str().and_then(|s| s.parse().ok());
            let user = record["dynamodb"]["Keys"]["userId"]["S"].as_str();
            if let (Some(sequence), Some(user)) = (sequence, user) {
                seen.records.push((sequence, user.to_owned()));
            }
        }
    }

    fn note_copy(&self, request: &Request) {
        let into_standard = request.header("x-amz-storage-class").is_none_or(|class| class == "STANDARD");
        if query(&request.path).contains_key("uploadId") {
            return;
        }
        let Some(id) = object_of(&request.path) else { return };
        let mut seen = self.seen.lock().unwrap();
        if into_standard {
            seen.returned.insert(id.clone(), Instant::now());
        }
        seen.moved.insert(id, Instant::now());
    }

    fn note_write(&self, request: &Request) {
        let Some(id) = object_of(&request.path) else { return };
        let tag = request.header("x-amz-tagging").and_then(|tags| tags.strip_prefix("path=")).unwrap_or_default();
        let value = percent_decode_str(&tag.replace('+', " ")).decode_utf8_lossy().into_owned();
        let mut seen = self.seen.lock().unwrap();
        // The new object has its own tags.
        seen.tag_races.remove(&id);
        seen.written.insert(id, (Instant::now(), value));
    }

    fn note_tags(&self, request: &Request) {
        let Some(id) = object_of(&request.path) else { return };
        let mut seen = self.seen.lock().unwrap();
        match request.method.as_str() {
            "GET" => drop(seen.tags_read.entry(id).or_insert_with(Instant::now)),
            "PUT" => {
                let read = seen.tags_read.get(&id).copied();
                let stale = seen.written.get(&id).is_some_and(|(at, value)| {
                    read.is_some_and(|read| read < *at)
                        && !String::from_utf8_lossy(&request.body).contains(value.as_str())
                });
                if stale {
                    seen.tag_races.insert(id);
                }
            }
            _ => {}
        }
    }

    /// A request for a restore may be deleted when the restore is on record, or over.
    async fn message_is_done(&self, app: &App, receipt: &str) {
        let Some((body, received)) = self.seen.lock().unwrap().messages.get(receipt).cloned() else { return };
        // S3's events ask for nothing that is not on record already.
        if !body.starts_with("{\"bucket\"") {
            return;
        }
        for request in parse_requests(&body).map(|parsed| parsed.requests).unwrap_or_default() {
            let id = request.id;
            let archived = app.s3.head(&id).await.expect("a head").is_some_and(|head| head.class.is_archive());
            let on_record = app.state.restore_row(&id).await.expect("the state").is_some();
            // A user's new object is not what the request was for; and what could be read then may have been moved since.
            let changed = {
                let seen = self.seen.lock().unwrap();
                let written = seen.written.get(&id).map(|(at, _)| *at);
                written.into_iter().chain(seen.moved.get(&id).copied()).any(|at| at >= received)
            };
            if archived && !on_record && !changed {
                let set_aside = app.state.quarantined(None).await.expect("the quarantine");
                if !set_aside.iter().any(|entry| entry.id == id.to_string()) {
                    self.accuse(format!("the request for {id} is acknowledged, and nothing says that it was made"));
                }
            }
        }
    }

    /// A checkpoint may pass a user who has a bucket, is gone, or is set aside.
    async fn users_are_served(&self, app: &App, sequence: u128) {
        let passed: Vec<String> = {
            let seen = self.seen.lock().unwrap();
            let passed = seen.records.iter().filter(|(at, user)| *at <= sequence && !seen.served.contains(user));
            passed.map(|(_, user)| user.clone()).collect()
        };
        for user in passed {
            let id = UserId::new(user.as_str()).expect("a user id");
            let row = super::checks::user_row(app, &id).await;
            let unserved = row.is_some_and(|uri| uri.is_none());
            let set_aside = async || app.state.quarantined(None).await.expect("the quarantine");
            if unserved && !set_aside().await.iter().any(|entry| entry.id == user) {
                self.accuse(format!("the checkpoint passes user {user:?}, who has no bucket"));
            }
            self.seen.lock().unwrap().served.insert(user);
        }
    }

    fn accuse(&self, what: String) {
        self.seen.lock().unwrap().violations.push(what);
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// The object that a path in path style names.
fn object_of(path: &str) -> Option<ObjectId> {
    let (bucket, key) = path.split('?').next()?.trim_start_matches('/').split_once('/')?;
    let key = percent_decode_str(key).decode_utf8().ok()?;
    format!("s3://{bucket}/{key}").parse().ok()
}
