//! The ledger's table, as far as ingest needs it: rows that are read a hundred at a time and updated on a condition.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

/// The one update that ingest makes. Another one would be another table's, and this bench would measure nothing.
const UPDATE: &str =
    "ADD #count :count SET last_batch = :batch, event_time = :time, #evidence = :evidence, #before = :before";

#[derive(Default)]
pub struct Ledger(Mutex<HashMap<Box<str>, Row>>);

/// Attributes as DynamoDB's JSON has them.
struct Row {
    count: u64,
    last_batch: Box<str>,
    event_time: Box<str>,
    evidence: Box<str>,
    before: Box<str>,
}

/// Rows, and their counts together.
#[derive(Debug, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    pub counts: u64,
}

impl Ledger {
    pub fn totals(&self) -> Totals {
        let rows = self.0.lock().expect("no thread panics");
        Totals { rows: rows.len() as u64, counts: rows.values().map(|row| row.count).sum() }
    }

    /// BatchGetItem.
    pub fn read(&self, body: &[u8]) -> Vec<u8> {
        let request: Value = serde_json::from_slice(body).expect("JSON");
        let (table, wanted) =
            request["RequestItems"].as_object().and_then(|tables| tables.iter().next()).expect("a table");
        let rows = self.0.lock().expect("no thread panics");
        let keys = wanted["Keys"].as_array().expect("keys");
        let found: Vec<Value> = keys.iter().filter_map(|key| Some(rows.get(&*name(key))?.item(key))).collect();
        json!({ "Responses": { table: found }, "UnprocessedKeys": {} }).to_string().into_bytes()
    }

    /// UpdateItem. Err: the row is not as the condition has it.
    pub fn update(&self, body: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let request: Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(request["UpdateExpression"], UPDATE);
        let values = &request["ExpressionAttributeValues"];
        let value = |name: &str, kind: &str| values[name][kind].as_str();
        let given = |name: &str, kind: &str| Box::from(value(name, kind).expect("a value"));
        let key = &request["Key"];
        let mut rows = self.0.lock().expect("no thread panics");
        let old = rows.get(&*name(key));
        let is_as_seen = value(":seen", "N") == old.map(|row| &*row.last_batch)
            && value(":seen_time", "S") == old.map(|row| &*row.event_time);
        if !is_as_seen {
            let failed = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
            let refusal = json!({ "__type": failed, "message": "no", "Item": old.map(|row| row.item(key)) });
            return Err(refusal.to_string().into_bytes());
        }
        let count: u64 = value(":count", "N").and_then(|n| n.parse().ok()).expect("a number");
        let new = Row {
            count: old.map_or(0, |row| row.count) + count,
            last_batch: given(":batch", "N"),
            event_time: given(":time", "S"),
            evidence: given(":evidence", "B"),
            before: given(":before", "B"),
        };
        rows.insert(name(key), new);
        Ok(b"{}".to_vec())
    }
}

impl Row {
    fn item(&self, key: &Value) -> Value {
        json!({
            "bucket_name": key["bucket_name"],
            "object_key": key["object_key"],
            "last_batch": { "N": self.last_batch },
            "event_time": { "S": self.event_time },
            "evidence": { "B": self.evidence },
            "evidence_before": { "B": self.before },
        })
    }
}

fn name(key: &Value) -> Box<str> {
    let part = |name: &str| key[name]["S"].as_str().expect("a key");
    // No bucket's name holds a slash.
    format!("{}/{}", part("bucket_name"), part("object_key")).into()
}
