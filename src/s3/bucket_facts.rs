//! What has to be known of a bucket before its objects are copied: whether their ACLs count, and whether it keeps versions.

use aws_sdk_s3::types::{BucketVersioningStatus, ObjectOwnership};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::S3;
use super::copy::Acl;
use crate::aws::{AwsError, AwsResult};
use crate::tiering::object::BucketName;

/// Settings of a bucket that a copy goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketFacts {
    pub acls: AclUse,
    pub versioning: Versioning,
}

/// Whether the ACLs of a bucket's objects mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclUse {
    /// `BucketOwnerEnforced`, the default of buckets made since April 2023: S3 refuses a copy that sends grants.
    Disabled,
    Honoured,
}

/// Whether a copy leaves an older version behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    Never,
    /// New objects write over the `null` version; older versions stay.
    Suspended,
    Enabled,
}

impl BucketFacts {
    /// What a copy within the bucket does about the ACL, so that the object keeps it.
    pub fn acl(&self) -> Acl {
        match self.acls {
            AclUse::Disabled => Acl::Unsent,
            AclUse::Honoured => Acl::Keep,
        }
    }
}

impl S3 {
    /// Asks for the bucket's ownership controls and versioning.
    pub async fn bucket_facts(&self, bucket: &BucketName) -> AwsResult<BucketFacts> {
        let subject = format!("s3://{bucket}");
        let controls = self.client.get_bucket_ownership_controls().bucket(bucket.as_str()).send().await;
        let acls = match controls {
            Ok(answer) => {
                let enforced = answer.ownership_controls.is_some_and(|controls| {
                    controls.rules.iter().any(|rule| rule.object_ownership == ObjectOwnership::BucketOwnerEnforced)
                });
                if enforced { AclUse::Disabled } else { AclUse::Honoured }
            }
            Err(e) => match AwsError::new("GetBucketOwnershipControls", &subject, e) {
                // A bucket from before there were such controls: its ACLs count.
                e if e.is("OwnershipControlsNotFoundError") => AclUse::Honoured,
                e => return Err(e),
            },
        };
        let status = match self.client.get_bucket_versioning().bucket(bucket.as_str()).send().await {
            Ok(answer) => answer.status,
            // Servers that speak S3's protocol, moto among them, put the same answer under another root element, which the
            // SDK does not read.
            Err(e) => match e.raw_response().filter(|raw| raw.status().is_success()).map(status_under_any_root) {
                Some(status) => status,
                None => return Err(AwsError::new("GetBucketVersioning", &subject, e)),
            },
        };
        let versioning = match status {
            Some(BucketVersioningStatus::Enabled) => Versioning::Enabled,
            Some(_) => Versioning::Suspended,
            None => Versioning::Never,
        };
        Ok(BucketFacts { acls, versioning })
    }
}

fn status_under_any_root(answer: &HttpResponse) -> Option<BucketVersioningStatus> {
    let body = String::from_utf8_lossy(answer.body().bytes()?).into_owned();
    let (_, after) = body.split_once("<Status>")?;
    let (status, _) = after.split_once("</Status>")?;
    Some(BucketVersioningStatus::from(status))
}
