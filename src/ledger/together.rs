//! Many rows in one request: DynamoDB's transaction of conditional updates.
//!
//! It costs what the updates would cost twice over (each row's write is billed double), and saves the calls: a million moves
//! pay less than a dollar more for their rows, beside the ten that their copies cost, and make a third fewer calls.
//! BatchWriteItem knows no conditions, and a batch of PartiQL statements would need a permission of its own.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};

use super::{Ledger, Placement, SAME_OBJECT, SET_FACTS, facts_values, key};
use crate::aws::{AwsError, AwsResult};
use crate::state::item::s;
use crate::tiering::object::{ETag, ObjectId};

/// Rows that one request should hold at most. DynamoDB takes 100; the more there are, the likelier is one whose refusal
/// undoes them all.
pub const ROWS_AT_ONCE: usize = 25;

/// A row that is to learn where its object lies now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placing {
    pub id: ObjectId,
    /// What the row must still have.
    pub expected: ETag,
    pub now_at: Placement,
}

impl Ledger {
    /// Does what [`Ledger::place`] does for each of these rows, in one request: for all, or, if anything stands in the way of
    /// one of them, for none.
    pub async fn place_all(&self, rows: &[Placing]) -> AwsResult<()> {
        let subject = || format!("{} rows of {}", rows.len(), self.table);
        let items = rows
            .iter()
            .map(|row| {
                let update = Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(key(&row.id)))
                    .update_expression(SET_FACTS)
                    .condition_expression(SAME_OBJECT)
                    .expression_attribute_names("#size", "size")
                    .set_expression_attribute_values(Some(facts_values(&row.now_at)))
                    .expression_attribute_values(":expected", s(row.expected.as_str()))
                    .build()
                    .map_err(|e| AwsError::from_entry("TransactWriteItems", subject(), None, e.to_string()))?;
                Ok(TransactWriteItem::builder().update(update).build())
            })
            .collect::<AwsResult<Vec<_>>>()?;
        self.client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await
            .map_err(|e| AwsError::new("TransactWriteItems", subject(), e))?;
        Ok(())
    }
}
