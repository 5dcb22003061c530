//! The checks can fail: a world in order, one harm after another done to it, and each time the complaint that belongs to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use aws_sdk_s3::types::{StorageClass, Tag, Tagging};
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use tierd::state::quarantine::{QuarantineKind, Quarantined};
use tierd::state::reservations::{NameBefore, Reservation};
use tierd::tiering::object::{BucketName, ObjectId, UserId};
use tierd::tiering::restore::{RequestRecord, Tier};

use super::model::Asked;
use super::play::{Play, queue_url};
use super::steps::{By, Step};
use crate::world::eventually;

const CALM: [Step; 9] = [
    Step::SignUp,
    Step::SignUp,
    put(0),
    put(1),
    Step::Put { user: 0, object: 2, kib: 1, days_ago: 3, archived: true },
    put(3),
    Step::Deliver { published_days_ago: 0, late: 0 },
    Step::Read { user: 0, object: 0, days_ago: 0 },
    Step::Restore { user: 0, object: 2, by: By::Messages(1) },
];

const fn put(object: u8) -> Step {
    Step::Put { user: 0, object, kib: 1, days_ago: 3, archived: false }
}

/// A world at rest, and what was wrong in it when it was last looked at.
struct Judged {
    play: Play,
    known: BTreeSet<String>,
}

impl Judged {
    /// The next look must find something new, and say so in these words.
    #[track_caller]
    fn expect(&mut self, now: Vec<String>, words: &str) {
        let new: Vec<&String> = now.iter().filter(|what| !self.known.contains(*what)).collect();
        assert!(new.iter().any(|what| what.contains(words)), "nobody says {words:?}: {new:#?}");
        self.known.extend(now);
    }

    async fn complains(&mut self, words: &str) {
        let now = self.play.judge(&self.play.words()).await;
        self.expect(now, words);
    }

    /// `update` is of the attribute `#it` and the value `:v`.
    async fn change_row(&self, id: &ObjectId, update: &str, attribute: &str, value: AttributeValue) {
        let request = self.play.world.dynamodb().update_item().table_name(&self.play.world.settings().ledger.table);
        request
            .key("bucket_name", AttributeValue::S(id.bucket.to_string()))
            .key("object_key", AttributeValue::S(id.key.to_string()))
            .update_expression(update)
            .expression_attribute_names("#it", attribute)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_check_sees_the_harm_that_it_is_for() {
    let mut play = Play::begin(2).await;
    play.start(0);
    for step in CALM {
        play.step(step).await;
    }
    assert_eq!(play.settle().await, Vec::<String>::new());
    assert_eq!(play.judge(&play.words()).await, Vec::<String>::new(), "all is well");
    let ids: Vec<ObjectId> = play.model.objects.keys().cloned().collect();
    assert_eq!(ids.len(), 4);
    let mut judged = Judged { play, known: BTreeSet::new() };

    the_ledger(&mut judged, &ids).await;
    the_objects(&mut judged, &ids).await;
    the_restores(&mut judged, &ids).await;
    the_buckets(&mut judged, ids[0].bucket.as_str()).await;
    what_is_acknowledged(&mut judged).await;
    what_waits_for_people(&mut judged).await;
}

async fn the_ledger(judged: &mut Judged, ids: &[ObjectId]) {
    let one = AttributeValue::N("1".to_owned());
    judged.change_row(&ids[0], "ADD #it :v", "count", one.clone()).await;
    judged.complains("was used").await;
    let class = AttributeValue::S("GLACIER_IR".to_owned());
    judged.change_row(&ids[1], "SET #it = :v", "storage_class", class).await;
    judged.complains("and the ledger has").await;
    let foreign: ObjectId = format!("s3://{}/never told of", ids[0].bucket).parse().unwrap();
    judged.change_row(&foreign, "SET #it = :v", "count", one).await;
    judged.complains("no log tells of it").await;
    let world = &judged.play.world;
    let delete = world.dynamodb().delete_item().table_name(&world.settings().ledger.table);
    let delete = delete.key("bucket_name", AttributeValue::S(ids[3].bucket.to_string()));
    delete.key("object_key", AttributeValue::S(ids[3].key.to_string())).send().await.unwrap();
    judged.complains("invariant 4").await;
}

async fn the_objects(judged: &mut Judged, ids: &[ObjectId]) {
    let s3 = judged.play.world.s3().clone();
    let (bucket, key) = (ids[0].bucket.as_str(), ids[0].key.as_str());
    let tags =
        Tagging::builder().tag_set(Tag::builder().key("path").value("another").build().unwrap()).build().unwrap();
    s3.put_object_tagging().bucket(bucket).key(key).tagging(tags).send().await.unwrap();
    judged.complains("had the tags").await;
    let put = s3.put_object().bucket(ids[1].bucket.as_str()).key(ids[1].key.as_str());
    put.body(b"other bytes".to_vec().into()).send().await.unwrap();
    judged.complains("its bytes are not").await;
    s3.delete_object().bucket(ids[3].bucket.as_str()).key(ids[3].key.as_str()).send().await.unwrap();
    judged.complains("is gone, and nobody deleted it").await;
}

async fn the_restores(judged: &mut Judged, ids: &[ObjectId]) {
    // Nobody said an end of this one.
    judged.play.model.asked.push(Asked { id: ids[0].clone(), at: Instant::now() });
    judged.complains("neither came back nor was refused").await;
    let record = RequestRecord {
        id: ids[0].clone(),
        requested_at: tierd::clock::now(),
        days: 1,
        tier: Tier::Standard,
        etag: None,
    };
    judged.play.world.app.state.note_restore(None, record).await.unwrap();
    judged.complains("still in flight").await;
}

async fn the_buckets(judged: &mut Judged, bucket: &str) {
    let s3 = judged.play.world.s3().clone();
    s3.delete_bucket_cors().bucket(bucket).send().await.unwrap();
    judged.complains("has no CORS rule").await;
    let user = judged.play.model.users[&1].id.clone();
    let twin = format!("siuu{user}-twin");
    judged.play.world.make_bucket(&twin).await;
    judged.complains("were made").await;
    let world = &judged.play.world;
    let update = world.dynamodb().update_item().table_name(&world.settings().users.table);
    let update = update.key("userId", AttributeValue::S(user)).update_expression("REMOVE s3_bucket_uri");
    update.send().await.unwrap();
    judged.complains("has no bucket").await;
}

/// A message and a checkpoint, each passed by a process that has done nothing for it.
async fn what_is_acknowledged(judged: &mut Judged) {
    let world = &judged.play.world;
    let hasty = world.app_at(&judged.play.network.rough).await.clients;
    let bucket = world.bucket("hasty").await;
    let put = world.s3().put_object().bucket(&bucket).key("cold").storage_class(StorageClass::Glacier);
    put.body(b"cold".to_vec().into()).send().await.unwrap();
    let url = queue_url(world, &world.settings().restore.request_queue).await;
    let body = serde_json::json!({"bucket": bucket, "key": "cold"}).to_string();
    world.sqs().send_message().queue_url(&url).message_body(body).send().await.unwrap();
    // A dead daemon's long poll may have got it first.
    let receipt = eventually(Duration::from_secs(60), "the message", async || {
        let received = hasty.sqs.receive_message().queue_url(&url).send().await.unwrap();
        Some(received.messages().first()?.receipt_handle()?.to_owned())
    })
    .await;
    let entry = DeleteMessageBatchRequestEntry::builder().id("0").receipt_handle(receipt).build().unwrap();
    hasty.sqs.delete_message_batch().queue_url(&url).entries(entry).send().await.unwrap();
    judged.complains("is acknowledged, and nothing says that it was made").await;

    let world = &judged.play.world;
    let unserved = format!("{}-unserved", world.name);
    world.put_user(&unserved).await;
    let arn = world.dynamodb().describe_table().table_name(&world.settings().users.table).send().await.unwrap();
    let arn = arn.table().unwrap().latest_stream_arn().unwrap().to_owned();
    let stream = hasty.streams.describe_stream().stream_arn(&arn).send().await.unwrap();
    let shard = stream.stream_description().unwrap().shards()[0].shard_id().unwrap().to_owned();
    let iterator = hasty.streams.get_shard_iterator().stream_arn(&arn).shard_id(shard);
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let records = hasty.streams.get_records().shard_iterator(iterator.shard_iterator().unwrap()).send().await.unwrap();
    let last = records.records().last().unwrap().dynamodb().unwrap().sequence_number().unwrap().to_owned();
    let key = |text: &str| AttributeValue::S(text.to_owned());
    let update = hasty.dynamodb.update_item().table_name(&world.settings().state.table);
    let update = update.key("pk", key("shard")).key("sk", key("hasty")).update_expression("SET seen = :sequence");
    update.expression_attribute_values(":sequence", AttributeValue::S(last)).send().await.unwrap();
    judged.complains("who has no bucket").await;
}

async fn what_waits_for_people(judged: &mut Judged) {
    let (state, now) = (judged.play.world.app.state.clone(), tierd::clock::now());
    let entry = Quarantined {
        kind: QuarantineKind::User,
        id: "somebody".to_owned(),
        reason: "none".to_owned(),
        at: now,
        retry: false,
        payload: "{}".to_owned(),
    };
    state.quarantine(&entry).await.unwrap();
    judged.complains("set aside").await;
    let reservation = Reservation {
        user: UserId::new("somebody").unwrap(),
        bucket: BucketName::new("siuusomebody-1").unwrap(),
        attempt: 0,
        created: now,
        before: NameBefore::Free,
    };
    let _written = state.reserve(&reservation).await.unwrap();
    judged.complains("still reserved").await;
    std::fs::write(judged.play.world.dir.path().join("999-run.log"), "thread 'main' panicked at src/x.rs:1\n").unwrap();
    judged.complains("panicked").await;
}
