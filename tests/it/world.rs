//! One test's own AWS: names that no other test has, the SDK's clients, the tables and queues that `tierd init` would
//! make (made here by hand, so that a test of one part does not hang on another), and `tierd` itself as a process.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use tempfile::TempDir;
use tierd::app::App;
use tierd::config::Settings;
use tokio::process::Command;

use crate::harness;

/// Where buckets are made.
pub const REGION: &str = "ap-northeast-1";

/// A test's own names and clients.
pub struct World {
    /// Unlike any other test's; lower case letters and digits.
    pub name: String,
    pub app: App,
    pub dir: TempDir,
    /// What the configuration file holds, besides the names.
    extra: String,
    endpoint: String,
    lease: &'static str,
}

/// For daemons that die: soon taken over from.
const SHORT_LEASE: &str = "5s";
/// For jobs that nobody kills: not lost when the machine is busy and the emulator long in answering.
const LONG_LEASE: &str = "2m";

impl World {
    /// Tables and queues of this test's own. `extra` is added to the configuration, as TOML.
    pub async fn new(test: &str, extra: &str) -> Self {
        Self::at(harness::endpoint(), test, extra).await
    }

    /// The same, speaking through another address (a proxy in front of the emulator).
    pub async fn at(endpoint: &str, test: &str, extra: &str) -> Self {
        Self::with_lease(endpoint, test, extra, SHORT_LEASE).await
    }

    /// A world in which no holder of a lease dies, unless `extra` sets `state.lease`.
    pub async fn steady(test: &str, extra: &str) -> Self {
        Self::steady_at(harness::endpoint(), test, extra).await
    }

    pub async fn steady_at(endpoint: &str, test: &str, extra: &str) -> Self {
        Self::with_lease(endpoint, test, extra, LONG_LEASE).await
    }

    async fn with_lease(endpoint: &str, test: &str, extra: &str, lease: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{test}{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let world = Self {
            app: connect(&config(&name, extra, &dir, endpoint, lease)).await,
            name,
            dir,
            extra: extra.to_owned(),
            endpoint: endpoint.to_owned(),
            lease,
        };
        world.write_config();
        world.make_tables().await;
        world.make_queues().await;
        world
    }

    /// Changes the configuration of this world: `extra` replaces what was given before.
    pub async fn reconfigure(&mut self, extra: &str) {
        self.extra = extra.to_owned();
        self.write_config();
        self.app = connect(&config(&self.name, extra, &self.dir, &self.endpoint, self.lease)).await;
    }

    /// This world's program, speaking through another address.
    pub async fn app_at(&self, endpoint: &str) -> App {
        connect(&config(&self.name, &self.extra, &self.dir, endpoint, self.lease)).await
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("tierd.toml")
    }

    pub fn settings(&self) -> &Settings {
        &self.app.settings
    }

    pub fn s3(&self) -> &aws_sdk_s3::Client {
        &self.app.clients.s3
    }

    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        &self.app.clients.dynamodb
    }

    pub fn sqs(&self) -> &aws_sdk_sqs::Client {
        &self.app.clients.sqs
    }

    /// A name for something of this test's own.
    pub fn named(&self, what: &str) -> String {
        format!("{what}-{}", self.name)
    }

    /// Makes a bucket and gives its name.
    pub async fn bucket(&self, what: &str) -> String {
        let name = self.named(what);
        self.make_bucket(&name).await;
        name
    }

    pub async fn make_bucket(&self, name: &str) {
        self.s3()
            .create_bucket()
            .bucket(name)
            .create_bucket_configuration(
                CreateBucketConfiguration::builder()
                    .location_constraint(BucketLocationConstraint::ApNortheast1)
                    .build(),
            )
            .send()
            .await
            .expect("a bucket");
    }

    /// Puts an object of `size` bytes and gives its ETag without quotes.
    pub async fn put(&self, bucket: &str, key: &str, size: usize, class: &str) -> String {
        let answer = self
            .s3()
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(vec![b'x'; size].into())
            .storage_class(class.into())
            .send()
            .await
            .expect("an object");
        answer.e_tag.expect("an ETag").trim_matches('"').to_owned()
    }

    /// `tierd ARGS…` as a user would run it, with this world's configuration.
    pub fn tierd(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tierd"));
        command
            .env_clear()
            .envs(std::env::var("PATH").map(|path| ("PATH", path)))
            .envs(harness::environment(&self.endpoint))
            .arg("--config")
            .arg(self.config_file())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs `tierd ARGS…` to its end.
    pub async fn run(&self, args: &[&str]) -> Output {
        self.tierd(args).output().await.expect("tierd runs")
    }

    /// Runs `tierd ARGS… --json` and gives its exit code and its one object.
    pub async fn run_json(&self, args: &[&str]) -> (i32, serde_json::Value) {
        let mut all = args.to_vec();
        all.push("--json");
        let output = self.run(&all).await;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let json = serde_json::from_str(&stdout).unwrap_or_else(|e| {
            panic!(
                "{args:?} printed no single JSON object ({e}): {stdout:?}\nstderr: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        (output.status.code().expect("an exit code"), json)
    }

    /// The row of a user.
    pub async fn put_user(&self, id: &str) {
        self.dynamodb()
            .put_item()
            .table_name(&self.settings().users.table)
            .item("userId", AttributeValue::S(id.to_owned()))
            .item("name", AttributeValue::S("somebody".to_owned()))
            .send()
            .await
            .expect("a user");
    }

    /// The `s3_bucket_uri` of a user, if it is there.
    pub async fn bucket_uri(&self, id: &str) -> Option<String> {
        let answer = self
            .dynamodb()
            .get_item()
            .table_name(&self.settings().users.table)
            .key("userId", AttributeValue::S(id.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .expect("the users table");
        answer.item?.get("s3_bucket_uri")?.as_s().ok().cloned()
    }

    /// A row of the ledger as DynamoDB has it.
    pub async fn ledger_row(
        &self,
        bucket: &str,
        key: &str,
    ) -> Option<std::collections::HashMap<String, AttributeValue>> {
        let answer = self
            .dynamodb()
            .get_item()
            .table_name(&self.settings().ledger.table)
            .key("bucket_name", AttributeValue::S(bucket.to_owned()))
            .key("object_key", AttributeValue::S(key.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .expect("the ledger");
        answer.item
    }

    fn write_config(&self) {
        let text = config(&self.name, &self.extra, &self.dir, &self.endpoint, self.lease);
        std::fs::write(self.config_file(), text).expect("a configuration file");
    }

    async fn make_tables(&self) {
        let settings = self.settings();
        self.make_table(&settings.users.table, &["userId"], true).await;
        self.make_table(&settings.ledger.table, &["bucket_name", "object_key"], false).await;
        self.make_table(&settings.state.table, &["pk", "sk"], false).await;
    }

    async fn make_table(&self, table: &str, keys: &[&str], stream: bool) {
        let mut request = self.dynamodb().create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
        for (i, key) in keys.iter().enumerate() {
            let role = if i == 0 { KeyType::Hash } else { KeyType::Range };
            request = request
                .key_schema(KeySchemaElement::builder().attribute_name(*key).key_type(role).build().unwrap())
                .attribute_definitions(
                    AttributeDefinition::builder()
                        .attribute_name(*key)
                        .attribute_type(ScalarAttributeType::S)
                        .build()
                        .unwrap(),
                );
        }
        if stream {
            request = request.stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::NewAndOldImages)
                    .build()
                    .unwrap(),
            );
        }
        request.send().await.expect("a table");
    }

    async fn make_queues(&self) {
        for queue in [&self.settings().restore.event_queue, &self.settings().restore.request_queue] {
            self.sqs().create_queue().queue_name(queue).send().await.expect("a queue");
        }
    }
}

async fn connect(config: &str) -> App {
    let settings = Settings::from_toml(config).unwrap_or_else(|e| panic!("{e}\n{config}"));
    // The program takes credentials from the SDK's chain; a test process must not touch the chain's variables.
    let loader = tierd::aws::Clients::loader().test_credentials().empty_test_environment();
    App::with_loader(settings, loader).await.expect("clients")
}

fn config(name: &str, extra: &str, dir: &TempDir, endpoint: &str, lease: &str) -> String {
    let heartbeat = dir.path().join("heartbeat");
    // Dotted keys, so that `extra` may add dotted keys and lists to the same tables.
    let ingest = if extra.contains("[[ingest.source]]") { "" } else { "ingest.enabled = false" };
    let lease = if extra.contains("state.lease") { String::new() } else { format!("state.lease = \"{lease}\"") };
    format!(
        r#"
aws.region = "{REGION}"
aws.endpoint_url = "{endpoint}"
users.table = "user-{name}"
state.table = "state-{name}"
{lease}
ledger.table = "ledger-{name}"
restore.event_queue = "events-{name}"
restore.request_queue = "requests-{name}"
telemetry.heartbeat_file = "{heartbeat}"
{ingest}
{extra}
"#,
        heartbeat = heartbeat.display(),
    )
}

/// Waits until `ready` gives something, at most `limit`.
pub async fn eventually<T>(limit: Duration, what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if let Some(value) = ready().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come true within {limit:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
