//! Many rows by their keys in one request.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

use super::{Ledger, UnreadableRow, key, read};
use crate::aws::{AwsError, AwsResult};
use crate::state::Item;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{BucketName, ObjectId, ObjectKey};

/// Rows in one BatchGetItem, at most.
pub const ROWS_A_LOOK: usize = 100;
/// How long to wait before rows are asked for again that DynamoDB had no capacity for; then twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Pauses before that is an error.
const MAX_PAUSES: u32 = 8;

/// Rows by their objects; those that are not there are left out.
pub type Rows = HashMap<ObjectId, Result<LedgerRow, UnreadableRow>>;

/// Items that came, and keys that DynamoDB had no capacity for.
pub(super) struct Batch {
    pub items: Vec<HashMap<String, AttributeValue>>,
    pub unprocessed: Vec<HashMap<String, AttributeValue>>,
}

impl Ledger {
    /// The whole rows of `objects`, at most [`ROWS_A_LOOK`] different ones.
    pub async fn rows_of(&self, objects: impl Iterator<Item = ObjectId>) -> AwsResult<Rows> {
        // A key that is named twice is an error.
        let objects: HashSet<ObjectId> = objects.collect();
        let mut wanted: Vec<_> = objects.iter().map(key).collect();
        let mut rows = Rows::with_capacity(wanted.len());
        let mut pauses = 0;
        loop {
            let batch = self.batch_get(KeysAndAttributes::builder().set_keys(Some(wanted))).await?;
            for item in batch.items.into_iter().map(Item::from) {
                if let Some(id) = id_of(&item) {
                    rows.insert(id.clone(), self.read_row(id, &item));
                }
            }
            if batch.unprocessed.is_empty() {
                return Ok(rows);
            }
            if pauses == MAX_PAUSES {
                let code = Some("ProvisionedThroughputExceededException");
                let problem = "some rows were not read for want of capacity";
                return Err(AwsError::from_entry("BatchGetItem", &self.table, code, problem));
            }
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(pauses)).await;
            wanted = batch.unprocessed;
            pauses += 1;
        }
    }

    /// One request, of at most [`ROWS_A_LOOK`] keys.
    pub(super) async fn batch_get(
        &self,
        wanted: aws_sdk_dynamodb::types::builders::KeysAndAttributesBuilder,
    ) -> AwsResult<Batch> {
        let wanted = wanted.consistent_read(true).build().expect("the keys are given");
        let mut answer = self
            .client
            .batch_get_item()
            .request_items(&self.table, wanted)
            .send()
            .await
            .map_err(|e| AwsError::new("BatchGetItem", &self.table, e))?;
        let items = answer.responses.as_mut().and_then(|tables| tables.remove(&self.table)).unwrap_or_default();
        let unprocessed = answer.unprocessed_keys.as_mut().and_then(|tables| tables.remove(&self.table));
        Ok(Batch { items, unprocessed: unprocessed.map(|keys| keys.keys).unwrap_or_default() })
    }

    /// What the attributes say of an object whose key is known.
    pub(super) fn read_row(&self, id: ObjectId, item: &Item) -> Result<LedgerRow, UnreadableRow> {
        let mut row = LedgerRow::new(id);
        match read(&mut row, item) {
            Ok(()) => Ok(row),
            Err(error) => Err(UnreadableRow {
                problem: format!("the row of {} in table {} cannot be read: {error:#}", row.id, self.table),
                id: row.id,
            }),
        }
    }
}

pub(super) fn id_of(item: &Item) -> Option<ObjectId> {
    let bucket = BucketName::new(item.opt_str("bucket_name")?).ok()?;
    Some(ObjectId::new(bucket, ObjectKey::new(item.opt_str("object_key")?).ok()?))
}
