//! Access logs of load balancers: nothing makes the parser panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tierd::tiering::access::{CountRule, CountingRules};
use tierd::tiering::access_log::alb::PathPattern;
use tierd::tiering::access_log::{Format, Parser};

fuzz_target!(|bytes: &[u8]| {
    let rules = CountingRules {
        rules: vec![
            CountRule { event: "PutObject".into(), with_parameter: None },
            CountRule { event: "GetObject".into(), with_parameter: Some("response-content-disposition".into()) },
        ],
        exclude: vec![],
        bucket_prefix: "siuu".into(),
    };
    let paths = PathPattern::new("^/files/(?<bucket>[^/]+)/(?<key>.+)$").expect("a pattern");
    let parsed = Parser::new(Format::Alb(paths), rules).parse(bytes);
    assert!(parsed.accesses.len() as u64 + parsed.records_bad <= parsed.records);
});
