//! The bodies of queue messages: S3's notifications in their envelopes, and requests for restores.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tierd::tiering::restore::parse_requests;
use tierd::tiering::s3_event::{form_decode, form_encode, parse_events};

fuzz_target!(|body: &str| {
    let _ = parse_events(body);
    let _ = parse_requests(body);
    assert_eq!(form_decode(&form_encode(body)).as_deref(), Ok(body));
});
