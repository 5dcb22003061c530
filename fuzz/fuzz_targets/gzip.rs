//! The fast inflater says what the slow one says, and neither goes over its cap.
#![no_main]

use std::io::BufReader;

use libfuzzer_sys::fuzz_target;
use tierd::tiering::access_log::gzip::{Encoding, Inflater, inflate_stream};

const MAX_BYTES: usize = 100_000;

fuzz_target!(|bytes: &[u8]| {
    let mut inflater = Inflater::new();
    let whole = inflater.inflate(bytes, MAX_BYTES).map(<[u8]>::to_vec);
    let mut content = Vec::new();
    let stream = inflate_stream(BufReader::with_capacity(97, bytes), MAX_BYTES, &mut content);
    match (&whole, &stream) {
        // The fast one reads the two length codes that deflate leaves unused as the longest length; that the content is
        // right is then what the member's own checksum says.
        (Ok(whole), Err(_)) => assert!(whole.starts_with(&content)),
        _ => assert_eq!(whole.as_ref().ok(), stream.is_ok().then_some(&content)),
    }
    assert!(content.len() <= MAX_BYTES);
    if let Ok(text) = inflater.read(bytes, Encoding::GzipOrPlain, MAX_BYTES) {
        assert!(text.len() <= MAX_BYTES);
    }
});
