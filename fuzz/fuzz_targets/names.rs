//! Names of buckets, templates of them, and addresses of objects.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tierd::tiering::bucket_name::{BucketNameTemplate, is_legal_new_bucket_name};
use tierd::tiering::object::{BucketName, ObjectId};

fuzz_target!(|text: &str| {
    if is_legal_new_bucket_name(text).is_ok() {
        let bucket = BucketName::new(text).expect("what may be made may be");
        assert_eq!(BucketName::from_uri(&bucket.to_uri()), Ok(bucket));
    }
    if let Ok(object) = text.parse::<ObjectId>() {
        assert_eq!(object.to_string().parse::<ObjectId>(), Ok(object));
    }
    let _ = BucketNameTemplate::new(text);
});
