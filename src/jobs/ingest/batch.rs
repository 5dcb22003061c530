//! How files are put into batches: in their order, as many as the limits allow.

use std::collections::VecDeque;

use super::Limits;
use crate::state::batches::BatchFile;

/// An item of DynamoDB has at most 400 KB; the rest is for the places, the figures and the names.
const MANIFEST_BYTES: usize = 330_000;
/// Each directory is named once in a manifest, with its bucket.
const MAX_PLACE_BYTES: usize = 40_000;

/// Takes the next batch from the front; None when nothing is left. A batch has one file at least.
pub(super) fn take(files: &mut VecDeque<BatchFile>, limits: &Limits) -> Option<Vec<BatchFile>> {
    let mut batch: Vec<BatchFile> = Vec::new();
    let (mut bytes, mut manifest_bytes, mut place_bytes) = (0_u64, 0_usize, 0_usize);
    let mut places = std::collections::HashSet::new();
    while let Some(file) = files.front() {
        bytes = bytes.saturating_add(file.size);
        manifest_bytes += file.manifest_bytes();
        if places.insert(file.place.clone()) {
            place_bytes += file.place.prefix.len() + file.place.bucket.as_str().len() + 10;
        }
        let is_full = batch.len() >= limits.batch_files
            || bytes > limits.batch_bytes
            || manifest_bytes > MANIFEST_BYTES
            || place_bytes > MAX_PLACE_BYTES;
        if is_full && !batch.is_empty() {
            break;
        }
        batch.extend(files.pop_front());
    }
    (!batch.is_empty()).then_some(batch)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::state::batches::LogPlace;
    use crate::tiering::object::{BucketName, ETag, ObjectKey};

    fn file(size: u64, key_len: usize) -> BatchFile {
        let place = LogPlace { bucket: BucketName::new("some-logs").unwrap(), prefix: "p/".to_owned() };
        BatchFile {
            place: Arc::new(place),
            key: ObjectKey::new(format!("p/{}", "k".repeat(key_len))).unwrap(),
            etag: ETag::new("e").unwrap(),
            size,
            day: "2026-01-01".parse().unwrap(),
        }
    }

    fn limits(batch_files: usize, batch_bytes: u64) -> Limits {
        Limits {
            lookback: Duration::ZERO,
            batch_files,
            batch_bytes,
            max_file_bytes: 0,
            concurrency: 1,
            write_concurrency: 1,
        }
    }

    fn check(files: &[BatchFile], limits: &Limits, want: &[usize]) {
        let mut left: VecDeque<_> = files.to_vec().into();
        let mut lengths = Vec::new();
        while let Some(batch) = take(&mut left, limits) {
            lengths.push(batch.len());
        }
        assert_eq!(lengths, want);
    }

    #[test]
    fn a_batch_keeps_to_every_limit_and_never_loses_a_file() {
        check(&[], &limits(3, 100), &[]);
        check(&vec![file(1, 5); 7], &limits(3, 100), &[3, 3, 1]);
        check(&vec![file(40, 5); 5], &limits(10, 100), &[2, 2, 1]);
        // One file alone may be larger than a batch.
        check(&[file(1, 5), file(500, 5), file(1, 5)], &limits(10, 100), &[1, 1, 1]);
        let long = vec![file(1, 1000); 1000];
        let per_batch = MANIFEST_BYTES / long[0].manifest_bytes();
        assert!(per_batch > 200);
        let mut left: VecDeque<_> = long.into();
        assert_eq!(take(&mut left, &limits(1000, 1 << 40)).map(|b| b.len()), Some(per_batch));
    }
}
