//! One seed's history: objects and messages, the lives of some daemons and what users do between them, and at the end what
//! must be true.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::StorageClass as SdkClass;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tierd::state::quarantine::QuarantineKind;
use tierd::tiering::object::ObjectId;
use tierd::tiering::s3_event::form_encode;
use tierd::tiering::storage_class::StorageClass;
use tokio_util::sync::CancellationToken;

use super::life::{self, Fate, Tally};
use crate::restore::{ALONE, ODD_KEYS, depth, id, put_tags, send, tags};
use crate::streams_model::Dice;
use crate::world::World;

/// A life ends at a request, or after this time at the latest.
const LIFE: Duration = Duration::from_secs(4);
const PROGRAMS_LIFE: Duration = Duration::from_secs(10);
/// One seed in so many has the program itself killed rather than the tasks in it.
const PROGRAM_EVERY: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(240);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Becomes {
    /// Asked for, and nothing else happens to it.
    Asked,
    /// A user writes another object over it meanwhile.
    Overwritten,
    Deleted,
    /// Its restored copy is gone before it can be copied back.
    Expired,
    /// Archived, and nobody asks for it, though events speak of it.
    LeftAlone,
}

struct Object {
    id: ObjectId,
    becomes: Becomes,
    class: &'static str,
    tags: BTreeMap<String, String>,
    etag: String,
    /// After which life the user does something to it.
    after: usize,
}

pub struct History<'a> {
    seed: u64,
    dice: Dice,
    upstream: &'a str,
    world: World,
    objects: Vec<Object>,
    lives: usize,
    tally: &'a Tally,
}

impl<'a> History<'a> {
    pub async fn new(upstream: &'a str, seed: u64, tally: &'a Tally) -> Self {
        let world = World::at(upstream, &format!("rf{seed}s"), ALONE).await;
        for queue in [&world.settings().restore.event_queue, &world.settings().restore.request_queue] {
            let url = world.sqs().get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap();
            let attributes = world.sqs().set_queue_attributes().queue_url(url);
            attributes.attributes(QueueAttributeName::VisibilityTimeout, "3").send().await.unwrap();
        }
        let mut dice = Dice(seed.wrapping_mul(0x5851_F42D_4C95_7F2D));
        let lives = 1 + dice.below(2) + usize::from(seed.is_multiple_of(4));
        let mut history = Self { seed, dice, upstream, world, objects: Vec::new(), lives, tally };
        history.make_objects().await;
        history
    }

    async fn make_objects(&mut self) {
        let bucket = self.world.bucket("b").await;
        let often = [Becomes::Asked, Becomes::Overwritten, Becomes::Deleted, Becomes::Expired];
        let all =
            [Becomes::Asked, Becomes::Asked, often[self.dice.below(4)], often[self.dice.below(4)], Becomes::LeftAlone];
        for (i, becomes) in all.into_iter().enumerate() {
            let id = id(&bucket, ODD_KEYS[(i + self.seed as usize) % ODD_KEYS.len()]);
            let class = if self.dice.one_in(2) { "GLACIER" } else { "DEEP_ARCHIVE" };
            let tags = [0, 2, 2, 10][self.dice.below(4)];
            let tags: BTreeMap<String, String> = (0..tags).map(|n| (format!("t{n}"), format!("v+{n} =é"))).collect();
            let put = self.world.s3().put_object().bucket(&bucket).key(id.key.as_str());
            let put = put.storage_class(class.into()).metadata("mine", "kept");
            let body = format!("{} of seed {}", id.key, self.seed).into_bytes();
            let etag = put.body(body.into()).send().await.expect("an object").e_tag.expect("an ETag");
            let etag = etag.trim_matches('"').to_owned();
            if !tags.is_empty() {
                let pairs: Vec<(&str, &str)> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                put_tags(&self.world, &id, &pairs).await;
            }
            self.put_row(&id, &etag, class).await;
            let after = self.dice.below(self.lives);
            self.objects.push(Object { id, becomes, class, tags, etag, after });
        }
    }

    async fn put_row(&self, id: &ObjectId, etag: &str, class: &str) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let put = self.world.dynamodb().put_item().table_name(&self.world.settings().ledger.table);
        put.item("bucket_name", text(id.bucket.as_str()))
            .item("object_key", text(id.key.as_str()))
            .item("entity_tag_value", text(etag))
            .item("storage_class", text(class))
            .item("count", AttributeValue::N("3".to_owned()))
            .item("event_time", text("2020-01-01T00:00:00Z"))
            .send()
            .await
            .expect("a row of the ledger");
    }

    /// Lives through it all and says what is wrong at the end.
    pub async fn run(mut self) -> Vec<String> {
        let mut messages = self.messages();
        for life in 0..self.lives {
            let now = if life + 1 == self.lives { messages.len() } else { self.dice.below(messages.len() + 1) };
            let now: Vec<_> = messages.drain(..now).collect();
            self.live(now).await;
            self.users_do(life).await;
        }
        self.come_to_rest().await
    }

    /// What is sent, in the order of its sending: requests and events, mixed and some twice, and for each queue one
    /// message that nobody can read.
    fn messages(&mut self) -> Vec<(String, String)> {
        let restore = &self.world.settings().restore;
        let (requests, events) = (restore.request_queue.clone(), restore.event_queue.clone());
        let mut all = vec![(requests.clone(), "no request".to_owned()), (events.clone(), "{\"no\": 1}".to_owned())];
        let bucket = self.objects[0].id.bucket.to_string();
        let absent = json!({"bucket": bucket, "key": "not/there"}).to_string();
        all.push((requests.clone(), absent));
        for i in 0..self.objects.len() {
            let (id, asked) = (self.objects[i].id.clone(), self.objects[i].becomes != Becomes::LeftAlone);
            let times = if asked { 1 + usize::from(self.dice.one_in(3)) } else { 0 };
            let body = self.request(&id);
            all.extend((0..times).map(|_| (requests.clone(), body.clone())));
            for _ in 0..self.dice.below(4) {
                let body = self.event(&id);
                all.push((events.clone(), body));
            }
        }
        for i in (1..all.len()).rev() {
            let j = self.dice.below(i + 1);
            all.swap(i, j);
        }
        all
    }

    fn request(&mut self, id: &ObjectId) -> String {
        match self.dice.below(4) {
            0 => json!({"bucket": id.bucket, "key": id.key}).to_string(),
            1 => json!({"bucket": id.bucket, "key": id.key, "days": 2, "tier": "Bulk"}).to_string(),
            2 => notification("ObjectCreated:Put", id),
            _ => enveloped(&notification("ObjectRestore:Post", id)),
        }
    }

    fn event(&mut self, id: &ObjectId) -> String {
        match self.dice.below(5) {
            0 | 1 => notification("ObjectRestore:Completed", id),
            2 => enveloped(&notification("ObjectRestore:Completed", id)),
            3 => notification("ObjectRestore:Delete", id),
            _ => json!({"version": "0", "source": "aws.s3", "detail-type": "Object Restore Completed",
                        "detail": {"bucket": {"name": id.bucket}, "object": {"key": id.key}}})
            .to_string(),
        }
    }

    /// A daemon from its start to its kill, while messages come in.
    async fn live(&mut self, messages: Vec<(String, String)>) {
        let kill = CancellationToken::new();
        let of_the_program = self.seed.is_multiple_of(PROGRAM_EVERY);
        // The program asks some things of its own when it starts.
        let soonest = if of_the_program { 30 } else { 4 };
        let fate = Fate {
            dice: Dice(self.dice.below(usize::MAX) as u64),
            faults: [10, 20, 30][self.dice.below(3)],
            killed_at: Some((soonest + self.dice.below(90)) as u64),
        };
        let proxy = life::proxy(self.upstream, fate, kill.clone(), self.tally).await;
        let pauses: Vec<u64> = messages.iter().map(|_| self.dice.below(150) as u64).collect();
        let sending = async {
            for ((queue, body), pause) in messages.iter().zip(pauses) {
                send(&self.world, queue, body).await;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        };
        if of_the_program {
            tokio::join!(sending, life::of_the_program(&self.world, &proxy.endpoint, &kill, PROGRAMS_LIFE));
        } else {
            let thread = life::of_tasks(self.world.settings().clone(), &proxy.endpoint, kill.clone());
            let longest = async {
                let _elapsed = tokio::time::timeout(LIFE, kill.cancelled()).await;
                kill.cancel();
            };
            tokio::join!(sending, longest);
            join(thread).await;
        }
        self.tally.killed(of_the_program);
        proxy.quiet().await;
    }

    /// What users and S3 do to objects while no daemon is up.
    async fn users_do(&self, life: usize) {
        let s3 = self.world.s3();
        for object in self.objects.iter().filter(|object| object.after == life) {
            let (bucket, key) = (object.id.bucket.as_str(), object.id.key.as_str());
            match object.becomes {
                Becomes::Overwritten => {
                    let put = s3.put_object().bucket(bucket).key(key).body(b"the user's".to_vec().into());
                    put.storage_class(SdkClass::StandardIa).tagging("theirs=1").send().await.expect("an overwrite");
                }
                Becomes::Deleted => {
                    s3.delete_object().bucket(bucket).key(key).send().await.expect("a delete");
                }
                Becomes::Expired => self.expire(object).await,
                Becomes::Asked | Becomes::LeftAlone => {}
            }
        }
    }

    /// The object is archived as it was, mark and all, if it is archived still and its restored copy is there.
    async fn expire(&self, object: &Object) {
        let head = self.world.app.s3.head(&object.id).await.unwrap().expect("the object");
        if !head.class.is_archive() || head.restore.is_none_or(|header| header.contains("true")) {
            return;
        }
        let key = object.id.key.as_str();
        let source = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
        let copy = self.world.s3().copy_object().bucket(object.id.bucket.as_str()).key(key);
        let copy = copy.copy_source(format!("{}/{source}", object.id.bucket)).storage_class(object.class.into());
        copy.send().await.expect("an expiry");
    }

    /// With a daemon that nothing befalls: until all is as it must be, or patience is over.
    async fn come_to_rest(mut self) -> Vec<String> {
        let kill = CancellationToken::new();
        let calm = Fate { dice: Dice(self.dice.below(9) as u64), faults: 0, killed_at: None };
        let proxy = life::proxy(self.upstream, calm, kill.clone(), self.tally).await;
        let thread = life::of_tasks(self.world.settings().clone(), &proxy.endpoint, kill.clone());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut problems = self.problems().await;
        while !problems.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(400)).await;
            problems = self.problems().await;
        }
        kill.cancel();
        join(thread).await;
        proxy.quiet().await;
        // What was well must be so when the last of it is over.
        if problems.is_empty() {
            problems = self.problems().await;
            let reported = self.set_aside().await.len();
            let asked = |object: &&Object| matches!(object.becomes, Becomes::Asked | Becomes::Expired);
            let asked = self.objects.iter().filter(asked).count();
            self.tally.ended((asked - reported.min(asked)) as u64, reported as u64);
        }
        problems
    }

    /// What is not as it must be in the end.
    async fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let restore = &self.world.settings().restore;
        for queue in [&restore.request_queue, &restore.event_queue] {
            match depth(&self.world, queue).await {
                1 => {}
                n => problems.push(format!("{queue} holds {n} messages, and not just the one that nobody can read")),
            }
        }
        let set_aside = self.set_aside().await;
        for object in &self.objects {
            let reported = set_aside.contains(&object.id.to_string());
            if let Err(problem) = self.check(object, reported).await {
                problems.push(format!("{} ({:?}): {problem}", object.id, object.becomes));
            }
        }
        problems
    }

    /// The objects whose restores are reported as failures.
    async fn set_aside(&self) -> Vec<String> {
        let entries = self.world.app.state.quarantined(Some(QuarantineKind::Restore)).await.expect("the state");
        entries.into_iter().map(|entry| entry.id).collect()
    }

    async fn check(&self, object: &Object, reported: bool) -> Result<(), String> {
        let id = &object.id;
        let must = |held: bool, what: &str| if held { Ok(()) } else { Err(what.to_owned()) };
        must(self.world.app.state.restore_row(id).await.unwrap().is_none(), "it is still in the index")?;
        let head = self.world.app.s3.head(id).await.unwrap();
        if object.becomes == Becomes::Deleted {
            return must(head.is_none(), "what a user deleted is there again");
        }
        let head = head.ok_or("it is gone")?;
        let left = tags(&self.world, id).await;
        if object.becomes == Becomes::Overwritten {
            must(
                head.size == 10 && head.class == StorageClass::StandardIa,
                "the user's object is not as it was written",
            )?;
            return must(
                left == BTreeMap::from([("theirs".to_owned(), "1".to_owned())]),
                &format!("its tags are {left:?}"),
            );
        }
        must(left == object.tags, &format!("its tags are {left:?} and not {:?}", object.tags))?;
        must(head.etag.as_str() == object.etag, "its bytes are others")?;
        must(head.user_metadata.get("mine").is_some_and(|value| value == "kept"), "its metadata is lost")?;
        if object.becomes == Becomes::LeftAlone {
            return must(head.class.is_archive() && head.restore.is_none(), "nobody asked for it");
        }
        if reported {
            return Ok(());
        }
        must(
            head.class == StorageClass::Standard,
            &format!("it is in {} and its failure is not reported", head.class),
        )?;
        let row = self.world.app.ledger.row(id).await.unwrap().ok_or("the ledger's row is lost")?;
        must(row.class == Some(StorageClass::Standard) && row.etag == Some(head.etag), "the ledger does not follow")
    }
}

async fn join(thread: std::thread::JoinHandle<()>) {
    tokio::task::spawn_blocking(move || thread.join().expect("a daemon does not panic")).await.expect("it is joined");
}

fn notification(event: &str, id: &ObjectId) -> String {
    let object: Value = json!({"bucket": {"name": id.bucket}, "object": {"key": form_encode(id.key.as_str())}});
    json!({"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": event, "s3": object}]}).to_string()
}

fn enveloped(message: &str) -> String {
    json!({"Type": "Notification", "TopicArn": "arn:aws:sns:r:1:t", "Message": message}).to_string()
}
