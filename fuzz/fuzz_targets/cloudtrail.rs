//! CloudTrail files: nothing makes the parser panic, it sees as many records as a JSON parser, and walking over a record
//! comes to the same as parsing it.
#![no_main]

#[path = "rules/mod.rs"]
mod rules;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tierd::tiering::access_log::{Format, Parser};

fuzz_target!(|bytes: &[u8]| {
    let parser = Parser::new(Format::CloudTrail, rules::rules());
    let parsed = parser.parse(bytes);
    assert!(parsed.records_bad <= parsed.records);
    assert!(parsed.accesses.len() as u64 + parsed.records_bad <= parsed.records);
    assert!(parsed.errors.len() as u64 <= parsed.records_bad);
    assert!(parsed.errors.iter().all(|error| error.offset <= bytes.len() as u64));

    let Ok(Value::Array(mut records)) = serde_json::from_slice::<Value>(bytes) else { return };
    assert_eq!(parsed.records, records.len() as u64);
    // Only objects: of others there are as many as there are bad ones.
    records.retain(Value::is_object);
    let texts: Vec<String> = records.iter().map(Value::to_string).collect();
    let walked = parser.parse(format!("[{}]", texts.join(",")).as_bytes());
    // A name with an escape is what a walk leaves to the parser.
    let odd: Vec<String> = texts
        .iter()
        .map(|text| match &text[1..] {
            "}" => "{\"\\u0061\":0}".to_owned(),
            rest => format!("{{\"\\u0061\":0,{rest}"),
        })
        .collect();
    let read = parser.parse(format!("[{}]", odd.join(",")).as_bytes());
    assert_eq!((walked.records, walked.records_bad), (read.records, read.records_bad));
    assert_eq!(walked.accesses, read.accesses);
});
