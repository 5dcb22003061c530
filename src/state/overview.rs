//! What `status` shows of rows that other modules write: counts and times, nothing that anybody decides by.

use anyhow::Context;
use aws_sdk_dynamodb::types::Select;
use chrono::{DateTime, Utc};

use super::State;
use super::item::s;
use crate::aws::{AwsError, AwsResult};

impl State {
    /// How many objects S3 was asked to restore that are not back yet.
    pub async fn restores_in_flight(&self) -> AwsResult<u64> {
        self.count("restore").await
    }

    /// When the users table's stream was last known to be read to its tip. None before provisioning ran.
    pub async fn stream_read_at(&self) -> anyhow::Result<Option<DateTime<Utc>>> {
        let Some(item) = self.get("stream", "current").await? else { return Ok(None) };
        item.opt_time("last_read").context("reading what is remembered of the users table's stream")
    }

    /// The number of items in a partition.
    async fn count(&self, pk: &str) -> AwsResult<u64> {
        let mut count = 0;
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", s(pk))
                .select(Select::Count)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|e| AwsError::new("Query", format_args!("{}/{pk}", self.table), e))?;
            count += u64::from(page.count.max(0).unsigned_abs());
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(count);
            }
        }
    }
}
