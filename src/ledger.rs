//! The ledger: one row an object, keyed by bucket and key, saying how often and when last it was used and where it lies.
//!
//! Rows of a bucket come in UTF-8 byte order of their keys, the order of S3's listings too. Every write says what it
//! expects of the row, so that writers that overlap (two daemons, an ingest beside a transition) never undo each other.

mod effects;
mod import;
mod look;
mod old_table;
mod together;
mod usage;
mod waits;

pub use old_table::{OldTable, OldTablePager, UnreadableOldRow, WrongTable};

use std::collections::{BTreeSet, HashMap};

use anyhow::Context;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::aws::{AwsError, AwsResult, Kind};
use crate::state::Item;
use crate::state::item::{n, s, t};
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};
use crate::tiering::reconcile::Facts;
use crate::tiering::storage_class::StorageClass;

pub use look::{ROWS_A_LOOK, Rows};
pub use together::{Placing, ROWS_AT_ONCE};
pub use usage::{Counted, Usage};

/// A handle on the ledger table; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

/// The character whose UTF-8 bytes (four) come last, and the most bytes that a key has.
const LAST_KEY_CHARACTER: char = char::MAX;
const MAX_KEY_BYTES: usize = 1024;

/// The update that takes an object's facts into its row, and the condition that the row still speaks of that object. An
/// update of a row that is gone would create it anew, without its history.
const SET_FACTS: &str = "SET entity_tag_value = :etag, storage_class = :class, #size = :size, class_since = :since";
const SAME_OBJECT: &str = "attribute_exists(bucket_name) AND entity_tag_value = :expected";

/// Rows in a page at most. A page of 1 MB, DynamoDB's own limit, can hold several thousand, and each of them takes many times its
/// size in memory while the SDK reads it.
const ROWS_A_PAGE: i32 = 2000;

/// What of its rows a reader wants. DynamoDB reads, and bills, whole rows in any case; what is not asked for is not sent, and
/// need not be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    All,
    /// All but how often and how the object was used: those read as of an object that nobody has used.
    Whereabouts,
}

/// The attributes of [`Columns::Whereabouts`]. `size` is a reserved word.
const WHEREABOUTS: &str = "object_key, entity_tag_value, event_time, storage_class, #size, class_since, last_batch";

/// Whether a conditional change of a row was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Change {
    Made,
    /// The row is no longer as it was expected; it was left alone.
    Refused,
}

/// Where an object lies, as a listing or a copy's answer says.
pub type Placement = Facts;

impl Ledger {
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// The buckets that have rows. DynamoDB has no way to ask for the distinct hash keys; but a scan can be told to go on
    /// behind the last key that a bucket can have, so that a bucket of any size costs one page.
    pub async fn buckets(&self) -> AwsResult<BTreeSet<BucketName>> {
        let mut buckets = BTreeSet::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(&self.table)
                .projection_expression("bucket_name")
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|e| AwsError::new("Scan", &self.table, e))?;
            for item in page.items.unwrap_or_default() {
                match item.get("bucket_name").and_then(|v| v.as_s().ok()).map(|b| BucketName::new(b.as_str())) {
                    Some(Ok(bucket)) => {
                        buckets.insert(bucket);
                    }
                    other => tracing::warn!(event = "ledger.row_rejected", problem = ?other, "a row names no bucket"),
                }
            }
            let Some(mut last) = page.last_evaluated_key.filter(|k| !k.is_empty()) else {
                return Ok(buckets);
            };
            last.insert("object_key".to_owned(), s(LAST_KEY_CHARACTER.to_string().repeat(MAX_KEY_BYTES / 4)));
            start = Some(last);
        }
    }

    /// The rows of a bucket in key order, a page at a time.
    pub fn rows<'a>(&'a self, bucket: &'a BucketName, columns: Columns) -> RowPager<'a> {
        RowPager { ledger: self, bucket, columns, start: None, done: false }
    }

    /// One row.
    pub async fn row(&self, id: &ObjectId) -> anyhow::Result<Option<LedgerRow>> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| AwsError::new("GetItem", format_args!("{} {id}", self.table), e))?;
        let Some(item) = answer.item else { return Ok(None) };
        let mut row = LedgerRow::new(id.clone());
        read(&mut row, &item.into()).with_context(|| format!("reading the row of {id}"))?;
        Ok(Some(row))
    }

    /// Takes what a listing says into a row that still has the ETag that was compared (none, for a row that never met a
    /// listing). The history stays.
    pub async fn place(&self, id: &ObjectId, expected: Option<&ETag>, now_at: &Placement) -> AwsResult<Change> {
        let update = self.set_facts(id, now_at);
        let update = match expected {
            Some(etag) => {
                update.condition_expression(SAME_OBJECT).expression_attribute_values(":expected", s(etag.as_str()))
            }
            None => {
                update.condition_expression("attribute_exists(bucket_name) AND attribute_not_exists(entity_tag_value)")
            }
        };
        self.send(id, update).await
    }

    fn set_facts(
        &self,
        id: &ObjectId,
        facts: &Facts,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.update(id)
            .update_expression(SET_FACTS)
            .expression_attribute_names("#size", "size")
            .set_expression_attribute_values(Some(facts_values(facts)))
    }

    fn update(&self, id: &ObjectId) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key(id)))
    }

    async fn send(
        &self,
        id: &ObjectId,
        update: aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder,
    ) -> AwsResult<Change> {
        match update.send().await {
            Ok(_) => Ok(Change::Made),
            Err(e) => refused(AwsError::new("UpdateItem", format_args!("{} {id}", self.table), e)),
        }
    }
}

/// The rows of a bucket, page by page.
#[derive(Debug)]
pub struct RowPager<'a> {
    ledger: &'a Ledger,
    bucket: &'a BucketName,
    columns: Columns,
    start: Option<HashMap<String, AttributeValue>>,
    done: bool,
}

/// A row whose attributes make no sense. Its key is known, since DynamoDB vouches for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    pub id: ObjectId,
    pub problem: String,
}

impl RowPager<'_> {
    /// The next page; None after the last one. After an error the same page is asked for again. A row that cannot be read
    /// keeps its place in the order: to go on as if it were not there would take its object for one that was never seen.
    pub async fn next_page(&mut self) -> anyhow::Result<Option<Vec<Result<LedgerRow, UnreadableRow>>>> {
        if self.done {
            return Ok(None);
        }
        let query = self
            .ledger
            .client
            .query()
            .table_name(&self.ledger.table)
            .key_condition_expression("bucket_name = :bucket")
            .expression_attribute_values(":bucket", s(self.bucket.as_str()))
            .consistent_read(true)
            .limit(ROWS_A_PAGE)
            .set_exclusive_start_key(self.start.clone());
        let query = match self.columns {
            Columns::All => query,
            Columns::Whereabouts => {
                query.projection_expression(WHEREABOUTS).expression_attribute_names("#size", "size")
            }
        };
        let page = query
            .send()
            .await
            .map_err(|e| AwsError::new("Query", format_args!("{} {}", self.ledger.table, self.bucket), e))?;
        let rows = page
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| self.read(item.into()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        self.start = page.last_evaluated_key.filter(|k| !k.is_empty());
        self.done = self.start.is_none();
        Ok(Some(rows))
    }

    fn read(&self, mut item: Item) -> anyhow::Result<Result<LedgerRow, UnreadableRow>> {
        let place = || format!("reading a row of bucket {} in table {}", self.bucket, self.ledger.table);
        let key = ObjectKey::new(item.take_str("object_key").with_context(place)?).with_context(place)?;
        Ok(self.ledger.read_row(ObjectId::new(self.bucket.clone(), key), &item))
    }
}

/// Takes the attributes into a row of which the identity is known.
fn read(row: &mut LedgerRow, item: &Item) -> anyhow::Result<()> {
    row.etag = item.opt_str("entity_tag_value").map(ETag::new).transpose()?;
    row.count = item.opt_num("count")?.unwrap_or(0);
    row.event_time = item.opt_time("event_time")?;
    row.class = item.opt_str("storage_class").map(|c| StorageClass::from_s3(Some(c)));
    // One that makes no sense is unknown, and so the next reconcile writes it anew by the listing.
    row.size = item.opt_num("size").ok().flatten();
    row.class_since = item.opt_time("class_since")?;
    row.last_batch = item.opt_num("last_batch")?;
    row.evidence = usage::evidence(item, usage::EVIDENCE)?;
    row.waits = waits::read(item)?;
    Ok(())
}

fn key(id: &ObjectId) -> HashMap<String, AttributeValue> {
    HashMap::from([("bucket_name".to_owned(), s(id.bucket.as_str())), ("object_key".to_owned(), s(id.key.as_str()))])
}

/// The values of [`SET_FACTS`].
fn facts_values(facts: &Facts) -> HashMap<String, AttributeValue> {
    [
        (":etag", s(facts.etag.as_str())),
        (":class", s(facts.class.as_str())),
        (":size", n(facts.size)),
        (":since", t(facts.class_since)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn refused(error: AwsError) -> AwsResult<Change> {
    if error.kind == Kind::Precondition { Ok(Change::Refused) } else { Err(error) }
}
