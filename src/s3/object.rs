//! One object: its head, its bytes, its tags, its restore.

use std::collections::HashMap;

use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::operation::restore_object::RestoreObjectError;
use aws_sdk_s3::types::{
    ChecksumMode, ChecksumType, GlacierJobParameters, ObjectLockEventHold, ObjectLockLegalHoldStatus, ObjectLockMode,
    RestoreRequest, ServerSideEncryption, Tag, Tagging,
};
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;
use chrono::{DateTime, Utc};

use super::S3;
use crate::aws::{AwsError, AwsResult, Kind};
use crate::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};
use crate::tiering::storage_class::StorageClass;

/// What a HEAD says of an object: all that a copy of it must carry on.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectHead {
    pub etag: ETag,
    /// Bytes.
    pub size: u64,
    pub class: StorageClass,
    pub last_modified: Option<DateTime<Utc>>,
    /// None where the bucket was never versioned.
    pub version_id: Option<String>,
    /// The `x-amz-restore` header as it stands.
    pub restore: Option<String>,
    /// Intelligent-Tiering's archive tier (`ARCHIVE_ACCESS`, `DEEP_ARCHIVE_ACCESS`), where the object lies in one.
    pub archive_status: Option<String>,
    pub headers: SystemHeaders,
    pub user_metadata: HashMap<String, String>,
    /// Metadata headers that HTTP cannot show; a copy that must send metadata anew would lose them.
    pub missing_metadata: i32,
    pub website_redirect: Option<String>,
    pub encryption: Encryption,
    pub lock: Lock,
    pub checksum: Option<Checksum>,
    /// How many tags the object has. None: S3 shows the number only to those who may read them, and none for none.
    pub tag_count: Option<i32>,
}

/// The system-defined metadata that a user can set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemHeaders {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    /// As it was sent; S3 keeps what is no date as well.
    pub expires: Option<String>,
}

/// How the object is encrypted at rest.
#[derive(Debug, Clone, PartialEq)]
pub enum Encryption {
    None,
    /// SSE-S3, SSE-KMS or DSSE-KMS.
    Managed {
        algorithm: ServerSideEncryption,
        kms_key_id: Option<String>,
        bucket_key: Option<bool>,
    },
    /// SSE-C: nobody can copy the object without the customer's key.
    CustomerKey,
}

/// Object Lock settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lock {
    pub mode: Option<ObjectLockMode>,
    pub retain_until: Option<aws_sdk_s3::primitives::DateTime>,
    pub legal_hold: Option<ObjectLockLegalHoldStatus>,
    pub event_hold: Option<ObjectLockEventHold>,
    pub event_hold_days: Option<i32>,
    pub event_hold_years: Option<i32>,
}

impl Lock {
    /// Whether the version cannot be deleted at `now`.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.retain_until.is_some_and(|until| until.secs() > now.timestamp())
            || self.legal_hold == Some(ObjectLockLegalHoldStatus::On)
            || self.event_hold == Some(ObjectLockEventHold::On)
    }
}

/// Which checksum S3 keeps of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: aws_sdk_s3::types::ChecksumAlgorithm,
    pub kind: Option<ChecksumType>,
    pub value: String,
}

/// Retrieval tiers are validated before they get here; the SDK's own type is what the API takes.
pub use aws_sdk_s3::types::Tier as SdkTier;

impl S3 {
    /// The head of an object's current version. None: there is no such object (or only a delete marker).
    /// A missing *bucket* is an error where S3 lets us see the difference; a HEAD's 404 has no body to tell by.
    pub async fn head(&self, id: &ObjectId) -> AwsResult<Option<ObjectHead>> {
        let answer = self
            .client
            .head_object()
            .bucket(id.bucket.as_str())
            .key(id.key.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        match answer {
            Ok(head) => parse_head(id, head).map(Some),
            Err(e) => match AwsError::new("HeadObject", id, e) {
                e if e.kind == Kind::NotFound => Ok(None),
                // HEAD answers 400 for SSE-C without its key; the caller must know that it is this and nothing else.
                e => Err(e),
            },
        }
    }

    /// Whether the bucket exists and may be seen.
    pub async fn bucket_exists(&self, bucket: &BucketName) -> AwsResult<bool> {
        match self.client.head_bucket().bucket(bucket.as_str()).send().await {
            Ok(_) => Ok(true),
            Err(e) => match AwsError::new("HeadBucket", format_args!("s3://{bucket}"), e) {
                e if e.kind == Kind::NotFound => Ok(false),
                e => Err(e),
            },
        }
    }

    /// The object's bytes, all in memory, and only if it still has this ETag (else [`Kind::Precondition`]).
    pub async fn get(&self, bucket: &BucketName, key: &ObjectKey, etag: &ETag) -> AwsResult<Vec<u8>> {
        let subject = format!("s3://{bucket}/{key}");
        let answer = self
            .client
            .get_object()
            .bucket(bucket.as_str())
            .key(key.as_str())
            .if_match(etag.quoted())
            .send()
            .await
            .map_err(|e| AwsError::new("GetObject", &subject, e))?;
        let expected = answer.content_length.unwrap_or(0).max(0).unsigned_abs();
        let bytes = answer
            .body
            .collect()
            .await
            .map_err(|e| {
                AwsError::from_entry("GetObject", &subject, Some("RequestTimeout"), format!("the body broke off: {e}"))
            })?
            .to_vec();
        if (bytes.len() as u64) < expected {
            return Err(AwsError::from_entry(
                "GetObject",
                &subject,
                Some("RequestTimeout"),
                format!("the body broke off after {} of {expected} bytes", bytes.len()),
            ));
        }
        Ok(bytes)
    }

    /// The object's tags in S3's order.
    pub async fn tags(&self, id: &ObjectId) -> AwsResult<Vec<(String, String)>> {
        let answer = self
            .client
            .get_object_tagging()
            .bucket(id.bucket.as_str())
            .key(id.key.as_str())
            .send()
            .await
            .map_err(|e| AwsError::new("GetObjectTagging", id, e))?;
        Ok(answer.tag_set.into_iter().map(|t| (t.key, t.value)).collect())
    }

    /// Replaces the object's tags by these.
    pub async fn put_tags(&self, id: &ObjectId, tags: &[(String, String)]) -> AwsResult<()> {
        if tags.is_empty() {
            self.client
                .delete_object_tagging()
                .bucket(id.bucket.as_str())
                .key(id.key.as_str())
                .send()
                .await
                .map_err(|e| AwsError::new("DeleteObjectTagging", id, e))?;
            return Ok(());
        }
        let set = tags
            .iter()
            .map(|(k, v)| Tag::builder().key(k).value(v).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| AwsError::from_entry("PutObjectTagging", id, None, e.to_string()))?;
        let tagging = Tagging::builder()
            .set_tag_set(Some(set))
            .build()
            .map_err(|e| AwsError::from_entry("PutObjectTagging", id, None, e.to_string()))?;
        self.client
            .put_object_tagging()
            .bucket(id.bucket.as_str())
            .key(id.key.as_str())
            .tagging(tagging)
            .send()
            .await
            .map_err(|e| AwsError::new("PutObjectTagging", id, e))?;
        Ok(())
    }

    /// Deletes one version, and no other. `null` names the version that was written while the bucket kept none.
    pub async fn delete_version(&self, id: &ObjectId, version_id: &str) -> AwsResult<()> {
        self.client
            .delete_object()
            .bucket(id.bucket.as_str())
            .key(id.key.as_str())
            .version_id(version_id)
            .send()
            .await
            .map_err(|e| AwsError::new("DeleteObject", id, e))?;
        Ok(())
    }

    /// Whether the object is encrypted with a customer's key. A HEAD of such an object answers 400 and cannot say why;
    /// a GET can.
    pub async fn has_customer_key(&self, id: &ObjectId) -> AwsResult<bool> {
        let asked =
            self.client.get_object().bucket(id.bucket.as_str()).key(id.key.as_str()).range("bytes=0-0").send().await;
        match asked {
            Ok(_) => Ok(false),
            Err(e) => match AwsError::new("GetObject", id, e) {
                e if e.is("InvalidRequest") => Ok(true),
                e => Err(e),
            },
        }
    }

    /// Asks S3 to restore an archived object. `days` is None for Intelligent-Tiering's archive tiers, which take none.
    /// The codes that mean something to the caller: `RestoreAlreadyInProgress`, `GlacierExpeditedRetrievalNotAvailable`,
    /// `InvalidObjectState`.
    ///
    /// S3 answers 202 (begun) or 200 (restored already; its copy now lives for these days); the SDK does not tell which,
    /// and a HEAD does.
    pub async fn restore(&self, id: &ObjectId, days: Option<u32>, tier: SdkTier) -> AwsResult<()> {
        let parameters = GlacierJobParameters::builder()
            .tier(tier.clone())
            .build()
            .map_err(|e| AwsError::from_entry("RestoreObject", id, None, e.to_string()))?;
        let request = RestoreRequest::builder();
        let request = match days {
            Some(days) => request.days(i32::try_from(days).unwrap_or(i32::MAX)).glacier_job_parameters(parameters),
            None => request.tier(tier),
        };
        self.client
            .restore_object()
            .bucket(id.bucket.as_str())
            .key(id.key.as_str())
            .restore_request(request.build())
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().retry_classifier(NoCapacityIsFinal))
            .send()
            .await
            .map_err(|e| AwsError::new("RestoreObject", id, e))?;
        Ok(())
    }
}

/// That there is no Expedited capacity comes as a 503, which the SDK would ask again for half a minute. The caller has a
/// better answer.
#[derive(Debug)]
struct NoCapacityIsFinal;

impl ClassifyRetry for NoCapacityIsFinal {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err).and_then(|error| error.as_operation_error());
        let restore = error.and_then(|error| error.downcast_ref::<RestoreObjectError>());
        match restore.and_then(|error| error.meta().code()) {
            Some("GlacierExpeditedRetrievalNotAvailable") => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "no Expedited capacity"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::http_status_code_classifier())
    }
}

fn parse_head(id: &ObjectId, head: aws_sdk_s3::operation::head_object::HeadObjectOutput) -> AwsResult<ObjectHead> {
    let checksum = checksum(&head);
    let encryption = encryption(&head);
    let etag = head
        .e_tag
        .and_then(|t| ETag::new(t).ok())
        .ok_or_else(|| AwsError::from_entry("HeadObject", id, None, "the answer has no ETag"))?;
    Ok(ObjectHead {
        etag,
        size: head.content_length.unwrap_or(0).max(0).unsigned_abs(),
        class: StorageClass::from_s3(head.storage_class.as_ref().map(|c| c.as_str())),
        last_modified: head.last_modified.and_then(|t| DateTime::from_timestamp(t.secs(), t.subsec_nanos())),
        version_id: head.version_id.filter(|v| v != "null"),
        restore: head.restore,
        archive_status: head.archive_status.map(|s| s.as_str().to_owned()),
        headers: SystemHeaders {
            content_type: head.content_type,
            cache_control: head.cache_control,
            content_disposition: head.content_disposition,
            content_encoding: head.content_encoding,
            content_language: head.content_language,
            expires: head.expires_string,
        },
        user_metadata: head.metadata.unwrap_or_default(),
        missing_metadata: head.missing_meta.unwrap_or(0),
        website_redirect: head.website_redirect_location,
        encryption,
        lock: Lock {
            mode: head.object_lock_mode,
            retain_until: head.object_lock_retain_until_date,
            legal_hold: head.object_lock_legal_hold_status,
            event_hold: head.object_lock_event_hold,
            event_hold_days: head.object_lock_event_hold_duration_days,
            event_hold_years: head.object_lock_event_hold_duration_years,
        },
        checksum,
        tag_count: head.tag_count,
    })
}

fn encryption(head: &aws_sdk_s3::operation::head_object::HeadObjectOutput) -> Encryption {
    if head.sse_customer_algorithm.is_some() {
        return Encryption::CustomerKey;
    }
    match &head.server_side_encryption {
        None => Encryption::None,
        Some(algorithm) => Encryption::Managed {
            algorithm: algorithm.clone(),
            kms_key_id: head.ssekms_key_id.clone(),
            bucket_key: head.bucket_key_enabled,
        },
    }
}

fn checksum(head: &aws_sdk_s3::operation::head_object::HeadObjectOutput) -> Option<Checksum> {
    use aws_sdk_s3::types::ChecksumAlgorithm as A;
    let found = [
        (A::Crc64Nvme, &head.checksum_crc64_nvme),
        (A::Crc32, &head.checksum_crc32),
        (A::Crc32C, &head.checksum_crc32_c),
        (A::Sha1, &head.checksum_sha1),
        (A::Sha256, &head.checksum_sha256),
        (A::Sha512, &head.checksum_sha512),
        (A::Md5, &head.checksum_md5),
        (A::Xxhash64, &head.checksum_xxhash64),
        (A::Xxhash3, &head.checksum_xxhash3),
        (A::Xxhash128, &head.checksum_xxhash128),
    ];
    found.into_iter().find_map(|(algorithm, value)| {
        value.as_ref().map(|value| Checksum { algorithm, kind: head.checksum_type.clone(), value: value.clone() })
    })
}

#[cfg(test)]
impl ObjectHead {
    /// A plain object, for tests.
    pub(crate) fn sample(etag: &str) -> Self {
        Self {
            etag: ETag::new(etag).expect("a tag"),
            size: 10,
            class: StorageClass::Standard,
            last_modified: None,
            version_id: None,
            restore: None,
            archive_status: None,
            headers: SystemHeaders::default(),
            user_metadata: HashMap::new(),
            missing_metadata: 0,
            website_redirect: None,
            encryption: Encryption::None,
            lock: Lock::default(),
            checksum: None,
            tag_count: None,
        }
    }
}
