//! What `x-amz-restore` says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tierd::tiering::restore::RestoreStatus;

fuzz_target!(|header: &str| {
    let _ = RestoreStatus::from_header(Some(header));
});
