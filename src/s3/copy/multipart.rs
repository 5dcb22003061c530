//! Copies in parts, for what is too large for one request.
//!
//! A multipart upload inherits nothing from the source, so everything is sent when it begins: headers, metadata, tags, ACL,
//! encryption, lock, class, checksum. The source's ETag is a condition of every part, and what the destination must be is a
//! condition of the completion, which is the moment at which the object changes. Whatever goes wrong before that, the upload
//! is aborted, since its parts would be billed until then; a crash leaves that to the bucket's lifecycle rule.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, CopyPartResult};
use futures::StreamExt;
use futures::stream;
use tokio_util::sync::CancellationToken;

use super::{
    Carried, Copied, CopyError, CopyRequest, MAX_SINGLE_COPY_BYTES, Metadata, Tags, Uncarriable, copied, copy_source,
    expires, tag_query,
};
use crate::aws::{AwsError, AwsResult};
use crate::s3::S3;
use crate::s3::object::{Checksum, ObjectHead};
use crate::tiering::object::ObjectId;

/// Parts of one object that are copied at once.
const PARTS_AT_ONCE: usize = 8;

/// S3's limits on parts (S3 user guide, "Amazon S3 multipart upload limits").
const MAX_PARTS: u64 = 10_000;
const MIN_PART_BYTES: u64 = 5 << 20;
const MAX_PART_BYTES: u64 = MAX_SINGLE_COPY_BYTES;

impl S3 {
    pub(super) async fn copy_in_parts(
        &self,
        request: &CopyRequest<'_>,
        carried: &Carried,
        stop: &CancellationToken,
    ) -> Result<Copied, CopyError> {
        let size = request.head.size;
        let part_bytes = part_bytes(size, request.copies.part_bytes).ok_or(Uncarriable::Size(size))?;
        let upload_id = self.begin(request, carried).await?;
        failpoint!("copy.upload-begun");
        let outcome = match self.copy_parts(request, &upload_id, part_bytes, stop).await {
            Ok(parts) => {
                failpoint!("copy.parts-copied");
                self.complete(request, &upload_id, parts).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome
            // An answer that never came may hide a completion that took place; then there is nothing to abort.
            && let Err(abort) = self.abort(request.destination, &upload_id).await
            && !abort.is("NoSuchUpload")
        {
            tracing::warn!(
                event = "copy.abort_failed",
                bucket = request.destination.bucket.as_str(),
                key = request.destination.key.as_str(),
                upload_id,
                cause = %error,
                error = %abort,
                "the parts of an unfinished copy could not be removed"
            );
        }
        outcome
    }

    async fn begin(&self, request: &CopyRequest<'_>, carried: &Carried) -> Result<String, CopyError> {
        let head = request.head;
        let metadata = match &request.metadata {
            Metadata::Keep if head.missing_metadata > 0 => {
                return Err(Uncarriable::HiddenMetadata(head.missing_metadata).into());
            }
            Metadata::Keep => head.user_metadata.clone(),
            Metadata::Replace(map) => map.clone(),
        };
        let tags = match &request.tags {
            Tags::Replace(tags) => tags.clone(),
            // The head shows the number of tags only to those who may read them: ask, whatever it says.
            Tags::Keep => self.version_tags(request.source, head).await?,
        };
        let checksum = head.checksum.as_ref();
        let answer = self
            .copier
            .create_multipart_upload()
            .bucket(request.destination.bucket.as_str())
            .key(request.destination.key.as_str())
            .storage_class(request.class.as_str().into())
            .set_metadata(Some(metadata).filter(|m| !m.is_empty()))
            .set_content_type(head.headers.content_type.clone())
            .set_cache_control(head.headers.cache_control.clone())
            .set_content_disposition(head.headers.content_disposition.clone())
            .set_content_encoding(head.headers.content_encoding.clone())
            .set_content_language(head.headers.content_language.clone())
            .set_expires(expires(head.headers.expires.as_deref())?)
            .set_website_redirect_location(head.website_redirect.clone())
            .set_tagging(Some(tag_query(&tags)).filter(|query| !query.is_empty()))
            .set_server_side_encryption(carried.encryption.algorithm.clone())
            .set_ssekms_key_id(carried.encryption.kms_key_id.clone())
            .set_bucket_key_enabled(carried.encryption.bucket_key)
            .set_acl(carried.canned_acl.clone())
            .set_grant_full_control(carried.grants.full_control.clone())
            .set_grant_read(carried.grants.read.clone())
            .set_grant_read_acp(carried.grants.read_acp.clone())
            .set_grant_write_acp(carried.grants.write_acp.clone())
            .set_object_lock_mode(carried.lock.mode.clone())
            .set_object_lock_retain_until_date(carried.lock.retain_until)
            .set_object_lock_legal_hold_status(carried.lock.legal_hold.clone())
            .set_object_lock_event_hold(carried.lock.event_hold.clone())
            .set_object_lock_event_hold_duration_days(carried.lock.event_hold_days)
            .set_object_lock_event_hold_duration_years(carried.lock.event_hold_years)
            .set_checksum_algorithm(checksum.map(|c| c.algorithm.clone()))
            .set_checksum_type(checksum.map(checksum_type))
            .send()
            .await
            .map_err(|e| AwsError::new("CreateMultipartUpload", request.destination, e))?;
        answer.upload_id.ok_or_else(|| {
            AwsError::from_entry("CreateMultipartUpload", request.destination, None, "the answer has no upload id")
                .into()
        })
    }

    /// Copies all parts, some at a time. After the first failure, or `stop`, no further part is begun, and those under way
    /// are waited for: an abort beside them would leave some behind.
    async fn copy_parts(
        &self,
        request: &CopyRequest<'_>,
        upload_id: &str,
        part_bytes: u64,
        stop: &CancellationToken,
    ) -> Result<Vec<CompletedPart>, CopyError> {
        let enough = stop.child_token();
        let mut results = stream::iter(ranges(request.head.size, part_bytes))
            .map(|range| {
                let enough = &enough;
                async move {
                    if enough.is_cancelled() {
                        return Err(CopyError::Stopped);
                    }
                    self.copy_part(request, upload_id, range).await.inspect_err(|_| enough.cancel())
                }
            })
            .buffered(PARTS_AT_ONCE);
        let mut parts = Vec::new();
        let mut failure = None;
        while let Some(result) = results.next().await {
            match result {
                Ok(part) => parts.push(part),
                // The first failure stops the others; theirs is no news.
                Err(CopyError::Stopped) => failure = failure.or(Some(CopyError::Stopped)),
                Err(error) => {
                    failure = match failure {
                        None | Some(CopyError::Stopped) => Some(error),
                        earlier => earlier,
                    }
                }
            }
        }
        failure.map_or(Ok(parts), Err)
    }

    async fn copy_part(
        &self,
        request: &CopyRequest<'_>,
        upload_id: &str,
        range: PartRange,
    ) -> Result<CompletedPart, CopyError> {
        let subject = || format!("{} part {}", request.destination, range.number);
        let answer = self
            .copier
            .upload_part_copy()
            .bucket(request.destination.bucket.as_str())
            .key(request.destination.key.as_str())
            .upload_id(upload_id)
            .part_number(range.number)
            .copy_source(copy_source(request.source, request.head))
            .copy_source_if_match(request.head.etag.quoted())
            .copy_source_range(format!("bytes={}-{}", range.first, range.last))
            .send()
            .await
            .map_err(|e| AwsError::new("UploadPartCopy", subject(), e))?;
        let part = answer
            .copy_part_result
            .filter(|part| part.e_tag.is_some())
            .ok_or_else(|| AwsError::from_entry("UploadPartCopy", subject(), None, "the answer has no ETag"))?;
        Ok(completed(range.number, part))
    }

    async fn complete(
        &self,
        request: &CopyRequest<'_>,
        upload_id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<Copied, CopyError> {
        let answer = self
            .copier
            .complete_multipart_upload()
            .bucket(request.destination.bucket.as_str())
            .key(request.destination.key.as_str())
            .upload_id(upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_if_match(request.expect.if_match())
            .set_if_none_match(request.expect.if_none_match())
            .set_checksum_type(request.head.checksum.as_ref().map(checksum_type))
            .send()
            .await
            .map_err(|e| AwsError::new("CompleteMultipartUpload", request.destination, e))?;
        copied("CompleteMultipartUpload", request, answer.e_tag, answer.version_id)
    }

    async fn abort(&self, destination: &ObjectId, upload_id: &str) -> AwsResult<()> {
        self.copier
            .abort_multipart_upload()
            .bucket(destination.bucket.as_str())
            .key(destination.key.as_str())
            .upload_id(upload_id)
            .send()
            .await
            .map_err(|e| AwsError::new("AbortMultipartUpload", destination, e))?;
        Ok(())
    }

    async fn version_tags(&self, id: &ObjectId, head: &ObjectHead) -> AwsResult<Vec<(String, String)>> {
        let answer = self
            .copier
            .get_object_tagging()
            .bucket(id.bucket.as_str())
            .key(id.key.as_str())
            .set_version_id(head.version_id.clone())
            .send()
            .await
            .map_err(|e| AwsError::new("GetObjectTagging", id, e))?;
        Ok(answer.tag_set.into_iter().map(|t| (t.key, t.value)).collect())
    }
}

/// A part of the source: its number from 1, its first and last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartRange {
    number: i32,
    first: u64,
    last: u64,
}

/// How large the parts of `size` bytes are: as wished, but within S3's limits. None: no parts can hold it.
fn part_bytes(size: u64, wished: u64) -> Option<u64> {
    let bytes = wished.max(size.div_ceil(MAX_PARTS)).clamp(MIN_PART_BYTES, MAX_PART_BYTES);
    (size.div_ceil(bytes) <= MAX_PARTS).then_some(bytes)
}

fn ranges(size: u64, part_bytes: u64) -> impl Iterator<Item = PartRange> {
    (1..).zip((0..size).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX))).map(move |(number, first)| {
        let last = (first + part_bytes).min(size) - 1;
        PartRange { number, first, last }
    })
}

/// The source's kind of checksum, where its algorithm has that kind in parts: CRC-64 is always of the whole object, and the
/// SHA algorithms cannot be put together from parts (S3 user guide, "Checking object integrity").
fn checksum_type(checksum: &Checksum) -> ChecksumType {
    match &checksum.algorithm {
        ChecksumAlgorithm::Crc64Nvme => ChecksumType::FullObject,
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32C => {
            checksum.kind.clone().unwrap_or(ChecksumType::FullObject)
        }
        _ => ChecksumType::Composite,
    }
}

fn completed(number: i32, part: CopyPartResult) -> CompletedPart {
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(part.e_tag)
        .set_checksum_crc32(part.checksum_crc32)
        .set_checksum_crc32_c(part.checksum_crc32_c)
        .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
        .set_checksum_sha1(part.checksum_sha1)
        .set_checksum_sha256(part.checksum_sha256)
        .set_checksum_sha512(part.checksum_sha512)
        .set_checksum_md5(part.checksum_md5)
        .set_checksum_xxhash64(part.checksum_xxhash64)
        .set_checksum_xxhash3(part.checksum_xxhash3)
        .set_checksum_xxhash128(part.checksum_xxhash128)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_within_the_limits_of_s3() {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        for (size, wished, expected) in [
            (6 * GIB, 512 * MIB, Some(512 * MIB)),
            (6 * GIB, MIB, Some(5 * MIB)),
            (6 * GIB, 9 * GIB, Some(5 * GIB)),
            // 10,000 parts and not one more.
            (50_000 * MIB, 5 * MIB, Some(5 * MIB)),
            (50_000 * MIB + 1, 5 * MIB, Some(5 * MIB + 1)),
            (50_000 * GIB, 512 * MIB, Some(5 * GIB)),
            (50_000 * GIB + 1, 512 * MIB, None),
        ] {
            assert_eq!(part_bytes(size, wished), expected, "{size} in parts of {wished}");
        }
    }

    #[test]
    fn ranges_cover_every_byte_once() {
        for (size, part) in [(1, 5), (5, 5), (6, 5), (17, 5)] {
            let all: Vec<PartRange> = ranges(size, part).collect();
            let mut next = 0;
            for (i, range) in all.iter().enumerate() {
                assert_eq!((range.number as usize, range.first), (i + 1, next), "{size} by {part}");
                assert!(range.last >= range.first && range.last - range.first < part);
                next = range.last + 1;
            }
            assert_eq!(next, size);
        }
    }
}
