//! The actions that go together, by what they are for, each with the reason for what the name of its operation does not tell.

/// Leases, checkpoints, batches, runs, quarantine.
pub(super) const STATE: &[&str] =
    &["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"];

/// A bucket's settings: what provisioning writes, and reads again to find what has drifted.
pub(super) const BUCKET_SETTINGS: &[&str] = &[
    "s3:GetBucketCORS",
    "s3:GetBucketNotification",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketTagging",
    "s3:GetLifecycleConfiguration",
    // HeadBucket.
    "s3:ListBucket",
    "s3:PutBucketCORS",
    "s3:PutBucketNotification",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutLifecycleConfiguration",
];

/// What a copy within a bucket goes by. ListBucket, because without it S3 answers 403 for an object that is gone.
pub(super) const BUCKET_FACTS: &[&str] = &["s3:GetBucketOwnershipControls", "s3:GetBucketVersioning", "s3:ListBucket"];

/// A copy that keeps everything.
pub(super) const MOVE: &[&str] = &[
    "s3:AbortMultipartUpload",
    // HEAD, and the source of a copy; the version actions where the bucket keeps versions, since a copy names the version.
    "s3:GetObject",
    "s3:GetObjectAcl",
    // HEAD leaves the lock out for those who may not read it, and a copy would then lose it.
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionTagging",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
];

/// HEAD, with the lock, and the tags. GetObject lets whoever has it read the object as well: S3 has no narrower action for HEAD.
pub(super) const LOOK_AT_OBJECT: &[&str] =
    &["s3:GetObject", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectTagging"];

/// A restore, and the tag that remembers it.
pub(super) const ASK_FOR_RESTORE: &[&str] =
    &["s3:DeleteObjectTagging", "s3:GetObject", "s3:GetObjectTagging", "s3:PutObjectTagging", "s3:RestoreObject"];

/// What replication does with the objects of a source. The templates in `deploy/replicate/` allow the same.
pub(super) const REPLICATION_SOURCE: &[&str] =
    &["s3:GetObject", "s3:GetObjectTagging", "s3:GetObjectVersion", "s3:GetObjectVersionTagging"];

/// And with those of a destination. GetObject is for the HEAD that says whether a newer object is there already.
pub(super) const REPLICATION_DESTINATION: &[&str] =
    &["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"];

/// And what a rule with an ACL takes there besides.
pub(super) const REPLICATION_ACL: &[&str] = &["s3:PutObjectAcl"];

/// Batches of these need no action of their own.
pub(super) const CONSUME: &[&str] = &[
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:ReceiveMessage",
];

pub(super) const LOOK_AT_QUEUE: &[&str] = &["sqs:GetQueueAttributes", "sqs:GetQueueUrl"];
