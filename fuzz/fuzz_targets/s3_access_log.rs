//! S3's server access logs: nothing makes the parser panic, and a line means the same wherever it stands.
#![no_main]

#[path = "rules/mod.rs"]
mod rules;

use libfuzzer_sys::fuzz_target;
use tierd::tiering::access_log::{Format, Parser};

fuzz_target!(|bytes: &[u8]| {
    let parser = Parser::new(Format::S3AccessLog, rules::rules());
    let parsed = parser.parse(bytes);
    assert!(parsed.accesses.len() as u64 + parsed.records_bad <= parsed.records);
    let twice = parser.parse(&[b"\n", bytes, b"\n", bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)].concat());
    // A mark of the byte order is none in the middle.
    if !bytes.starts_with(b"\xef\xbb\xbf") {
        assert_eq!(twice.accesses.len(), 2 * parsed.accesses.len());
        assert_eq!(twice.records, 2 * parsed.records);
    }
});
