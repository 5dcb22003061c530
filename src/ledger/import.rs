//! Carrying an old table's history into a row, once for each old table.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Change, Ledger, key};
use crate::aws::{AwsError, AwsResult};
use crate::state::item::{n, s, t};
use crate::tiering::import::History;
use crate::tiering::object::ObjectId;
use crate::tiering::reconcile::Facts;

/// The names of the old tables that a row has the history of. Beside `last_batch`, which is ingest's own: neither hand
/// waits for the other.
const MARK: &str = "imported_from";

impl Ledger {
    /// Adds what the old table `table` knows to a row, once: a row that has it already refuses it. Makes the row where there
    /// is none; `facts` go into one that has none. The row's time never goes back; without a time of its own in the old table
    /// the object is as old as its place.
    pub async fn import(&self, id: &ObjectId, history: &History, facts: &Facts, table: &str) -> AwsResult<Change> {
        // As with a batch's count, the time that is there decides which of two updates is right.
        if let Some(latest) = history.latest {
            let forward = self
                .import_update(id, history, facts, table, "event_time = :time")
                .condition_expression(format!(
                    "{NOT_YET} AND (attribute_not_exists(event_time) OR event_time <= :time)"
                ))
                .expression_attribute_values(":time", t(latest));
            if self.send(id, forward).await? == Change::Made {
                return Ok(Change::Made);
            }
        }
        let late = self
            .import_update(id, history, facts, table, "event_time = if_not_exists(event_time, :since)")
            .condition_expression(NOT_YET);
        self.send(id, late).await
    }

    /// Whether a row has the history of `table` already.
    pub async fn has_import(&self, id: &ObjectId, table: &str) -> AwsResult<bool> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .projection_expression(MARK)
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| AwsError::new("GetItem", format_args!("{} {id}", self.table), e))?;
        let marks: HashMap<String, AttributeValue> = answer.item.unwrap_or_default();
        Ok(marks.get(MARK).and_then(|mark| mark.as_ss().ok()).is_some_and(|names| names.iter().any(|n| n == table)))
    }

    fn import_update(
        &self,
        id: &ObjectId,
        history: &History,
        facts: &Facts,
        table: &str,
        set_time: &str,
    ) -> UpdateItemFluentBuilder {
        self.update(id)
            .update_expression(format!(
                "ADD #count :count, {MARK} :marks SET {set_time}, \
                 entity_tag_value = if_not_exists(entity_tag_value, :etag), \
                 storage_class = if_not_exists(storage_class, :class), \
                 #size = if_not_exists(#size, :size), class_since = if_not_exists(class_since, :since)"
            ))
            .expression_attribute_names("#count", "count")
            .expression_attribute_names("#size", "size")
            .expression_attribute_values(":count", n(history.count))
            .expression_attribute_values(":marks", AttributeValue::Ss(vec![table.to_owned()]))
            .expression_attribute_values(":mark", s(table))
            .expression_attribute_values(":etag", s(facts.etag.as_str()))
            .expression_attribute_values(":class", s(facts.class.as_str()))
            .expression_attribute_values(":size", n(facts.size))
            .expression_attribute_values(":since", t(facts.class_since))
    }
}

const NOT_YET: &str = "(attribute_not_exists(imported_from) OR NOT contains(imported_from, :mark))";
