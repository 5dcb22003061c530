//! Replication: what is created in one bucket is copied to another, once, with what it carries.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tierd::tiering::s3_event::form_encode;

use crate::harness;
use crate::proxy::{Fault, Proxy};
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
    world_at(harness::endpoint(), test, more).await
}

async fn world_at(endpoint: &str, test: &str, more: &str) -> (World, String, String) {
    let mut world = World::at(endpoint, test, "").await;
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

/// The keys of the PUTs into a bucket that came by; parts of an upload count as well.
fn writes(proxy: &Proxy, bucket: &str) -> Vec<String> {
    let into = format!("/{bucket}/");
    let requests = proxy.take_requests().into_iter();
    requests.filter(|r| r.method == "PUT" && r.path.starts_with(&into)).map(|r| r.path).collect()
}

#[tokio::test]
async fn other_tags_or_metadata_make_another_copy() {
    let (world, source, destination) = world("rptags", "").await;
    let uri = format!("s3://{source}/in/");
    put(&world, &source, "in/a.md", "text").await;
    put(&world, &source, "in/b.md", "text").await;
    let copied = async || {
        let (code, figures) = world.run_json(&["replicate", &uri]).await;
        assert_eq!(code, 0, "{figures}");
        (figures["copied"].as_u64().unwrap(), figures["up_to_date"].as_u64().unwrap())
    };
    assert_eq!(copied().await, (2, 0));
    assert_eq!(copied().await, (0, 2));
    let id = format!("s3://{source}/in/a.md").parse().unwrap();
    let copy = format!("s3://{destination}/out/a.md").parse().unwrap();
    let tags = [("team", "red"), ("키", "값 +=")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    world.app.s3.put_tags(&id, &tags).await.unwrap();
    assert_eq!(copied().await, (1, 1), "other tags");
    let mut there = world.app.s3.tags(&copy).await.unwrap();
    there.sort();
    assert_eq!(there, tags);
    world.app.s3.put_tags(&id, &[]).await.unwrap();
    assert_eq!(copied().await, (1, 1), "no tags any more");
    assert_eq!(world.app.s3.tags(&copy).await.unwrap(), []);
    let again = world.s3().put_object().bucket(&source).key("in/b.md").body(b"text".to_vec().into());
    again.content_type("text/plain").metadata("mine", "another").tagging("team=blue").send().await.unwrap();
    assert_eq!(copied().await, (1, 1), "other metadata with the same bytes");
    let head = world.s3().head_object().bucket(&destination).key("out/b.md").send().await.unwrap();
    assert_eq!(head.content_type.as_deref(), Some("text/plain"));
    assert_eq!(head.metadata.unwrap()["mine"], "another");
    assert_eq!(copied().await, (0, 2));
}

#[tokio::test]
async fn a_large_object_is_copied_in_parts_with_all_that_it_carries() {
    let parts = "transition.multipart_threshold = \"5MiB\"\ntransition.multipart_part_size = \"5MiB\"";
    let mut world = World::new("rpparts", "").await;
    let text = format!("{parts}\n{}", rule(&world, "keep_path = true"));
    world.reconfigure(&text).await;
    let (source, destination) = (world.bucket("src").await, world.bucket("dst").await);
    let bytes = "0123456789abcdef".repeat(11 << 16);
    put(&world, &source, "in/길 +%/large.md", &bytes).await;
    let (code, figures) = world.run_json(&["replicate", &format!("s3://{source}/in/")]).await;
    assert_eq!((code, &figures["copied"], &figures["bytes"]), (0, &json!(1), &json!(11 << 20)), "{figures}");
    assert!(body(&world, &destination, "out/길 +%/large.md").await.unwrap() == bytes, "the bytes are others");
    let head = world.s3().head_object().bucket(&destination).key("out/길 +%/large.md").send().await.unwrap();
    assert!(head.e_tag.unwrap().trim_matches('"').ends_with("-3"), "three parts");
    let (_, figures) = world.run_json(&["replicate", &format!("s3://{source}/in/")]).await;
    assert_eq!(figures["up_to_date"], json!(1), "another ETag is no other object: {figures}");
}

#[tokio::test]
async fn the_daemons_own_in_place_copies_are_not_replicated_again() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let (world, source, destination) = world_at(&proxy.endpoint, "rpown", "").await;
    let queue = world.sqs().get_queue_url().queue_name(world.named("created")).send().await.unwrap().queue_url.unwrap();
    let send = async |body: serde_json::Value| {
        world.sqs().send_message().queue_url(&queue).message_body(body.to_string()).send().await.expect("a message");
    };
    put(&world, &source, "in/a.md", "text").await;
    let (_, first) = world.run_json(&["replicate", &format!("s3://{source}/in/")]).await;
    assert_eq!(first["copied"], json!(1), "{first}");
    // As a transition does it.
    let copy = world.s3().copy_object().bucket(&source).key("in/a.md").copy_source(format!("{source}/in/a.md"));
    copy.storage_class("STANDARD_IA".into()).send().await.expect("a copy");
    let own = world.app.clients.sts.get_caller_identity().send().await.unwrap().user_id.unwrap();
    let record = |principal: &str| {
        json!({"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Copy",
            "userIdentity": {"principalId": principal},
            "s3": {"bucket": {"name": source}, "object": {"key": "in/a.md", "sequencer": "00B2"}}}]})
    };
    proxy.take_requests();
    send(record(&format!("AWS:{own}"))).await;
    send(record("AWS:AIDASOMEBODY")).await;
    // EventBridge names the account and nobody in it.
    send(json!({"version": "0", "source": "aws.s3", "detail-type": "Object Created",
        "detail": {"reason": "CopyObject", "requester": "123456789012", "bucket": {"name": source},
                   "object": {"key": "in/a.md", "sequencer": "00B3"}}}))
    .await;
    let mut daemon = world.tierd(&["run"]).spawn().expect("the daemon");
    eventually(Duration::from_secs(60), "the events are done", async || {
        (crate::restore::depth(&world, &world.named("created")).await == 0).then_some(())
    })
    .await;
    daemon.kill().await.unwrap();
    assert_eq!(writes(&proxy, &destination), Vec::<String>::new());
}

#[tokio::test]
async fn a_walk_that_is_killed_is_taken_up_where_it_was() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let (world, source, destination) = world_at(&proxy.endpoint, "rpkill", "").await;
    for i in 0..8 {
        put(&world, &source, &format!("in/{i}.md"), "text").await;
    }
    let into = format!("/{destination}/");
    let mut begun = 0;
    // The fourth copy and what follows never end.
    proxy.fault(move |request| {
        let copies = request.method == "PUT" && request.path.starts_with(&into);
        begun += u32::from(copies);
        (copies && begun > 3).then_some(Fault::Hang { done: false })
    });
    let mut walk = world.tierd(&["replicate", &format!("s3://{source}/in/")]).spawn().expect("a walk");
    let there = async || world.s3().list_objects_v2().bucket(&destination).send().await.unwrap().key_count.unwrap();
    eventually(Duration::from_secs(60), "three are copied", async || (there().await == 3).then_some(())).await;
    walk.kill().await.unwrap();
    proxy.heal_after_death().await;
    let (code, figures) = world.run_json(&["replicate", &format!("s3://{source}/in/")]).await;
    assert_eq!((code, &figures["copied"], &figures["up_to_date"]), (0, &json!(5), &json!(3)), "{figures}");
    assert_eq!(there().await, 8);
}
