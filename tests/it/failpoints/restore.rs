//! Deaths between a request and the object's return, and between a copy and its message's end.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;
use tierd::state::quarantine::{QuarantineKind, Quarantined};
use tierd::tiering::object::ObjectId;
use tierd::tiering::restore::{RequestRecord, Tier};

use super::{PATIENCE, daemon, dies_at, job_ends, stop};
use crate::restore::{archived, assert_back, depth, id, is_back, notify, send};
use crate::world::{World, eventually};

const ALONE: &str = "provision.enabled = false\ntransition.enabled = false";

/// Messages of the dead come again after two seconds.
async fn hide_briefly(world: &World, queue: &str) {
    let url = world.sqs().get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap();
    let set = world.sqs().set_queue_attributes().queue_url(url);
    set.attributes(QueueAttributeName::VisibilityTimeout, "2").send().await.expect("a short visibility");
}

/// A world with an archived object, of whose restores the queue is told.
async fn with_archived(point: &str) -> (World, ObjectId) {
    let world = super::world(point, ALONE).await;
    let bucket = world.bucket("b").await;
    notify(&world, &bucket).await;
    let id = id(&bucket, "a+b c/100%.txt");
    archived(&world, &id, "GLACIER").await;
    let restore = world.settings().restore.clone();
    hide_briefly(&world, &restore.request_queue).await;
    hide_briefly(&world, &restore.event_queue).await;
    (world, id)
}

pub async fn restore(point: &str) {
    let (world, id) = with_archived(point).await;
    let restore = world.settings().restore.clone();
    send(&world, &restore.request_queue, &json!({"bucket": id.bucket, "key": id.key}).to_string()).await;
    dies_at(&world, &["run"], point).await;
    let daemon = daemon(&world).await;
    eventually(PATIENCE, "the object is back", async || is_back(&world, &id).await.then_some(())).await;
    eventually(PATIENCE, "all messages are done with", async || {
        let left = depth(&world, &restore.request_queue).await + depth(&world, &restore.event_queue).await;
        (left == 0).then_some(())
    })
    .await;
    assert_back(&world, &id).await;
    stop(daemon).await;
}

pub async fn give_up(point: &str) {
    let (world, id) = with_archived(point).await;
    let state = &world.app.state;
    let record = RequestRecord {
        id: id.clone(),
        requested_at: tierd::clock::now_secs(),
        days: 1,
        tier: Tier::Standard,
        etag: Some(world.app.s3.head(&id).await.unwrap().unwrap().etag),
    };
    // It was restored as often as it may be, and expired each time.
    let mut row = None;
    for _ in 0..5 {
        row = Some(state.note_restore(row.as_ref(), record.clone()).await.unwrap());
    }
    world.app.s3.put_tags(&id, &with_ours(&world, &id).await).await.unwrap();
    dies_at(&world, &["job", "sweep"], point).await;
    job_ends(&world, &["job", "sweep"]).await;
    let set_aside = state.quarantined(None).await.unwrap();
    assert_eq!(set_aside.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), [id.to_string()]);
    assert_eq!(state.restore_row(&id).await.unwrap(), None);
    assert!(!world.app.s3.tags(&id).await.unwrap().iter().any(|(key, _)| key == "RestoreRequested"));
    assert_eq!(job_ends(&world, &["job", "sweep"]).await, 0, "nothing is left to do");
}

async fn with_ours(world: &World, id: &ObjectId) -> Vec<(String, String)> {
    let mut tags = world.app.s3.tags(id).await.unwrap();
    tags.push(("RestoreRequested".to_owned(), "true".to_owned()));
    tags
}

pub async fn retry(point: &str) {
    let (world, id) = with_archived(point).await;
    let entry = Quarantined {
        kind: QuarantineKind::Restore,
        id: id.to_string(),
        reason: "trouble".to_owned(),
        at: tierd::clock::now_secs(),
        retry: true,
        payload: json!({"bucket": id.bucket, "key": id.key, "days": null, "tier": null}).to_string(),
    };
    world.app.state.quarantine(&entry).await.unwrap();
    dies_at(&world, &["job", "sweep"], point).await;
    assert_eq!(job_ends(&world, &["job", "sweep"]).await, 0);
    assert_eq!(world.app.state.quarantined(None).await.unwrap(), []);
    let daemon = daemon(&world).await;
    eventually(PATIENCE, "the object is back", async || is_back(&world, &id).await.then_some(())).await;
    stop(daemon).await;
}

pub async fn replicate(point: &str) {
    let mut world = super::world(point, ALONE).await;
    let (queue, source, destination) = (world.named("created"), world.bucket("src").await, world.bucket("dst").await);
    let config = format!(
        "{ALONE}\nrestore.enabled = false\n[[replicate]]\nqueue = \"{queue}\"\nsource_bucket = \"{source}\"\n\
         source_prefix = \"in/\"\ndestination_bucket = \"{destination}\"\ndestination_prefix = \"out/\"\n"
    );
    world.reconfigure(&config).await;
    world.sqs().create_queue().queue_name(&queue).send().await.expect("a queue");
    hide_briefly(&world, &queue).await;
    world.put(&source, "in/a.txt", 500, "STANDARD").await;
    let record = json!({"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": source}, "object": {"key": "in/a.txt", "sequencer": "00A1"}}});
    send(&world, &queue, &json!({"Records": [record]}).to_string()).await;
    dies_at(&world, &["run"], point).await;
    let daemon = daemon(&world).await;
    eventually(PATIENCE, "the message is done with", async || (depth(&world, &queue).await == 0).then_some(())).await;
    let copy = world.s3().get_object().bucket(&destination).key("out/a.txt").send().await.expect("a copy");
    assert_eq!(copy.body.collect().await.unwrap().to_vec(), vec![b'x'; 500]);
    let all = world.s3().list_objects_v2().bucket(&destination).send().await.unwrap();
    assert_eq!(all.key_count, Some(1), "and no other");
    stop(daemon).await;
}
