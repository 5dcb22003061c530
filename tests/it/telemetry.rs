//! What the program says, over a run of the whole loop with every line that can be asked for: no secret is in it, every metric
//! of the contract is, in the form that CloudWatch takes; and a flood is held back and counted.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::emf;
use crate::harness;
use crate::logs::{self, Event};
use crate::proxy::{Fault, Proxy};
use crate::world::{World, eventually};

const KEY_ID: &str = "AKIAPLANTEDKEYID7Q2Z";
const SECRET_KEY: &str = "planted/secret+key/5Uq1";
const SESSION_TOKEN: &str = "plantedSessionToken8Jw3//////////wEaDGFw";
/// In what objects hold.
const CONTENT: &str = "planted-content-6Rt9";
/// In presigned URLs, which stand in access logs and messages.
const SIGNATURE: &str = "planted5ignature4Ye0";
const SECRETS: [&str; 5] = [KEY_ID, SECRET_KEY, SESSION_TOKEN, CONTENT, SIGNATURE];

/// All that tierd has to say, and all that it is made of would like to.
const EVERYTHING: &str = "trace,tierd=trace,aws_config=trace,aws_runtime=trace,aws_sigv4=trace,aws_smithy_runtime=trace,\
aws_smithy_runtime_api=trace,aws_smithy_http_client=trace,aws_sdk_s3=trace,hyper=trace,hyper_util=trace,h2=trace";

/// The contract's list.
const METRICS: [&str; 18] = [
    "UsersProvisioned",
    "ProvisionLatency",
    "StreamLag",
    "FilesIngested",
    "RecordsParsed",
    "AccessesCounted",
    "LedgerRowsDropped",
    "ObjectsMoved",
    "BytesMoved",
    "MonthlySaving",
    "RestoresRequested",
    "RestoresCompleted",
    "RestoreLatency",
    "MessagesRejected",
    "Quarantined",
    "JobDuration",
    "JobFailures",
    "AwsThrottles",
];

fn configuration(name: &str) -> String {
    let source = |kind: &str, more: &str| {
        format!("[[ingest.source]]\nkind = \"{kind}\"\nbucket = \"{kind}-{name}\"\nbucket_prefix = \"told\"\n{more}")
    };
    format!(
        "telemetry.level = \"{EVERYTHING}\"\nprovision.bucket_name = \"told{{user_id}}-{{timestamp}}\"\n\
         transition.min_object_size = 0\ntransition.respect_minimum_duration = false\ntransition.require_saving = false\n\
         transition.require_recent_ingest = \"0d\"\n{}{}{}",
        source("cloudtrail", ""),
        source("s3-access-log", ""),
        source("alb", "path_pattern = \"^/files/(?<bucket>[^/]+)/(?<key>.+)$\"\n"),
    )
}

fn presigned(path: &str) -> String {
    format!(
        "https://told.s3.amazonaws.com/{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY_ID}%2F20260101&\
         X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={SESSION_TOKEN}"
    )
}

/// Everything that was said, by whichever process.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn listen(&self, pipe: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let said = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Some(line) = lines.next_line().await.expect("text") {
                said.0.lock().unwrap().push(line);
            }
        })
    }

    fn add(&self, text: &[u8]) {
        self.0.lock().unwrap().extend(String::from_utf8_lossy(text).lines().map(str::to_owned));
    }

    /// The lines that are JSON objects.
    fn objects(&self) -> Vec<Value> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
    }

    fn events(&self) -> BTreeSet<String> {
        self.objects().iter().filter_map(|line| line["event"].as_str()).map(str::to_owned).collect()
    }

    async fn hears(&self, event: &str) {
        eventually(Duration::from_secs(60), event, async || self.events().contains(event).then_some(())).await;
    }
}

fn with_secrets(mut command: Command) -> Command {
    command
        .env("AWS_ACCESS_KEY_ID", KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_SESSION_TOKEN", SESSION_TOKEN)
        .stderr(Stdio::piped());
    command
}

async fn put(world: &World, bucket: &str, key: &str, class: &str, body: Vec<u8>) {
    let request = world.s3().put_object().bucket(bucket).key(key).storage_class(class.into()).body(body.into());
    request.send().await.expect("an object");
}

async fn send(world: &World, queue: &str, body: String) {
    let url = world.sqs().get_queue_url().queue_name(queue).send().await.expect("a queue").queue_url;
    world.sqs().send_message().queue_url(url.expect("its URL")).message_body(body).send().await.expect("a message");
}

/// Logs of the three kinds: accesses that count, lines that cannot be read with secrets in them, and no log at all.
async fn put_logs(world: &World, bucket: &str) {
    let now = tierd::clock::now();
    let published = tierd::clock::rfc3339(now);
    let mut trail: Value =
        serde_json::from_slice(&logs::document(&[Event::put(1, "2024-01-02T03:04:05Z", bucket, "old")])).unwrap();
    let mut broken = trail["Records"][0].clone();
    trail["Records"][0]["requestParameters"]["X-Amz-Signature"] = json!(SIGNATURE);
    trail["Records"][0]["userIdentity"]["accessKeyId"] = json!(KEY_ID);
    broken["eventTime"] = json!(presigned("old"));
    broken["eventID"] = json!("another");
    trail["Records"].as_array_mut().unwrap().push(broken);
    let trails = world.named("cloudtrail");
    let file = logs::gzip(&serde_json::to_vec(&trail).unwrap());
    put(world, &trails, &logs::simple_key(&published, "good"), "STANDARD", file).await;
    let cut = format!("no gzip: {CONTENT} {}", presigned("x"));
    put(world, &trails, &logs::simple_key(&published, "none"), "STANDARD", cut.into_bytes()).await;

    let url = presigned("old");
    let target = url.split_once(".com").unwrap().1;
    let time = now.format("%d/%b/%Y:%H:%M:%S +0000");
    let head = format!(
        "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be {bucket} [{time}] 192.0.2.3 - 3E57427F3EXAMPLE"
    );
    let access = [
        format!("{head} REST.GET.OBJECT old \"GET {target} HTTP/1.1\" {url} - 5 5 7 7 \"{url}\" \"agent\" -\n"),
        format!("{head} REST.GET.OBJECT old \"GET {target} HTTP/1.1\n"),
        format!("{head} REST.GET.OBJECT {url}\n"),
        format!("{bucket} [{url}] {url}\n"),
        format!("{url}\n"),
    ];
    let key = format!("{}-ABCDEF0123456789", now.format("%Y-%m-%d-%H-%M-%S"));
    put(world, &world.named("s3-access-log"), &key, "STANDARD", access.concat().into_bytes()).await;

    let day = now.format("%Y/%m/%d");
    let key = format!(
        "AWSLogs/111111111111/elasticloadbalancing/ap-northeast-1/{day}/111111111111_elasticloadbalancing_ap-northeast-1_app.lb.0_{}_192.0.2.1_x.log.gz",
        now.format("%Y%m%dT%H%MZ")
    );
    let time = now.format("%Y-%m-%dT%H:%M:%S.000000Z");
    let balancer = [
        format!(
            "https {time} app/lb/1 192.0.2.9:1 192.0.2.8:80 0.0 0.0 0.0 {url} 200 1 1 \"GET {url} HTTP/1.1\" \"a\" - - -\n"
        ),
        format!(
            "https {url} app/lb/1 192.0.2.9:1 192.0.2.8:80 0.0 0.0 0.0 200 200 1 1 \"GET {url} HTTP/1.1\" \"a\" - - -\n"
        ),
        format!("https {time} app/lb/1 192.0.2.9:1 192.0.2.8:80 0.0 0.0 0.0 200 200 1 1 \"GET {url}\n"),
        format!("{url}\n"),
    ];
    put(world, &world.named("alb"), &key, "STANDARD", logs::gzip(balancer.concat().as_bytes())).await;
}

#[tokio::test]
async fn a_run_of_the_whole_loop_tells_every_metric_and_no_secret() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let mut world = World::at(&proxy.endpoint, "telling", "").await;
    let text = configuration(&world.name);
    world.reconfigure(&text).await;
    for kind in ["cloudtrail", "s3-access-log", "alb"] {
        world.bucket(kind).await;
    }
    // One call is told to go slower, which the SDK's retry hides.
    let mut told = false;
    proxy.fault(move |request| {
        let is_it = !told && request.operation() == "GetRecords";
        told |= is_it;
        is_it.then(Fault::dynamodb_throttles)
    });

    let said = Said::default();
    let mut daemon = with_secrets(world.tierd(&["run"])).spawn().expect("tierd runs");
    let ears = [said.listen(daemon.stdout.take().unwrap()), said.listen(daemon.stderr.take().unwrap())];
    // After the sweep of a first start, so that it is the stream that tells of the user: how late it is, is known from there.
    said.hears("provision.swept").await;
    world.put_user("ann").await;
    said.hears("user.provisioned").await;
    let bucket = world.bucket_uri("ann").await.expect("a bucket").trim_start_matches("s3://").to_owned();
    let body = |size: usize| CONTENT.repeat(size).into_bytes();
    put(&world, &bucket, "old", "STANDARD", body(10_000)).await;
    put(&world, &bucket, "archived", "GLACIER", body(100)).await;
    put_logs(&world, &bucket).await;

    let queues = &world.settings().restore;
    let (requests, events) = (queues.request_queue.clone(), queues.event_queue.clone());
    let asks = json!({ "bucket": bucket, "key": "archived" });
    send(&world, &requests, asks.to_string()).await;
    let url = presigned("x");
    for body in [
        format!("{CONTENT} {url}"),
        json!({ "bucket": url, "key": "k" }).to_string(),
        json!({ "bucket": "some-bucket", "key": "k", "days": url }).to_string(),
        json!({ "bucket": "some-bucket", "key": "k", "tier": url }).to_string(),
        json!({ "bucket": "some-bucket", "key": "k".repeat(2000) + &url }).to_string(),
    ] {
        send(&world, &requests, body).await;
    }
    let record = |source: &str, version: &str, key: &str| {
        json!({ "Records": [{ "eventSource": source, "eventVersion": version, "eventName": "ObjectRestore:Completed",
            "s3": { "bucket": { "name": "some-bucket" }, "object": { "key": key } } }] })
    };
    for body in [
        json!({ "Records": url }),
        record(&url, "2.1", "k"),
        record("aws:s3", &url, "k"),
        record("aws:s3", "2.1", &format!("%zz{url}")),
    ] {
        send(&world, &events, body.to_string()).await;
    }
    said.hears("message.rejected").await;
    said.hears("restore.completed").await;

    for (args, code) in [
        // A file was set aside.
        (&["job", "ingest", "--json"][..], 1),
        (&["job", "transition", "--json"], 0),
        (&["job", "sweep", "--json"], 0),
        (&["quarantine", "list"], 0),
        (&["status"], 0),
        // This world's queues have no dead-letter queues.
        (&["check"], 69),
    ] {
        let output = with_secrets(world.tierd(args)).output().await.expect("tierd runs");
        said.add(&output.stdout);
        said.add(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
    kill(Pid::from_raw(daemon.id().expect("it runs").try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(daemon.wait().await.expect("it ends").success());
    for ear in ears {
        ear.await.expect("every line was heard");
    }

    let lines = said.0.lock().unwrap().clone();
    for secret in SECRETS {
        let leaks: Vec<&String> = lines.iter().filter(|line| line.contains(secret)).collect();
        assert!(leaks.is_empty(), "{secret} in {} lines, such as {}", leaks.len(), leaks[0]);
    }
    let events = said.events();
    for event in ["record.rejected", "object.moved", "restore.requested", "job.finished", "message.rejected"] {
        assert!(events.contains(event), "{event} never came: {events:?}");
    }
    for (event, field, figure) in [("job.finished", "report", "outcome"), ("ingest.batch.done", "figures", "files")] {
        let lines = said.objects().into_iter().filter(|line| line["event"] == event);
        assert!(lines.clone().count() > 0, "{event}");
        lines.for_each(|line| assert!(line[field].get(figure).is_some(), "{line}"));
    }
    assert!(
        said.objects().iter().any(|line| line["level"] == "DEBUG" || line["level"] == "TRACE"),
        "all was asked for"
    );

    let metrics: Vec<Value> = said.objects().into_iter().filter(|line| line.get("_aws").is_some()).collect();
    for line in &metrics {
        assert_eq!(emf::violations(line, tierd::clock::now().timestamp_millis()), Vec::<String>::new(), "{line}");
        let dimensions = line["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone();
        let known = [json!([["Service"]]), json!([["Service", "Job"]]), json!([["Service", "Queue"]])];
        assert!(known.contains(&dimensions), "{line}");
    }
    let names: BTreeSet<String> = metrics.iter().flat_map(emf::metric_names).collect();
    let missing: Vec<&str> = METRICS.into_iter().filter(|name| !names.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} of the contract never came; there were {names:?}");
}
