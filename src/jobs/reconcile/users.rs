//! The buckets that the users table names: where objects may lie that no log has told of.

use std::collections::BTreeSet;

use crate::aws::{AwsError, AwsResult};
use crate::tiering::object::BucketName;

/// The users table, as far as its bucket URIs go.
#[derive(Debug, Clone)]
pub struct UserBuckets {
    pub client: aws_sdk_dynamodb::Client,
    pub table: String,
    pub uri_attribute: String,
}

impl UserBuckets {
    /// Every bucket that a user has. A URI that names no bucket is reported and passed over.
    pub async fn buckets(&self) -> AwsResult<BTreeSet<BucketName>> {
        let mut buckets = BTreeSet::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(&self.table)
                .projection_expression("#uri")
                .expression_attribute_names("#uri", &self.uri_attribute)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|e| AwsError::new("Scan", &self.table, e))?;
            for item in page.items.unwrap_or_default() {
                let Some(uri) = item.get(&self.uri_attribute) else { continue };
                match uri.as_s().map(|uri| BucketName::from_uri(uri)) {
                    Ok(Ok(bucket)) => {
                        buckets.insert(bucket);
                    }
                    other => {
                        tracing::warn!(event = "user.uri_rejected", problem = ?other, "a user's URI names no bucket");
                    }
                }
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(buckets);
            }
        }
    }
}
