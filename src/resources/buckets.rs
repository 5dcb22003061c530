//! Buckets that must be there before the daemon: those that logs are read from and those that are replicated. Users'
//! buckets are provisioning's.

use super::{Bucket, BucketRole, Standing};
use crate::aws::{AwsError, AwsResult, Clients, Kind};

pub(super) async fn inspect(clients: &Clients, bucket: &Bucket) -> AwsResult<Standing> {
    let name = bucket.name.as_str();
    let looked = match &bucket.role {
        BucketRole::Logs { region, prefix } => {
            let client = clients.s3_in(region.as_deref().unwrap_or(&clients.region));
            let sent = client
                .list_objects_v2()
                .bucket(name)
                .set_prefix(Some(prefix.clone()).filter(|prefix| !prefix.is_empty()))
                .max_keys(1)
                .send()
                .await;
            sent.map(|_| "its logs can be listed").map_err(|e| AwsError::new("ListObjectsV2", name, e))
        }
        BucketRole::ReplicationSource => {
            let sent = clients.s3.head_bucket().bucket(name).send().await;
            sent.map(|_| "objects are replicated from it").map_err(|e| AwsError::new("HeadBucket", name, e))
        }
        BucketRole::ReplicationDestination => {
            let sent = clients.s3.head_bucket().bucket(name).send().await;
            match sent.map_err(|e| AwsError::new("HeadBucket", name, e)) {
                // Another account's bucket policy need allow no more than putting, and S3 says 404 of a bucket that is not.
                Err(e) if e.kind == Kind::Denied && e.status == Some(403) => {
                    Ok("it is there; whether objects may be put into it shows with the first one")
                }
                other => other.map(|_| "objects are replicated to it"),
            }
        }
    };
    match looked {
        Ok(seen) => Ok(Standing::Ok(seen.to_owned())),
        Err(error) if lies_elsewhere(&error) => Ok(Standing::Differs(vec!["it lies in another region".to_owned()])),
        Err(error) => Err(error),
    }
}

/// What a person does about a bucket that is not as it is needed.
pub(super) fn mend(bucket: &Bucket, standing: &Standing) -> String {
    let key = match bucket.role {
        BucketRole::Logs { .. } => "ingest.source.bucket",
        BucketRole::ReplicationSource => "replicate.source_bucket",
        BucketRole::ReplicationDestination => "replicate.destination_bucket",
    };
    match (standing, &bucket.role) {
        (Standing::Differs(_), BucketRole::Logs { .. }) => "set `region` in its [[ingest.source]]".to_owned(),
        (Standing::Differs(_), _) => "replication works within aws.region".to_owned(),
        _ => format!("it is not tierd's to make; check {key}"),
    }
}

/// S3's redirects, and its complaint about a signature for the wrong region.
fn lies_elsewhere(error: &AwsError) -> bool {
    let by_code = ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"]
        .iter()
        .any(|code| error.is(code));
    by_code || matches!(error.status, Some(301 | 307))
}
