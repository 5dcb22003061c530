//! Listings: pages of objects in key order, and the "directories" under a prefix.
//!
//! Keys are asked for URL-encoded and decoded here: a key may hold characters that XML cannot, and a plain answer with
//! such a key cannot be parsed at all.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;

use super::S3;
use crate::aws::{AwsError, AwsResult};
use crate::tiering::object::{BucketName, ETag, ObjectKey};
use crate::tiering::storage_class::StorageClass;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    pub key: ObjectKey,
    pub etag: ETag,
    /// Bytes.
    pub size: u64,
    pub class: StorageClass,
    pub last_modified: DateTime<Utc>,
}

/// Where a listing begins.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    pub prefix: String,
    /// Only keys after this one, by UTF-8 bytes.
    pub start_after: Option<String>,
}

/// A listing under way. Each [`Pager::next_page`] is one request.
#[derive(Debug)]
pub struct Pager<'a> {
    s3: &'a S3,
    bucket: &'a BucketName,
    request: ListRequest,
    token: Option<String>,
    done: bool,
}

impl S3 {
    /// Lists the objects of `bucket` in key order (UTF-8 bytes), up to 1,000 a page.
    pub fn list<'a>(&'a self, bucket: &'a BucketName, request: ListRequest) -> Pager<'a> {
        Pager { s3: self, bucket, request, token: None, done: false }
    }

    /// The distinct beginnings of keys under `prefix` up to and with the next `delimiter`, in order.
    pub async fn list_common_prefixes(
        &self,
        bucket: &BucketName,
        prefix: &str,
        delimiter: char,
    ) -> AwsResult<Vec<String>> {
        let mut dirs = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(bucket.as_str())
                .prefix(prefix)
                .delimiter(delimiter)
                .encoding_type(EncodingType::Url)
                .set_continuation_token(token)
                .send()
                .await
                .map_err(|e| AwsError::new("ListObjectsV2", format_args!("s3://{bucket}/{prefix}"), e))?;
            if let Some(what) = not_whole(&page) {
                return Err(malformed(bucket, what));
            }
            let encoded = page.encoding_type.is_some();
            for entry in page.common_prefixes.unwrap_or_default() {
                if let Some(dir) = entry.prefix {
                    dirs.push(decode(dir, encoded, bucket)?);
                }
            }
            token = page.next_continuation_token;
            if token.is_none() || page.is_truncated != Some(true) {
                return Ok(dirs);
            }
        }
    }
}

impl Pager<'_> {
    /// The next page; None after the last one. After an error the same page is asked for again.
    pub async fn next_page(&mut self) -> AwsResult<Option<Vec<ListedObject>>> {
        if self.done {
            return Ok(None);
        }
        let page = self
            .s3
            .client
            .list_objects_v2()
            .bucket(self.bucket.as_str())
            .set_prefix(Some(self.request.prefix.clone()).filter(|p| !p.is_empty()))
            .set_start_after(self.request.start_after.clone())
            .encoding_type(EncodingType::Url)
            .set_continuation_token(self.token.clone())
            .send()
            .await
            .map_err(|e| AwsError::new("ListObjectsV2", format_args!("s3://{}", self.bucket), e))?;
        if let Some(what) = not_whole(&page) {
            return Err(self.malformed(what));
        }
        let encoded = page.encoding_type.is_some();
        let mut objects = Vec::with_capacity(page.contents.as_ref().map_or(0, Vec::len));
        for object in page.contents.unwrap_or_default() {
            objects.push(self.listed(object, encoded)?);
        }
        // A server that says "truncated" without a token would be asked for its first page for ever.
        self.done = page.is_truncated != Some(true) || page.next_continuation_token.is_none();
        if page.is_truncated == Some(true) && page.next_continuation_token.is_none() {
            return Err(self.malformed("a truncated page without a continuation token"));
        }
        self.token = page.next_continuation_token;
        Ok(Some(objects))
    }

    fn listed(&self, object: aws_sdk_s3::types::Object, encoded: bool) -> AwsResult<ListedObject> {
        let raw = object.key.ok_or_else(|| self.malformed("an object without a key"))?;
        let key = ObjectKey::new(decode(raw, encoded, self.bucket)?).map_err(|e| self.malformed(&e.to_string()))?;
        let etag = object.e_tag.and_then(|t| ETag::new(t).ok());
        let etag = etag.ok_or_else(|| self.malformed(&format!("{key} without an ETag")))?;
        let last_modified = object
            .last_modified
            .and_then(|t| DateTime::from_timestamp(t.secs(), t.subsec_nanos()))
            .ok_or_else(|| self.malformed(&format!("{key} without a LastModified")))?;
        Ok(ListedObject {
            key,
            etag,
            size: object.size.unwrap_or(0).max(0).unsigned_abs(),
            class: StorageClass::from_s3(object.storage_class.as_ref().map(|c| c.as_str())),
            last_modified,
        })
    }

    fn malformed(&self, what: &str) -> AwsError {
        malformed(self.bucket, what)
    }
}

/// What a page lacks, if it lacks anything. The SDK reads an answer that was cut, or that is no listing at all, as far as it
/// goes and without an error: as the last page, with fewer objects. Who believes that takes the others for deleted.
fn not_whole(page: &ListObjectsV2Output) -> Option<&'static str> {
    if page.is_truncated.is_none() {
        return Some("no word on whether it is the last page");
    }
    let entries = page.contents().len() + page.common_prefixes().len();
    let counted = page.key_count.and_then(|count| usize::try_from(count).ok());
    counted.is_some_and(|counted| counted > entries).then_some("fewer objects than it counts")
}

fn malformed(bucket: &BucketName, what: &str) -> AwsError {
    AwsError::from_entry("ListObjectsV2", format_args!("s3://{bucket}"), None, format!("the answer has {what}"))
}

/// S3 encodes keys as HTML forms do: a space is a plus, a plus is `%2B`. A server that ignores `encoding-type` does not
/// echo it either, and its keys are taken as they stand.
fn decode(raw: String, encoded: bool, bucket: &BucketName) -> AwsResult<String> {
    // A listing has many keys, and most of them say the same either way.
    if !encoded || !raw.contains(['+', '%']) {
        return Ok(raw);
    }
    let spaced = raw.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(|k| k.into_owned()).map_err(|_| {
        AwsError::from_entry(
            "ListObjectsV2",
            format_args!("s3://{bucket}"),
            None,
            format!("the answer has a key that is not UTF-8: {raw}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{CommonPrefix, Object};

    use super::*;

    #[test]
    fn a_page_is_whole_that_says_whether_it_is_the_last_and_has_what_it_counts() {
        let page = || {
            let listed = ListObjectsV2Output::builder().contents(Object::builder().key("k").build());
            listed.common_prefixes(CommonPrefix::builder().prefix("p/").build())
        };
        let is_whole = |page: ListObjectsV2Output| not_whole(&page).is_none();
        assert!(is_whole(page().is_truncated(false).key_count(2).build()));
        // Servers that are like S3 leave the count out, or count objects only.
        assert!(is_whole(page().is_truncated(true).build()));
        assert!(is_whole(page().is_truncated(true).key_count(1).build()));
        assert!(!is_whole(page().is_truncated(false).key_count(3).build()));
        assert!(!is_whole(page().key_count(2).build()));
        assert!(!is_whole(ListObjectsV2Output::builder().build()));
    }
}
