//! What ingest writes into a row: how often and when last its object was used, and the evidence by which it is judged.
//!
//! New evidence is a function of the old, so a row is read before it is written: a hundred in one call. What was read is the
//! condition of the write. If another has written meanwhile, the refusal brings the row as it is now, and the write is made
//! up anew.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, Utc};

use super::look::{Batch, id_of};
use super::{Ledger, key};
use crate::aws::{AwsError, AwsResult, Kind};
use crate::state::Item;
use crate::state::item::{ItemError, n, t};
use crate::tiering::access::AccessUpdate;
use crate::tiering::evidence::{Gap, ObjectEvidence};
use crate::tiering::object::ObjectId;

pub(super) const EVIDENCE: &str = "evidence";
/// As it was before the batch in `last_batch`.
const EVIDENCE_BEFORE: &str = "evidence_before";
/// How often a row is looked at again that changes under our hands. One writer at a time makes it rare.
const MAX_LOOKS: u32 = 8;

/// A row as ingest needs to know it. The default is that of a row that is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    last_batch: Option<u64>,
    event_time: Option<DateTime<Utc>>,
    evidence: ObjectEvidence,
    before: ObjectEvidence,
    there: There,
}

/// What stands in a row, whatever sense it makes: the condition of the write.
#[derive(Debug, Clone, Default, PartialEq)]
struct There {
    last_batch: Option<AttributeValue>,
    event_time: Option<AttributeValue>,
    /// A count to which nothing can be added, and so is begun anew.
    odd_count: Option<AttributeValue>,
}

/// What became of a batch's update of a row. Either way the row has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Counted {
    /// Now; these idle times ended by it.
    Now(Vec<Gap>),
    /// By an earlier try of the same batch; these idle times ended by it.
    Before(Vec<Gap>),
    /// The row carries a later batch, so another writer is done with this one.
    Overtaken,
}

impl Ledger {
    /// The rows of `objects`, at most [`super::ROWS_A_LOOK`], by what ingest needs of them; those that are not there are left out.
    /// Some may be left out for DynamoDB's want of capacity; they are the second of the pair.
    pub async fn usages(
        &self,
        objects: impl Iterator<Item = &ObjectId>,
    ) -> AwsResult<(HashMap<ObjectId, Usage>, Vec<ObjectId>)> {
        let names = [("#bucket", "bucket_name"), ("#key", "object_key")];
        let usage = [("#batch", "last_batch"), ("#time", "event_time"), ("#count", "count")];
        let evidence = [("#evidence", EVIDENCE), ("#before", EVIDENCE_BEFORE)];
        let names =
            names.into_iter().chain(usage).chain(evidence).map(|(short, name)| (short.to_owned(), name.to_owned()));
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(objects.map(key).collect()))
            .projection_expression("#bucket, #key, #batch, #time, #count, #evidence, #before")
            .set_expression_attribute_names(Some(names.collect()));
        let Batch { items, unprocessed } = self.batch_get(wanted).await?;
        let mut rows = HashMap::with_capacity(items.len());
        for item in items.into_iter().map(Item::from) {
            if let Some(id) = id_of(&item) {
                rows.insert(id, Usage::read(&item));
            }
        }
        Ok((rows, unprocessed.into_iter().filter_map(|key| id_of(&Item::from(key))).collect()))
    }

    /// Adds a batch's accesses to a row, once: a row that carries this batch's number or a later one refuses it.
    /// Makes the row where there is none. The row's time never goes back.
    pub async fn count(&self, update: &AccessUpdate, batch: u64, seen: &Usage) -> AwsResult<Counted> {
        let mut seen = seen.clone();
        let mut looks = 0;
        loop {
            if let Some(done) = seen.has(update, batch) {
                return Ok(done);
            }
            looks += 1;
            match self.try_count(update, batch, &seen).await? {
                Ok(closed) => return Ok(Counted::Now(closed)),
                Err(now) if looks < MAX_LOOKS => seen = now,
                Err(_) => {
                    let place = format!("{} {}", self.table, update.object);
                    let code = Some("TransactionConflictException");
                    return Err(AwsError::from_entry("UpdateItem", place, code, "the row changes whenever it is read"));
                }
            }
        }
    }

    /// One try, on the condition that the row is as it was seen: the idle times that end by it, or how the row is now.
    async fn try_count(&self, update: &AccessUpdate, batch: u64, seen: &Usage) -> AwsResult<Result<Vec<Gap>, Usage>> {
        let id = &update.object;
        let mut closed = Vec::new();
        let evidence = seen.evidence.fold(&update.delta, &mut closed);
        // A later time stays as it stands: the table that this one replaces may have written it in its own way.
        let time = match &seen.there.event_time {
            Some(there) if seen.event_time.is_some_and(|seen| seen > update.latest) => there.clone(),
            _ => t(update.latest),
        };
        let mut values = HashMap::from(
            [
                (":count", n(update.count)),
                (":batch", n(batch)),
                (":time", time),
                (":evidence", b(&evidence)),
                (":before", b(&seen.evidence)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        // Reconciliation writes a time too, where it adopts an object.
        let mut conditions = vec![
            as_seen("last_batch", ":seen", &seen.there.last_batch, &mut values),
            as_seen("event_time", ":seen_time", &seen.there.event_time, &mut values),
        ];
        let set = "SET last_batch = :batch, event_time = :time, #evidence = :evidence, #before = :before";
        let expression = if seen.there.odd_count.is_some() {
            conditions.push(as_seen("#count", ":seen_count", &seen.there.odd_count, &mut values));
            format!("{set}, #count = :count")
        } else {
            format!("ADD #count :count {set}")
        };
        let request = self
            .update(id)
            .update_expression(expression)
            .condition_expression(conditions.join(" AND "))
            .set_expression_attribute_values(Some(values))
            .expression_attribute_names("#count", "count")
            .expression_attribute_names("#evidence", EVIDENCE)
            .expression_attribute_names("#before", EVIDENCE_BEFORE)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = request.send().await else { return Ok(Ok(closed)) };
        let now = old_item(&error).map(|row| Usage::read(&row)).unwrap_or_default();
        match AwsError::new("UpdateItem", format_args!("{} {id}", self.table), error) {
            error if error.kind == Kind::Precondition => Ok(Err(now)),
            error => Err(error),
        }
    }
}

impl Usage {
    /// Never fails: a row with an attribute that makes no sense still counts, from nothing, as it would if the attribute
    /// were not there.
    fn read(item: &Item) -> Self {
        let read = |attribute| match evidence(item, attribute) {
            Ok(evidence) => evidence,
            Err(error) => {
                let row = id_of(item).map(|id| id.to_string());
                tracing::warn!(event = "ledger.row_rejected", row, problem = %error, "the evidence of a row is begun anew");
                ObjectEvidence::default()
            }
        };
        let there = |attribute| item.get(attribute).cloned();
        // A null is an attribute that is not there, but nothing can be added to it.
        let is_odd = |count: &AttributeValue| !count.is_n() || item.opt_num("count").is_err();
        Self {
            last_batch: item.opt_num("last_batch").ok().flatten(),
            event_time: item.opt_time("event_time").ok().flatten(),
            evidence: read(EVIDENCE),
            before: read(EVIDENCE_BEFORE),
            there: There {
                last_batch: there("last_batch"),
                event_time: there("event_time"),
                odd_count: there("count").filter(is_odd),
            },
        }
    }

    /// Whether `batch`, or a later one, was the last to count this row.
    pub fn counted_since(&self, batch: u64) -> bool {
        self.last_batch.is_some_and(|last| last >= batch)
    }

    /// What to answer if the row has `batch` already.
    fn has(&self, update: &AccessUpdate, batch: u64) -> Option<Counted> {
        match self.last_batch {
            Some(last) if last == batch => {
                let mut closed = Vec::new();
                let _as_in_the_row: ObjectEvidence = self.before.fold(&update.delta, &mut closed);
                Some(Counted::Before(closed))
            }
            Some(last) if last > batch => Some(Counted::Overtaken),
            _ => None,
        }
    }
}

/// The evidence in a row; that of an object which nobody knows, where there is none.
pub(super) fn evidence(item: &Item, attribute: &'static str) -> Result<ObjectEvidence, ItemError> {
    let Some(value) = item.get(attribute) else { return Ok(ObjectEvidence::default()) };
    let wrong = |expected| ItemError { attribute: attribute.to_owned(), expected };
    let bytes = value.as_b().map_err(|_| wrong("binary"))?;
    ObjectEvidence::from_bytes(bytes.as_ref()).map_err(|_| wrong("evidence in a layout that this version knows"))
}

fn b(evidence: &ObjectEvidence) -> AttributeValue {
    AttributeValue::B(Blob::new(evidence.to_bytes()))
}

/// The condition that an attribute is as it was seen, with its value among `values` if there was one.
fn as_seen(
    attribute: &str,
    name: &str,
    seen: &Option<AttributeValue>,
    values: &mut HashMap<String, AttributeValue>,
) -> String {
    match seen {
        Some(seen) => {
            values.insert(name.to_owned(), seen.clone());
            format!("{attribute} = {name}")
        }
        None => format!("attribute_not_exists({attribute})"),
    }
}

/// The row that made a condition fail.
fn old_item(
    error: &aws_sdk_dynamodb::error::SdkError<aws_sdk_dynamodb::operation::update_item::UpdateItemError>,
) -> Option<Item> {
    use aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException;
    match error.as_service_error() {
        Some(ConditionalCheckFailedException(failed)) => failed.item.clone().map(Item::from),
        _ => None,
    }
}
