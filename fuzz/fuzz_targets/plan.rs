//! Plan files: nothing makes the reader panic, and it comes to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tierd::tiering::plan::PlanReader;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(PlanReader::new(bytes).take(lines + 2).count() <= lines);
});
