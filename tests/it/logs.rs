//! Access logs as AWS writes them, made for tests: CloudTrail records, files of them, the keys they lie under, and the
//! plain model of what they should count.

use std::collections::BTreeMap;
use std::io::Write as _;

use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tierd::tiering::access::AccessUpdate;
use tierd::tiering::evidence::{AccessDelta, DayAccess};
use tierd::tiering::object::ObjectId;

use crate::world::World;

/// What a batch would tell of an object that was written `count` times on the day of `latest`.
pub fn written(object: ObjectId, count: u64, latest: DateTime<Utc>) -> AccessUpdate {
    let day = i32::try_from(latest.timestamp().div_euclid(86_400)).expect("a day");
    let days = vec![DayAccess { day, written: true, ..DayAccess::default() }];
    AccessUpdate { object, count, latest, delta: AccessDelta { days } }
}

/// One S3 data event.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub shared_id: Option<String>,
    pub time: DateTime<Utc>,
    pub name: &'static str,
    pub bucket: String,
    pub key: Option<String>,
    pub parameter: Option<&'static str>,
    pub error: Option<&'static str>,
    pub arn: String,
}

pub fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("an RFC 3339 time")
}

impl Event {
    /// A `PutObject` of somebody's; `id` need only be unlike any other's.
    pub fn put(id: u64, at: &str, bucket: &str, key: &str) -> Self {
        Self {
            id: format!("00000000-0000-4000-8000-{id:012x}"),
            shared_id: None,
            time: time(at),
            name: "PutObject",
            bucket: bucket.to_owned(),
            key: Some(key.to_owned()),
            parameter: None,
            error: None,
            arn: "arn:aws:iam::111111111111:user/somebody".to_owned(),
        }
    }

    /// A `GetObject` through the web front end, which counts.
    pub fn download(id: u64, at: &str, bucket: &str, key: &str) -> Self {
        Self { name: "GetObject", parameter: Some("response-content-disposition"), ..Self::put(id, at, bucket, key) }
    }

    pub fn record(&self) -> Value {
        let mut parameters = json!({ "bucketName": self.bucket, "Host": format!("{}.s3.amazonaws.com", self.bucket) });
        if let Some(key) = &self.key {
            parameters["key"] = json!(key);
        }
        if let Some(parameter) = self.parameter {
            parameters[parameter] = json!("attachment; filename=\"a.bin\"");
        }
        let mut record = json!({
            "eventVersion": "1.10",
            "userIdentity": { "type": "IAMUser", "arn": self.arn, "accountId": "111111111111" },
            "eventTime": self.time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "eventSource": "s3.amazonaws.com",
            "eventName": self.name,
            "awsRegion": "ap-northeast-1",
            "requestParameters": parameters,
            "responseElements": null,
            "additionalEventData": { "bytesTransferredIn": 0.0, "bytesTransferredOut": 2048.0 },
            "eventID": self.id,
            "eventCategory": "Data",
        });
        if let Some(shared) = &self.shared_id {
            record["sharedEventID"] = json!(shared);
        }
        if let Some(error) = self.error {
            record["errorCode"] = json!(error);
        }
        record
    }
}

/// A document of CloudTrail's, not compressed.
pub fn document(events: &[Event]) -> Vec<u8> {
    let records: Vec<Value> = events.iter().map(Event::record).collect();
    serde_json::to_vec(&json!({ "Records": records })).expect("JSON")
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

/// A log file of one gzip member.
pub fn file(events: &[Event]) -> Vec<u8> {
    gzip(&document(events))
}

/// The key of a CloudTrail file: `before` is what stands before `ACCOUNT/`, `AWSLogs/` and an organization's id with it.
pub fn cloudtrail_key(before: &str, account: &str, region: &str, published: &str, id: &str) -> String {
    let published = time(published);
    format!(
        "{before}{account}/CloudTrail/{region}/{}/{account}_CloudTrail_{region}_{}_{id}.json.gz",
        published.format("%Y/%m/%d"),
        published.format("%Y%m%dT%H%MZ"),
    )
}

/// The key of a file of a trail of one account.
pub fn simple_key(published: &str, id: &str) -> String {
    cloudtrail_key("AWSLogs/", "111111111111", "ap-northeast-1", published, id)
}

/// An access as a log tells it and as a trace does.
pub struct Access {
    pub event: Event,
    pub op: &'static str,
    pub bytes: u64,
    pub size: Option<u64>,
}

impl Access {
    pub fn new(id: u64, at: &str, bucket: &str, key: &str, op: &'static str, bytes: u64) -> Self {
        let name = match op {
            "PUT" => "PutObject",
            "GET" => "GetObject",
            _ => "DeleteObject",
        };
        let size = (op == "PUT").then_some(bytes);
        Self { event: Event { name, ..Event::put(id, at, bucket, key) }, op, bytes, size }
    }

    pub fn record(&self) -> Value {
        let (received, sent) = if self.op == "PUT" { (self.bytes, 0) } else { (0, self.bytes) };
        let mut record = self.event.record();
        record["additionalEventData"] =
            json!({ "bytesTransferredIn": received as f64, "bytesTransferredOut": sent as f64 });
        record
    }

    /// A line of a trace.
    pub fn line(&self) -> String {
        let Event { time, bucket, key, .. } = &self.event;
        let size = self.size.map_or(String::new(), |size| size.to_string());
        let key = key.as_deref().expect("a key");
        format!("{},{bucket},{key},{},{},{size}\n", time.to_rfc3339(), self.op, self.bytes)
    }
}

/// Puts a log file of `accesses` into the bucket of a trail.
pub async fn put_log(world: &World, trail: &str, published: &str, id: &str, accesses: &[&Access]) {
    let records: Vec<Value> = accesses.iter().map(|access| access.record()).collect();
    let body = gzip(json!({ "Records": records }).to_string().as_bytes());
    let key = simple_key(published, id);
    world.s3().put_object().bucket(trail).key(key).body(body.into()).send().await.unwrap();
}

/// What a ledger should say: object → (count, latest).
pub type Counts = BTreeMap<(String, String), (u64, DateTime<Utc>)>;

/// Counts these events, each of which is one that counts, as if there were no doubles among them.
pub fn count(counts: &mut Counts, events: &[Event]) {
    for event in events {
        let key = event.key.clone().expect("an event that counts has a key");
        let entry = counts.entry((event.bucket.clone(), key)).or_insert((0, event.time));
        entry.0 += 1;
        entry.1 = entry.1.max(event.time);
    }
}

/// A line of a server access log.
#[derive(Debug, Clone)]
pub struct AccessLine {
    pub time: DateTime<Utc>,
    pub bucket: String,
    /// As it is; the line has it encoded twice, as S3 writes it.
    pub key: String,
    pub request_id: String,
    pub requester: String,
    pub operation: &'static str,
    pub query: String,
    pub status: u16,
    pub user_agent: String,
    /// From 18, as before 2019, to 26.
    pub fields: usize,
}

impl AccessLine {
    pub fn put(at: &str, bucket: &str, key: &str) -> Self {
        Self {
            time: time(at),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            request_id: "3E57427F33A59F07".to_owned(),
            requester: "arn:aws:iam::111111111111:user/somebody".to_owned(),
            operation: "REST.PUT.OBJECT",
            query: String::new(),
            status: 200,
            user_agent: "aws-cli/2.15 (x; y)".to_owned(),
            fields: 26,
        }
    }

    /// A download through the web front end, which counts.
    pub fn download(at: &str, bucket: &str, key: &str) -> Self {
        let query = "?response-content-disposition=attachment%3B%20filename%3D%22a%22".to_owned();
        Self { operation: "REST.GET.OBJECT", query, ..Self::put(at, bucket, key) }
    }
}

impl std::fmt::Display for AccessLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let once = encode(&self.key).replace("%20", "+");
        let method = self.operation.split('.').nth(1).unwrap_or("-");
        let fields = [
            "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be".to_owned(),
            self.bucket.clone(),
            self.time.format("[%d/%b/%Y:%H:%M:%S +0000]").to_string(),
            "192.0.2.3".to_owned(),
            self.requester.clone(),
            self.request_id.clone(),
            self.operation.to_owned(),
            encode(&once),
            format!("\"{method} /{}/{once}{} HTTP/1.1\"", self.bucket, self.query),
            self.status.to_string(),
            "-".to_owned(),
            "113".to_owned(),
            "2048".to_owned(),
            "70".to_owned(),
            "10".to_owned(),
            "\"-\"".to_owned(),
            format!("\"{}\"", self.user_agent),
            "-".to_owned(),
            // Since 2019 and after, one after the other.
            "s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234=".to_owned(),
            "SigV4".to_owned(),
            "ECDHE-RSA-AES128-GCM-SHA256".to_owned(),
            "AuthHeader".to_owned(),
            "amzn-s3-demo-bucket1.s3.us-west-1.amazonaws.com".to_owned(),
            "TLSv1.2".to_owned(),
            "arn:aws:s3:us-west-1:123456789012:accesspoint/example-AP".to_owned(),
            "Yes".to_owned(),
        ];
        f.write_str(&fields[..self.fields].join(" "))
    }
}

/// A line of an application load balancer's access log.
#[derive(Debug, Clone)]
pub struct AlbLine {
    /// As it stands, with fractions of a second.
    pub time: String,
    pub method: &'static str,
    /// Path and query as sent.
    pub path: String,
    pub status: u16,
    pub fields: usize,
}

impl AlbLine {
    /// What a line had at first; 30 is what it has now.
    pub const OLDEST: usize = 18;

    pub fn put(at: &str, path: &str) -> Self {
        Self { time: at.to_owned(), method: "PUT", path: path.to_owned(), status: 200, fields: 30 }
    }
}

impl std::fmt::Display for AlbLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.to_string();
        let request = format!("\"{} https://www.example.com:443{} HTTP/2.0\"", self.method, self.path);
        let fields = [
            "h2",
            &self.time,
            "app/my-lb/50dc6c495c0c9188",
            "192.0.2.9:2817",
            "10.0.0.1:80",
            "0.000",
            "0.001",
            "0.000",
            &status,
            "200",
            "34",
            "366",
            &request,
            "\"curl/8.4.0\"",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLSv1.2",
            "arn:aws:elasticloadbalancing:ap-northeast-1:111111111111:targetgroup/t/73e2d6bc24d8a067",
            "\"Root=1-58337281-1d84f3d73c47ec4e58577259\"",
            "\"www.example.com\"",
            "\"arn:aws:acm:ap-northeast-1:111111111111:certificate/1\"",
            "0",
            "2026-03-01T09:59:59.900000Z",
            "\"forward\"",
            "\"-\"",
            "\"-\"",
            "\"10.0.0.1:80\"",
            "\"200\"",
            "\"-\"",
            "\"-\"",
            "TID_1234abcd5678ef90",
        ];
        f.write_str(&fields[..self.fields].join(" "))
    }
}

/// The key of a load balancer's log file; `before` is what stands before the account.
pub fn alb_key(before: &str, published: &str, id: &str) -> String {
    let published = time(published);
    let (account, region) = ("111111111111", "ap-northeast-1");
    format!(
        "{before}{account}/elasticloadbalancing/{region}/{}/{account}_elasticloadbalancing_{region}_\
         app.my-lb.50dc6c495c0c9188_{}_192.0.2.1_{id}.log.gz",
        published.format("%Y/%m/%d"),
        published.format("%Y%m%dT%H%MZ"),
    )
}
