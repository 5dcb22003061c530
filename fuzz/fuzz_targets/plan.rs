//! Plan files: nothing makes the reader panic, and it comes to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tierd::tiering::plan::PlanReader;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reader) = PlanReader::new(bytes) {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        assert!(reader.take(lines + 2).count() <= lines + 1);
    }
});
