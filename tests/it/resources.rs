//! `check`, `init` and what `run` needs at its start.

use std::process::Output;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType,
};
use aws_sdk_sqs::types::QueueAttributeName;

use crate::world::World;

/// A world and, in its AWS, names under which there is nothing yet.
struct Empty {
    world: World,
}

impl Empty {
    async fn new(test: &str) -> Self {
        Self { world: World::new(test, "").await }
    }

    fn named(&self, what: &str) -> String {
        self.world.named(&format!("fresh-{what}"))
    }

    async fn run(&self, args: &[&str]) -> (i32, Vec<String>) {
        let mut command = self.world.tierd(args);
        command
            .env("TIERD__USERS__TABLE", self.named("users"))
            .env("TIERD__STATE__TABLE", self.named("state"))
            .env("TIERD__LEDGER__TABLE", self.named("ledger"))
            .env("TIERD__RESTORE__EVENT_QUEUE", self.named("events"))
            .env("TIERD__RESTORE__REQUEST_QUEUE", self.named("requests"));
        let output = command.output().await.expect("tierd runs");
        (output.status.code().expect("an exit code"), lines(&output))
    }

    async fn check(&self) -> (i32, Vec<String>) {
        let (code, lines) = self.run(&["check"]).await;
        let all = [" table ", " queue ", " bucket "];
        let words = ["ok", "missing", "differs", "unknown", "pending"];
        let findings = lines.into_iter().filter(|line| {
            words.iter().any(|word| line.starts_with(word)) && all.iter().any(|kind| line.contains(kind))
        });
        (code, findings.collect())
    }

    async fn make_table(&self, table: &str, hash: &str, stream: Option<StreamViewType>) {
        let mut request = self
            .world
            .dynamodb()
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(KeySchemaElement::builder().attribute_name(hash).key_type(KeyType::Hash).build().unwrap())
            .attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(hash)
                    .attribute_type(ScalarAttributeType::S)
                    .build()
                    .unwrap(),
            );
        if let Some(view) = stream {
            let on = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap();
            request = request.stream_specification(on);
        }
        request.send().await.expect("a table");
    }

    async fn attributes(&self, queue: &str) -> std::collections::HashMap<QueueAttributeName, String> {
        let sqs = self.world.sqs();
        let url = sqs.get_queue_url().queue_name(queue).send().await.expect("a queue").queue_url.expect("its URL");
        let answer =
            sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All).send().await.unwrap();
        answer.attributes.unwrap()
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn starting<'a>(lines: &'a [String], word: &str) -> Vec<&'a String> {
    lines.iter().filter(|line| line.starts_with(word)).collect()
}

#[tokio::test]
async fn init_makes_what_check_misses_and_then_check_finds_everything() {
    let empty = Empty::new("initcheck").await;
    let (code, findings) = empty.check().await;
    assert_eq!(code, 69, "{findings:#?}");
    assert_eq!(starting(&findings, "missing").len(), 7, "{findings:#?}");
    let users = findings.iter().find(|line| line.contains("fresh-users")).expect("a line for the users table");
    assert!(users.contains("aws dynamodb create-table"), "{users}");
    assert_eq!(findings.iter().filter(|line| line.contains("`tierd init` makes it")).count(), 6, "{findings:#?}");

    let (code, said) = empty.run(&["init", "--dry-run"]).await;
    assert_eq!(code, 0, "{said:#?}");
    assert_eq!(starting(&said, "would make").len(), 6, "{said:#?}");
    assert_eq!(empty.check().await.0, 69, "a dry run makes nothing");

    empty.make_table(&empty.named("users"), "userId", Some(StreamViewType::KeysOnly)).await;
    let (code, said) = empty.run(&["init"]).await;
    assert_eq!(code, 0, "{said:#?}");
    assert_eq!(starting(&said, "made").len(), 6, "{said:#?}");
    assert_eq!(starting(&said, "ok").len(), 1, "{said:#?}");

    let (code, findings) = empty.check().await;
    assert_eq!(code, 0, "{findings:#?}");
    assert_eq!(starting(&findings, "ok").len(), 7, "{findings:#?}");

    let (code, said) = empty.run(&["init"]).await;
    assert_eq!(code, 0, "{said:#?}");
    assert_eq!(starting(&said, "ok").len(), 7, "{said:#?}");
}

#[tokio::test]
async fn what_init_makes_is_as_the_parts_need_it() {
    let empty = Empty::new("initmakes").await;
    let (_, said) = empty.run(&["init"]).await;
    assert_eq!(starting(&said, "made").len(), 6, "{said:#?}");

    let events = empty.attributes(&empty.named("events")).await;
    let policy: serde_json::Value = serde_json::from_str(&events[&QueueAttributeName::Policy]).unwrap();
    let statement = &policy["Statement"][0];
    assert_eq!(statement["Principal"]["Service"], "s3.amazonaws.com");
    assert_eq!(statement["Resource"], events[&QueueAttributeName::QueueArn]);
    assert_eq!(statement["Condition"]["StringEquals"]["aws:SourceAccount"], "123456789012");
    assert_eq!(statement["Condition"]["ArnLike"]["aws:SourceArn"], "arn:aws:s3:::siuu*");
    assert_eq!(events[&QueueAttributeName::VisibilityTimeout], "300");
    assert_eq!(events[&QueueAttributeName::ReceiveMessageWaitTimeSeconds], "20");
    let dead = empty.attributes(&format!("{}-dlq", empty.named("events"))).await;
    let redrive: serde_json::Value = serde_json::from_str(&events[&QueueAttributeName::RedrivePolicy]).unwrap();
    assert_eq!(redrive["deadLetterTargetArn"], dead[&QueueAttributeName::QueueArn]);
    assert_eq!(redrive["maxReceiveCount"].to_string().trim_matches('"'), "5");
    assert_eq!(dead[&QueueAttributeName::MessageRetentionPeriod], (14 * 24 * 3600).to_string());

    let requests = empty.attributes(&empty.named("requests")).await;
    assert!(!requests.contains_key(&QueueAttributeName::Policy), "only this account's own callers may ask");

    let dynamodb = empty.world.dynamodb();
    let ttl = dynamodb.describe_time_to_live().table_name(empty.named("state")).send().await.unwrap();
    assert_eq!(ttl.time_to_live_description.unwrap().attribute_name.as_deref(), Some("ttl"));
    let backups = dynamodb.describe_continuous_backups().table_name(empty.named("ledger")).send().await.unwrap();
    let recovery = backups.continuous_backups_description.unwrap().point_in_time_recovery_description.unwrap();
    assert_eq!(recovery.point_in_time_recovery_status.unwrap().as_str(), "ENABLED");
}

#[tokio::test]
async fn two_inits_at_once_both_succeed() {
    let empty = Empty::new("twoinits").await;
    let (first, second) = tokio::join!(empty.run(&["init"]), empty.run(&["init"]));
    assert_eq!((first.0, second.0), (0, 0), "{first:#?} {second:#?}");
    empty.make_table(&empty.named("users"), "userId", Some(StreamViewType::NewImage)).await;
    let (code, findings) = empty.check().await;
    assert_eq!(code, 0, "{findings:#?}");
}

#[tokio::test]
async fn what_differs_is_reported_with_its_mend_and_left_alone() {
    let empty = Empty::new("differs").await;
    empty.make_table(&empty.named("users"), "userId", None).await;
    empty.make_table(&empty.named("ledger"), "entity_tag_value", None).await;
    empty.world.sqs().create_queue().queue_name(empty.named("events")).send().await.unwrap();
    let (code, said) = empty.run(&["init"]).await;
    assert_eq!(code, 1, "{said:#?}");
    let (code, findings) = empty.check().await;
    assert_eq!(code, 1, "{findings:#?}");
    let line = |what: &str| {
        let name = empty.named(what);
        findings.iter().find(|line| line.contains(&format!(" {name}:"))).unwrap_or_else(|| panic!("{findings:#?}"))
    };
    let ledger = line("ledger");
    assert!(ledger.starts_with("differs"), "{ledger}");
    assert!(ledger.contains("entity_tag_value (S), needed are bucket_name (S)/object_key (S)"), "{ledger}");
    assert!(ledger.contains("`tierd ledger import`"), "{ledger}");
    let users = line("users");
    assert!(users.starts_with("differs") && users.contains("its stream is off"), "{users}");
    assert!(users.contains("aws dynamodb update-table"), "{users}");
    let events = line("events");
    for what in ["does not let S3 send for arn:aws:s3:::siuu*", "no dead-letter queue", "visibility timeout is 30 s"] {
        assert!(events.contains(what), "{what}: {events}");
    }
    let found = empty.world.dynamodb().describe_table().table_name(empty.named("ledger")).send().await.unwrap();
    assert_eq!(found.table.unwrap().key_schema.unwrap()[0].attribute_name, "entity_tag_value");
    assert!(!empty.attributes(&empty.named("events")).await.contains_key(&QueueAttributeName::Policy));
}

#[tokio::test]
async fn check_names_a_log_bucket_that_is_missing() {
    let mut world = World::new("logbucket", "").await;
    let source = |bucket: &str| {
        format!("restore.enabled = false\n[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{bucket}\"\n")
    };
    world.reconfigure(&source(&world.named("nologs"))).await;
    let output = world.run(&["check"]).await;
    let said = lines(&output);
    assert_eq!(output.status.code(), Some(69), "{said:#?}");
    let bucket = format!("missing bucket {}:", world.named("nologs"));
    let line = said.iter().find(|line| line.starts_with(&bucket)).unwrap_or_else(|| panic!("{said:#?}"));
    assert!(line.contains("ingest.source.bucket"), "{line}");

    let logs = world.bucket("logs").await;
    world.reconfigure(&source(&logs)).await;
    let output = world.run(&["check"]).await;
    assert!(
        lines(&output).contains(&format!("ok      bucket {logs}: its logs can be listed")),
        "{:#?}",
        lines(&output)
    );
}

#[tokio::test]
async fn where_nothing_answers_check_exits_69_and_says_why() {
    let world = World::new("nowhere", "").await;
    let mut command = world.tierd(&["check"]);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    command.env("TIERD__AWS__ENDPOINT_URL", format!("http://{free}"));
    let output = command.output().await.unwrap();
    let said = lines(&output);
    assert_eq!(output.status.code(), Some(69), "{said:#?}");
    assert!(
        said.iter().any(|line| line.starts_with("unknown table") && line.contains("aws.endpoint_url")),
        "{said:#?}"
    );
}

#[tokio::test]
async fn the_daemon_does_not_start_without_what_it_works_on() {
    let empty = Empty::new("nostart").await;
    let mut command = empty.world.tierd(&["run"]);
    command.env("TIERD__STATE__TABLE", empty.named("state")).env("TIERD__RESTORE__EVENT_QUEUE", empty.named("events"));
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    for name in [empty.named("state"), empty.named("events")] {
        assert!(said.contains(&format!("{name}: `tierd init` makes it")), "{said}");
    }
    assert!(!said.contains("requests"), "what is there is not complained of: {said}");
}
