//! The index of restores that are in flight: what the sweep looks through, so that it need not walk all objects.
//!
//! A row is written before S3 is asked and goes when the object is back, so that whatever a crash leaves undone is found.
//! `pk` = `restore`, `sk` = `BUCKET/KEY`.

use std::collections::HashMap;

use anyhow::Context;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};

use super::item::{Item, n, s, t};
use super::{State, fit_sort_key};
use crate::aws::{AwsError, AwsResult, Kind};
use crate::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};
use crate::tiering::restore::RequestRecord;

const PK: &str = "restore";

/// A restore in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRow {
    pub record: RequestRecord,
    /// When tierd was first asked for this very object; the record's time is when S3 was last asked.
    pub asked_at: DateTime<Utc>,
    /// How often S3 was asked: more than once where a restored copy expired before it was copied back.
    pub attempts: u64,
}

impl State {
    /// Writes down that S3 is about to be asked for this object, now, as `record` says, and gives the row. `known` is the row
    /// that is there: one of the same object (the same ETag) keeps when it was first asked for, one of an object that stood
    /// there before is replaced.
    pub async fn note_restore(&self, known: Option<&RestoreRow>, record: RequestRecord) -> AwsResult<RestoreRow> {
        let (asked_at, attempts) = match known {
            Some(row) if row.record.etag == record.etag => (row.asked_at, row.attempts + 1),
            _ => (record.requested_at, 1),
        };
        let row = RestoreRow { record, asked_at, attempts };
        self.keep_restore(&row).await?;
        Ok(row)
    }

    /// Writes a row as it is, over whatever is there.
    pub async fn keep_restore(&self, row: &RestoreRow) -> AwsResult<()> {
        let RestoreRow { record, asked_at, attempts } = row;
        let mut item = Item::new()
            .with_str("bucket", record.id.bucket.as_str())
            .with_str("key", record.id.key.as_str())
            .with_time("requested_at", record.requested_at)
            .with_time("asked_at", *asked_at)
            .with_num("attempts", *attempts)
            .with_num("days", u64::from(record.days))
            .with_str("tier", record.tier.as_str());
        if let Some(etag) = &record.etag {
            item = item.with_str("etag", etag.as_str());
        }
        self.put(PK, &sort_key(&record.id), item).await
    }

    /// The row of one object.
    pub async fn restore_row(&self, id: &ObjectId) -> anyhow::Result<Option<RestoreRow>> {
        let item = self.get(PK, &sort_key(id)).await?;
        item.map(|item| parse(&item).with_context(|| format!("reading the restore of {id}"))).transpose()
    }

    /// Takes a row out that is still as it was seen: S3 was not asked once more since. Whether it was there.
    pub async fn drop_restore(&self, seen: &RestoreRow) -> AwsResult<Dropped> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(super::key(PK, &sort_key(&seen.record.id))))
            .condition_expression("requested_at = :seen AND attempts = :attempts")
            .expression_attribute_values(":seen", t(seen.record.requested_at))
            .expression_attribute_values(":attempts", n(seen.attempts))
            .send()
            .await
            .map_err(|e| AwsError::new("DeleteItem", format_args!("{}/{PK}/{}", self.table, seen.record.id), e));
        match deleted {
            Ok(_) => Ok(Dropped::Yes),
            Err(e) if e.kind == Kind::Precondition => Ok(Dropped::NotThere),
            Err(e) => Err(e),
        }
    }

    /// All restores in flight, page by page.
    pub fn restores(&self) -> RestorePager<'_> {
        RestorePager { state: self, start: None, done: false }
    }
}

/// Whether a row was there to be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Dropped {
    Yes,
    /// It is gone, or it is of a later request.
    NotThere,
}

/// The index, page by page.
#[derive(Debug)]
pub struct RestorePager<'a> {
    state: &'a State,
    start: Option<HashMap<String, AttributeValue>>,
    done: bool,
}

impl RestorePager<'_> {
    /// The next page; None after the last. A row that cannot be read stands in it as its error: the others are not to
    /// suffer for it.
    pub async fn next_page(&mut self) -> AwsResult<Option<Vec<anyhow::Result<RestoreRow>>>> {
        if self.done {
            return Ok(None);
        }
        let page = self
            .state
            .client
            .query()
            .table_name(&self.state.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(PK))
            .consistent_read(true)
            .set_exclusive_start_key(self.start.take())
            .send()
            .await
            .map_err(|e| AwsError::new("Query", format_args!("{}/{PK}", self.state.table), e))?;
        self.start = page.last_evaluated_key.filter(|k| !k.is_empty());
        self.done = self.start.is_none();
        let rows = page.items.unwrap_or_default().into_iter().map(|item| {
            let item = Item::from(item);
            parse(&item).with_context(|| format!("reading the restore of {}", item.opt_str("sk").unwrap_or("?")))
        });
        Ok(Some(rows.collect()))
    }
}

fn sort_key(id: &ObjectId) -> String {
    fit_sort_key(&format!("{}/{}", id.bucket, id.key))
}

fn parse(item: &Item) -> anyhow::Result<RestoreRow> {
    let requested_at = item.time("requested_at")?;
    let record = RequestRecord {
        id: ObjectId::new(BucketName::new(item.str("bucket")?)?, ObjectKey::new(item.str("key")?)?),
        requested_at,
        days: u32::try_from(item.num("days")?).context("attribute `days` is too large")?,
        tier: item.str("tier")?.parse()?,
        etag: item.opt_str("etag").map(ETag::new).transpose()?,
    };
    Ok(RestoreRow {
        record,
        asked_at: item.opt_time("asked_at")?.unwrap_or(requested_at),
        attempts: item.opt_num("attempts")?.unwrap_or(1),
    })
}
