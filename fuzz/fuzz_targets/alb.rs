//! Access logs of load balancers: nothing makes the parser panic.
#![no_main]

#[path = "rules/mod.rs"]
mod rules;

use libfuzzer_sys::fuzz_target;
use tierd::tiering::access_log::alb::PathPattern;
use tierd::tiering::access_log::{Format, Parser};

fuzz_target!(|bytes: &[u8]| {
    let paths = PathPattern::new("^/files/(?<bucket>[^/]+)/(?<key>.+)$").expect("a pattern");
    let parsed = Parser::new(Format::Alb(paths), rules::rules()).parse(bytes);
    assert!(parsed.accesses.len() as u64 + parsed.records_bad <= parsed.records);
});
