//! Access logs as AWS writes them, made for tests: CloudTrail records, files of them, the keys they lie under, and the
//! plain model of what they should count.

use std::collections::BTreeMap;
use std::io::Write as _;

use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

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
