//! The state table: all that must outlive a process. One module for each kind of thing in it.
//!
//! | `pk` | `sk` | what | module |
//! |---|---|---|---|
//! | `lease` | name of a part, job or schedule | who works, and the fencing counter | [`lease`] |
//! | `run#JOB` | `slot`, `ok`, `history#TIME` | last claimed slot, last good run, reports (`ttl`) | [`runs`] |
//! | `quarantine` | `KIND#ID` | what was set aside, and why | [`quarantine`] |
//! | `ingest` | `sequence`, `batch#N`, `cursor#DIR`, `coverage`, `sweep` | what of the logs is counted | [`batches`] |
//! | `idle` | bucket, or `*` | after how long its objects came back to be read | [`idle`] |
//! | `adaptive` | bucket, or `*` | the experts' shadows and costs; the idle times that are open | [`adaptive`] |
//! | `stream` | `current` | which stream is read, whether a sweep is owed | [`checkpoints`] |
//! | `checkpoint#ARN` | shard | how far each shard was read | [`checkpoints`] |
//! | `gap` | stream, shard, sequence | records of the stream that were lost | [`checkpoints`] |
//! | `reservation` | user | the name that a user's bucket is about to have | [`reservations`] |
//! | `orphan` | bucket | buckets made for users who were gone by then | [`reservations`] |
//! | `restore` | `BUCKET/KEY` | a restore in flight: when S3 was asked, how, and for which ETag | [`restores`] |
//!
//! `overview` only counts, for `status`.
//!
//! Every write that two daemons could do at the same time is conditional; what the condition protects is said where it
//! stands.

pub mod adaptive;
pub mod batches;
pub mod checkpoints;
pub mod idle;
pub(crate) mod item;
pub mod lease;
mod overview;
pub mod quarantine;
pub mod reservations;
pub mod restores;
pub mod runs;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};

pub use item::{Item, ItemError};

use crate::aws::{AwsError, AwsResult, Kind};

/// A handle on the state table; cheap to clone.
#[derive(Debug, Clone)]
pub struct State {
    client: aws_sdk_dynamodb::Client,
    table: String,
    lease_life: Duration,
    holder: String,
}

/// Whether a conditional write was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    Yes,
    /// The condition did not hold: somebody else was there first.
    Refused,
}

impl State {
    /// `holder` names this process in leases, for people to read: host and process id.
    pub fn new(
        client: aws_sdk_dynamodb::Client,
        table: impl Into<String>,
        lease_life: Duration,
        holder: impl Into<String>,
    ) -> Self {
        Self { client, table: table.into(), lease_life, holder: holder.into() }
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// This process's name in leases.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Reads one item, consistently.
    pub(crate) async fn get(&self, pk: &str, sk: &str) -> AwsResult<Option<Item>> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(pk, sk)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| AwsError::new("GetItem", format_args!("{}/{pk}/{sk}", self.table), e))?;
        Ok(answer.item.map(Item::from))
    }

    /// Reads all items of a partition whose sort key begins with `prefix`, consistently, in order.
    pub(crate) async fn query(&self, pk: &str, prefix: &str) -> AwsResult<Vec<Item>> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let mut request = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression(if prefix.is_empty() {
                    "pk = :pk"
                } else {
                    "pk = :pk AND begins_with(sk, :prefix)"
                })
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .consistent_read(true)
                .set_exclusive_start_key(start);
            if !prefix.is_empty() {
                request = request.expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned()));
            }
            let page = request
                .send()
                .await
                .map_err(|e| AwsError::new("Query", format_args!("{}/{pk}/{prefix}", self.table), e))?;
            items.extend(page.items.unwrap_or_default().into_iter().map(Item::from));
            start = page.last_evaluated_key.filter(|k| !k.is_empty());
            if start.is_none() {
                return Ok(items);
            }
        }
    }

    /// Writes a whole item, whatever was there.
    pub(crate) async fn put(&self, pk: &str, sk: &str, item: Item) -> AwsResult<()> {
        let mut map = key(pk, sk);
        map.extend(item.into_map());
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(map))
            .send()
            .await
            .map_err(|e| AwsError::new("PutItem", format_args!("{}/{pk}/{sk}", self.table), e))?;
        Ok(())
    }

    /// Writes a whole item where none is.
    pub(crate) async fn put_new(&self, pk: &str, sk: &str, item: Item) -> AwsResult<Written> {
        let mut map = key(pk, sk);
        map.extend(item.into_map());
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(map))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await
            .map_err(|e| AwsError::new("PutItem", format_args!("{}/{pk}/{sk}", self.table), e));
        written(result)
    }

    /// An update of one item, to be given its expressions and sent by [`State::send_update`].
    pub(crate) fn update(&self, pk: &str, sk: &str) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key(pk, sk)))
    }

    /// Sends an update; a condition that did not hold is an answer, not an error.
    pub(crate) async fn send_update(&self, what: &str, update: UpdateItemFluentBuilder) -> AwsResult<Written> {
        let result =
            update.send().await.map_err(|e| AwsError::new("UpdateItem", format_args!("{}/{what}", self.table), e));
        written(result)
    }

    /// Deletes one item; one that is not there is deleted already.
    pub(crate) async fn delete(&self, pk: &str, sk: &str) -> AwsResult<()> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(pk, sk)))
            .send()
            .await
            .map_err(|e| AwsError::new("DeleteItem", format_args!("{}/{pk}/{sk}", self.table), e))?;
        Ok(())
    }
}

fn key(pk: &str, sk: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk.to_owned())),
        ("sk".to_owned(), AttributeValue::S(sk.to_owned())),
    ])
}

fn written<T>(result: AwsResult<T>) -> AwsResult<Written> {
    match result {
        Ok(_) => Ok(Written::Yes),
        Err(e) if e.kind == Kind::Precondition => Ok(Written::Refused),
        Err(e) => Err(e),
    }
}

/// Sort keys have at most 1,024 bytes; an id that may be longer is shortened and made unique again by its hash.
pub(crate) fn fit_sort_key(id: &str) -> String {
    const LIMIT: usize = 900;
    if id.len() <= LIMIT {
        return id.to_owned();
    }
    let cut = id.floor_char_boundary(LIMIT);
    let mut key = format!("{}#", &id[..cut]);
    for byte in Sha256::digest(id.as_bytes()) {
        write!(key, "{byte:02x}").expect("writing to a string cannot fail");
    }
    key
}
