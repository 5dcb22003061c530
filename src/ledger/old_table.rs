//! A table of the functions that tierd replaces: keyed by `entity_tag_value` alone, with `count` and `event_time`. It is
//! only read, and by `ledger import` only.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeyType};

use crate::aws::{AwsError, AwsResult};
use crate::state::Item;
use crate::tiering::import::{History, OldRow};
use crate::tiering::object::ETag;

const KEY: &str = "entity_tag_value";

/// A handle on an old table; cheap to clone.
#[derive(Debug, Clone)]
pub struct OldTable {
    client: aws_sdk_dynamodb::Client,
    name: String,
}

/// The table is no old one. A table that has objects in its key (the ledger itself) would be counted twice.
#[derive(Debug, thiserror::Error)]
#[error(
    "table {name} is keyed by {found}, and not by entity_tag_value alone: it is no table of the kind that is imported"
)]
pub struct WrongTable {
    pub name: String,
    /// The key's attributes, with commas.
    pub found: String,
}

/// A row that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableOldRow {
    /// Its key as it stands.
    pub etag: String,
    pub problem: String,
}

/// The rows of an old table, page by page.
#[derive(Debug)]
pub struct OldTablePager<'a> {
    table: &'a OldTable,
    start: Option<HashMap<String, AttributeValue>>,
    done: bool,
}

impl OldTable {
    pub fn new(client: aws_sdk_dynamodb::Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fails with [`WrongTable`] if the table is not keyed by ETag alone.
    pub async fn verify(&self) -> anyhow::Result<()> {
        let answer = self
            .client
            .describe_table()
            .table_name(&self.name)
            .send()
            .await
            .map_err(|e| AwsError::new("DescribeTable", &self.name, e))?;
        let schema = answer.table.and_then(|table| table.key_schema).unwrap_or_default();
        let is_old = matches!(&schema[..], [key] if key.attribute_name == KEY && key.key_type == KeyType::Hash);
        if is_old {
            return Ok(());
        }
        let found: Vec<String> = schema.into_iter().map(|key| key.attribute_name).collect();
        Err(WrongTable { name: self.name.clone(), found: found.join(", ") }.into())
    }

    /// All rows, a page (at most 1 MB) at a time.
    pub fn rows(&self) -> OldTablePager<'_> {
        OldTablePager { table: self, start: None, done: false }
    }
}

impl OldTablePager<'_> {
    /// The next page; None after the last one.
    pub async fn next_page(&mut self) -> AwsResult<Option<Vec<Result<OldRow, UnreadableOldRow>>>> {
        if self.done {
            return Ok(None);
        }
        let page = self
            .table
            .client
            .scan()
            .table_name(&self.table.name)
            .projection_expression("#key, #count, #time")
            .expression_attribute_names("#key", KEY)
            .expression_attribute_names("#count", "count")
            .expression_attribute_names("#time", "event_time")
            .consistent_read(true)
            .set_exclusive_start_key(self.start.clone())
            .send()
            .await
            .map_err(|e| AwsError::new("Scan", &self.table.name, e))?;
        self.start = page.last_evaluated_key.filter(|k| !k.is_empty());
        self.done = self.start.is_none();
        Ok(Some(page.items.unwrap_or_default().into_iter().map(|item| read(&Item::from(item))).collect()))
    }
}

fn read(item: &Item) -> Result<OldRow, UnreadableOldRow> {
    let read = || -> anyhow::Result<OldRow> {
        Ok(OldRow {
            etag: ETag::new(item.str(KEY)?)?,
            history: History { count: item.opt_num("count")?.unwrap_or(0), latest: item.opt_time("event_time")? },
        })
    };
    read().map_err(|error| UnreadableOldRow {
        etag: item.opt_str(KEY).unwrap_or_default().to_owned(),
        problem: format!("{error:#}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::rfc3339;
    use crate::state::item::{n, s};

    #[test]
    fn a_row_is_read_leniently_and_what_makes_no_sense_is_named() {
        let item = |attributes: &[(&str, AttributeValue)]| {
            let key = (KEY.to_owned(), s("\"abc\""));
            let others = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            Item::from(std::iter::once(key).chain(others).collect::<HashMap<_, _>>())
        };
        let check = |attributes: &[(&str, AttributeValue)], want: Result<(u64, Option<&str>), &str>| {
            let got = read(&item(attributes));
            let got = got.as_ref().map(|row| (row.history.count, row.history.latest.map(rfc3339)));
            match (got, want) {
                (Ok((count, latest)), Ok((want, time))) => assert_eq!((count, latest.as_deref()), (want, time)),
                (Err(row), Err(attribute)) => {
                    assert!(row.problem.contains(attribute), "{row:?}");
                    assert_eq!(row.etag, "\"abc\"");
                }
                (got, want) => panic!("{got:?}, not {want:?}"),
            }
        };
        let time = ("event_time", s("2023-05-06T07:08:09+09:00"));
        check(&[("count", n(3)), time.clone()], Ok((3, Some("2023-05-05T22:08:09Z"))));
        check(&[("count", AttributeValue::N("3.0".into()))], Ok((3, None)));
        check(&[], Ok((0, None)));
        check(&[("count", AttributeValue::N("-1".into())), time], Err("count"));
        check(&[("event_time", s("yesterday"))], Err("event_time"));
        check(&[("event_time", n(5))], Err("event_time"));
    }
}
