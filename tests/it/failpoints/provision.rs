//! Deaths on the way to a user's bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tierd::state::quarantine::{QuarantineKind, Quarantined};
use tierd::tiering::object::{BucketName, UserId};
use tierd::tiering::shards::Position;

use super::{PATIENCE, daemon, dies_at, job_ends, stop};
use crate::proxy::{Fault, Proxy};
use crate::world::{World, eventually};

const QUICK: &str =
    "transition.enabled = false\nprovision.poll_interval = \"300ms\"\nprovision.idle_interval = \"500ms\"\n";

async fn world(point: &str) -> World {
    super::world(point, QUICK).await
}

/// The user has one bucket, whole and their own, and nothing of its making is left behind.
async fn has_one_bucket(world: &World, user: &str) {
    let uri = eventually(PATIENCE, "a bucket", async || world.bucket_uri(user).await).await;
    let id = UserId::new(user).unwrap();
    eventually(PATIENCE, "the reservation is given back", async || {
        world.app.state.reservation(&id).await.unwrap().is_none().then_some(())
    })
    .await;
    let bucket = uri.trim_start_matches("s3://");
    assert_eq!(buckets_of(world, user).await, [bucket]);
    let tags = world.app.s3.bucket_tags(&BucketName::new(bucket).unwrap()).await.unwrap();
    assert!(tags.contains(&("tierd:user-id".to_owned(), user.to_owned())), "{tags:?}");
    world.s3().get_bucket_cors().bucket(bucket).send().await.expect("a CORS rule");
    world.s3().get_public_access_block().bucket(bucket).send().await.expect("a public access block");
    let told = world.s3().get_bucket_notification_configuration().bucket(bucket).send().await.unwrap();
    assert_eq!(told.queue_configurations().len(), 1, "the queue is told");
    assert_eq!(world.app.state.orphans().await.unwrap().len(), 0);
}

async fn buckets_of(world: &World, user: &str) -> Vec<String> {
    let own = format!("siuu{user}-");
    let all = world.s3().list_buckets().send().await.unwrap().buckets.unwrap_or_default();
    all.into_iter().filter_map(|bucket| bucket.name).filter(|name| name.starts_with(&own)).collect()
}

pub async fn sign_up(point: &str) {
    let world = world(point).await;
    let (first, second) = (world.named("a"), world.named("b"));
    world.put_user(&first).await;
    dies_at(&world, &["run"], point).await;
    let daemon = daemon(&world).await;
    has_one_bucket(&world, &first).await;
    // And it goes on.
    world.put_user(&second).await;
    has_one_bucket(&world, &second).await;
    has_one_bucket(&world, &first).await;
    stop(daemon).await;
}

pub async fn leave(point: &str) {
    let world = world(point).await;
    let user = world.named("a");
    world.put_user(&user).await;
    dies_at(&world, &["run"], "provision.bucket-made").await;
    let key = AttributeValue::S(user.clone());
    let table = &world.settings().users.table;
    world.dynamodb().delete_item().table_name(table).key("userId", key).send().await.unwrap();
    dies_at(&world, &["run"], point).await;
    let daemon = daemon(&world).await;
    let id = UserId::new(user.as_str()).unwrap();
    eventually(PATIENCE, "the reservation is given back", async || {
        world.app.state.reservation(&id).await.unwrap().is_none().then_some(())
    })
    .await;
    let orphans = world.app.state.orphans().await.unwrap();
    assert_eq!(orphans.iter().map(|orphan| orphan.user.as_str()).collect::<Vec<_>>(), [user.as_str()]);
    assert_eq!(buckets_of(&world, &user).await, [orphans[0].bucket.as_str()]);
    assert_eq!(world.bucket_uri(&user).await, None, "the row does not come back");
    stop(daemon).await;
}

pub async fn retry_user(point: &str) {
    let world = world(point).await;
    let user = world.named("a");
    world.put_user(&user).await;
    let entry = Quarantined {
        kind: QuarantineKind::User,
        id: user.clone(),
        reason: "trouble".to_owned(),
        at: tierd::clock::now_secs(),
        retry: true,
        payload: json!({ "created": tierd::clock::now_secs() }).to_string(),
    };
    world.app.state.quarantine(&entry).await.unwrap();
    dies_at(&world, &["job", "sweep"], point).await;
    assert_eq!(job_ends(&world, &["job", "sweep"]).await, 0);
    has_one_bucket(&world, &user).await;
    assert_eq!(world.app.state.quarantined(None).await.unwrap(), []);
}

/// A stream of two shards, played by the proxy: the parent ends, and its child holds one more user.
pub async fn shard_ends(point: &str) {
    const PARENT: &str = "shardId-00000000000000000001-00000001";
    const CHILD: &str = "shardId-00000000000000000002-00000002";
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::at(&proxy.endpoint, &super::name_of(point), QUICK).await;
    let user = world.named("a");
    let record = json!({"eventName": "INSERT", "eventID": "1", "eventSource": "aws:dynamodb", "dynamodb": {
        "ApproximateCreationDateTime": tierd::clock::now_secs().timestamp(), "StreamViewType": "NEW_IMAGE",
        "SequenceNumber": "900000000000000000005", "SizeBytes": 10, "Keys": {"userId": {"S": user}},
        "NewImage": {"userId": {"S": user}}}});
    proxy.fault(move |request| {
        let json: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let answer = match request.operation() {
            "DescribeStream" => json!({"StreamDescription": {"StreamArn": json["StreamArn"], "StreamStatus": "ENABLED", "Shards": [
                {"ShardId": PARENT, "SequenceNumberRange":
                    {"StartingSequenceNumber": "100000000000000000001", "EndingSequenceNumber": "100000000000000000009"}},
                {"ShardId": CHILD, "ParentShardId": PARENT, "SequenceNumberRange":
                    {"StartingSequenceNumber": "900000000000000000001"}}]}}),
            "GetShardIterator" => {
                let new = json["ShardIteratorType"] == "TRIM_HORIZON";
                json!({"ShardIterator": if json["ShardId"] == PARENT { "parent" } else if new { "child" } else { "tip" }})
            }
            "GetRecords" if json["ShardIterator"] == "parent" => json!({"Records": []}),
            "GetRecords" if json["ShardIterator"] == "child" => json!({"Records": [record], "NextShardIterator": "tip"}),
            "GetRecords" => json!({"Records": [], "NextShardIterator": "tip"}),
            _ => return None,
        };
        Some(Fault::Answer(200, "application/x-amz-json-1.0", answer.to_string().leak()))
    });
    dies_at(&world, &["run"], point).await;
    world.put_user(&user).await;
    let daemon = daemon(&world).await;
    has_one_bucket(&world, &user).await;
    let checkpoints = eventually(PATIENCE, "the child is read", async || {
        let memory = world.app.state.stream_memory().await.unwrap()?;
        let all = world.app.state.checkpoints(&memory.arn).await.unwrap();
        let read = all.iter().any(|at| at.shard.as_str() == CHILD && matches!(at.position, Position::After(_)));
        read.then_some(all)
    })
    .await;
    // Over, or forgotten: never begun again.
    let parent = checkpoints.iter().find(|at| at.shard.as_str() == PARENT);
    assert!(parent.is_none_or(|at| at.position == Position::Ended), "{checkpoints:?}");
    stop(daemon).await;
}

pub async fn gap(point: &str) {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let world = World::at(&proxy.endpoint, &super::name_of(point), QUICK).await;
    let reads = Arc::new(AtomicU32::new(0));
    let counted = reads.clone();
    proxy.fault(move |request| {
        // Records are gone at the first read of each of the two starts.
        (request.operation() == "GetRecords" && counted.fetch_add(1, Ordering::SeqCst) < 2).then_some(Fault::Answer(
            400,
            "application/x-amz-json-1.0",
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#TrimmedDataAccessException","message":"gone"}"#,
        ))
    });
    let (lost, later) = (world.named("a"), world.named("b"));
    world.put_user(&lost).await;
    dies_at(&world, &["run"], point).await;
    let daemon = daemon(&world).await;
    has_one_bucket(&world, &lost).await;
    eventually(PATIENCE, "the sweep that is owed is made", async || {
        world.app.state.stream_memory().await.unwrap().filter(|memory| memory.sweep_owed.is_none())
    })
    .await;
    assert!(!world.app.state.gaps().await.unwrap().is_empty(), "the loss is on record");
    world.put_user(&later).await;
    has_one_bucket(&world, &later).await;
    stop(daemon).await;
}

pub async fn init(point: &str) {
    let world = world(point).await;
    let settings = world.settings();
    for table in [&settings.ledger.table, &settings.state.table] {
        world.dynamodb().delete_table().table_name(table).send().await.unwrap();
    }
    for queue in [&settings.restore.event_queue, &settings.restore.request_queue] {
        let url = world.sqs().get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap();
        world.sqs().delete_queue().queue_url(url).send().await.unwrap();
    }
    // After each that it makes.
    for _ in 0..4 {
        dies_at(&world, &["init"], point).await;
    }
    assert_eq!(job_ends(&world, &["init"]).await, 0);
    assert_eq!(job_ends(&world, &["init"]).await, 0, "nothing is left to make");
}
