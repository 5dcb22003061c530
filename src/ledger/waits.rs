//! What the restore part writes into a row: that somebody waits for the object. The adaptive policy goes by it, twice: what was
//! asked for is no longer cold, and only so many reads may wait.

use chrono::{DateTime, Utc};

use super::{Change, Ledger};
use crate::aws::AwsResult;
use crate::clock::rfc3339;
use crate::state::Item;
use crate::state::item::{ItemError, n, s};
use crate::tiering::ledger_row::Waits;
use crate::tiering::object::ObjectId;

const DAYS: &str = "waited_days";
const LAST: &str = "last_waited";

impl Ledger {
    /// Notes that somebody waits for the object since `at`: once a day, however often it is asked for. Refused too where the
    /// ledger has no row of it: none is made.
    pub async fn note_wait(&self, id: &ObjectId, at: DateTime<Utc>) -> AwsResult<Change> {
        let time = rfc3339(at);
        // Times are written in one form, so their days are their first ten characters, in order.
        let day = time[..10].to_owned();
        let update = self
            .update(id)
            .update_expression("SET #last = :time ADD #days :one")
            .condition_expression("attribute_exists(bucket_name) AND (attribute_not_exists(#last) OR #last < :day)")
            .expression_attribute_names("#last", LAST)
            .expression_attribute_names("#days", DAYS)
            .expression_attribute_values(":time", s(time))
            .expression_attribute_values(":day", s(day))
            .expression_attribute_values(":one", n(1));
        self.send(id, update).await
    }
}

pub(super) fn read(item: &Item) -> Result<Waits, ItemError> {
    let days = item.opt_num(DAYS)?.unwrap_or(0);
    Ok(Waits { days: u32::try_from(days).unwrap_or(u32::MAX), last: item.opt_time(LAST)? })
}
