//! Copying an object: the one way in which tierd writes object bytes, whether a move changes the class in place, a restored
//! object goes back to its class, or a replica is made in another bucket.
//!
//! **Nothing is lost by a copy.** CopyObject keeps user metadata, system headers and tags when it is told to, and drops the
//! rest: the ACL, the website redirect, the choice of encryption, the Object Lock settings, the storage class. All of that
//! is taken from the source's head (and its ACL) and sent. Above [`Copies::multipart_threshold_bytes`] a copy goes in parts,
//! where S3 inherits nothing at all; see [`multipart`]. What cannot be carried is refused before anything is written
//! ([`Uncarriable`]). Two things S3 tells nobody: an SSE-KMS encryption context that a user chose, and whether an object's
//! owner differs; they fall to S3's defaults.
//!
//! **A concurrent write wins over us, always.** The source must still have the ETag of the head (and, in a versioned bucket,
//! the very version is named), and the destination must be as the caller expects it ([`Expect`]), in every request that
//! reads or writes.

mod acl;
mod multipart;

use std::collections::HashMap;

use aws_sdk_s3::primitives::{DateTime as SdkDateTime, DateTimeFormat};
use aws_sdk_s3::types::{
    MetadataDirective, ObjectCannedAcl, ObjectLockEventHold, ObjectLockLegalHoldStatus, ServerSideEncryption,
    TaggingDirective,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use self::acl::Grants;
use super::S3;
use super::object::{Encryption, Lock, ObjectHead};
use crate::aws::{AwsError, Kind};
use crate::clock;
use crate::tiering::object::{ETag, ObjectId};
use crate::tiering::policy::guard::Copies;
use crate::tiering::storage_class::StorageClass;

/// The most that one CopyObject takes (CopyObject's reference: 5 GB, meant as 5 GiB).
pub const MAX_SINGLE_COPY_BYTES: u64 = 5 << 30;

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same for a copy source, whose slashes stand for themselves.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// One copy.
#[derive(Debug, Clone)]
pub struct CopyRequest<'a> {
    pub source: &'a ObjectId,
    /// The source's head: what is to be carried, and the ETag that the source must still have.
    pub head: &'a ObjectHead,
    pub destination: &'a ObjectId,
    pub class: StorageClass,
    pub expect: Expect,
    pub acl: Acl,
    pub metadata: Metadata,
    pub tags: Tags,
    pub protection: Protection,
    /// When the copy goes in parts, and how large they are.
    pub copies: Copies,
}

/// What must hold of the destination for the copy to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// It still has this ETag.
    Same(ETag),
    /// There is no such object.
    Absent,
    /// Whatever is there is written over.
    Anything,
}

/// The ACL of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acl {
    /// The source's, which takes a call to read. For buckets that honour ACLs; see
    /// [`super::bucket_facts::BucketFacts::acl`].
    Keep,
    /// None is sent: the destination's default.
    Unsent,
    /// A canned ACL by its name, such as `bucket-owner-full-control`.
    Canned(String),
}

/// The user metadata of the copy. System headers are kept either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata {
    Keep,
    Replace(HashMap<String, String>),
}

/// The tags of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    Keep,
    Replace(Vec<(String, String)>),
}

/// How the copy is encrypted and locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// As the source is: algorithm, key and bucket key, lock and holds, sent explicitly.
    Keep,
    /// As the destination bucket does by default. For another account's bucket, where the source's key is of no use and
    /// Object Lock may not be on.
    DestinationDefault,
}

impl<'a> CopyRequest<'a> {
    /// A copy of an object onto itself that changes its class and nothing else. What is there must be what `head` saw.
    pub fn in_place(id: &'a ObjectId, head: &'a ObjectHead, class: StorageClass, acl: Acl, copies: Copies) -> Self {
        Self {
            source: id,
            head,
            destination: id,
            class,
            expect: Expect::Same(head.etag.clone()),
            acl,
            metadata: Metadata::Keep,
            tags: Tags::Keep,
            protection: Protection::Keep,
            copies,
        }
    }
}

/// What a copy made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The copy's ETag: another than the source's where one of the two was uploaded in parts.
    pub etag: ETag,
    /// The new version; None where the destination's bucket keeps no versions, or writes over the `null` version.
    pub version_id: Option<String>,
    pub class: StorageClass,
}

/// Why no copy was made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source or the destination is no longer what the request expects (412). Whoever changed it has won.
    #[error("the object was changed meanwhile")]
    Changed,
    /// Somebody writes to the destination at this moment (409 `ConditionalRequestConflict`): look again.
    #[error("somebody else writes to the object at this moment")]
    Conflict,
    /// There is no such source any more, or no such bucket.
    #[error("the object is gone")]
    Gone,
    /// The source is archived and not restored (or no longer).
    #[error("the object is archived")]
    Archived,
    #[error(transparent)]
    Uncarriable(#[from] Uncarriable),
    /// A copy in parts was given up, and its parts with it, because the program ends.
    #[error("the copy was given up because the program ends")]
    Stopped,
    #[error(transparent)]
    Aws(AwsError),
}

/// What a copy would lose.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Uncarriable {
    #[error("it is encrypted with a key that only the customer has (SSE-C)")]
    CustomerKey,
    #[error("{0} of its metadata headers cannot be shown by HTTP, and so cannot be sent again")]
    HiddenMetadata(i32),
    #[error("its Expires header, {0:?}, is no date")]
    Expires(String),
    #[error("it has {0} bytes, more than parts can hold")]
    Size(u64),
}

impl From<AwsError> for CopyError {
    fn from(error: AwsError) -> Self {
        match error.kind {
            Kind::Precondition => Self::Changed,
            Kind::Conflict => Self::Conflict,
            // Aborted by somebody else: it says nothing of the object.
            Kind::NotFound if error.is("NoSuchUpload") => Self::Aws(error),
            Kind::NotFound => Self::Gone,
            _ if error.is("InvalidObjectState") => Self::Archived,
            _ => Self::Aws(error),
        }
    }
}

impl S3 {
    /// Makes the copy. `stop` gives up a copy in parts between two parts and aborts its upload; a copy in one request is
    /// finished.
    pub async fn copy(&self, request: &CopyRequest<'_>, stop: &CancellationToken) -> Result<Copied, CopyError> {
        if request.head.encryption == Encryption::CustomerKey {
            return Err(Uncarriable::CustomerKey.into());
        }
        let carried = self.carried(request).await?;
        let in_parts = request.head.size > request.copies.multipart_threshold_bytes.min(MAX_SINGLE_COPY_BYTES);
        if in_parts {
            self.copy_in_parts(request, &carried, stop).await
        } else {
            self.copy_at_once(request, carried).await
        }
    }

    /// What has to be sent because S3 would not keep it.
    async fn carried(&self, request: &CopyRequest<'_>) -> Result<Carried, CopyError> {
        let (canned_acl, grants) = match &request.acl {
            Acl::Keep => (None, self.grants(request.source, request.head).await?),
            Acl::Unsent => (None, Grants::default()),
            Acl::Canned(name) => (Some(ObjectCannedAcl::from(name.as_str())), Grants::default()),
        };
        let (encryption, lock) = match request.protection {
            Protection::Keep => (SentEncryption::of(&request.head.encryption), still_valid(&request.head.lock)),
            Protection::DestinationDefault => Default::default(),
        };
        Ok(Carried { canned_acl, grants, encryption, lock })
    }

    async fn copy_at_once(&self, request: &CopyRequest<'_>, carried: Carried) -> Result<Copied, CopyError> {
        let head = request.head;
        let Carried { canned_acl, grants, encryption, lock } = carried;
        let mut copy = self
            .copier
            .copy_object()
            .bucket(request.destination.bucket.as_str())
            .key(request.destination.key.as_str())
            .copy_source(copy_source(request.source, head))
            .copy_source_if_match(head.etag.quoted())
            .set_if_match(request.expect.if_match())
            .set_if_none_match(request.expect.if_none_match())
            .storage_class(request.class.as_str().into())
            .set_website_redirect_location(head.website_redirect.clone())
            .set_server_side_encryption(encryption.algorithm)
            .set_ssekms_key_id(encryption.kms_key_id)
            .set_bucket_key_enabled(encryption.bucket_key)
            .set_acl(canned_acl)
            .set_grant_full_control(grants.full_control)
            .set_grant_read(grants.read)
            .set_grant_read_acp(grants.read_acp)
            .set_grant_write_acp(grants.write_acp)
            .set_object_lock_mode(lock.mode)
            .set_object_lock_retain_until_date(lock.retain_until)
            .set_object_lock_legal_hold_status(lock.legal_hold)
            .set_object_lock_event_hold(lock.event_hold)
            .set_object_lock_event_hold_duration_days(lock.event_hold_days)
            .set_object_lock_event_hold_duration_years(lock.event_hold_years)
            .set_checksum_algorithm(head.checksum.as_ref().map(|c| c.algorithm.clone()));
        copy = match &request.metadata {
            Metadata::Keep => copy.metadata_directive(MetadataDirective::Copy),
            Metadata::Replace(map) => {
                let headers = &head.headers;
                copy.metadata_directive(MetadataDirective::Replace)
                    .set_metadata(Some(map.clone()))
                    .set_content_type(headers.content_type.clone())
                    .set_cache_control(headers.cache_control.clone())
                    .set_content_disposition(headers.content_disposition.clone())
                    .set_content_encoding(headers.content_encoding.clone())
                    .set_content_language(headers.content_language.clone())
                    .set_expires(expires(headers.expires.as_deref())?)
            }
        };
        copy = match &request.tags {
            Tags::Keep => copy.tagging_directive(TaggingDirective::Copy),
            Tags::Replace(tags) => copy.tagging_directive(TaggingDirective::Replace).tagging(tag_query(tags)),
        };
        let answer = copy.send().await.map_err(|e| AwsError::new("CopyObject", request.destination, e))?;
        let etag = answer.copy_object_result.and_then(|r| r.e_tag);
        copied("CopyObject", request, etag, answer.version_id)
    }
}

/// What every kind of copy sends alike.
#[derive(Debug)]
struct Carried {
    canned_acl: Option<ObjectCannedAcl>,
    grants: Grants,
    encryption: SentEncryption,
    lock: Lock,
}

/// The headers of server-side encryption.
#[derive(Debug, Clone, Default, PartialEq)]
struct SentEncryption {
    algorithm: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
    bucket_key: Option<bool>,
}

impl SentEncryption {
    fn of(encryption: &Encryption) -> Self {
        let Encryption::Managed { algorithm, kms_key_id, bucket_key } = encryption else {
            return Self::default();
        };
        // A head leaves the bucket key out where it is off, and a copy that leaves it out gets the bucket's default. Other
        // algorithms know no bucket key.
        let bucket_key = (*algorithm == ServerSideEncryption::AwsKms).then(|| bucket_key.unwrap_or(false));
        Self { algorithm: Some(algorithm.clone()), kms_key_id: kms_key_id.clone(), bucket_key }
    }
}

impl Expect {
    fn if_match(&self) -> Option<String> {
        match self {
            Self::Same(etag) => Some(etag.quoted()),
            Self::Absent | Self::Anything => None,
        }
    }

    fn if_none_match(&self) -> Option<String> {
        (*self == Self::Absent).then(|| "*".to_owned())
    }
}

/// S3 refuses a retention that is over, and a hold that is off needs no header.
fn still_valid(lock: &Lock) -> Lock {
    let retained = lock.retain_until.filter(|until| until.secs() > clock::now().timestamp());
    let event_hold = lock.event_hold.clone().filter(|hold| *hold == ObjectLockEventHold::On);
    Lock {
        mode: lock.mode.clone().filter(|_| retained.is_some()),
        retain_until: retained.filter(|_| lock.mode.is_some()),
        legal_hold: lock.legal_hold.clone().filter(|hold| *hold == ObjectLockLegalHoldStatus::On),
        event_hold_days: lock.event_hold_days.filter(|_| event_hold.is_some()),
        event_hold_years: lock.event_hold_years.filter(|_| event_hold.is_some()),
        event_hold,
    }
}

/// `BUCKET/KEY[?versionId=…]`, percent-encoded: the header is decoded by S3, so that a plus in a key must not stand bare.
fn copy_source(source: &ObjectId, head: &ObjectHead) -> String {
    let path = format!("{}/{}", source.bucket, source.key);
    let path = utf8_percent_encode(&path, RESERVED_IN_PATH);
    match &head.version_id {
        Some(version) => format!("{path}?versionId={}", utf8_percent_encode(version, RESERVED)),
        None => path.to_string(),
    }
}

/// Tags as the `x-amz-tagging` header has them: a URL's query.
fn tag_query(tags: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    tags.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect::<Vec<_>>().join("&")
}

/// The Expires header as the SDK sends it. S3 keeps what is no date too, but the SDK cannot send that.
fn expires(header: Option<&str>) -> Result<Option<SdkDateTime>, Uncarriable> {
    let Some(text) = header else { return Ok(None) };
    SdkDateTime::from_str(text, DateTimeFormat::HttpDate).map(Some).map_err(|_| Uncarriable::Expires(text.to_owned()))
}

fn copied(
    operation: &'static str,
    request: &CopyRequest<'_>,
    etag: Option<String>,
    version_id: Option<String>,
) -> Result<Copied, CopyError> {
    let etag = etag
        .and_then(|etag| ETag::new(etag).ok())
        .ok_or_else(|| AwsError::from_entry(operation, request.destination, None, "the answer has no ETag"))?;
    Ok(Copied { etag, version_id: version_id.filter(|version| version != "null"), class: request.class })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tiering::object::{BucketName, ObjectKey};

    #[test]
    fn a_copy_source_is_encoded_but_for_its_slashes() {
        for (key, expected) in [
            ("a/b.txt", "bucket/a/b.txt"),
            ("a+b %20?#;한글", "bucket/a%2Bb%20%2520%3F%23%3B%ED%95%9C%EA%B8%80"),
            ("~-_.", "bucket/~-_."),
            ("//a&b=c\u{1}", "bucket///a%26b%3Dc%01"),
        ] {
            let id = ObjectId::new(BucketName::new("bucket").unwrap(), ObjectKey::new(key).unwrap());
            assert_eq!(copy_source(&id, &ObjectHead::sample("e")), expected, "{key}");
            let versioned = ObjectHead { version_id: Some("v+1".to_owned()), ..ObjectHead::sample("e") };
            assert_eq!(copy_source(&id, &versioned), format!("{expected}?versionId=v%2B1"));
        }
    }

    proptest! {
        /// A server decodes the path once; a plus in a path is a plus.
        #[test]
        fn any_key_and_version_read_back_as_they_were_sent(key in "\\PC{1,60}|[\u{1}-\u{7f}]{1,60}", version in "\\PC{1,20}") {
            let id = ObjectId::new(BucketName::new("bucket").unwrap(), ObjectKey::new(key.as_str()).unwrap());
            let head = ObjectHead { version_id: Some(version.clone()), ..ObjectHead::sample("e") };
            let sent = copy_source(&id, &head);
            let (path, query) = sent.split_once('?').unwrap();
            prop_assert!(sent.is_ascii() && !path.contains('+') && !query.contains('?'), "{}", sent);
            let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
            prop_assert_eq!(decoded(path), format!("bucket/{key}"));
            prop_assert_eq!(decoded(query), format!("versionId={version}"));
        }

        #[test]
        fn any_tags_read_back_as_they_were_sent(tags in prop::collection::vec((any::<String>(), any::<String>()), 0..4)) {
            let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
            let sent = tag_query(&tags);
            let read: Vec<(String, String)> = sent
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(key, value)| (decoded(key), decoded(value)))
                .collect();
            prop_assert!(!sent.contains('+'));
            prop_assert_eq!(read, tags);
        }
    }

    #[test]
    fn tags_are_written_as_a_query() {
        let tags = [("a b".to_owned(), "1&2=3".to_owned()), ("키".to_owned(), String::new())];
        assert_eq!(tag_query(&tags), "a%20b=1%262%3D3&%ED%82%A4=");
    }

    #[test]
    fn a_bucket_key_that_is_off_is_said_to_be_off() {
        let sent = |algorithm: ServerSideEncryption, bucket_key| {
            SentEncryption::of(&Encryption::Managed { algorithm, kms_key_id: None, bucket_key }).bucket_key
        };
        assert_eq!(sent(ServerSideEncryption::AwsKms, None), Some(false));
        assert_eq!(sent(ServerSideEncryption::AwsKms, Some(true)), Some(true));
        assert_eq!(sent(ServerSideEncryption::AwsKmsDsse, None), None);
        assert_eq!(sent(ServerSideEncryption::Aes256, Some(true)), None);
    }

    #[test]
    fn a_retention_that_is_over_is_not_sent() {
        use aws_sdk_s3::types::ObjectLockMode;
        let until = |secs| Lock {
            mode: Some(ObjectLockMode::Governance),
            retain_until: Some(SdkDateTime::from_secs(secs)),
            legal_hold: Some(ObjectLockLegalHoldStatus::Off),
            ..Lock::default()
        };
        assert_eq!(still_valid(&until(1_000_000)), Lock::default());
        let future = clock::now().timestamp() + 3600;
        assert_eq!(still_valid(&until(future)), Lock { legal_hold: None, ..until(future) });
    }

    #[test]
    fn an_expires_that_is_no_date_cannot_be_carried() {
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(expires(Some(date)).unwrap().unwrap().fmt(DateTimeFormat::HttpDate).unwrap(), date);
        assert_eq!(expires(Some("0")), Err(Uncarriable::Expires("0".to_owned())));
        assert_eq!(expires(None), Ok(None));
    }
}
