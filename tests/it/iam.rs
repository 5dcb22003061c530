//! Least privilege and deployment: the policies that `tierd iam` prints are enough, and nothing in them is unused; the
//! CloudFormation template holds together; the environment of a container is a whole configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tierd::config::Settings;
use tierd::iam::{Part, Place};
use tokio::process::Command;

use crate::gate::Gate;
use crate::harness;
use crate::import;
use crate::replicate;
use crate::world::{World, eventually};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The actions that AWS asks for each operation that the program calls (service authorization reference; "Required
/// permissions for Amazon S3 API operations"). Headers and versions ask for more than the operation's name.
const ASKED: &[(&str, &[&str])] = &[
    ("AbortMultipartUpload", &["s3:AbortMultipartUpload"]),
    ("BatchGetItem", &["dynamodb:BatchGetItem"]),
    ("ChangeMessageVisibility", &["sqs:ChangeMessageVisibility"]),
    ("ChangeMessageVisibilityBatch", &["sqs:ChangeMessageVisibility"]),
    ("CompleteMultipartUpload", &["s3:PutObject"]),
    ("CopyObject", COPY),
    ("CreateBucket", &["s3:CreateBucket"]),
    ("CreateMultipartUpload", COPY),
    ("CreateQueue", &["sqs:CreateQueue"]),
    ("CreateTable", &["dynamodb:CreateTable"]),
    ("DeleteItem", &["dynamodb:DeleteItem"]),
    ("DeleteMessage", &["sqs:DeleteMessage"]),
    ("DeleteMessageBatch", &["sqs:DeleteMessage"]),
    ("DeleteObject", &["s3:DeleteObjectVersion"]),
    ("DeleteObjectTagging", &["s3:DeleteObjectTagging"]),
    ("DescribeStream", &["dynamodb:DescribeStream"]),
    ("DescribeTable", &["dynamodb:DescribeTable"]),
    ("DescribeTimeToLive", &["dynamodb:DescribeTimeToLive"]),
    ("GetBucketCors", &["s3:GetBucketCORS"]),
    ("GetBucketLifecycleConfiguration", &["s3:GetLifecycleConfiguration"]),
    ("GetBucketNotificationConfiguration", &["s3:GetBucketNotification"]),
    ("GetBucketOwnershipControls", &["s3:GetBucketOwnershipControls"]),
    ("GetBucketPolicy", &["s3:GetBucketPolicy"]),
    ("GetBucketTagging", &["s3:GetBucketTagging"]),
    ("GetBucketVersioning", &["s3:GetBucketVersioning"]),
    ("GetCallerIdentity", &[]),
    ("GetItem", &["dynamodb:GetItem"]),
    ("GetObject", &["s3:GetObject", "kms:Decrypt"]),
    ("GetObjectAcl", &["s3:GetObjectAcl", "s3:GetObjectVersionAcl"]),
    ("GetObjectTagging", &["s3:GetObjectTagging", "s3:GetObjectVersionTagging"]),
    ("GetPublicAccessBlock", &["s3:GetBucketPublicAccessBlock"]),
    ("GetQueueAttributes", &["sqs:GetQueueAttributes"]),
    ("GetQueueUrl", &["sqs:GetQueueUrl"]),
    ("GetRecords", &["dynamodb:GetRecords"]),
    ("GetShardIterator", &["dynamodb:GetShardIterator"]),
    ("HeadBucket", &["s3:ListBucket"]),
    ("HeadObject", &["s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectLegalHold"]),
    ("ListObjectsV2", &["s3:ListBucket"]),
    ("PutBucketCors", &["s3:PutBucketCORS"]),
    ("PutBucketLifecycleConfiguration", &["s3:PutLifecycleConfiguration"]),
    ("PutBucketNotificationConfiguration", &["s3:PutBucketNotification"]),
    ("PutBucketPolicy", &["s3:PutBucketPolicy"]),
    ("PutBucketTagging", &["s3:PutBucketTagging"]),
    ("PutItem", &["dynamodb:PutItem"]),
    ("PutObjectTagging", &["s3:PutObjectTagging"]),
    ("PutPublicAccessBlock", &["s3:PutBucketPublicAccessBlock"]),
    ("Query", &["dynamodb:Query"]),
    ("ReceiveMessage", &["sqs:ReceiveMessage"]),
    ("RestoreObject", &["s3:RestoreObject"]),
    ("Scan", &["dynamodb:Scan"]),
    ("TransactWriteItems", &["dynamodb:PutItem", "dynamodb:UpdateItem"]),
    ("UpdateContinuousBackups", &["dynamodb:UpdateContinuousBackups"]),
    ("UpdateItem", &["dynamodb:UpdateItem"]),
    ("UpdateTimeToLive", &["dynamodb:UpdateTimeToLive"]),
    ("UploadPartCopy", &["s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "kms:GenerateDataKey"]),
];

const COPY: &[&str] = &[
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "s3:GetObject",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionTagging",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
];

/// Every operation that the sources call. Each call names its operation for its error.
fn operations() -> BTreeSet<String> {
    let naming = regex::Regex::new(r#"(?:AwsError::(?:new|from_entry)\(|OPERATION: &str = )\s*"([A-Za-z0-9]+)""#)
        .expect("a pattern");
    let mut names = BTreeSet::new();
    let mut folders = vec![repository().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                // Tests make errors up.
                let code = text.split("\nmod tests {").next().unwrap_or_default();
                names.extend(naming.captures_iter(code).map(|found| found[1].to_owned()));
            }
        }
    }
    names
}

/// All that any configuration is given.
fn every_action() -> BTreeSet<String> {
    let toml = r#"
provision.bucket_policy_file = "policy.json"
transition.versioned_buckets = "copy-and-delete-previous"
transition.promote_archived = true
[[ingest.source]]
kind = "cloudtrail"
bucket = "trail"
bucket_prefix = "siuu"
[[replicate]]
queue = "created"
source_bucket = "source"
destination_bucket = "destination"
"#;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let policy = folder.path().join("policy.json");
    std::fs::write(&policy, r#"{"Version":"2012-10-17","Statement":[]}"#).expect("a bucket policy");
    let settings = Settings::from_toml(&toml.replace("policy.json", policy.to_str().expect("a path in UTF-8")))
        .unwrap_or_else(|e| panic!("{e}"));
    let place = Place {
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        kms_keys: Vec::new(),
        old_table: Some("old".to_owned()),
    };
    let policy: Value =
        serde_json::from_str(&tierd::iam::policy(&settings, &Part::ALL, &place).to_json()).expect("JSON");
    let actions =
        policy["Statement"].as_array().into_iter().flatten().flat_map(|s| s["Action"].as_array().expect("actions"));
    actions.map(|action| action.as_str().expect("an action").to_owned()).collect()
}

#[test]
fn every_call_in_the_sources_is_allowed_and_no_action_is_unused() {
    let table: BTreeMap<&str, &[&str]> = ASKED.iter().copied().collect();
    let operations = operations();
    let unknown: Vec<&String> = operations.iter().filter(|name| !table.contains_key(name.as_str())).collect();
    assert!(unknown.is_empty(), "the table of this test and src/iam.rs must learn of {unknown:?}");
    let asked: BTreeSet<String> =
        operations.iter().flat_map(|name| table[name.as_str()]).map(|action| (*action).to_owned()).collect();
    let allowed = every_action();
    assert_eq!(
        asked.difference(&allowed).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "called, and allowed by no policy"
    );
    assert_eq!(allowed.difference(&asked).collect::<Vec<_>>(), Vec::<&String>::new(), "allowed, and never called for");
}

const LOOP: &str = r#"
provision.bucket_name = "iam{user_id}-{timestamp}"
transition.respect_minimum_duration = false
transition.require_saving = false
transition.require_recent_ingest = "0d"
[[ingest.source]]
kind = "cloudtrail"
bucket = "LOGS"
bucket_prefix = "iam"
"#;

/// A person's tierd, with rights to what `tierd iam` says and nothing else.
struct Person<'a> {
    world: &'a World,
    gate: Gate,
    environment: Vec<(String, String)>,
}

impl Person<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.world.tierd(args);
        command.envs(self.environment.iter().cloned()).env("TIERD__AWS__ENDPOINT_URL", &self.gate.endpoint);
        command
    }

    async fn is_given(&self, part: &str) {
        self.is_given_by(&["--part", part]).await;
    }

    async fn is_given_by(&self, args: &[&str]) {
        let args = [&["iam", "--account", "123456789012"], args].concat();
        let output = self.command(&args).output().await.expect("tierd runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.gate.allow(serde_json::from_slice(&output.stdout).expect("one JSON document"));
    }

    /// Runs to its end, and must meet no refusal and end as it is expected.
    async fn does(&self, args: &[&str], codes: &[i32]) -> String {
        let output = self.command(args).output().await.expect("tierd runs");
        let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(self.gate.take_refused(), Vec::<String>::new(), "tierd {args:?} was refused something: {said}");
        assert!(
            codes.contains(&output.status.code().unwrap_or(-1)),
            "tierd {args:?} ended with {}: {said}",
            output.status
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A log file that says that `key` was read long ago.
fn log_file(bucket: &str, key: &str) -> Vec<u8> {
    use std::io::Write as _;
    let record = serde_json::json!({ "Records": [{
        "eventVersion": "1.10", "eventTime": "2024-01-02T03:04:05Z", "eventSource": "s3.amazonaws.com", "eventName": "PutObject",
        "awsRegion": "ap-northeast-1", "eventID": "0b3d4a60-0000-4000-8000-000000000001", "eventCategory": "Data",
        "userIdentity": { "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/jane" },
        "requestParameters": { "bucketName": bucket, "key": key },
        "additionalEventData": { "bytesTransferredIn": 300000.0, "bytesTransferredOut": 0.0 },
    }]});
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(record.to_string().as_bytes()).expect("writing to memory");
    gzip.finish().expect("writing to memory")
}

#[tokio::test]
async fn the_whole_loop_runs_under_exactly_the_policies_that_tierd_prints() {
    let logs = format!("iamlogs{}", std::process::id());
    let world = World::steady("iam", &LOOP.replace("LOGS", &logs)).await;
    world
        .s3()
        .create_bucket()
        .bucket(&logs)
        .create_bucket_configuration(
            aws_sdk_s3::types::CreateBucketConfiguration::builder()
                .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::ApNortheast1)
                .build(),
        )
        .send()
        .await
        .unwrap();
    let gate = Gate::before(harness::endpoint()).await;

    // Somebody who sets tierd up, under other names than those that this world has already.
    let other = |key: &str, what: &str| (format!("TIERD__{key}"), world.named(what));
    let environment = vec![
        other("STATE__TABLE", "new-state"),
        other("LEDGER__TABLE", "new-ledger"),
        other("RESTORE__EVENT_QUEUE", "new-events"),
        other("RESTORE__REQUEST_QUEUE", "new-requests"),
    ];
    let setter_up = Person { world: &world, gate: gate.clone(), environment: environment.clone() };
    setter_up.is_given("init").await;
    setter_up.does(&["init"], &[0]).await;

    // The daemon of that configuration.
    let daemon = Person { world: &world, gate: gate.clone(), environment };
    daemon.is_given("all").await;
    daemon.does(&["check"], &[0]).await;

    for user in ["ann", "Bob"] {
        world.put_user(user).await;
    }
    daemon.does(&["job", "sweep", "--json"], &[0]).await;
    let bucket = world.bucket_uri("ann").await.expect("a bucket").trim_start_matches("s3://").to_owned();
    world.put(&bucket, "old +한글.bin", 300_000, "STANDARD").await;
    world.put(&bucket, "archived", 300_000, "GLACIER").await;

    let today = tierd::clock::now().format("%Y/%m/%d");
    let file = format!(
        "AWSLogs/123456789012/CloudTrail/ap-northeast-1/{today}/123456789012_CloudTrail_ap-northeast-1_x.json.gz"
    );
    let body = log_file(&bucket, "old +한글.bin");
    world.s3().put_object().bucket(&logs).key(&file).body(body.into()).send().await.unwrap();
    let ingested = daemon.does(&["job", "ingest", "--json"], &[0]).await;
    assert_eq!(serde_json::from_str::<Value>(&ingested).unwrap()["accesses"], 1, "{ingested}");
    let moved = daemon.does(&["job", "transition", "--json"], &[0]).await;
    assert_eq!(serde_json::from_str::<Value>(&moved).unwrap()["moved"], 1, "{moved}");

    daemon.does(&["restore", &format!("s3://{bucket}/archived")], &[0]).await;
    daemon.does(&["job", "sweep", "--full", "--json"], &[0]).await;

    // Each job needs no more than its own part. The sweep is of users and of restores.
    for (part, args) in [
        ("ingest", &["job", "ingest", "--no-reconcile", "--json"][..]),
        ("reconcile", &["job", "reconcile", "--json"]),
        ("transition", &["job", "transition", "--json"]),
        ("restore", &["restore", "--status", &format!("s3://{bucket}/archived")]),
        ("plan", &["plan", "--json"]),
        ("plan", &["explain", &format!("s3://{bucket}/archived")]),
        ("plan", &["report"]),
        ("simulate", &["simulate", "--since", "2024-01-01", "--json"]),
    ] {
        daemon.is_given(part).await;
        daemon.does(args, &[0]).await;
    }

    let old = import::old_table(&world).await;
    let tag = world.put(&bucket, "from before", 1, "STANDARD").await;
    import::old_row(&world, &old, &tag, 2, None).await;
    daemon.is_given_by(&["--part", "import", "--table", &old]).await;
    for more in [&["--dry-run"][..], &[]] {
        let imported = daemon.does(&[&["ledger", "import", "--table", &old], more].concat(), &[0]).await;
        assert!(imported.contains("1 imported,"), "{imported}");
    }

    // And as a daemon, which reads the stream and the queues.
    daemon.is_given("all").await;
    let mut running = daemon.command(&["run"]).spawn().expect("tierd runs");
    world.put_user("carol").await;
    eventually(Duration::from_secs(30), "carol's bucket", async || world.bucket_uri("carol").await).await;
    let pid = nix::unistd::Pid::from_raw(running.id().expect("it runs").try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = running.wait().await.unwrap();
    assert_eq!(gate.take_refused(), Vec::<String>::new());
    assert!(ended.success(), "{ended}");

    for action in ["dynamodb:GetRecords", "s3:CreateBucket", "s3:PutObject", "s3:RestoreObject", "sqs:ReceiveMessage"] {
        assert!(gate.used().contains(action), "{action} was never used: {:?}", gate.used());
    }
}

#[tokio::test]
async fn replication_runs_under_exactly_its_own_policy() {
    let (world, source, destination) = replicate::world("iamrepl", "acl = \"bucket-owner-full-control\"").await;
    let gate = Gate::before(harness::endpoint()).await;
    let walker = Person { world: &world, gate: gate.clone(), environment: Vec::new() };
    walker.is_given("replicate").await;
    replicate::put(&world, &source, "in/walked.md", "text").await;
    let said = walker.does(&["replicate", &format!("s3://{source}/in/"), "--json"], &[0]).await;
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["copied"], 1, "{said}");

    // The daemon works on the queue, and on nothing else here.
    walker.is_given("all").await;
    let mut daemon = walker.command(&["run"]).spawn().expect("tierd runs");
    replicate::put(&world, &source, "in/told.md", "text").await;
    let url = world.sqs().get_queue_url().queue_name(world.named("created")).send().await.unwrap().queue_url.unwrap();
    let event = serde_json::json!({ "Records": [{ "eventVersion": "2.1", "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": source }, "object": { "key": "in/told.md", "sequencer": "00A1" } } }] });
    world.sqs().send_message().queue_url(&url).message_body(event.to_string()).send().await.unwrap();
    eventually(Duration::from_secs(60), "the copy", async || {
        world.s3().head_object().bucket(&destination).key("out/told.md").send().await.ok()
    })
    .await;
    let pid = nix::unistd::Pid::from_raw(daemon.id().expect("it runs").try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = daemon.wait().await.unwrap();
    assert_eq!(gate.take_refused(), Vec::<String>::new());
    assert!(ended.success(), "{ended}");
    for action in ["s3:PutObject", "s3:PutObjectAcl", "s3:GetObjectTagging", "sqs:DeleteMessage"] {
        assert!(gate.used().contains(action), "{action} was never used: {:?}", gate.used());
    }
}

#[tokio::test]
async fn the_gate_refuses_what_no_policy_allows() {
    let world = World::steady("iamgate", "").await;
    let gate = Gate::before(harness::endpoint()).await;
    let thief = Person { world: &world, gate: gate.clone(), environment: Vec::new() };
    thief.is_given("check").await;
    let output = thief.command(&["job", "sweep"]).output().await.unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(
        !gate.take_refused().is_empty(),
        "a sweep under the policy of `check` takes leases, which `check` does not"
    );
}

#[tokio::test]
async fn iam_prints_one_document_and_asks_for_the_account_if_nobody_names_it() {
    let world = World::steady("iamcli", "").await;
    let output = world.run(&["iam"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["Version"], "2012-10-17");
    assert!(output.stdout.windows(12).any(|w| w == b"123456789012"), "the emulator's account");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--kms-key"),
        "what it is wider than says how to narrow it"
    );
    for wrong in [&["iam", "--account", "12"][..], &["iam", "--part", "x"], &["iam", "--kms-key", "alias/x"]] {
        assert_eq!(world.run(wrong).await.status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn the_environment_of_the_task_definition_is_a_whole_configuration() {
    let text = std::fs::read_to_string(repository().join("deploy/ecs/task-definition.json")).unwrap();
    let definition: Value = serde_json::from_str(&text).unwrap();
    let variables = definition["containerDefinitions"][0]["environment"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let environment: Vec<(String, String)> = variables.map(|v| (text(&v["name"]), text(&v["value"]))).collect();
    let loaded = tierd::config::load(None, environment).unwrap_or_else(|e| panic!("{e}"));
    let ingest = &loaded.settings.ingest;
    assert_eq!(ingest.source.len(), 1);
    assert_eq!(ingest.source[0].bucket.as_str(), "my-trail-bucket");
    assert_eq!((ingest.source[0].prefix.as_str(), ingest.source[0].bucket_prefix.as_str()), ("", "siuu"));
    assert_eq!(loaded.settings.provision.bucket_name, "siuu{user_id}-{timestamp}");
    let grace = loaded.settings.shutdown.grace;
    let stop = definition["containerDefinitions"][0]["stopTimeout"].as_u64().unwrap();
    assert!(Duration::from_secs(stop) > grace, "the container would be killed while it drains");
}

#[tokio::test]
async fn the_template_passes_its_checks_and_the_emulator_makes_it() {
    let output = Command::new(repository().join("deploy/cloudformation/check")).output().await.expect("the check runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

#[test]
fn completions_and_the_manual_need_no_configuration() {
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tierd"));
        let output = command.env_clear().args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("healthcheck"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    run(&["man", folder.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(folder.path().join("tierd-job.1")).expect("a page a command");
    assert!(page.contains("lease"), "{page}");
}
