//! Replication: what is created in one bucket is copied to another, once, with what it carries.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tierd::tiering::s3_event::form_encode;

use crate::world::{World, eventually};

/// A rule between this world's buckets `src` and `dst`.
fn rule(world: &World, more: &str) -> String {
    format!(
        r#"
provision.enabled = false
transition.enabled = false
restore.enabled = false
[[replicate]]
queue = "{}"
source_bucket = "{}"
source_prefix = "in/"
destination_bucket = "{}"
destination_prefix = "out/"
{more}
"#,
        world.named("created"),
        world.named("src"),
        world.named("dst"),
    )
}

pub async fn world(test: &str, more: &str) -> (World, String, String) {
    let mut world = World::new(test, "").await;
    let text = rule(&world, more);
    world.reconfigure(&text).await;
    world.sqs().create_queue().queue_name(world.named("created")).send().await.expect("a queue");
    let (source, destination) = (world.bucket("src").await, world.bucket("dst").await);
    (world, source, destination)
}

pub async fn put(world: &World, bucket: &str, key: &str, body: &str) {
    world
        .s3()
        .put_object()
        .bucket(bucket)
        .key(key)
        .body(body.as_bytes().to_vec().into())
        .content_type("text/markdown")
        .metadata("mine", "a value")
        .tagging("team=blue")
        .send()
        .await
        .expect("an object");
}

async fn body(world: &World, bucket: &str, key: &str) -> Option<String> {
    let answer = world.s3().get_object().bucket(bucket).key(key).send().await.ok()?;
    assert_eq!(answer.content_type.as_deref(), Some("text/markdown"), "{key}");
    let metadata: HashMap<String, String> = answer.metadata.clone().unwrap_or_default();
    assert_eq!(metadata.get("mine").map(String::as_str), Some("a value"), "{key}");
    assert_eq!(answer.tag_count, Some(1), "{key}");
    Some(String::from_utf8(answer.body.collect().await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_created_is_copied_and_an_older_event_does_not_bring_the_old_back() {
    let (world, source, destination) = world("rpevent", "").await;
    let keys = ["in/plain.md", "in/deep/a+b c.md", "in/한글/파일 100%.md"];
    let url = world.sqs().get_queue_url().queue_name(world.named("created")).send().await.unwrap().queue_url.unwrap();
    let send = async |event: &str, key: &str, sequencer: &str| {
        let record = json!({"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": event, "s3": {
            "bucket": {"name": source}, "object": {"key": form_encode(key), "sequencer": sequencer}}});
        let body = json!({"Records": [record]}).to_string();
        world.sqs().send_message().queue_url(&url).message_body(body).send().await.expect("a message");
    };
    for key in keys {
        put(&world, &source, key, "first").await;
        send("ObjectCreated:Put", key, "00A1").await;
    }
    put(&world, &source, "elsewhere.md", "not of the rule").await;
    send("ObjectCreated:Put", "elsewhere.md", "00A1").await;
    let mut daemon = world.tierd(&["run"]).spawn().expect("the daemon");
    let copy_of = |key: &str| format!("out/{}", key.rsplit('/').next().unwrap());
    for key in keys {
        eventually(Duration::from_secs(60), "the copy is there", async || {
            (body(&world, &destination, &copy_of(key)).await? == "first").then_some(())
        })
        .await;
    }
    put(&world, &source, keys[0], "second").await;
    send("ObjectCreated:Put", keys[0], "00B2").await;
    eventually(Duration::from_secs(30), "the newer copy is there", async || {
        (body(&world, &destination, &copy_of(keys[0])).await? == "second").then_some(())
    })
    .await;
    // A late repeat of the first event, and a delete, which is not replicated.
    send("ObjectCreated:Put", keys[0], "00A1").await;
    world.s3().delete_object().bucket(&source).key(keys[1]).send().await.unwrap();
    send("ObjectRemoved:Delete", keys[1], "00C3").await;
    eventually(Duration::from_secs(30), "the queue is empty", async || {
        let attributes = world
            .sqs()
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(aws_sdk_sqs::types::QueueAttributeName::All)
            .send()
            .await
            .unwrap()
            .attributes
            .unwrap();
        attributes
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("ApproximateNumberOfMessages"))
            .all(|(_, number)| number == "0")
            .then_some(())
    })
    .await;
    daemon.kill().await.unwrap();
    assert_eq!(body(&world, &destination, &copy_of(keys[0])).await.as_deref(), Some("second"));
    assert_eq!(body(&world, &destination, &copy_of(keys[1])).await.as_deref(), Some("first"));
    let listed = world.s3().list_objects_v2().bucket(&destination).send().await.unwrap();
    assert_eq!(listed.key_count, Some(3));
}

#[tokio::test]
async fn a_walk_copies_what_is_missing_or_differs_and_nothing_else() {
    let (world, source, destination) = world("rpwalk", "keep_path = true").await;
    for i in 0..5 {
        put(&world, &source, &format!("in/d{i}/한 글+{i}.md"), "text").await;
    }
    let uri = format!("s3://{source}/in/");
    let (code, first) = world.run_json(&["replicate", &uri]).await;
    assert_eq!((code, &first["copied"], &first["up_to_date"]), (0, &json!(5), &json!(0)), "{first}");
    let (code, second) = world.run_json(&["replicate", &uri]).await;
    assert_eq!((code, &second["copied"], &second["up_to_date"]), (0, &json!(0), &json!(5)), "{second}");
    put(&world, &source, "in/d3/한 글+3.md", "changed").await;
    let (_, third) = world.run_json(&["replicate", &uri]).await;
    assert_eq!(third["copied"], json!(1), "{third}");
    assert_eq!(body(&world, &destination, "out/d3/한 글+3.md").await.as_deref(), Some("changed"));
    assert_eq!(world.run(&["replicate", "s3://another-bucket/x"]).await.status.code(), Some(64));
}
