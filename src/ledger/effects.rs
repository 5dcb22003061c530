//! What reconciliation does to rows. Each effect was decided from a row as it was read, and rows change between reading and
//! writing (ingest counts, a move takes its place): so each write names what the row was seen to say, and one that is
//! refused is left to the next run.

use chrono::{DateTime, Utc};

use super::{Change, Ledger, key, refused};
use crate::aws::{AwsError, AwsResult};
use crate::state::item::{n, s, t};
use crate::tiering::object::{BucketName, ETag, ObjectId};
use crate::tiering::reconcile::{Effect, Facts};

impl Ledger {
    /// Does `effect` to its row of `bucket`, if the row is still as the effect has it. `listing_started` is when the
    /// listing began: a row that was moved since knows better.
    pub async fn apply(
        &self,
        bucket: &BucketName,
        effect: &Effect,
        listing_started: DateTime<Utc>,
    ) -> AwsResult<Change> {
        let id = ObjectId::new(bucket.clone(), effect.key().clone());
        match effect {
            Effect::Drop { last_batch, .. } => self.drop_row(&id, *last_batch, listing_started).await,
            Effect::Refresh { expected_etag, facts, .. } => {
                self.take_facts(&id, expected_etag.as_ref(), facts, listing_started).await
            }
            Effect::Replace { expected_etag, facts, .. } => {
                self.take_facts(&id, Some(expected_etag), facts, listing_started).await
            }
            Effect::Adopt { event_time, facts, .. } => self.adopt(&id, *event_time, facts).await,
        }
    }

    async fn drop_row(
        &self,
        id: &ObjectId,
        last_batch: Option<u64>,
        listing_started: DateTime<Utc>,
    ) -> AwsResult<Change> {
        // Every count changes the batch. The time is asked for as an order and not as what was read, because other programs
        // write times in other forms of the same standard.
        let unused = "(attribute_not_exists(event_time) OR event_time < :started)";
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .expression_attribute_values(":started", t(listing_started));
        let delete = match last_batch {
            Some(batch) => delete
                .condition_expression(format!("{unused} AND last_batch = :batch"))
                .expression_attribute_values(":batch", n(batch)),
            None => delete.condition_expression(format!("{unused} AND attribute_not_exists(last_batch)")),
        };
        match delete.send().await {
            Ok(_) => Ok(Change::Made),
            Err(e) => refused(AwsError::new("DeleteItem", format_args!("{} {id}", self.table), e)),
        }
    }

    async fn take_facts(
        &self,
        id: &ObjectId,
        expected: Option<&ETag>,
        facts: &Facts,
        listing_started: DateTime<Utc>,
    ) -> AwsResult<Change> {
        // Equal contents can have equal ETags: a move that was done since may not show in the ETag, but does in its time.
        let unmoved = "(attribute_not_exists(class_since) OR class_since < :started)";
        let update = self.set_facts(id, facts).expression_attribute_values(":started", t(listing_started));
        let update = match expected {
            Some(etag) => update
                .condition_expression(format!(
                    "attribute_exists(bucket_name) AND entity_tag_value = :expected AND {unmoved}"
                ))
                .expression_attribute_values(":expected", s(etag.as_str())),
            // An update of a row that is gone would create it anew, without its history.
            None => update.condition_expression(format!(
                "attribute_exists(bucket_name) AND attribute_not_exists(entity_tag_value) AND {unmoved}"
            )),
        };
        self.send(id, update).await
    }

    async fn adopt(&self, id: &ObjectId, event_time: DateTime<Utc>, facts: &Facts) -> AwsResult<Change> {
        let update = self
            .update(id)
            .update_expression(
                "SET entity_tag_value = :etag, storage_class = :class, #size = :size, class_since = :since, \
                 event_time = :time, #count = :zero",
            )
            .condition_expression("attribute_not_exists(bucket_name)")
            .expression_attribute_names("#count", "count")
            .expression_attribute_names("#size", "size")
            .expression_attribute_values(":etag", s(facts.etag.as_str()))
            .expression_attribute_values(":class", s(facts.class.as_str()))
            .expression_attribute_values(":size", n(facts.size))
            .expression_attribute_values(":since", t(facts.class_since))
            .expression_attribute_values(":time", t(event_time))
            .expression_attribute_values(":zero", n(0));
        self.send(id, update).await
    }
}
